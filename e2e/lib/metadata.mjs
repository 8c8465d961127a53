// What the story `metadata` does in its namespace: a pretend metadata service on addresses that clouds use for theirs,
// names that lead there, and the real binary.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { within } from './api.mjs';
import { startDemo } from './demo.mjs';
import { request } from './forms.mjs';

const ADDRESSES = ['169.254.169.254', 'fd00:ec2::254', '100.100.100.200', '168.63.129.16'];
const PLACE = 'http://127.0.0.1:8999';

/** A server at an address; counts the connections that reach it. */
async function listen(address, port) {
  const server = http.createServer({ keepAlive: false }, (asked, answer) => {
    const away = new URL(asked.url, 'http://here').searchParams.get('away');
    answer.writeHead(away ? 302 : 200, { connection: 'close', ...(away && { location: away }) });
    answer.end(`credentials of ${address}`);
  });
  const reached = { server, count: 0 };
  server.on('connection', () => {
    reached.count += 1;
  });
  server.listen(port, address);
  await once(server, 'listening');
  return reached;
}

/** Has names lead to addresses, for this namespace only. */
function names(file, entries) {
  const lines = ['127.0.0.1 localhost', ...entries.map(([name, address]) => `${address} ${name}`)];
  writeFileSync(file, `${lines.join('\n')}\n`);
}

const links = execFileSync('ip', ['-o', 'link'], { encoding: 'utf8' }).trim().split('\n');
assert.equal(links.length, 1, `nothing but a loopback: ${links}`);
execFileSync('ip', ['link', 'set', 'lo', 'up']);
for (const address of ADDRESSES) {
  const length = address.includes(':') ? 128 : 32;
  execFileSync('ip', ['addr', 'add', `${address}/${length}`, 'dev', 'lo', ...(length === 128 ? ['nodad'] : [])]);
}
const folder = mkdtempSync(join(tmpdir(), 'chatelaine-metadata-'));
const hosts = join(folder, 'hosts');
names(hosts, []);
execFileSync('mount', ['--bind', hosts, '/etc/hosts']);

const cleanUps = [];
const demo = await startDemo({ after: (what) => cleanUps.push(what) }, { portBase: 8920 });
try {
  const services = await Promise.all(ADDRESSES.map((address) => listen(address, 80)));
  const reached = () => services.map((service) => service.count);
  const nobody = ADDRESSES.map(() => 0);
  const control = new URL(demo.info.control_url);
  const labs = demo.account('Labs').id;
  await demo.api.patch('/organisation', { floor: [] });
  const open = await demo.api.post('/policies', {
    account: labs, name: 'Everybody', decision: 'bypass', include: [{ type: 'everyone' }],
  });
  const publish = (origin) => demo.api.raw('POST', '/apps', {
    body: { account: labs, name: 'Hook', kind: 'web', public_url: PLACE, origin_url: origin, policies: [open.id] },
  });
  const ask = (query = '') => request(`${PLACE}/latest/meta-data/${query}`, { target: control.port });
  const refusals = async (app) =>
    (await demo.api.get('/audit?action=app.origin_refused')).items.filter((one) => one.target.id === app.id);

  const honest = await listen('127.0.0.1', 80);
  for (const [n, address] of ADDRESSES.entries()) {
    // As a literal and by a name that leads there it is refused when it is made.
    const literal = address.includes(':') ? `[${address}]` : address;
    const name = `flips${n}.example`;
    names(hosts, [[name, address]]);
    for (const origin of [literal, name]) {
      const answer = await publish(`http://${origin}`);
      assert.equal(answer.status, 400, `${origin}: ${await answer.text()}`);
    }
    // By a name that leads elsewhere at first, at each connection.
    names(hosts, [[name, '127.0.0.1']]);
    const made = await publish(`http://${name}`);
    assert.equal(made.status, 201, await made.clone().text());
    const app = await made.json();
    assert.equal((await ask()).status, 200);
    assert.equal(honest.count, 2 * n + 1);
    // A redirect is the browser's to follow.
    const away = await ask(`?away=${encodeURIComponent(`http://${literal}/latest/meta-data/`)}`);
    assert.equal(away.status, 302, away.text);
    assert.deepEqual(reached(), nobody, address);
    assert.equal(honest.count, 2 * n + 2);
    names(hosts, [[name, address]]);
    const answer = await ask();
    assert.equal(answer.status, 502, answer.text);
    assert.ok(!answer.text.includes('credentials'), answer.text);
    const { result } = await within(5000, 'its event', async () => (await refusals(app))[0]);
    assert.equal(result.reason, 'special_address');
    assert.equal(result.outcome, 'denied');
    assert.deepEqual(reached(), nobody, address);
    await demo.api.delete(`/apps/${app.id}`);
  }

  // Where the organisation opens the network, it is an origin like others.
  const name = 'opened.example';
  names(hosts, [[name, ADDRESSES[0]]]);
  await demo.api.patch('/organisation', { allowed_origin_ranges: [`${ADDRESSES[0]}/32`] });
  const made = await publish(`http://${name}`);
  assert.equal(made.status, 201, await made.clone().text());
  const allowed = await ask();
  assert.equal(allowed.status, 200, allowed.text);
  assert.match(allowed.text, /credentials of 169\.254\.169\.254/);
  assert.deepEqual(reached(), nobody.with(0, 1));
} finally {
  for (const what of cleanUps) await what();
  execFileSync('umount', ['/etc/hosts']);
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
