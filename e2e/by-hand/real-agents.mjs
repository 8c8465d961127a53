// Claude Code and Codex themselves, in a clean home, at a server without a way out: sign-in, and what the recorder saw.
// Not one of the stories, because the programs are large and not ours to ship. By hand:
//
//   npm install --prefix /tmp/agents @openai/codex @anthropic-ai/claude-code
//   unshare -n sh -c 'ip link set lo up; node by-hand/real-agents.mjs codex /tmp/agents/node_modules/.bin/codex'
//
// CHATELAINE_BIN and CHROMIUM as for the stories.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { consent, launch, person } from '../lib/browser.mjs';
import { startDemo } from '../lib/demo.mjs';

const [which, binary] = process.argv.slice(2);
assert.ok(['codex', 'claude'].includes(which) && binary, 'usage: real-agents.mjs codex|claude BINARY');
const ways = Object.values(networkInterfaces()).flat().filter((address) => !address.internal);
assert.equal(ways.length, 0, 'run it where there is nothing but loopback: the agents call home otherwise');

const cleanups = [];
const t = { after: (cleanup) => cleanups.unshift(cleanup) };
const home = mkdtempSync(join(tmpdir(), `agent-${which}-`));
t.after(() => rmSync(home, { recursive: true, force: true }));

try {
  const demo = await startDemo(t, { portBase: 9440 });
  const tickets = demo.app('Production', 'mcp');
  const { CHATELAINE_BIN: _, ...inherited } = process.env;
  const env = { ...inherited, HOME: home, CODEX_HOME: home, BROWSER: '/bin/true' };
  const say = (...args) => execFileSync(binary, args, { env, encoding: 'utf8', cwd: home });
  const page = await person(await launch(t));

  const signIn = which === 'codex'
    ? spawn(binary, ['mcp', 'add', 'tickets', '--url', tickets.url], { env, cwd: home })
    : claude(say, tickets, env);
  let said = '';
  const url = await new Promise((resolve, reject) => {
    const hear = (chunk) => {
      said += chunk;
      const found = said.match(/(https?:\/\/[^\s\x1b\x07]*authorize[^\s\x1b\x07]*)[\s\x1b\x07]/)?.[1];
      if (found) resolve(found);
    };
    signIn.stdout.on('data', hear);
    signIn.stderr.on('data', hear);
    signIn.on('exit', (code) => reject(new Error(`ended with ${code}: ${said}`)));
  });
  const clientId = new URL(url).searchParams.get('client_id');
  assert.match(clientId, /^https:/, 'it uses its metadata document');
  await consent(page, url, demo.employee);
  // Claude Code asks for the address at which the browser arrived; Codex listens there.
  if (which === 'claude') signIn.stdin.write(`${page.url()}\r`);
  await new Promise((resolve) => { signIn.on('exit', resolve); });
  console.log(say('mcp', 'list'));

  const { items: grants } = await demo.api.get(`/grants?app=${tickets.id}&state=active`);
  assert.deepEqual(grants.map((grant) => grant.user_email), [demo.employee.email]);
  await new Promise((resolve) => { setTimeout(resolve, 4000); });
  const { items: attempts } = await demo.api.get(`/agent-attempts?app=${tickets.id}`);
  for (const attempt of attempts) {
    const { steps } = await demo.api.get(`/agent-attempts/${attempt.id}`);
    console.log(attempt.client_name, clientId, attempt.state, steps.map((step) => step.kind).join(' > '));
  }
  await demo.api.delete(`/grants/${grants[0].id}`);
  console.log('revoked:', say('mcp', 'list'));
} finally {
  for (const cleanup of cleanups) await cleanup();
}
process.exit(0);

/** It wants a terminal. */
function claude(say, app, env) {
  say('mcp', 'add', '--transport', 'http', 'tickets', app.url);
  const login = `stty cols 4000; ${binary} mcp login tickets --no-browser`;
  return spawn('script', ['-qfc', login, '/dev/null'], { env, cwd: home });
}
