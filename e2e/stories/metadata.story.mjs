// Where clouds hand out credentials, origins do not lie: tried where such an address exists and no packet can leave, in
// a network namespace of its own that has a loopback and nothing else.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';

const OWN = ['--user', '--map-root-user', '--net', '--mount'];

test('an origin whose name leads to where clouds hand out credentials', async (t) => {
  const permitted = spawnSync('unshare', [...OWN, 'ip', 'link', 'set', 'lo', 'up']);
  if (permitted.status !== 0) {
    t.skip('NOT TRIED: this machine permits no network namespaces (unshare, ip)');
    return;
  }
  const inside = join(import.meta.dirname, '../lib/metadata.mjs');
  const child = spawn('unshare', [...OWN, process.execPath, inside], { stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(() => child.kill('SIGKILL'));
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      said += text;
    });
  }
  const [code] = await once(child, 'exit');
  assert.equal(code, 0, said);
});
