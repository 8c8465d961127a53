// Somebody leaves the company, against the real binary: the provider refuses them from now on, and with that their browsers
// and their agents end here, too, though nobody told Chatelaine.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { within } from '../lib/api.mjs';
import { startDemo } from '../lib/demo.mjs';
import { open, Person } from '../lib/forms.mjs';
import { initialize, newToken, refresh } from '../lib/oauth.mjs';
import { CLIENT, provider } from '../lib/provider.mjs';

const PORT_BASE = 8440;

test('whoever leaves the company is out, and so are their agents', async (t) => {
  const demo = await startDemo(t, { portBase: PORT_BASE, env: { CHATELAINE_ASK_PROVIDERS_SECONDS: '1' } });
  const { api, info } = demo;
  const control = info.control_url.replace(/\/$/, '');
  const production = demo.account('Production').id;
  const [wiki, tickets] = [demo.app('Production', 'web'), demo.app('Production', 'mcp')];
  const company = await provider(t, 'lena');
  const connection = await api.post('/connections', {
    name: 'Company', kind: 'oidc', issuer: company.issuer, allow_internal: [company.issuer], ...CLIENT,
    scopes: ['profile', 'email', 'offline_access'],
  });
  company.registered = [connection.redirect_uri];
  await api.post('/bindings', { connection: connection.id, accounts: [production] });
  // The demo's organisation lets in its own provider only.
  await api.patch('/organisation', { floor: [] });
  const policy = await api.post('/policies', {
    account: production, name: 'Company', decision: 'allow', include: [{ type: 'connection', connection: connection.id }],
  });
  for (const app of [wiki, tickets]) await api.patch(`/apps/${app.id}`, { policies: [policy.id] });

  const signIn = `${control}/login/oidc/${connection.id}?account=${production}&return_to=/me`;
  const lena = new Person({});
  assert.equal((await open(lena, signIn)).at, `${control}/me`);
  assert.equal((await open(lena, wiki.url)).status, 200);
  let tokens = await newToken(demo, tickets, { person: lena });
  assert.equal(await initialize(tickets.url, tokens.access_token), 200);

  await t.test('as long as the provider says yes, everything goes on', async () => {
    await within(15_000, 'three questions', () => company.refreshed.length >= 3);
    assert.equal(new Set(company.refreshed).size, company.refreshed.length, 'each with the token of the answer before');
    assert.equal(await initialize(tickets.url, tokens.access_token), 200);
    const renewed = await refresh(tokens);
    assert.equal(renewed.status, 200);
    tokens = { ...tokens, ...renewed };
    assert.equal((await open(lena, wiki.url)).status, 200);
    const [user] = await api.list('/users?q=lena');
    assert.ok(user.vouched_at > user.last_login_at, `${user.vouched_at} after ${user.last_login_at}`);
  });

  await t.test('when it says no, browser and agent are out', async () => {
    company.employed = false;
    await within(15_000, 'the end of the agent', async () => (await initialize(tickets.url, tokens.access_token)) === 401);
    const refused = await refresh(tokens);
    assert.deepEqual([refused.status, refused.error], [400, 'invalid_grant']);
    const page = await open(lena, wiki.url);
    assert.ok(page.at.startsWith(`${control}/login?`), page.at);
    assert.equal((await open(lena, signIn)).status, 403, 'the provider does not let them in');
    const [withdrawn] = await within(5000, 'the record', async () => {
      const all = await api.exported('&action=login.withdraw');
      return all.length && all;
    }).then(({ result }) => result);
    assert.deepEqual([withdrawn.reason, withdrawn.actor.email], ['provider_withdrew', 'lena@acme.example']);
    const all = await api.exported('&user=' + withdrawn.actor.user);
    const agent = all.filter((event) => event.reason === 'proof_too_old');
    assert.ok(agent.length, 'the log says why the agent was refused');
  });

  await t.test('back at work, they sign in and their agent goes on', async () => {
    company.employed = true;
    const again = new Person({});
    assert.equal((await open(again, signIn)).at, `${control}/me`);
    const renewed = await refresh(tokens);
    assert.equal(renewed.status, 200, JSON.stringify(renewed));
    assert.equal(await initialize(tickets.url, renewed.access_token), 200);
    // The browser that was thrown out stays out until somebody signs in there.
    const me = await lena.send(`${control}/me`);
    assert.match(me.headers.location ?? '', /\/login/);
  });
});
