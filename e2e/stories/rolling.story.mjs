// Two instances behind a load balancer, under load: they are restarted one after the other, and then once more while the
// database goes to the next version's schema. Nobody's request fails.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { within } from '../lib/api.mjs';
import { Balancer } from '../lib/balancer.mjs';
import { Server, scratch, startDemo } from '../lib/demo.mjs';
import { request } from '../lib/forms.mjs';
import { newToken } from '../lib/oauth.mjs';
import { execute, freshDatabase } from '../lib/postgres.mjs';

const PORT_BASE = 8260;
const PORTS = [PORT_BASE + 38, PORT_BASE + 39];
const DRAIN = 2;
const INITIALIZE = JSON.stringify({
  jsonrpc: '2.0',
  id: 0,
  method: 'initialize',
  params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'story', version: '1' } },
});
const pause = (millis) => new Promise((resolve) => setTimeout(resolve, millis));

/** Asks for things one after the other until it is stopped; keeps what went wrong. */
class Load {
  constructor(port, kinds) {
    Object.assign(this, { port, kinds, done: 0, failed: [], agent: new http.Agent({ keepAlive: true }), goes: true });
    this.all = Promise.all(Object.entries(kinds).map(([name, once]) => this.loop(name, once)));
  }

  async loop(name, once) {
    while (this.goes) {
      const began = performance.now();
      try {
        const answer = await once({ target: this.port, agent: this.agent });
        if (answer.status !== 200) this.failed.push(`${name}: ${answer.status} ${answer.text.slice(0, 200)}`);
      } catch (error) {
        this.failed.push(`${name}: ${error.message}`);
      }
      this.done += 1;
      this.slowest = Math.max(this.slowest ?? 0, performance.now() - began);
      await pause(5);
    }
  }

  async stop() {
    this.goes = false;
    await this.all;
    this.agent.destroy();
  }
}

test('two instances are restarted and upgraded under load', async (t) => {
  const databaseUrl = await freshDatabase(t);
  const data = scratch(t, 'rolling');
  const demo = await startDemo(t, { portBase: PORT_BASE, databaseUrl, data });
  const control = demo.info.control_url.replace(/\/$/, '');
  const key = readdirSync(data).find((name) => name.endsWith('.key'));
  const instances = new Map();
  const start = (port) => {
    const instance = new Server(['serve'], {
      CHATELAINE_PUBLIC_URL: demo.info.control_url,
      CHATELAINE_LISTEN: JSON.stringify([`127.0.0.1:${port}`]),
      CHATELAINE_DATABASE_URL: databaseUrl,
      CHATELAINE_MASTER_KEY_FILE: join(data, key),
      CHATELAINE_AUDIT_DIGEST_FILE: join(data, `${port}.digests`),
      CHATELAINE_DRAIN_SECONDS: String(DRAIN),
    });
    t.after(() => instance.stop());
    instances.set(port, instance);
  };
  const balancer = await new Balancer(new URL(control).host, PORTS).start(t);
  const ready = (port) => within(30_000, `instance ${port}`, () => {
    assert.equal(instances.get(port).child.exitCode, null, instances.get(port).log);
    return balancer.isReady(port);
  });
  PORTS.forEach(start);
  await Promise.all(PORTS.map(ready));

  const tickets = demo.app('Production', 'mcp');
  const wiki = demo.app('Production', 'web');
  const agent = await newToken(demo, tickets);
  const reader = await newToken(demo, wiki, { name: 'Reader' });
  let refreshing = await newToken(demo, tickets, { name: 'Refreshing' });
  const api = { authorization: `Bearer ${demo.info.api_token}` };
  const form = { 'content-type': 'application/x-www-form-urlencoded' };
  const kinds = {
    'an agent': (to) => request(tickets.url, {
      ...to,
      method: 'POST',
      headers: { authorization: `Bearer ${agent.access_token}`, 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
      body: INITIALIZE,
    }),
    'a page of an app': (to) => request(`${wiki.url.replace(/\/$/, '')}/`, { ...to, headers: { authorization: `Bearer ${reader.access_token}` } }),
    'a refresh': async (to) => {
      const answer = await request(`${refreshing.issuer}/token`, {
        ...to,
        method: 'POST',
        headers: form,
        body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token: refreshing.refresh_token, client_id: refreshing.client_id }).toString(),
      });
      if (answer.status === 200) refreshing = { ...refreshing, ...JSON.parse(answer.text) };
      return answer;
    },
    'the sign-in page': (to) => request(`${control}/login`, to),
    'a list': (to) => request(`${demo.api.base}/apps`, { ...to, headers: api }),
    'a change': async (to) => {
      const before = await request(`${demo.api.base}/apps/${wiki.id}`, { ...to, headers: api });
      return request(`${demo.api.base}/apps/${wiki.id}`, {
        ...to,
        method: 'PATCH',
        headers: { ...api, 'content-type': 'application/json', 'if-match': before.headers.etag },
        body: JSON.stringify({ session_seconds: 3600 + (Date.now() % 1000) }),
      });
    },
    'the log': (to) => request(`${demo.api.base}/audit?limit=5`, { ...to, headers: api }),
    discovery: (to) => request(`${refreshing.issuer.replace(/^(https?:\/\/[^/]+)(.*)$/, '$1/.well-known/oauth-authorization-server$2')}`, to),
  };
  const replace = async (port) => {
    await instances.get(port).stop();
    assert.equal(instances.get(port).child.exitCode, 0, instances.get(port).log);
    start(port);
    await ready(port);
  };
  const underLoad = async (what, act) => {
    const load = new Load(balancer.port, kinds);
    await pause(1000);
    await act();
    await pause(1000);
    await load.stop();
    t.diagnostic(`${what}: ${load.done} requests, ${load.failed.length} failed, the slowest took ${load.slowest.toFixed(0)} ms`);
    assert.deepEqual(load.failed.slice(0, 10), []);
    assert.ok(load.done > 100, `${load.done} requests`);
  };

  await t.test('a rolling restart', () => underLoad('restart', async () => {
    for (const port of PORTS) await replace(port);
  }));

  await t.test('a rolling upgrade', () => underLoad('upgrade', async () => {
    // What the next version's migration does when its first instance starts, as far as the version before can tell.
    const [tables] = execute(databaseUrl, "select string_agg(quote_ident(table_name), ' ') from information_schema.tables where table_schema = current_schema() and table_name not like '\\_sqlx%'")
      .split('\n')
      .filter((line) => line.includes('organisations'));
    for (const table of tables.trim().split(' ')) execute(databaseUrl, `alter table ${table} add column of_the_next_version text`);
    execute(databaseUrl, "insert into _sqlx_migrations (version, description, success, checksum, execution_time) select max(version) + 1, 'next', true, '\\x00', 0 from _sqlx_migrations");
    for (const port of PORTS) await replace(port);
  }));

  await t.test('a version that the schema serves no more says so and does not start', async () => {
    execute(databaseUrl, 'update schema_readers set oldest = (select max(version) from _sqlx_migrations)');
    const [port] = PORTS;
    await instances.get(port).stop();
    start(port);
    await instances.get(port).gone;
    assert.match(instances.get(port).log, /made by a newer version of Chatelaine/);
  });
});
