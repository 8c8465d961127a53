// AU3: what is secret is nowhere: not in the log, not in the audit export, not in the database.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratch, startDemo } from '../lib/demo.mjs';
import { Person, request } from '../lib/forms.mjs';
import { initialize, newCode, redeem, refresh } from '../lib/oauth.mjs';

test('AU3: no secret of any flow is in log, audit export, answers or database', async (t) => {
  const data = scratch(t, 'canary');
  const demo = await startDemo(t, { portBase: 8340, data, env: { RUST_LOG: 'debug,sqlx=trace' } });
  let log = '';
  demo.child.stderr.on('data', (text) => { log += text; });
  const tickets = demo.app('Production', 'mcp');
  const wiki = demo.app('Production', 'web');
  const secrets = new Map();
  const keep = (what, secret) => {
    assert.ok(secret && secret.length >= 8, `${what} was not there to be kept`);
    secrets.set(what, secret);
  };

  keep('API token', demo.info.api_token);
  keep('owner password', demo.info.admin.password);
  keep('employee password', demo.employee.password);

  const code = await newCode(demo, tickets);
  keep('authorization code', code.code);
  keep('code verifier', code.verifier);
  const first = await redeem(code);
  keep('access token', first.access_token);
  keep('refresh token', first.refresh_token);
  const second = await refresh({ ...first, issuer: code.issuer, client_id: code.clientId });
  keep('second access token', second.access_token);
  keep('successor', second.refresh_token);
  assert.equal(await initialize(tickets.url, second.access_token), 200);
  // A token in the query is none, and must not be kept for having been sent there.
  const inQuery = 'canary-in-query-7f3a9c51';
  await request(`${wiki.url}/?access_token=${inQuery}`);
  keep('token in a query', inQuery);

  const browser = new Person(demo.employee);
  const page = await browser.authorize(`${wiki.url}/`, `${wiki.url}/.chatelaine/callback`);
  keep('handoff code', page.searchParams.get('code'));
  await browser.send(page.href);
  for (const [name, value] of browser.cookies) {
    if (name.startsWith('chatelaine_')) keep(`cookie ${name}`, value);
  }

  const wrong = 'canary-wrong-password-5512';
  const owner = new Person({ username: demo.info.admin.email, password: wrong });
  const form = await owner.send(`${demo.info.control_url}/login`);
  const csrf = form.text.match(/name="csrf" value="([^"]+)"/)?.[1];
  await owner.send(`${demo.info.control_url}/login/password`, {
    method: 'POST', fields: { csrf, username: demo.info.admin.email, password: wrong, return_to: '/' },
  });
  keep('mistyped password', wrong);

  const upstream = 'canary-client-secret-9b1d';
  const connection = await demo.api.post('/connections', {
    name: 'Canary', kind: 'oidc', issuer: 'https://idp.example.com', client_id: 'x', client_secret: upstream,
  });
  await demo.api.patch(`/connections/${connection.id}`, { client_secret: `${upstream}-2` });
  keep('upstream client secret', upstream);
  const confidential = await demo.api.post('/clients', {
    app: tickets.id, name: 'Confidential', redirect_uris: ['http://127.0.0.1:9/callback'], confidential: true,
  });
  keep('client secret', confidential.client_secret);
  const token = await demo.api.post('/api-tokens', { name: 'canary', scopes: ['read'] });
  keep('second API token', token.token);

  const places = new Map([
    ['the audit export', JSON.stringify(await demo.api.exported())],
    ['the connections', JSON.stringify(await demo.api.list('/connections'))],
    ['the clients', JSON.stringify(await demo.api.list('/clients'))],
    ['the API tokens', JSON.stringify(await demo.api.list('/api-tokens'))],
    ['the metrics', (await request(`${demo.info.control_url}/metrics`)).text],
  ]);
  await demo.stop();
  places.set('the log', log);
  for (const file of readdirSync(data).filter((name) => name.startsWith('demo.db'))) {
    places.set(`the database (${file})`, readFileSync(join(data, file), 'latin1'));
  }
  assert.ok(log.length > 1000, 'the log was read');
  assert.ok([...places.keys()].some((name) => name.startsWith('the database')), 'the database was read');
  for (const [place, text] of places) {
    for (const [what, secret] of secrets) {
      assert.ok(!text.includes(secret), `${what} is in ${place}`);
    }
  }
  // The search can find something: what is no secret is there.
  assert.ok(places.get('the audit export').includes(demo.employee.email));
});
