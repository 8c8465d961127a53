// Several instances on one PostgreSQL: what one of them ends, the others refuse.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { within } from '../lib/api.mjs';
import { Server, scratch, startDemo } from '../lib/demo.mjs';
import { request } from '../lib/forms.mjs';
import { initialize, newToken } from '../lib/oauth.mjs';
import { freshDatabase } from '../lib/postgres.mjs';

const PORT_BASE = 8180;
const [FIRST, SECOND] = [PORT_BASE + 38, PORT_BASE + 39];

test('two instances on one PostgreSQL', async (t) => {
  const databaseUrl = await freshDatabase(t);
  const data = scratch(t, 'two');
  // The demo brings the provider and the origins; the instances under test are two more.
  const demo = await startDemo(t, { portBase: PORT_BASE, databaseUrl, data });
  const key = readdirSync(data).find((name) => name.endsWith('.key'));
  assert.ok(key, `no master key in ${data}: ${readdirSync(data)}`);
  for (const port of [FIRST, SECOND]) {
    const instance = new Server(['serve'], {
      CHATELAINE_PUBLIC_URL: demo.info.control_url,
      CHATELAINE_LISTEN: JSON.stringify([`127.0.0.1:${port}`]),
      CHATELAINE_DATABASE_URL: databaseUrl,
      CHATELAINE_MASTER_KEY_FILE: join(data, key),
      CHATELAINE_AUDIT_DIGEST_FILE: join(data, `${port}.digests`),
    });
    t.after(() => instance.stop());
    await within(30_000, `instance ${port}`, async () => {
      assert.equal(instance.child.exitCode, null, instance.log);
      return (await request(`${demo.info.control_url.replace(/\/$/, '')}/readyz`, { target: port }).catch(() => ({}))).status === 200;
    });
  }
  const api = (method, path, port, body) => request(`${demo.api.base}${path}`, {
    method,
    target: port,
    headers: { authorization: `Bearer ${demo.info.api_token}`, ...(body ? { 'content-type': 'application/json' } : {}) },
    body: body && JSON.stringify(body),
  });
  const tickets = demo.app('Production', 'mcp');

  await t.test('a token is good at both', async () => {
    const { access_token: token } = await newToken(demo, tickets);
    assert.equal(await initialize(tickets.url, token, FIRST), 200);
    assert.equal(await initialize(tickets.url, token, SECOND), 200);
  });

  await t.test('a grant revoked at one is refused by the other within 5 s', async () => {
    const { access_token: token } = await newToken(demo, tickets, { name: 'Revoked elsewhere' });
    assert.equal(await initialize(tickets.url, token, SECOND), 200, 'the other has seen it');
    const grant = (await demo.api.list(`/grants?app=${tickets.id}&state=active`))
      .find((one) => one.client_name === 'Revoked elsewhere');
    const revoked = await api('DELETE', `/grants/${grant.id}`, FIRST);
    assert.ok(revoked.status < 300, `${revoked.status} ${revoked.text}`);
    assert.equal(await initialize(tickets.url, token, FIRST), 401, 'at once where it was revoked');
    const { took } = await within(5000, 'the refusal', async () => (await initialize(tickets.url, token, SECOND)) === 401);
    t.diagnostic(`the other refused after ${took.toFixed(0)} ms`);
  });

  await t.test('a switch flipped at one holds at the other within 5 s', async () => {
    const { access_token: token } = await newToken(demo, tickets, { name: 'Switched off elsewhere' });
    assert.equal(await initialize(tickets.url, token, SECOND), 200);
    const before = await api('GET', `/apps/${tickets.id}`, FIRST);
    const changed = await request(`${demo.api.base}/apps/${tickets.id}`, {
      method: 'PATCH',
      target: FIRST,
      headers: {
        authorization: `Bearer ${demo.info.api_token}`,
        'content-type': 'application/json',
        ...(before.headers.etag ? { 'if-match': before.headers.etag } : {}),
      },
      body: JSON.stringify({ managed_oauth: false }),
    });
    assert.equal(changed.status, 200, changed.text);
    await within(5000, 'the refusal', async () => (await initialize(tickets.url, token, SECOND)) === 401);
  });

  await t.test('the log of all is one, in one order without gaps', async () => {
    const events = await demo.api.exported();
    assert.deepEqual(events.map((event) => event.seq), events.map((_, index) => index + 1));
  });
});
