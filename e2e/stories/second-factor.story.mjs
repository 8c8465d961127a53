// A local owner with a second factor: an authenticator app and a passkey, through the real pages. Browsers know
// passkeys at names only, so this server is reached at `localhost`.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { within } from '../lib/api.mjs';
import { clean, launch, person, shot, violations } from '../lib/browser.mjs';
import { BINARY, Server, scratch } from '../lib/demo.mjs';

const PORT = 8640;
const CONTROL = `http://localhost:${PORT}`;
const EMAIL = 'root@acme.example';
const PASSWORD = 'correct horse battery staple';

/** What an authenticator app shows (RFC 6238), some steps from now. */
function code(key, steps) {
  const bits = [...key.replaceAll(' ', '')].map((c) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(c).toString(2).padStart(5, '0')).join('');
  const bytes = Buffer.from(bits.match(/.{8}/g).map((byte) => Number.parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + steps));
  const mac = createHmac('sha1', bytes).update(counter).digest();
  const at = mac.at(-1) & 15;
  return String((mac.readUInt32BE(at) & 0x7fffffff) % 1_000_000).padStart(6, '0');
}

/** Runs a command of the binary; what it printed. */
async function run(args, env, input) {
  const child = promisify(execFile)(BINARY, args, { env: { ...process.env, CHATELAINE_BIN: undefined, ...env } });
  child.child.stdin.end(input);
  return (await child).stdout;
}

/** Looks at a page on a telephone, too. */
async function look(page, name) {
  assert.deepEqual(await violations(page), [], name);
  await page.setViewportSize({ width: 390, height: 844 });
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(overflow <= 0, `${name} is ${overflow} px too wide for a telephone`);
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    await page.evaluate(() => document.getAnimations().forEach((one) => one.finish()));
    await shot(page, `${name}-390-${colorScheme}`);
  }
  await page.setViewportSize({ width: 1440, height: 900 });
}

