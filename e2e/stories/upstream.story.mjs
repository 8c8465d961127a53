// Another upstream: the certified npm oidc-provider, made and bound through the API, used in a browser.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { test } from 'node:test';
import { Provider } from 'oidc-provider';
import { within } from '../lib/api.mjs';
import { clean, launch, person, violations } from '../lib/browser.mjs';
import { startDemo } from '../lib/demo.mjs';

const PORT_BASE = 8060;

async function upstream(t) {
  const server = http.createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const errors = [];
  /** It wants to know where people go back to before it starts. */
  const start = (redirectUri) => {
    const provider = new Provider(issuer, {
      clients: [{
        client_id: 'chatelaine',
        client_secret: 'a-secret-between-two-servers',
        redirect_uris: [redirectUri],
        response_types: ['code'],
        grant_types: ['authorization_code'],
      }],
      cookies: { keys: ['story'] },
      claims: { email: ['email', 'email_verified'], profile: ['name'], groups: ['groups'] },
      pkce: { required: () => true },
      findAccount: (_, id) => ({
        accountId: id,
        claims: () => ({ sub: id, email: `${id}@partner.example`, email_verified: true, name: `${id} of Partner`, groups: ['staff'] }),
      }),
    });
    provider.on('server_error', (_, error) => errors.push(error));
    for (const event of ['authorization.error', 'grant.error', 'userinfo.error']) {
      provider.on(event, (_, error) => errors.push(error));
    }
    server.on('request', provider.callback());
  };
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { issuer, errors, start };
}

