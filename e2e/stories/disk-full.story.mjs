// A disk that is full, and has room again: a small file system of its own, in which the database lies.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { Api, within } from '../lib/api.mjs';
import { BINARY, scratch } from '../lib/demo.mjs';
import { request } from '../lib/forms.mjs';
import { initialize, newToken } from '../lib/oauth.mjs';

const PORT_BASE = 8420;
const MIB = 24;
// Whoever is not root is root in a namespace of their own. What is read from standard input fills the disk and makes room.
const INSIDE = `
mount -t tmpfs -o size=${MIB}m tmpfs "$1" || exit 9
"$2" demo --json --port-base ${PORT_BASE} --data "$1/data" &
server=$!
while read -r word; do
  case $word in
    fill) dd if=/dev/zero of="$1/filler" bs=4096 2>/dev/null; echo filled >&2 ;;
    free) rm "$1/filler"; echo freed >&2 ;;
  esac
done
kill -INT $server
wait $server
`;

const APART = [...(process.getuid() === 0 ? [] : ['--map-root-user']), '--mount'];

test('a disk that is full, and has room again', async (t) => {
  const folder = scratch(t, 'disk');
  if (spawnSync('unshare', [...APART, 'mount', '-t', 'tmpfs', 'tmpfs', folder]).status !== 0) {
    t.skip('this machine lets nobody mount a file system of their own');
    return;
  }
  const { CHATELAINE_BIN: _, ...env } = process.env;
  const child = spawn('unshare', [...APART, 'sh', '-c', INSIDE, 'sh', folder, BINARY], { env, stdio: ['pipe', 'pipe', 'pipe'] });
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text) => { log = (log + text).slice(-20_000); });
  const gone = once(child, 'exit');
  t.after(async () => {
    child.stdin.end();
    const giveUp = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await gone;
    clearTimeout(giveUp);
  });
  const tell = async (word, answer) => {
    log = '';
    child.stdin.write(`${word}\n`);
    await within(10_000, word, () => log.includes(answer));
  };
  const early = gone.then(([code]) => { throw new Error(`ended with ${code}:\n${log}`); });
  early.catch(() => {});
  const [line] = await Promise.race([once(createInterface({ input: child.stdout }), 'line'), early]);
  const info = JSON.parse(line);
  const account = info.accounts.find((one) => one.name === 'Production').id;
  const tickets = info.apps.find((one) => one.account === account && one.kind === 'mcp');
  const demo = { info, api: new Api(info.control_url, info.api_token), employee: info.users.find((user) => user.allowed) };
  const control = info.control_url.replace(/\/$/, '');
  const { access_token: token } = await newToken(demo, tickets);
  const api = { authorization: `Bearer ${info.api_token}`, 'content-type': 'application/json' };
  const ready = async () => (await request(`${control}/readyz`)).status;
  const change = (name) => request(`${control}/api/v1/accounts`, { method: 'POST', headers: api, body: JSON.stringify({ name }) });
  let served = 0;
  const ask = async () => {
    const status = await initialize(tickets.url, token);
    if (status === 200) served += 1;
    return status;
  };
  assert.equal(await ask(), 200);
  assert.equal(await ready(), 200);

  await tell('fill', 'filled');
  await t.test('is denied and said', async () => {
    // What the database's journal has room for already may still be written.
    await within(60_000, 'a refusal', async () => (await Promise.all(Array.from({ length: 8 }, ask))).every((status) => status === 503));
    await within(5000, 'not ready', async () => (await ready()) === 503);
    assert.match((await request(`${control}/readyz`)).text, /takes no writes|could not be written/);
    const refused = await change('Refused');
    assert.equal(refused.status, 503, refused.text);
    assert.ok(refused.headers['retry-after']);
    // What writes nothing goes on.
    assert.equal((await request(`${control}/api/v1/accounts`, { headers: api })).status, 200);
    assert.equal((await request(`${control}/login`)).status, 200);
    assert.equal(await ask(), 503, 'still');
  });

  await tell('free', 'freed');
  await t.test('heals without a restart, and nothing is lost', async () => {
    const { took } = await within(10_000, 'an answer', async () => (await ask()) === 200);
    t.diagnostic(`${served} were served in all; the first ${took.toFixed(0)} ms after there was room again`);
    await within(5000, 'ready', async () => (await ready()) === 200);
    const made = await change('Made afterwards');
    assert.equal(made.status, 201, made.text);
    // Not the export, which waits until it is known what became of each call.
    const events = (await demo.api.list('/audit')).sort((a, b) => a.seq - b.seq);
    assert.deepEqual(events.map((event) => event.seq), events.map((_, index) => index + 1));
    const recorded = events.filter((event) => event.outcome === 'allowed' && event.actor.kind === 'agent' && event.mcp?.method === 'initialize').length;
    assert.ok(recorded >= served, `${recorded} of ${served} are on record`);
    assert.ok(events.every((event) => event.target?.name !== 'Refused'), 'what was refused did not happen');
  });
});