test('a local owner with a second factor', async (t) => {
  const data = scratch(t, 'second-factor');
  const settings = {
    CHATELAINE_PUBLIC_URL: CONTROL,
    CHATELAINE_LISTEN: `["127.0.0.1:${PORT}"]`,
    CHATELAINE_DATABASE_URL: `sqlite:${join(data, 'store.db')}`,
    CHATELAINE_MASTER_KEY_FILE: join(data, 'key'),
  };
  await run(['setup', '--organisation', 'Acme', '--slug', 'acme', '--owner', EMAIL, '--password-stdin'], settings, PASSWORD);
  const server = new Server(['serve'], settings);
  t.after(() => server.stop());
  await within(20_000, 'the server', () => fetch(`http://127.0.0.1:${PORT}/healthz`).then((r) => r.ok, () => false));

  const browser = await launch(t);
  const page = await person(browser);
  const devices = await page.context().newCDPSession(page);
  await devices.send('WebAuthn.enable');
  const { authenticatorId } = await devices.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true,
      isUserVerified: true, automaticPresenceSimulation: true,
    },
  });

  const submit = (name) => page.getByRole('button', { name, exact: true }).click();
  const password = async (secret = PASSWORD) => {
    await page.goto(`${CONTROL}/login`);
    await page.getByLabel('E-mail address').fill(EMAIL);
    await page.getByLabel('Password').fill(secret);
    await submit('Sign in with password');
  };
  const isIn = async () => {
    await page.waitForURL(`${CONTROL}/`);
    await page.getByRole('navigation', { name: 'Main' }).waitFor();
  };
  const signOut = async () => {
    await page.goto(`${CONTROL}/logout`);
    await submit('Sign out');
    await page.getByRole('heading', { name: 'You are signed out' }).waitFor();
  };
  /** Half signed in, and nobody anywhere. */
  const half = async () => {
    await password();
    await page.waitForURL(`${CONTROL}/login/factor`);
    assert.equal((await page.request.get(`${CONTROL}/api/v1/session`)).status(), 401);
  };
  const show = async (text) => {
    await page.locator('#code').fill(text);
    await submit('Continue');
  };
  const refused = async () => {
    await page.getByRole('alert').filter({ hasText: 'That did not work' }).waitFor();
    assert.match(page.url(), /\/login\/factor$/);
    // The browser notes the status 401, sometimes after the page is there.
    await within(5_000, 'the note of the refusal', () => page.problems.some((text) => /401/.test(text)));
    page.problems = page.problems.filter((text) => !/401/.test(text));
  };

  let key;
  let recovery;
  await t.test('adds an authenticator app', async () => {
    await password();
    await isIn();
    clean(page, 'the dashboard');
    await page.goto(`${CONTROL}/me/security`);
    await look(page, 'security-empty');
    await page.getByRole('link', { name: 'Add an authenticator app' }).click();
    await look(page, 'totp');
    key = await page.locator('#key').innerText();
    await page.locator('#code').fill(code(key, -1));
    await submit('Add');
    await page.getByRole('heading', { name: 'Keep these recovery codes' }).waitFor();
    await look(page, 'recovery');
    recovery = await page.getByRole('list', { name: 'Recovery codes' }).getByRole('listitem').allInnerTexts();
    assert.equal(new Set(recovery).size, 10);
    await page.getByRole('link', { name: 'I have kept them' }).click();
    await page.getByRole('heading', { name: 'Authenticator app' }).waitFor();
    clean(page, 'adding an app');
  });

  await t.test('adds a passkey', async () => {
    await page.getByRole('link', { name: 'Add a passkey' }).click();
    await look(page, 'passkey');
    await page.getByLabel('Name').fill('This laptop');
    await submit('Add');
    await page.getByRole('heading', { name: 'This laptop' }).waitFor();
    await look(page, 'security');
    clean(page, 'adding a passkey');
    const { credentials } = await devices.send('WebAuthn.getCredentials', { authenticatorId });
    assert.deepEqual(credentials.map((one) => one.rpId), ['localhost']);
    // The same device has one already.
    await page.goto(`${CONTROL}/me/security/passkey`);
    await submit('Add');
    await page.getByRole('alert').filter({ hasText: 'registered already' }).waitFor();
  });

  await t.test('signs in with a code, once', async () => {
    await signOut();
    await half();
    await look(page, 'factor');
    const used = code(key, 0);
    await show(used);
    await isIn();
    clean(page, 'signing in with a code');
    await signOut();
    await half();
    await show(used);
    await refused();
    await look(page, 'factor-wrong');
  });

  await t.test('signs in with the passkey', async () => {
    await page.getByRole('button', { name: 'Use a passkey' }).click();
    await isIn();
    clean(page, 'signing in with a passkey');
  });

  await t.test('signs in with the passkey alone, while somebody guesses at the password', async () => {
    await signOut();
    for (let n = 0; n < 8; n += 1) await password('a wrong password');
    await page.getByRole('alert').filter({ hasText: 'do not belong together' }).waitFor();
    await look(page, 'login-wrong');
    page.problems = page.problems.filter((text) => !/401/.test(text));
    await page.getByRole('link', { name: 'Sign in with a passkey' }).click();
    await isIn();
    await page.goto(`${CONTROL}/login/confirm?return_to=%2Fme%2Fsecurity`);
    await page.getByRole('link', { name: 'Use a passkey' }).click();
    await page.waitForURL(`${CONTROL}/me/security`);
    clean(page, 'signing in with a passkey alone');
  });

  await t.test('signs in with a recovery code, once', async () => {
    await signOut();
    await half();
    await show(recovery[0]);
    await isIn();
    await signOut();
    await half();
    await show(recovery[0]);
    await refused();
  });

  await t.test('a passkey whose counter goes back is refused', async () => {
    const { credentials: [credential] } = await devices.send('WebAuthn.getCredentials', { authenticatorId });
    assert.ok(credential.signCount > 0, 'this device counts');
    await devices.send('WebAuthn.clearCredentials', { authenticatorId });
    await devices.send('WebAuthn.addCredential', { authenticatorId, credential: { ...credential, signCount: 0 } });
    await page.getByRole('button', { name: 'Use a passkey' }).click();
    await refused();
    await devices.send('WebAuthn.clearCredentials', { authenticatorId });
    await devices.send('WebAuthn.addCredential', { authenticatorId, credential: { ...credential, signCount: 1000 } });
    await page.getByRole('button', { name: 'Use a passkey' }).click();
    await isIn();
  });

  await t.test('the log says how', async () => {
    const answer = await page.request.get(`${CONTROL}/api/v1/audit?limit=100`);
    const { items } = await answer.json();
    const ways = items.filter((one) => one.action === 'login.success').map((one) => one.actor.amr.join(' '));
    assert.deepEqual(ways, ['pwd hwk mfa', 'pwd otp mfa', 'hwk mfa', 'pwd hwk mfa', 'pwd otp mfa', 'pwd']);
    const reasons = items.filter((one) => one.action === 'login.second_factor').map((one) => one.reason);
    assert.deepEqual(reasons, ['passkey_counter', 'wrong_code', 'replayed_code']);
    const text = JSON.stringify(items);
    assert.ok(!text.includes(key.replaceAll(' ', '')) && !recovery.some((one) => text.includes(one)));
  });

  await t.test('the dashboard asks for a fresh proof, and the page takes it', async () => {
    await page.goto(`${CONTROL}/login/confirm?return_to=%2Fme%2Fsecurity`);
    await look(page, 'confirm');
    await page.getByLabel('Password').fill(PASSWORD);
    await submit('Confirm');
    await page.waitForURL(`${CONTROL}/login/factor`);
    await page.getByRole('button', { name: 'Use a passkey' }).click();
    await page.waitForURL(`${CONTROL}/me/security`);
    clean(page, 'confirming');
  });

  await t.test('policy makes the next person add one, and the last one stays', async () => {
    const session = await (await page.request.get(`${CONTROL}/api/v1/session`)).json();
    const write = (method, path, body) => page.request.fetch(`${CONTROL}/api/v1${path}`, {
      method, data: body, headers: { 'x-csrf-token': session.csrf_token, 'if-match': '*' },
    });
    assert.equal((await write('PATCH', '/organisation', { require_second_factor: true })).status(), 200);
    const invited = await write('POST', '/invitations', { email: 'bea@acme.example', role: 'org_admin', local: true });
    assert.equal(invited.status(), 201, await invited.text());
    const { url } = await invited.json();
    const bea = await person(browser);
    await bea.goto(url);
    await look(bea, 'invite');
    await bea.getByLabel('Your name').fill('Bea');
    await bea.getByLabel('Password').fill(PASSWORD);
    await bea.getByRole('button', { name: 'Accept and sign in' }).click();
    await bea.waitForURL(`${CONTROL}/login/enrol`);
    await look(bea, 'enrol');
    await bea.goto(`${CONTROL}/`);
    assert.equal((await bea.request.get(`${CONTROL}/api/v1/session`)).status(), 401, 'nothing else works');
    await bea.goto(`${CONTROL}/login/enrol/totp`);
    await bea.locator('#code').fill(code(await bea.locator('#key').innerText(), 0));
    await bea.getByRole('button', { name: 'Add', exact: true }).click();
    await bea.getByRole('link', { name: 'I have kept them' }).click();
    await bea.waitForURL(`${CONTROL}/`);
    await bea.getByRole('navigation', { name: 'Main' }).waitFor();
    await bea.goto(url);
    await bea.getByRole('heading', { name: 'This invitation cannot be used' }).waitFor();
    assert.equal((await write('PATCH', '/organisation', { require_second_factor: false })).status(), 200);
  });

  await t.test('on the server itself, an owner who lost everything gets a new password', async () => {
    const printed = await run(['owner', 'reset', '--email', EMAIL], settings);
    const fresh = printed.match(/password\s+(\S+)/)[1];
    assert.match(printed, /second factors\s+2 taken away/);
    await page.goto(`${CONTROL}/me`);
    await page.waitForURL(/\/login/);
    await password(fresh);
    await isIn();
    await page.goto(`${CONTROL}/me/security`);
    await page.getByText('Whoever learns your password').waitFor();
  });
});