test('people of a partner sign in through its certified provider', async (t) => {
  const demo = await startDemo(t, { portBase: PORT_BASE });
  const { api } = demo;
  const partner = await upstream(t);
  const wiki = demo.app('Labs', 'web');

  const connection = await api.post('/connections', {
    name: 'Partner',
    kind: 'oidc',
    issuer: partner.issuer,
    enabled: false,
    client_id: 'chatelaine',
    client_secret: 'a-secret-between-two-servers',
    scopes: ['profile', 'email', 'groups'],
    allow_internal: [partner.issuer],
  });
  assert.equal(connection.has_client_secret, true);
  assert.equal(connection.client_secret, undefined, 'the secret is never shown again');
  const control = demo.info.control_url.replace(/\/$/, '');
  assert.equal(connection.redirect_uri, `${control}/login/callback/${connection.id}`);
  partner.start(connection.redirect_uri);
  const found = await api.post('/connections/discover', {
    issuer: `${partner.issuer}/.well-known/openid-configuration`,
    allow_internal: [partner.issuer],
  });
  assert.equal(found.issuer, partner.issuer);
  assert.ok(found.pkce_methods.includes('S256') && found.signing_keys > 0, JSON.stringify(found));
  assert.ok(found.scopes.includes('groups'), JSON.stringify(found.scopes));
  await api.post('/bindings', { connection: connection.id, accounts: [demo.account('Labs').id], mode: 'allowed' });
  const policy = await api.post('/policies', {
    account: demo.account('Labs').id,
    name: 'Partner staff',
    decision: 'allow',
    include: [{ type: 'connection', connection: connection.id }],
  });
  const before = await api.get(`/apps/${wiki.id}`);
  await api.patch(`/apps/${wiki.id}`, { policies: [policy.id, ...before.policies] });

  const browser = await launch(t);
  const signIn = async (page, who = 'pat') => {
    await page.goto(wiki.url, { waitUntil: 'domcontentloaded' });
    await page.getByRole('link', { name: /Partner/ }).or(page.getByRole('button', { name: /Partner/ })).first().click();
    await atProvider(page, who);
  };
  const atProvider = async (page, who) => {
    await page.waitForURL((url) => url.href.startsWith(partner.issuer));
    await page.locator('input[name=login]').fill(who);
    await page.locator('input[name=password]').fill('whatever');
    await page.locator('button[type=submit]').click();
    await page.locator('input[name=prompt][value=consent]').waitFor({ state: 'attached' });
    await page.locator('button[type=submit]').click();
    await page.waitForURL((url) => !url.href.startsWith(partner.issuer))
      .catch((error) => { throw new Error(`${error}\nat ${page.url()}\n${partner.errors.join('\n')}`); });
  };

  await t.test('before anybody relies on it, the partner tries it by a link', async () => {
    const trial = await api.post(`/connections/${connection.id}/trials`);
    assert.equal(trial.state, 'waiting', JSON.stringify(trial.trace));
    const page = await person(browser);
    await page.goto(trial.url, { waitUntil: 'domcontentloaded' });
    assert.deepEqual(await violations(page), []);
    await page.getByRole('button', { name: 'Start the test' }).click();
    await atProvider(page, 'admin');
    await page.getByText('Everything fits').waitFor();
    assert.match(await page.locator('dl').innerText(), /admin@partner\.example \(verified\)/);
    assert.deepEqual(await violations(page), []);
    page.problems = page.problems.filter((problem) => !problem.startsWith(partner.issuer));
    clean(page, 'the trial');
    const shown = await api.get(`/connections/${connection.id}/trials/${trial.id}`);
    assert.equal(shown.state, 'passed');
    assert.deepEqual(shown.identity.groups, ['staff']);
    assert.ok(shown.trace.every((step) => step.state !== 'failed') && shown.trace.length > 10, JSON.stringify(shown.trace));
    assert.equal(shown.url, undefined, 'the link is shown once');
    await page.goto(`${demo.info.control_url.replace(/\/$/, '')}/me`, { waitUntil: 'domcontentloaded' });
    assert.match(page.url(), /\/login/, 'nobody is signed in by it');
    assert.deepEqual(await api.list('/users?q=partner.example'), [], 'nobody was made by it');
    const preview = await api.post(`/connections/${connection.id}/claims-preview`, { claims: { groups: '/groups' } });
    assert.equal(preview.source, 'trial');
    assert.deepEqual(preview.missing, []);
  });
  await api.patch(`/connections/${connection.id}`, { enabled: true });

  await t.test('the organisation\'s floor holds in every account, whatever the account allows', async () => {
    const page = await person(browser);
    await signIn(page);
    assert.ok(page.url().startsWith(demo.info.control_url), `at ${page.url()}`);
    const { result: denial } = await within(5000, 'the record of the refusal', async () =>
      (await api.exported()).find((event) => event.outcome === 'denied' && event.actor.email === 'pat@partner.example'));
    assert.equal(denial.reason, 'organisation_floor', JSON.stringify(denial));
  });

  await api.patch('/organisation', { floor: [] });
  const page = await person(browser);
  await signIn(page);
  await page.waitForURL((url) => url.href.startsWith(new URL(wiki.url).origin));
  assert.match(await page.locator('#visitor').innerText(), /pat/i, 'the wiki knows who it is');

  const users = await api.list('/users?q=partner.example');
  assert.equal(users.length, 1);
  assert.equal(users[0].issuer, partner.issuer);
  assert.equal(users[0].subject, 'pat');
  assert.deepEqual(partner.errors, []);

  await t.test('and only with the claims that the connection requires', async () => {
    await api.patch(`/connections/${connection.id}`, { required_claims: { sub: 'pat' } });
    const other = await person(browser);
    await signIn(other, 'kim');
    await other.getByRole('heading', { name: 'Not for this account' }).waitFor();
    const { result: refusal } = await within(5000, 'the record of the refusal', async () =>
      (await api.exported('&action=login.failure')).find((event) => event.reason === 'claim_mismatch'));
    assert.equal(refusal.target.id, connection.id);
    const health = await api.get(`/connections/${connection.id}/health`);
    assert.equal(health.state, 'healthy', JSON.stringify(health));
    assert.ok(health.successes_1h >= 2 && health.latency_ms_avg >= 0, JSON.stringify(health));
  });

  await t.test('and only where the connection is bound', async () => {
    const other = await person(browser);
    await other.goto(demo.app('Production', 'web').url, { waitUntil: 'domcontentloaded' });
    assert.equal(await other.getByText('Partner').count(), 0, 'Production does not offer it');
  });
});
