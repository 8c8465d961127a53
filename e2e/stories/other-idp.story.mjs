// Canaille (Python, Authlib): an identity provider of other people, unlike oidc-provider in most details.
// Uses the Python that CANAILLE_PYTHON names, or installs it into .cache/ (half a minute, once).
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { within } from '../lib/api.mjs';
import { launch, person } from '../lib/browser.mjs';
import { startDemo } from '../lib/demo.mjs';

const PORT_BASE = 8320;
const VERSION = '0.3.6';
// It compares what comes by HTTP Basic as it is, without decoding it (RFC 6749, section 2.3.1), so only plain characters.
const SECRET = 'a-plain-secret';
const FOLDER = join(import.meta.dirname, '..', '.cache', `canaille-${VERSION}`);

/** A Python that has it; `null` when it cannot be installed. */
function python() {
  if (process.env.CANAILLE_PYTHON) return process.env.CANAILLE_PYTHON;
  const own = join(FOLDER, 'bin', 'python');
  if (existsSync(join(FOLDER, 'complete'))) return own;
  const quiet = { stdio: ['ignore', 'ignore', 'pipe'], timeout: 180_000 };
  try {
    rmSync(FOLDER, { recursive: true, force: true });
    execFileSync('python3', ['-m', 'venv', FOLDER], quiet);
    execFileSync(own, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check',
      `canaille[front,oidc,server]==${VERSION}`], quiet);
    execFileSync('touch', [join(FOLDER, 'complete')]);
    return own;
  } catch (error) {
    console.warn(`\n  SKIPPED, LOUDLY: Canaille cannot be installed here, so nobody signs in through it:\n  ${error.message}\n`);
    return null;
  }
}

async function freePort() {
  const server = http.createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

async function canaille(t, interpreter, port, connection) {
  const child = spawn(interpreter, [join(import.meta.dirname, '..', 'other-idp', 'serve_canaille.py'), String(port),
    'chatelaine', SECRET, connection.redirect_uri, connection.post_logout_redirect_uri],
  { stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text) => { log = (log + text).slice(-10_000); });
  t.after(async () => {
    if (child.exitCode === null) {
      child.kill();
      await once(child, 'exit');
    }
  });
  const gone = once(child, 'exit').then(() => { throw new Error(`Canaille ended:\n${log}`); });
  gone.catch(() => {});
  await Promise.race([once(createInterface({ input: child.stdout }), 'line'), gone]);
  return { log: () => log };
}

test('people sign in and out through Canaille', async (t) => {
  const interpreter = python();
  if (!interpreter) return t.skip('Canaille cannot be installed');
  const demo = await startDemo(t, { portBase: PORT_BASE });
  const { api } = demo;
  const port = await freePort();
  const issuer = `http://127.0.0.1:${port}`;
  const wiki = demo.app('Labs', 'web');
  await api.patch('/organisation', { floor: [] });
  const connection = await api.post('/connections', {
    name: 'Canaille', kind: 'oidc', issuer, client_id: 'chatelaine',
    client_secret: SECRET, allow_internal: [issuer],
    // It says nothing of `email_verified`; its administrators give out the addresses.
    email_verification: 'always',
    allowed_domains: ['canaille.example'],
    logout: { rp_initiated: true },
  });
  const partner = await canaille(t, interpreter, port, connection);
  await api.post('/bindings', { connection: connection.id, accounts: [demo.account('Labs').id], mode: 'allowed' });
  const policy = await api.post('/policies', {
    account: demo.account('Labs').id, name: 'Canaille', decision: 'allow',
    include: [{ type: 'connection', connection: connection.id }],
  });
  const before = await api.get(`/apps/${wiki.id}`);
  await api.patch(`/apps/${wiki.id}`, { policies: [policy.id, ...before.policies] });

  const browser = await launch(t);
  const page = await person(browser);
  await page.goto(wiki.url, { waitUntil: 'domcontentloaded' });
  await page.getByRole('link', { name: /Canaille/ }).click();
  await page.locator('input[name=login]').fill('jane');
  await page.locator('#loginform button[type=submit]').first().click();
  await page.locator('input[name=password]').fill('a long password for Jane');
  await page.locator('#passwordform button[type=submit]').first().click();
  await page.locator('button[name=answer][value=accept]').click();
  await page.waitForURL((url) => url.href.startsWith(new URL(wiki.url).origin))
    .catch((error) => { throw new Error(`${error}\nat ${page.url()}\n${partner.log()}`); });
  assert.match(await page.locator('#visitor').innerText(), /jane@canaille\.example/);
  const [user, ...others] = await api.list(`/users?q=canaille.example`);
  assert.deepEqual(others, []);
  assert.deepEqual([user.issuer, user.subject, user.email, user.name, user.email_verified],
    [issuer, 'jane', 'jane@canaille.example', 'Jane Doe', true]);

  await t.test('and out, there as well', async () => {
    await page.goto(`${demo.info.control_url}/logout`);
    await page.getByRole('button', { name: 'Sign out' }).click();
    // It asks only when it is not sure who it is.
    await page.waitForLoadState();
    if (page.url().startsWith(issuer)) await page.locator('button[name=answer][value=logout]').click();
    await page.getByText('Canaille has finished signing you out').waitFor()
      .catch((error) => { throw new Error(`${error}\nat ${page.url()}\n${partner.log()}`); });
    await within(5000, 'the end of the session at the app', async () =>
      (await page.request.get(wiki.url, { maxRedirects: 0 })).status() !== 200);
    await page.goto(wiki.url, { waitUntil: 'domcontentloaded' });
    await page.getByRole('link', { name: /Canaille/ }).click();
    await page.locator('input[name=login]').waitFor();
  });
});
