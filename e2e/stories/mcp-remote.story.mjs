// mcp-remote: the bridge that many desktop agents use. It registers, prints the URL to open, waits for the code.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { consent, launch, person } from '../lib/browser.mjs';
import { scratch, startDemo } from '../lib/demo.mjs';

test('mcp-remote signs in by the standard way and calls a tool', async (t) => {
  const demo = await startDemo(t, { portBase: 8040 });
  const tickets = demo.app('Production', 'mcp');
  assert.equal(tickets.managed_oauth, true, 'the demo starts with the switch on in Production');
  const page = await person(await launch(t));
  const folder = dirname(createRequire(import.meta.url).resolve('mcp-remote/package.json'));
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [join(folder, 'dist/proxy.js'), tickets.url, '--allow-http'],
    env: {
      ...process.env,
      MCP_REMOTE_CONFIG_DIR: scratch(t, 'mcp-remote'),
      // What would open a browser does nothing: the story opens the printed URL itself.
      BROWSER: '/bin/true',
    },
    stderr: 'pipe',
  });
  let said = '';
  const printed = new Promise((resolve) => {
    transport.stderr.on('data', (chunk) => {
      said += chunk;
      const url = said.match(/visiting:\s+(http\S+)/)?.[1];
      if (url) resolve(url);
    });
  });
  const client = new Client({ name: 'Desktop', version: '1.0.0' });
  t.after(() => client.close());
  const connected = client.connect(transport, { timeout: 60_000 });
  connected.catch(() => {});
  const url = await Promise.race([
    printed,
    new Promise((_, reject) => { setTimeout(() => reject(new Error(`no URL printed: ${said}`)), 30_000).unref(); }),
  ]);
  const asked = await consent(page, url, demo.employee);
  assert.match(asked, new RegExp(demo.employee.email));
  await connected;
  const result = await client.callTool({ name: 'whoami', arguments: {} });
  assert.equal(result.structuredContent.email, demo.employee.email, said);
  assert.ok(result.structuredContent.agent, 'the origin sees the agent');
});
