// Starts the real binary and tells what it serves.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Api } from './api.mjs';

export const BINARY = process.env.CHATELAINE_BIN;
const PATIENCE = 60_000;

/** A folder that goes away with the test. */
export function scratch(t, name) {
  const folder = mkdtempSync(join(tmpdir(), `chatelaine-${name}-`));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A running `chatelaine demo`; stops when the test ends. */
export async function startDemo(t, { portBase, data, keep = false, databaseUrl, env = {} }) {
  if (!BINARY) throw new Error('CHATELAINE_BIN names no binary');
  const args = ['demo', '--json', '--port-base', String(portBase)];
  if (data) args.push('--data', data);
  if (keep) args.push('--keep');
  if (databaseUrl) args.push('--database-url', databaseUrl);
  const server = new Server(args, env);
  t?.after(() => server.stop());
  const line = await server.firstLine();
  const info = JSON.parse(line);
  const account = (name) => info.accounts.find((one) => one.name === name);
  return Object.assign(server, {
    info,
    api: new Api(info.control_url, info.api_token),
    account,
    app: (accountName, kind) =>
      info.apps.find((one) => one.account === account(accountName).id && one.kind === kind),
    employee: info.users.find((user) => user.allowed),
    contractor: info.users.find((user) => !user.allowed),
  });
}

/** One process of the product, with what it said kept for when something goes wrong. */
export class Server {
  constructor(args, env = {}) {
    this.log = '';
    // Everything with this prefix is a setting, and unknown ones are refused.
    const { CHATELAINE_BIN: _, ...inherited } = process.env;
    this.child = spawn(BINARY, args, { env: { ...inherited, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    this.child.stderr.setEncoding('utf8').on('data', (text) => {
      this.log = (this.log + text).slice(-20_000);
    });
    this.gone = once(this.child, 'exit');
    this.lines = createInterface({ input: this.child.stdout });
  }

  /** The first line on standard output. */
  async firstLine() {
    const timer = new AbortController();
    const late = new Promise((_, reject) => {
      const id = setTimeout(() => reject(new Error(`not ready in time:\n${this.log}`)), PATIENCE);
      timer.signal.addEventListener('abort', () => clearTimeout(id));
    });
    const ended = this.gone.then(([code]) => {
      throw new Error(`ended with ${code} before it was ready:\n${this.log}`);
    });
    ended.catch(() => {});
    try {
      const [line] = await Promise.race([once(this.lines, 'line'), ended, late]);
      return line;
    } finally {
      timer.abort();
    }
  }

  /** Ctrl-C. */
  async stop() {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill('SIGINT');
    const giveUp = setTimeout(() => this.child.kill('SIGKILL'), 10_000);
    await this.gone;
    clearTimeout(giveUp);
  }

  /** Ends it without a chance to finish anything. */
  async kill9() {
    this.child.kill('SIGKILL');
    await this.gone;
  }
}
