// What is shown once is seen: a secret stays on the screen, whatever the page behind it does, until somebody says
// that it is stored.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Api } from '../lib/api.mjs';
import { clean, launch, person, shot, signIn, violations } from '../lib/browser.mjs';
import { startDemo } from '../lib/demo.mjs';

const PORT_BASE = 8560;
const NARROW = { width: 390, height: 844 };
const WIDE = { width: 1440, height: 900 };

test('secrets and links that are shown once, in real Chromium', async (t) => {
  const demo = await startDemo(t, { portBase: PORT_BASE });
  const { api, info } = demo;
  const control = info.control_url.replace(/\/$/, '');
  const browser = await launch(t);
  const page = await person(browser, { permissions: ['clipboard-read', 'clipboard-write'] });
  // A development build of the dashboard takes its time on a busy machine.
  page.setDefaultTimeout(60_000);
  await page.goto(`${control}/login`);
  await signIn(page, { username: info.admin.email, password: info.admin.password });
  await page.getByRole('navigation', { name: 'Main' }).waitFor();

  const open = async (path) => {
    await page.goto(control + path);
    await page.getByRole('heading', { level: 1 }).first().waitFor();
  };
  const sheet = page.locator('dialog[open]').filter({ has: page.locator('[data-secret]') });
  const secretOf = () => page.locator('[data-secret]').innerText();
  const row = (name) => page.getByRole('row').filter({ hasText: name });

  /** The sheet survives reloads of the list, time, Escape and the way back; it copies, and closes by one button. */
  const stays = async (pattern, name) => {
    await sheet.waitFor();
    const secret = (await secretOf()).trim();
    assert.match(secret, pattern);
    await page.waitForLoadState('networkidle');
    assert.equal((await secretOf()).trim(), secret, `${name}: after the list was read again`);
    await page.waitForTimeout(3000);
    assert.equal((await secretOf()).trim(), secret, `${name}: three seconds later`);
    for (let i = 0; i < 4; i += 1) await page.keyboard.press('Escape');
    await page.keyboard.press('Control+k');
    await page.waitForTimeout(200);
    assert.equal((await secretOf()).trim(), secret, `${name}: after Escape`);
    assert.equal(await page.locator('dialog[open]').count(), 1, `${name}: nothing stands above it`);
    await sheet.getByRole('button', { name: /^Copy/ }).first().click();
    await sheet.getByText('Copied').waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), secret, `${name}: copied`);
    return secret;
  };
  const stored = async (secret, name) => {
    await sheet.getByRole('button', { name: 'I stored it' }).click();
    await sheet.waitFor({ state: 'hidden' });
    assert.ok(!(await page.content()).includes(secret), `${name}: gone from the page`);
    clean(page, name);
  };
  const looked = async (name) => {
    const found = await violations(page);
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      for (const size of [WIDE, NARROW]) {
        await page.setViewportSize(size);
        await shot(page, `secret-${name}-${colorScheme}-${size.width}`);
      }
    }
    await page.setViewportSize(WIDE);
    assert.deepEqual(found, []);
  };
  const confirm = (label) => page.locator('dialog[open]').getByRole('button', { name: label, exact: true }).click();

  await t.test('a service token is made: id and secret stay', async () => {
    await open('/service-tokens');
    await page.getByRole('button', { name: 'New service token' }).first().click();
    await page.getByLabel('Name').fill('build server');
    await page.getByRole('button', { name: 'Create service token' }).click();
    const secret = await stays(/^chs_/, 'service token');
    const [made] = await api.list('/service-tokens');
    await sheet.getByText(made.id, { exact: true }).waitFor();
    await looked('service-token');
    await stored(secret, 'service token');
    await row('build server').waitFor();
  });

  await t.test('a service token is rotated: the new secret outlives the reload of its row', async () => {
    const [before] = await api.list('/service-tokens');
    await row('build server').getByRole('button', { name: 'Rotate build server' }).click();
    await confirm('Rotate');
    const secret = await stays(/^chs_/, 'rotated service token');
    const [after] = await api.list('/service-tokens');
    assert.notEqual(after.rotated_at, before.rotated_at);
    // The row behind the sheet is the new one.
    await row('build server').getByText('the one before until').waitFor({ state: 'attached' });
    await stored(secret, 'rotated service token');
  });

  let token;
  await t.test('an API token is made, and works', async () => {
    await open('/settings?tab=tokens');
    await page.getByRole('button', { name: 'New token' }).click();
    await page.getByLabel('Name').fill('terraform');
    await page.getByRole('button', { name: 'Create token' }).click();
    token = await stays(/^cht_/, 'API token');
    await new Api(control, token).get('/session');
    await looked('api-token');
    await stored(token, 'API token');
  });

  await t.test('an API token is rolled, and the new one works', async () => {
    await row('terraform').getByRole('button', { name: 'Roll terraform' }).click();
    await confirm('Roll');
    const secret = await stays(/^cht_/, 'rolled API token');
    assert.notEqual(secret, token);
    await new Api(control, secret).get('/session');
    await stored(secret, 'rolled API token');
    token = secret;
  });

  await t.test('when only the answer is lost, the next try shows the same secret', async () => {
    const lost = [];
    await page.route('**/api-tokens/*/roll', async (route) => {
      const answer = await route.fetch();
      if (lost.length > 0) return route.fulfill({ response: answer });
      lost.push((await answer.json()).token);
      return route.abort('connectionreset');
    });
    await row('terraform').getByRole('button', { name: 'Roll terraform' }).click();
    await confirm('Roll');
    await page.locator('dialog[open]').getByRole('alert').waitFor();
    page.problems.length = 0;
    // Asked anew: closing the question does not forget what was sent.
    await page.locator('dialog[open]').getByRole('button', { name: 'Cancel' }).click();
    await row('terraform').getByRole('button', { name: 'Roll terraform' }).click();
    await confirm('Roll');
    const secret = await stays(/^cht_/, 'repeated roll');
    assert.equal(secret, lost[0]);
    const events = (await api.exported('&action=api_token.roll')).filter((one) => one.action === 'api_token.roll');
    assert.equal(events.length, 2, 'one roll of this test and one of the test before');
    await page.unroute('**/api-tokens/*/roll');
    await stored(secret, 'repeated roll');
  });

  await t.test('a webhook is made, and its secret is rotated', async () => {
    await open('/settings?tab=webhooks');
    await page.getByRole('button', { name: 'New webhook' }).click();
    await page.getByLabel('Name').fill('SIEM');
    await page.getByLabel('URL').fill('http://127.0.0.1:9/hook');
    await page.getByLabel('The receiver is on an internal address').check();
    await page.getByRole('button', { name: 'Create webhook' }).click();
    const first = await stays(/^whsec_/, 'webhook');
    await looked('webhook');
    await stored(first, 'webhook');

    await row('SIEM').getByRole('button', { name: 'Rotate secret SIEM' }).click();
    await confirm('Rotate secret');
    const second = await stays(/^whsec_/, 'rotated webhook');
    assert.notEqual(second, first);
    await stored(second, 'rotated webhook');
  });

  await t.test('an agent that keeps a secret is entered: the secret stands above its page', async () => {
    await open('/agents');
    await page.getByRole('button', { name: 'Enter an agent' }).click();
    await page.getByLabel('Name').fill('Nightly report');
    await page.getByLabel('Redirect URIs').fill('http://127.0.0.1/callback');
    await page.getByLabel('It can keep a secret').check();
    await page.locator('dialog[open]').getByRole('button', { name: 'Enter agent' }).click();
    await page.waitForURL(/\/agents\/cli_/);
    const secret = await stays(/\S{20}/, 'client secret');
    await looked('agent');
    await stored(secret, 'client secret');
  });

  await t.test('the link of an invitation stays', async () => {
    await open('/people?tab=roles');
    await page.getByRole('button', { name: 'Invite', exact: true }).click();
    await page.getByLabel('E-mail').fill('bea@acme.example');
    await page.locator('dialog[open]').getByRole('button', { name: 'Invite', exact: true }).click();
    const link = await stays(/^http.*\//, 'invitation');
    await looked('invitation');
    await stored(link, 'invitation');
  });

  await t.test('the link of a trial stays, and can be opened', async () => {
    const [connection] = (await api.list('/connections')).filter((one) => one.kind === 'oidc');
    await open(`/connections/${connection.id}`);
    await page.getByRole('button', { name: 'Test connection' }).click();
    const link = await stays(/^http.*\//, 'trial');
    assert.equal(await sheet.getByRole('link', { name: 'Open in a new tab' }).getAttribute('href'), link);
    await looked('trial');
    await stored(link, 'trial');
  });

  await t.test('the way back and a reload do not take it away', async () => {
    await open('/agents');
    await page.getByRole('link', { name: 'Service tokens' }).click();
    await row('build server').getByRole('button', { name: 'Rotate build server' }).click();
    await confirm('Rotate');
    await sheet.waitFor();
    const secret = (await secretOf()).trim();
    await page.evaluate(() => history.back());
    await page.getByRole('heading', { level: 1, name: 'Agents', includeHidden: true }).waitFor({ state: 'attached' });
    assert.equal((await secretOf()).trim(), secret, 'after the way back');
    const asked = page.waitForEvent('dialog');
    await page.evaluate(() => setTimeout(() => location.reload(), 0));
    const dialog = await asked;
    assert.equal(dialog.type(), 'beforeunload');
    await dialog.dismiss();
    assert.equal((await secretOf()).trim(), secret, 'after staying');
    await page.waitForTimeout(800);
    await stored(secret, 'the way back');
  });

  await t.test('no secret is in the log', async () => {
    assert.ok(!JSON.stringify(await api.exported()).includes(token));
  });
});
