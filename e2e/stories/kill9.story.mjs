// Audit before allow: whatever moment the process dies at, each call that the origin received is on record.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { within } from '../lib/api.mjs';
import { BINARY, scratch, startDemo } from '../lib/demo.mjs';
import { newToken } from '../lib/oauth.mjs';

const KILLS = Number(process.env.KILLS ?? 50);
const PORT_BASE = 8080;

test(`no record of a received call is lost in ${KILLS} kills`, async (t) => {
  const data = scratch(t, 'kill9');
  const journal = join(data, 'journal.ndjson');
  const start = () => startDemo(null, {
    portBase: PORT_BASE, data, keep: true, env: { CHATELAINE_DEMO_JOURNAL: journal },
  });
  let running;
  t.after(() => running?.stop());

  let token;
  let answered = 0;
  for (let kill = 0; kill < KILLS; kill += 1) {
    running = await start();
    const tickets = running.app('Production', 'mcp');
    token ??= (await newToken(running, tickets)).access_token;
    const agents = [1, 2, 3, 4].map(() => callUntilItFails(tickets.url, token, () => { answered += 1; }));
    // Any moment while calls flow.
    const before = answered;
    await within(10_000, 'the first call', () => answered > before);
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 300));
    await running.kill9();
    await Promise.all(agents);
  }

  running = await start();
  assert.ok(existsSync(journal), 'the demo keeps a journal of what the origin received');
  const received = readFileSync(journal, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line));
  // What the last kill left without an answer is held back until it is final.
  const { result: log } = await within(90_000, 'the whole log', async () => {
    const events = await running.api.exported();
    if (events.at(-1).action === 'audit.export') return events;
    await new Promise((resolve) => setTimeout(resolve, 2000));
    return false;
  });
  const recorded = new Map(log
    .filter((event) => event.mcp?.tool)
    .map((event) => [event.request.id, event]));
  const lost = received.filter((call) => !recorded.has(call.request_id));
  t.diagnostic(`${KILLS} kills; ${received.length} calls received, ${answered} answered, ${recorded.size} recorded`);
  assert.ok(received.length >= KILLS, `the origin received only ${received.length} calls: the test shows nothing`);
  assert.ok(received.every((call) => call.request_id), 'each forwarded request carries its request id');
  assert.deepEqual(lost, [], 'calls that the origin received without a record');
  assert.match(verifyLog(data), /unbroken; \d+ digests say so/);
  for (const call of received) assert.equal(recorded.get(call.request_id).mcp.tool, call.tool);
});

/** What the offline check of the hash chain says. */
function verifyLog(data) {
  return execFileSync(BINARY, ['audit', 'verify'], {
    encoding: 'utf8',
    env: {
      PATH: process.env.PATH,
      CHATELAINE_DATABASE_URL: `sqlite:${join(data, 'demo.db')}`,
      CHATELAINE_MASTER_KEY_FILE: join(data, 'master.key'),
      CHATELAINE_AUDIT_DIGEST_FILE: join(data, 'digests'),
      CHATELAINE_PUBLIC_URL: `http://127.0.0.1:${PORT_BASE}`,
    },
  });
}

async function callUntilItFails(url, token, answered) {
  const headers = {
    authorization: `Bearer ${token}`,
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
  };
  const post = async (message) => {
    const answer = await fetch(url, { method: 'POST', headers, body: JSON.stringify({ jsonrpc: '2.0', ...message }) });
    const text = await answer.text();
    assert.ok(answer.ok, `${answer.status} ${text}`);
    return answer;
  };
  try {
    const hello = await post({
      id: 0,
      method: 'initialize',
      params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'story', version: '1' } },
    });
    headers['mcp-session-id'] = hello.headers.get('mcp-session-id');
    headers['mcp-protocol-version'] = '2025-06-18';
    await post({ method: 'notifications/initialized' });
    for (let id = 1; ; id += 1) {
      await post({ id, method: 'tools/call', params: { name: 'list_tickets', arguments: {} } });
      answered();
    }
  } catch (error) {
    // The connection breaks when the process dies. Anything that the server itself said is a failure.
    if (error instanceof assert.AssertionError) throw error;
  }
}
