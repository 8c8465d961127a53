// Identity providers of other people, each unlike oidc-provider in most details. Each uses the Python that its variable
// names, or is installed into .cache/ (half a minute, once).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { within } from '../lib/api.mjs';
import { launch, person } from '../lib/browser.mjs';
import { startDemo } from '../lib/demo.mjs';
import { freePort, python, serve } from '../lib/other-idp.mjs';

const PORT_BASE = 8320;

const CANAILLE = {
  name: 'Canaille',
  folder: 'canaille-0.3.6',
  packages: ['canaille[front,oidc,server]==0.3.6'],
  variable: 'CANAILLE_PYTHON',
  script: 'serve_canaille.py',
  // It compares what comes by HTTP Basic as it is, without decoding it (RFC 6749, section 2.3.1), so only plain characters.
  secret: 'a-plain-secret',
  path: '',
};

const DJANGO = {
  name: 'Django',
  folder: 'django-oauth-toolkit-3.4.1',
  packages: ['django-oauth-toolkit==3.4.1'],
  variable: 'DJANGO_PYTHON',
  script: 'serve_django.py',
  secret: 'a secret: 100% + ü/&',
  // Its issuer has a path.
  path: '/o',
};

const IDPYOIDC = {
  name: 'idpyoidc',
  folder: 'idpyoidc-5.0.0',
  packages: ['idpyoidc==5.0.0'],
  variable: 'IDPYOIDC_PYTHON',
  script: 'serve_idpyoidc.py',
  // It does not decode it, either.
  secret: 'a-secret-between-two-servers',
  path: '',
};

/** Runs the provider beside a connection to it, through which `rule` lets people in at Labs' wiki; `null` if it cannot. */
async function connected(t, demo, provider, { settings, rule }) {
  const interpreter = await python(provider);
  if (!interpreter) return null;
  const { api } = demo;
  const labs = demo.account('Labs').id;
  const wiki = demo.app('Labs', 'web');
  const port = await freePort();
  const issuer = `http://127.0.0.1:${port}${provider.path}`;
  const connection = await api.post('/connections', {
    name: provider.name, kind: 'oidc', issuer, client_id: 'chatelaine', client_secret: provider.secret,
    allow_internal: [`http://127.0.0.1:${port}`], logout: { rp_initiated: true }, ...settings,
  });
  const log = await serve(t, provider, interpreter, [port, 'chatelaine', provider.secret, connection.redirect_uri,
    connection.post_logout_redirect_uri, ...(settings.logout?.back_channel ? [connection.backchannel_logout_uri] : [])]);
  await api.post('/bindings', { connection: connection.id, accounts: [labs], mode: 'allowed' });
  const policy = await api.post('/policies', {
    account: labs, name: provider.name, decision: 'allow', include: [rule ?? { type: 'connection', connection: connection.id }],
  });
  const { policies } = await api.get(`/apps/${wiki.id}`);
  await api.patch(`/apps/${wiki.id}`, { policies: [policy.id, ...policies] });
  const control = demo.info.control_url.replace(/\/$/, '');
  const browser = await launch(t);
  return {
    connection, issuer, wiki,
    person: () => person(browser),
    /** Opens the wiki and chooses the provider. */
    async choose(page) {
      await page.goto(wiki.url, { waitUntil: 'domcontentloaded' });
      await page.getByRole('link', { name: new RegExp(provider.name) }).click();
    },
    /** Waits, and says what the provider said if it is for nothing. */
    told: (page, wait) => wait.catch((error) => { throw new Error(`${error}\nat ${page.url()}\n${log()}`); }),
    atWiki: (page) => page.waitForURL((url) => url.href.startsWith(new URL(wiki.url).origin)),
    /** Confirms that it is them: `again` is what they do at the provider. */
    async confirm(page, again) {
      await page.goto(`${control}/login/confirm?return_to=%2Fme`);
      await page.getByRole('button', { name: `Continue with ${provider.name}` }).click();
      await again();
      await this.told(page, page.waitForURL(`${control}/me`));
    },
    /** Signs out here; `agree` says yes at the provider, if it asks. */
    async signOut(page, agree) {
      await page.goto(`${control}/logout`);
      await page.getByRole('button', { name: 'Sign out' }).click();
      // It asks only when it is not sure who it is.
      await page.waitForLoadState();
      if (page.url().startsWith(issuer)) await agree();
      await this.told(page, page.getByText(`${provider.name} has finished signing you out`).waitFor());
      await this.signedOut(page);
    },
    signedOut: (page) => within(5000, 'the end of the session at the app', async () =>
      (await page.request.get(wiki.url, { maxRedirects: 0 })).status() !== 200),
  };
}

