// Real servers that say what they read: each counts what it was asked to do and must not be.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import express from 'express';

async function freePort() {
  const server = http.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

async function serve(t, app) {
  const server = http.createServer(app).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return server.address().port;
}

/** Express as it comes: its router ignores case and a slash at the end. */
export async function expressWeb(t) {
  const counts = { forbidden: 0, open: 0 };
  const app = express();
  const forbidden = (_, answer) => {
    counts.forbidden += 1;
    answer.send('forbidden');
  };
  app.use('/secret', forbidden);
  app.delete('/{*any}', forbidden);
  app.use((_, answer) => {
    counts.open += 1;
    answer.send('open');
  });
  app.use((error, _, answer, next) => (answer.headersSent ? next(error) : answer.status(400).end()));
  return { name: 'Express', kind: 'web', port: await serve(t, app), ignoresCase: true, counts: () => counts };
}

/** The TypeScript SDK's server, reading its bodies itself or behind Express's parser. */
export async function sdk(t, parsed) {
  const counts = { forbidden: 0, open: 0 };
  const app = express();
  if (parsed) app.use(express.json());
  app.all('/mcp', async (request, answer) => {
    const server = new McpServer({ name: 'origin', version: '1' });
    for (const [name, count] of [['danger', 'forbidden'], ['harmless', 'open']]) {
      server.registerTool(name, {}, async () => {
        counts[count] += 1;
        return { content: [{ type: 'text', text: name }] };
      });
    }
    const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined, enableJsonResponse: true });
    await server.connect(transport);
    answer.on('close', () => void transport.close());
    await transport.handleRequest(request, answer, request.body);
  });
  app.use((error, _, answer, next) => (answer.headersSent ? next(error) : answer.status(400).end()));
  const name = parsed ? 'TypeScript SDK behind express.json' : 'TypeScript SDK';
  return { name, kind: 'mcp', port: await serve(t, app), counts: () => counts };
}

/** A program that prints `forbidden` or `open` for each request, after a line when it listens. */
async function program(t, { name, kind, command, args, ignoresCase }) {
  const port = await freePort();
  const counts = { forbidden: 0, open: 0 };
  const child = spawn(command, [...args, String(port)], { stdio: ['ignore', 'pipe', 'ignore'] });
  t.after(() => child.kill());
  const out = createInterface({ input: child.stdout });
  await once(out, 'line');
  out.on('line', (line) => { if (line in counts) counts[line] += 1; });
  return { name, kind, port, ignoresCase, counts: () => counts };
}

const script = (file) => join(import.meta.dirname, file);

export const flask = (t, python) => program(t, { name: 'Flask', kind: 'web', command: python, args: [script('flask_origin.py')] });
export const django = (t, python) => program(t, { name: 'Django', kind: 'web', command: python, args: [script('django_origin.py')] });
export const fastapi = (t, python) => program(t, { name: 'FastAPI', kind: 'web', command: python, args: [script('fastapi_origin.py')] });
export const pythonSdk = (t, python) => program(t, { name: 'Python SDK', kind: 'mcp', command: python, args: [script('mcp_origin.py')] });

/** nginx, which reads paths as file systems do. */
export async function nginx(t, folder) {
  const port = await freePort();
  mkdirSync(folder, { recursive: true });
  const log = join(folder, 'read.log');
  writeFileSync(log, '');
  writeFileSync(join(folder, 'nginx.conf'), `
    daemon off; master_process off; pid ${folder}/nginx.pid; error_log ${folder}/error.log;
    events {}
    http {
      client_body_temp_path ${folder}; proxy_temp_path ${folder}; fastcgi_temp_path ${folder}; uwsgi_temp_path ${folder}; scgi_temp_path ${folder};
      log_format read '$read $request [$http_x_request_id]'; access_log ${log} read;
      map "$request_method $uri" $read { default open; "~^DELETE " forbidden; "~^[A-Z]+ /secret(/|$)" forbidden; }
      server { listen 127.0.0.1:${port}; location / { return 200 $read; } }
    }`);
  const child = spawn('nginx', ['-p', folder, '-c', join(folder, 'nginx.conf')], { stdio: 'ignore' });
  t.after(() => child.kill());
  for (let tries = 0; tries < 100; tries += 1) {
    try {
      await fetch(`http://127.0.0.1:${port}/`);
      break;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  const counts = () => {
    const read = readFileSync(log, 'utf8').split('\n');
    const forbidden = read.filter((line) => line.startsWith('forbidden '));
    return { forbidden: forbidden.length, open: read.filter((line) => line.startsWith('open ')).length, last: forbidden.at(-1) };
  };
  return { name: 'nginx', kind: 'web', port, counts };
}
