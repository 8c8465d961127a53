// Signing out with a certified provider: from here there (RP-initiated), and from there here (back-channel), up to the
// apps.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { Provider } from 'oidc-provider';
import { within } from '../lib/api.mjs';
import { launch, person, shot } from '../lib/browser.mjs';
import { scratch, startDemo } from '../lib/demo.mjs';

const PORT_BASE = 8290;

async function upstream(t) {
  const server = http.createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const issuer = `http://127.0.0.1:${server.address().port}`;
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const told = [];
  return {
    issuer,
    told,
    /** The provider wants to know where to tell us before it starts. */
    start(client) {
      const provider = new Provider(issuer, {
        clients: [{
          client_id: 'chatelaine',
          client_secret: 'a-secret-between-two-servers',
          response_types: ['code'],
          grant_types: ['authorization_code'],
          ...client,
        }],
        cookies: { keys: ['story'] },
        claims: { email: ['email', 'email_verified'], profile: ['name'] },
        features: { backchannelLogout: { enabled: true }, rpInitiatedLogout: { enabled: true } },
        // Its own requests to us are to an address of this machine.
        fetch: (url, options) => fetch(url, { ...options, dispatcher: undefined }),
        findAccount: (_, id) => ({
          accountId: id,
          claims: () => ({ sub: id, email: `${id}@partner.example`, email_verified: true, name: `${id} of Partner` }),
        }),
      });
      provider.on('backchannel.success', () => told.push('success'));
      provider.on('backchannel.error', (_, error) => told.push(String(error)));
      provider.on('server_error', (_, error) => told.push(String(error)));
      server.on('request', provider.callback());
    },
  };
}

test('signing out here and at a certified provider go together', async (t) => {
  const data = scratch(t, 'logout');
  const demo = await startDemo(t, { portBase: PORT_BASE, data });
  const { api } = demo;
  const partner = await upstream(t);
  const wiki = demo.app('Labs', 'web');
  await api.patch('/organisation', { floor: [] });
  const connection = await api.post('/connections', {
    name: 'Partner', kind: 'oidc', issuer: partner.issuer, client_id: 'chatelaine',
    client_secret: 'a-secret-between-two-servers', allow_internal: [partner.issuer],
    logout: { rp_initiated: true, back_channel: true },
  });
  partner.start({
    redirect_uris: [connection.redirect_uri],
    post_logout_redirect_uris: [connection.post_logout_redirect_uri],
    backchannel_logout_uri: connection.backchannel_logout_uri,
    backchannel_logout_session_required: true,
  });
  await api.post('/bindings', { connection: connection.id, accounts: [demo.account('Labs').id], mode: 'allowed' });
  const policy = await api.post('/policies', {
    account: demo.account('Labs').id, name: 'Partner', decision: 'allow',
    include: [{ type: 'connection', connection: connection.id }],
  });
  const before = await api.get(`/apps/${wiki.id}`);
  await api.patch(`/apps/${wiki.id}`, { policies: [policy.id, ...before.policies] });

  const browser = await launch(t);
  const signIn = async (name) => {
    const page = await person(browser);
    await page.goto(wiki.url, { waitUntil: 'domcontentloaded' });
    await page.getByRole('link', { name: /Partner/ }).click();
    await page.locator('input[name=login]').fill(name);
    await page.locator('input[name=password]').fill('whatever');
    await page.locator('button[type=submit]').click();
    await page.locator('input[name=prompt][value=consent]').waitFor({ state: 'attached' });
    await page.locator('button[type=submit]').click();
    await page.waitForURL((url) => url.href.startsWith(new URL(wiki.url).origin));
    return page;
  };
  /** Whether the app still knows this browser. */
  const isIn = async (page) => {
    const answer = await page.request.get(wiki.url, { maxRedirects: 0 });
    return answer.status() === 200;
  };

  await t.test('signing out at the provider ends the sessions here, at the app within 5 s', async () => {
    const page = await signIn('pat');
    const other = await signIn('quinn');
    assert.ok(await isIn(page) && await isIn(other));
    // Its own page for it, which knows nothing of us.
    const there = await page.context().newPage();
    await there.goto(`${partner.issuer}/session/end`);
    await there.locator('button[name=logout]').click();
    const { took } = await within(5000, 'the end of the session at the app', async () => !(await isIn(page)));
    t.diagnostic(`at the app after ${Math.round(took)} ms`);
    assert.deepEqual(partner.told, ['success']);
    assert.ok(await isIn(other), 'somebody else stays signed in');
    const event = (await api.exported()).findLast((one) => one.action === 'session.backchannel_logout');
    assert.equal(event.outcome, 'success', JSON.stringify(event));
    assert.equal(event.target.name, 'pat@partner.example');
  });

  await t.test('signing out here leads on to the provider, and back', async () => {
    const page = await signIn('rory');
    await page.goto(`${demo.info.control_url}/logout`);
    await shot(page, 'logout-confirm');
    const asked = page.waitForRequest((request) => request.url().startsWith(`${partner.issuer}/session/end`));
    await page.getByRole('button', { name: 'Sign out' }).click();
    const url = new URL((await asked).url());
    const hint = url.searchParams.get('id_token_hint');
    assert.equal(hint.split('.').length, 3);
    assert.equal(await isIn(page), false, 'ours ends first');
    await page.locator('button[name=logout]').click();
    await page.getByText('Partner has finished signing you out').waitFor();
    assert.ok(page.url().startsWith(connection.post_logout_redirect_uri), page.url());
    await shot(page, 'signed-out');
    // Its pages want fonts of the internet; ours want nothing.
    const ours = page.problems.filter((problem) => problem.startsWith(demo.info.control_url));
    assert.deepEqual(ours, []);

    // The provider really asks again.
    await page.goto(wiki.url, { waitUntil: 'domcontentloaded' });
    await page.getByRole('link', { name: /Partner/ }).click();
    await page.locator('input[name=login]').waitFor();

    // AU3: the hint was kept in no readable form.
    const [, payload, signature] = hint.split('.');
    for (const name of readdirSync(data).filter((one) => one.startsWith('demo.db'))) {
      const bytes = readFileSync(join(data, name));
      assert.ok(!bytes.includes(payload) && !bytes.includes(signature), `the id token is readable in ${name}`);
    }
  });
});