async function canaille(t, demo) {
  const partner = await connected(t, demo, CANAILLE, {
    settings: {
      // It says nothing of `email_verified`; its administrators give out the addresses.
      email_verification: 'always',
      allowed_domains: ['canaille.example'],
    },
  });
  if (!partner) return t.skip('Canaille cannot be installed');
  const page = await partner.person();
  await partner.choose(page);
  await page.locator('input[name=login]').fill('jane');
  await page.locator('#loginform button[type=submit]').first().click();
  await page.locator('input[name=password]').fill('a long password for Jane');
  await page.locator('#passwordform button[type=submit]').first().click();
  await page.locator('button[name=answer][value=accept]').click();
  await partner.told(page, partner.atWiki(page));
  assert.match(await page.locator('#visitor').innerText(), /jane@canaille\.example/);
  const [user, ...others] = await demo.api.list('/users?q=canaille.example');
  assert.deepEqual(others, []);
  assert.deepEqual([user.issuer, user.subject, user.email, user.name, user.email_verified],
    [partner.issuer, 'jane', 'jane@canaille.example', 'Jane Doe', true]);

  await t.test('and out, there as well', async () => {
    await partner.signOut(page, () => page.locator('button[name=answer][value=logout]').click());
    await partner.choose(page);
    await page.locator('input[name=login]').waitFor();
  });
}

async function django(t, demo) {
  const partner = await connected(t, demo, DJANGO, {
    settings: { scopes: ['profile', 'email', 'groups'] },
    rule: { type: 'claim', name: 'groups', value: 'staff' },
  });
  if (!partner) return t.skip('django-oauth-toolkit cannot be installed');
  const signIn = async (page, who) => {
    await page.locator('input[name=username]').fill(who);
    await page.locator('input[name=password]').fill(`a long password for ${who}`);
    await page.locator('#login button').click();
    // It asks each time.
    await page.locator('input[name=allow]').click();
  };
  const page = await partner.person();
  await partner.choose(page);
  await signIn(page, 'jane');
  await partner.told(page, partner.atWiki(page));
  assert.match(await page.locator('#visitor').innerText(), /jane@django\.example/);
  const [user, ...others] = await demo.api.list('/users?q=django.example');
  assert.deepEqual(others, []);
  assert.deepEqual([user.issuer, user.subject, user.email, user.name, user.email_verified, user.groups],
    [partner.issuer, '1', 'jane@django.example', 'Jane Doe', true, ['staff', 'wiki editors']]);

  await t.test('only those in the group get in', async () => {
    const other = await partner.person();
    await partner.choose(other);
    await signIn(other, 'kim');
    await partner.told(other, other.getByRole('heading', { name: 'No access to' }).waitFor());
  });

  await t.test('it asks once more when somebody has to confirm that it is them', async () => {
    await partner.confirm(page, () => signIn(page, 'jane'));
  });

  await t.test('and out, there as well', async () => {
    await partner.signOut(page, () => page.locator('input[name=allow]').click());
    await partner.choose(page);
    await page.locator('input[name=username]').waitFor();
  });
}

async function idpyoidc(t, demo) {
  const partner = await connected(t, demo, IDPYOIDC, {
    settings: { scopes: ['profile', 'email', 'groups'], logout: { rp_initiated: true, back_channel: true } },
    rule: { type: 'claim', name: 'groups', value: 'wiki editors' },
  });
  if (!partner) return t.skip('idpyoidc cannot be installed');
  const signIn = async (page, who) => {
    await page.locator('input[name=username]').fill(who);
    await page.locator('input[name=password]').fill(`a long password for ${who}`);
    await page.locator('#login button').click();
  };
  const page = await partner.person();
  await partner.choose(page);
  await signIn(page, 'jane');
  await partner.told(page, partner.atWiki(page));
  assert.match(await page.locator('#visitor').innerText(), /jane@idpy\.example/);
  const [user, ...others] = await demo.api.list('/users?q=idpy.example');
  assert.deepEqual(others, []);
  assert.deepEqual([user.issuer, user.email, user.name, user.email_verified, user.groups],
    [partner.issuer, 'jane@idpy.example', 'Jane Doe', true, ['staff', 'wiki editors']]);

  await t.test('it asks once more when somebody has to confirm that it is them', async () => {
    await partner.confirm(page, () => signIn(page, 'jane'));
  });

  await t.test('and out, there as well', async () => {
    await partner.signOut(page, () => page.locator('#logout button').click());
    await partner.choose(page);
    await page.locator('input[name=username]').waitFor();
  });

  // It names sessions by more than 300 characters, and nobody by `sub`.
  await t.test('who signs out there is signed out here', async () => {
    const other = await partner.person();
    await partner.choose(other);
    await signIn(other, 'kim');
    await partner.told(other, partner.atWiki(other));
    await other.goto(`${partner.issuer}/session`);
    await other.locator('#logout button').click();
    await partner.told(other, other.getByRole('heading', { name: 'Logged out' }).waitFor());
    await partner.signedOut(other);
  });
}

test('people sign in through providers of other people', async (t) => {
  const demo = await startDemo(t, { portBase: PORT_BASE });
  await demo.api.patch('/organisation', { floor: [] });
  await t.test('Canaille', (t) => canaille(t, demo));
  await t.test('a Django site', (t) => django(t, demo));
  await t.test('idpyoidc', (t) => idpyoidc(t, demo));
});
