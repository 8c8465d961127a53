// What the gateway lets through, real servers read as it was judged: requests that are mutated at random, none of which may
// reach a forbidden path, method or tool. `DIFFERENTIAL=100000` says how many in all; `DIFFERENTIAL_PYTHON` names a Python that
// has flask, django, fastapi, uvicorn and mcp, whose servers are asked then, too.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import net from 'node:net';
import { test } from 'node:test';
import { HOST, mcpRequest, random, webRequest } from '../differential/mutations.mjs';
import * as origins from '../differential/origins.mjs';
import { scratch, startDemo } from '../lib/demo.mjs';

const ALL = Number(process.env.DIFFERENTIAL ?? 4000);
const PYTHON = process.env.DIFFERENTIAL_PYTHON;
const AT_ONCE = 16;

/** Sends bytes as they are; the status of the first answer, 0 if none came. */
function send(port, bytes) {
  return new Promise((resolve) => {
    let text = '';
    const socket = net.connect(port, '127.0.0.1', () => socket.write(bytes));
    const done = () => {
      socket.destroy();
      resolve(Number(/^HTTP\/1\.[01] (\d{3})/.exec(text)?.[1] ?? 0));
    };
    socket.setTimeout(400, done);
    socket.on('data', (chunk) => { text += chunk.toString('latin1').slice(0, 64); });
    socket.on('end', done).on('error', done);
  });
}

/** Sends `count` requests, each with the lines `more` below its `Host`; says how often each status came. */
async function flood(port, { host, more = '' }, make, [count, seed]) {
  const r = random(seed);
  let left = count;
  const statuses = new Map();
  const worker = async () => {
    while (left > 0) {
      left -= 1;
      const text = make(r).toString('latin1').replaceAll(HOST, host);
      const bytes = text.replace(`Host: ${host}\r\n`, (line) => line + more);
      const status = await send(port, Buffer.from(bytes, 'latin1'));
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return statuses;
}

function hasNginx() {
  try {
    execFileSync('nginx', ['-v'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

test('origins read what was judged', { timeout: 3_600_000 }, async (t) => {
  const demo = await startDemo(t, { portBase: 8460, env: { RUST_LOG: 'error' } });
  const { api, info } = demo;
  const account = demo.account('Production').id;
  const { port } = new URL(info.control_url);
  await api.patch('/organisation', { floor: [] });
  const policy = async (name, decision, include) => (await api.post('/policies', { account, name, decision, include })).id;
  const policies = [
    await policy('No secrets', 'deny', [{ type: 'request', path: '/secret/**' }]),
    await policy('Nothing deleted', 'deny', [{ type: 'request', methods: ['DELETE'] }]),
    await policy('No danger', 'deny', [{ type: 'mcp_tool', tool: 'danger' }]),
    await policy('The rest is public', 'bypass', [{ type: 'everyone' }]),
    await policy('Machines may the rest', 'service_auth', [{ type: 'any_service_token' }]),
  ];
  // At an MCP endpoint DELETE ends a session. There the caller is known, and may call other tools.
  const rules = { web: [policies[0], policies[1], policies[3]], mcp: [policies[2], policies[4]] };
  const token = await api.post('/service-tokens', { account, name: 'Caller' });
  const credential = `Chatelaine-Client-Id: ${token.id}\r\nChatelaine-Client-Secret: ${token.client_secret}\r\n`;
  const servers = [await origins.expressWeb(t), await origins.sdk(t, false), await origins.sdk(t, true)];
  if (hasNginx()) servers.push(await origins.nginx(t, scratch(t, 'nginx')));
  if (PYTHON) {
    for (const make of [origins.flask, origins.django, origins.fastapi, origins.pythonSdk]) servers.push(await make(t, PYTHON));
  }
  for (const [n, server] of servers.entries()) {
    await t.test(server.name, async () => {
      const host = `origin${n}.localhost:${port}`;
      const path = server.kind === 'mcp' ? '/mcp' : '';
      await api.post('/apps', {
        account, name: server.name, kind: server.kind, public_url: `http://${host}${path}`,
        origin_url: `http://127.0.0.1:${server.port}`, policies: rules[server.kind],
        case_insensitive_paths: server.ignoresCase ?? false,
      });
      const make = server.kind === 'mcp' ? mcpRequest : webRequest;
      // Asked directly, it does what must not be: the requests are good for something.
      await flood(server.port, { host }, make, [300, 1000 + n]);
      // Some are noticed only when the connection is over.
      await new Promise((resolve) => setTimeout(resolve, 1000));
      const before = { ...server.counts() };
      assert.ok(before.forbidden > 0, 'no request reached what is forbidden, even directly');
      const count = Math.ceil(ALL / servers.length);
      const caller = { host, more: server.kind === 'mcp' ? credential : '' };
      const statuses = await flood(Number(port), caller, make, [count, n]);
      const after = server.counts();
      const told = [...statuses].sort(([a], [b]) => a - b).map(([status, times]) => `${status}: ${times}`).join(', ');
      console.log(`  ${server.name}: ${count} requests; ${told}; ${after.open - before.open} let through and read as open; directly, ${before.forbidden} of 300 did what is forbidden`);
      assert.equal(after.forbidden - before.forbidden, 0, `${server.name} read something else than was judged: ${after.last ?? ''}`);
      assert.ok(after.open > before.open, 'nothing is let through');
    });
  }
});
