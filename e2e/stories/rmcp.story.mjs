// The Rust MCP SDK with its own OAuth: an agent that shares no code with the other clients.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { consent, launch, person } from '../lib/browser.mjs';
import { BINARY, startDemo } from '../lib/demo.mjs';

test('the Rust SDK signs in by the standard way and calls a tool', async (t) => {
  const program = join(dirname(BINARY), 'examples/rmcp_agent');
  assert.ok(existsSync(program), `${program} is missing: cargo build --package demo --example rmcp_agent`);
  const demo = await startDemo(t, { portBase: 8120 });
  const tickets = demo.app('Production', 'mcp');
  const page = await person(await launch(t));
  const agent = spawn(program, [tickets.url], { stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(() => agent.kill());
  let said = '';
  agent.stderr.on('data', (text) => { said += text; });
  const gone = once(agent, 'exit');
  const lines = createInterface({ input: agent.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    assert.ok(!done, `the agent stopped: ${said}`);
    return JSON.parse(value);
  };
  const { authorize } = await next();
  const asked = await consent(page, authorize, demo.employee);
  assert.match(asked, /Rust agent/);
  const { whoami } = await next();
  assert.equal(whoami.email, demo.employee.email);
  assert.equal(whoami.verified, true);
  assert.ok(whoami.agent, 'the origin sees the agent');
  const [code] = await gone;
  assert.equal(code, 0, said);
});
