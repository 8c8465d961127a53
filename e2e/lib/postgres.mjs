// A database of its own in the PostgreSQL that TEST_DATABASE_URL names.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

function psql() {
  const root = '/usr/lib/postgresql';
  try {
    const versions = readdirSync(root).sort((a, b) => Number(b) - Number(a));
    return join(root, versions[0], 'bin', 'psql');
  } catch {
    return 'psql';
  }
}

export async function freshDatabase(t) {
  const server = process.env.TEST_DATABASE_URL;
  if (!server) throw new Error('TEST_DATABASE_URL names no PostgreSQL');
  const name = `e2e_${randomBytes(6).toString('hex')}`;
  const sql = (command) => execFileSync(psql(), [server, '-q', '-c', command], { cwd: '/', stdio: 'pipe' });
  sql(`create database ${name}`);
  // Registered first, so it runs first; the servers are then still up, hence the force.
  t.after(() => sql(`drop database if exists ${name} with (force)`));
  const url = new URL(server);
  url.pathname = `/${name}`;
  return url.href;
}

/** Runs SQL on a database, behind the back of whoever serves it. */
export function execute(url, sql) {
  return execFileSync(psql(), [url, '-q', '-v', 'ON_ERROR_STOP=1', '-c', sql], { cwd: '/', stdio: 'pipe', encoding: 'utf8' });
}
