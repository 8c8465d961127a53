// Identity providers of other people that come as Python packages: each in an environment of its own, made once, and
// served by a script of `other-idp/`.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

const HERE = join(import.meta.dirname, '..');

/** A Python that has the packages: what `variable` names, or one in `.cache/`; `null` when there can be none. */
export async function python({ name, folder, packages, variable }) {
  if (process.env[variable]) return process.env[variable];
  const home = join(HERE, '.cache', folder);
  const own = join(home, 'bin', 'python');
  if (existsSync(join(home, 'complete'))) return own;
  // What the story has open goes on meanwhile.
  const run = (command, ...args) => promisify(execFile)(command, args, { timeout: 180_000 });
  try {
    rmSync(home, { recursive: true, force: true });
    await run('python3', '-m', 'venv', home);
    await run(own, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...packages);
    writeFileSync(join(home, 'complete'), '');
    return own;
  } catch (error) {
    console.warn(`\n  SKIPPED, LOUDLY: ${name} cannot be installed here, so nobody signs in through it:\n  ${error.message}\n`);
    return null;
  }
}

/** A port of this machine that nobody listens at. */
export async function freePort() {
  const server = http.createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** Runs `provider.script` until the test ends; it is there when it has said so. Gives what tells its log. */
export async function serve(t, provider, interpreter, args) {
  const child = spawn(interpreter, [join(HERE, 'other-idp', provider.script), ...args.map(String)],
    { stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text) => { log = (log + text).slice(-10_000); });
  t.after(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill();
      await once(child, 'exit');
    }
  });
  const gone = once(child, 'exit').then(() => { throw new Error(`${provider.name} ended:\n${log}`); });
  gone.catch(() => {});
  await Promise.race([once(createInterface({ input: child.stdout }), 'line'), gone]);
  return () => log;
}
