// A second factor counts in the session that showed it, against the real binary: two browsers of one person, one of them
// phished with a password, at a provider that says how it asked.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { within } from '../lib/api.mjs';
import { startDemo } from '../lib/demo.mjs';
import { open, Person } from '../lib/forms.mjs';
import { initialize, newToken, refresh } from '../lib/oauth.mjs';
import { CLIENT, provider } from '../lib/provider.mjs';

const PORT_BASE = 8360;

test('a second factor in one browser is none in another', async (t) => {
  const demo = await startDemo(t, { portBase: PORT_BASE });
  const { api, info } = demo;
  const control = info.control_url.replace(/\/$/, '');
  const production = demo.account('Production').id;
  const [wiki, tickets] = [demo.app('Production', 'web'), demo.app('Production', 'mcp')];
  const company = await provider(t, 'olga');
  const connection = await api.post('/connections', {
    name: 'Company', kind: 'oidc', issuer: company.issuer, allow_internal: [company.issuer], ...CLIENT,
  });
  company.registered = [connection.redirect_uri];
  await api.post('/bindings', { connection: connection.id, accounts: [production] });
  // The demo's organisation lets in its own provider only.
  await api.patch('/organisation', { floor: [] });
  const policy = await api.post('/policies', {
    account: production, name: 'With a second factor', decision: 'allow',
    include: [{ type: 'connection', connection: connection.id }], require: [{ type: 'mfa' }],
  });
  for (const app of [wiki, tickets]) await api.patch(`/apps/${app.id}`, { policies: [policy.id] });

  /** A browser in which Olga signed in like this. */
  const browser = async (...amr) => {
    company.claims = { amr };
    const olga = new Person({});
    const page = await open(olga, `${control}/login/oidc/${connection.id}?account=${production}&return_to=/me`);
    assert.equal(page.at, `${control}/me`, page.text);
    return olga;
  };
  const enters = async (olga) => (await open(olga, wiki.url)).status === 200;
  const authorize = async (olga) => {
    const { issuer } = await api.get(`/apps/${tickets.id}`);
    const registered = await fetch(`${issuer}/register`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ redirect_uris: ['http://127.0.0.1:9/callback'], token_endpoint_auth_method: 'none' }),
    });
    const url = new URL(`${issuer}/authorize`);
    url.search = new URLSearchParams({
      response_type: 'code', client_id: (await registered.json()).client_id, redirect_uri: 'http://127.0.0.1:9/callback',
      code_challenge: createHash('sha256').update(randomBytes(32)).digest('base64url'),
      code_challenge_method: 'S256', resource: tickets.url, state: 'story',
    });
    return (await open(olga, url.href)).status;
  };

  const weak = await browser('pwd');
  await t.test('a password alone does not do, for the person or for an agent', async () => {
    assert.equal(await enters(weak), false);
    assert.equal(await authorize(weak), 403);
  });

  const strong = await browser('pwd', 'otp', 'mfa');
  let tokens;
  await t.test('where the second factor was shown, both come in', async () => {
    assert.equal(await enters(strong), true);
    assert.equal(await authorize(strong), 200);
    tokens = await newToken(demo, tickets, { person: strong });
    assert.equal(await initialize(tickets.url, tokens.access_token), 200);
  });

  await t.test('that lifts no other browser', async () => {
    assert.equal(await enters(weak), false);
    assert.equal(await authorize(weak), 403);
    const { result: denied } = await within(5000, 'the record', async () => {
      const all = await api.exported('&action=app.sign_in');
      return all.filter((event) => event.outcome === 'denied').length >= 2 && all;
    });
    const last = denied.findLast((event) => event.outcome === 'denied');
    assert.deepEqual(last.actor.amr, ['pwd'], 'the log says on what proof');
  });

  await t.test('and signing in weakly once more lowers neither', async () => {
    const again = await browser('pwd');
    assert.equal(await enters(again), false);
    assert.equal(await enters(strong), true);
    assert.equal(await initialize(tickets.url, tokens.access_token), 200);
    assert.equal((await refresh(tokens)).status, 200);
  });
});
