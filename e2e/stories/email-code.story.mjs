// People without an identity provider: a code by e-mail, into the browser that asked for it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clean, launch, person, shot, violations } from '../lib/browser.mjs';
import { startDemo } from '../lib/demo.mjs';
import { mailTo, unread } from '../lib/mail.mjs';

const PORT_BASE = 8260;

test('a guest signs in to an app with a code from a mail', async (t) => {
  const demo = await startDemo(t, { portBase: PORT_BASE });
  const { api } = demo;
  const wiki = demo.app('Labs', 'web');
  await api.patch('/organisation', { floor: [] });

  const refused = await api.raw('POST', '/connections', { body: { name: 'Guests', kind: 'email_code' } });
  assert.equal(refused.status, 400, 'nobody opens the door to every address there is');
  const connection = await api.post('/connections', {
    name: 'Guests', kind: 'email_code', allowed_domains: ['guest.example'],
  });
  await api.post('/bindings', { connection: connection.id, accounts: [demo.account('Labs').id], mode: 'allowed' });
  const policy = await api.post('/policies', {
    account: demo.account('Labs').id, name: 'Guests', decision: 'allow',
    include: [{ type: 'connection', connection: connection.id }],
  });
  const before = await api.get(`/apps/${wiki.id}`);
  await api.patch(`/apps/${wiki.id}`, { policies: [policy.id, ...before.policies] });

  const browser = await launch(t);
  const ask = async (page, address) => {
    await page.goto(wiki.url, { waitUntil: 'domcontentloaded' });
    await page.getByRole('link', { name: 'Continue with Guests' }).click();
    await page.getByLabel('E-mail address').fill(address);
    await page.getByRole('button', { name: 'Send a code' }).click();
    await page.getByRole('heading', { name: 'Enter the code' }).waitFor();
  };

  const page = await person(browser);
  await ask(page, 'Gina@guest.example');
  const mail = await mailTo(demo.info.mail, 'gina@guest.example');
  assert.match(mail, /Acme.*\(Labs\)/, mail);
  assert.match(mail, /from 127\.0\.0\.1/, mail);
  assert.doesNotMatch(mail, /https?:/, 'no link');
  const [code] = mail.match(/[A-Z]{4}-[A-Z]{4}/);

  await page.getByLabel('Code').fill('BBBB-BBBB');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('alert').getByText('This is not the code').waitFor();
  // A wrong code is answered with 401, which the console notes.
  page.problems.splice(0);
  await page.getByLabel('Code').fill(code.toLowerCase());
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.waitForURL((url) => url.href.startsWith(new URL(wiki.url).origin));
  assert.match(await page.locator('#visitor').innerText(), /gina@guest\.example/);
  clean(page, 'signing in with a code');

  const users = await api.list('/users?q=guest.example');
  assert.deepEqual(users.map((user) => [user.subject, user.email_verified, user.connection]),
    [['gina@guest.example', true, connection.id]]);
  const events = (await api.exported()).filter((event) => event.target?.id === connection.id).map((event) => event.action);
  for (const action of ['login.code_sent', 'login.failure', 'login.success']) {
    assert.ok(events.includes(action), `${action} in ${events}`);
  }

  await t.test('an address that may not sign in gets the same answer and no mail', async () => {
    const stranger = await person(browser);
    await ask(stranger, 'eve@evil.example');
    const text = await stranger.locator('main').innerText();
    assert.match(text, /If eve@evil\.example may sign in/);
    const guest = await person(browser);
    await ask(guest, 'greta@guest.example');
    assert.equal((await guest.locator('main').innerText()).replace('greta@guest.example', 'eve@evil.example'), text);
    await mailTo(demo.info.mail, 'greta@guest.example');
    assert.deepEqual(unread(demo.info.mail, 'eve@evil.example'), []);
  });

  await t.test('the pages read well, light and dark, on a telephone', async () => {
    const phone = await person(browser, { viewport: { width: 390, height: 844 } });
    await phone.goto(`${demo.info.control_url}/login/email/${connection.id}?account=${demo.account('Labs').id}`);
    assert.deepEqual(await violations(phone), []);
    await phone.getByLabel('E-mail address').fill('gitta@guest.example');
    await phone.getByRole('button', { name: 'Send a code' }).click();
    await phone.getByRole('heading', { name: 'Enter the code' }).waitFor();
    assert.deepEqual(await violations(phone), []);
    await phone.getByLabel('Code').fill('nope');
    await phone.getByRole('button', { name: 'Sign in' }).click();
    await phone.getByRole('alert').waitFor();
    await shot(phone, 'code-wrong');
    const wide = await phone.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= 390, `${wide} px wide`);
  });
});
