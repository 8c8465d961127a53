// What ends access asks first, and says whose: by the server's own dry run, before anything is changed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { within } from '../lib/api.mjs';
import { clean, launch, person, shot, signIn, violations } from '../lib/browser.mjs';
import { startDemo } from '../lib/demo.mjs';
import { initialize, newToken } from '../lib/oauth.mjs';

const PORT_BASE = 8580;
const NARROW = { width: 390, height: 844 };
const WIDE = { width: 1440, height: 900 };

test('acts that end access ask with numbers, in real Chromium', async (t) => {
  const demo = await startDemo(t, { portBase: PORT_BASE });
  const { api, info, employee } = demo;
  const control = info.control_url.replace(/\/$/, '');
  const browser = await launch(t);
  const page = await person(browser);
  // A development build of the dashboard takes its time on a busy machine.
  page.setDefaultTimeout(60_000);
  await page.goto(`${control}/login`);
  await signIn(page, { username: info.admin.email, password: info.admin.password });
  await page.getByRole('navigation', { name: 'Main' }).waitFor();

  const tickets = demo.app('Production', 'mcp');
  const first = await newToken(demo, tickets, { name: 'Helper' });

  const question = page.locator('dialog[open]');
  const affected = question.getByRole('region', { name: 'Who is affected' });
  const open = async (path) => {
    await page.goto(control + path);
    await page.getByRole('heading', { level: 1 }).first().waitFor();
    await page.waitForLoadState('networkidle');
  };
  const loses = async (what) => {
    await affected.getByText('Lose access').waitFor();
    assert.match(await affected.innerText(), what);
  };
  const cancel = () => question.getByRole('button', { name: 'Cancel' }).click();
  const press = (label) => question.getByRole('button', { name: label, exact: true }).click();
  /** The button says that it is not available yet, and does nothing. */
  const held = async (label) => {
    const button = question.getByRole('button', { name: new RegExp(`^${label} \\(not available`) });
    await button.dispatchEvent('click');
    await page.waitForTimeout(300);
    assert.ok(await button.isVisible(), `${label}: not without the name`);
  };
  /** What the server would not do is said before anything is typed. */
  const refused = async (label, why) => {
    await affected.getByText(why).waitFor();
    await held(label);
    assert.equal(await question.getByRole('textbox').count(), 0);
    page.problems.splice(0).forEach((problem) => assert.match(problem, /409 \(Conflict\).*dry_run/));
    await cancel();
    await closed();
  };
  const closed = () => question.waitFor({ state: 'hidden' });
  const type = async (word) => {
    await question.getByLabel(`Type “${word}” to confirm`).fill(word);
  };
  const looked = async (name) => {
    const found = await violations(page);
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      for (const size of [WIDE, NARROW]) {
        await page.setViewportSize(size);
        await shot(page, `confirm-${name}-${colorScheme}-${size.width}`);
      }
    }
    await page.setViewportSize(WIDE);
    assert.deepEqual(found, []);
  };
  const toggle = page.getByRole('switch', { name: /Managed OAuth/ });
  const path = `/apps/${tickets.id}`;

  await t.test('Managed OAuth off: the agent is counted and named, and nothing happens before the answer', async () => {
    await open(path);
    await toggle.click();
    await loses(/1 agent|one agent/i);
    assert.match(await affected.innerText(), /Helper/);
    assert.match(await affected.innerText(), new RegExp(employee.email));
    await looked('managed-oauth-off');
    await cancel();
    await closed();
    assert.equal((await api.get(path)).managed_oauth, true);
    assert.equal(await initialize(tickets.url, first.access_token), 200);
  });

  await t.test('a write that fails says so in the question, which stays', async () => {
    await toggle.click();
    await affected.getByText('Lose access').waitFor();
    await page.route(`**/api/v1${path}`, (route) =>
      (route.request().method() === 'PATCH' ? route.abort('connectionreset') : route.continue()));
    await press('Switch off');
    await question.getByRole('alert').waitFor();
    await page.unroute(`**/api/v1${path}`);
    page.problems.length = 0;
    await press('Switch off');
    await closed();
    await within(5000, 'the refusal', async () => (await initialize(tickets.url, first.access_token)) === 401);
    clean(page, 'switched off');
  });

  await t.test('and on again with one click', async () => {
    await toggle.click();
    await within(3000, 'the switch', async () => (await api.get(path)).managed_oauth);
    assert.equal(await question.count(), 0);
  });

  await t.test('where many lose access, the name has to be typed', async () => {
    for (let i = 0; i < 5; i += 1) await newToken(demo, tickets, { name: `Agent ${i}` });
    await toggle.click();
    await loses(/[5-9] agents/);
    await looked('many');
    await held('Switch off');
    assert.equal((await api.get(path)).managed_oauth, true, 'not without the name');
    await type('Tickets');
    await cancel();
    await closed();
  });

  await t.test('a client is blocked with its grants counted', async () => {
    const token = await newToken(demo, tickets, { name: 'To be blocked' });
    await open(`/agents?app=${tickets.id}`);
    const row = page.getByRole('row').filter({ hasText: 'To be blocked' });
    await row.getByRole('button', { name: 'Block To be blocked' }).click();
    await loses(/one agent/i);
    await looked('block');
    await press('Block');
    await closed();
    await row.getByText('Blocked', { exact: true }).first().waitFor();
    await within(5000, 'the refusal', async () => (await initialize(tickets.url, token.access_token)) === 401);
  });

  await t.test('a grant is revoked with its agent named', async () => {
    // What was switched off above ended the first one's grant.
    await newToken(demo, tickets, { name: 'Second helper' });
    const second = (await api.list(`/clients?app=${tickets.id}`)).find((one) => one.name === 'Second helper');
    await open(`/agents/${second.id}`);
    await page.getByRole('button', { name: /Revoke the grant of/ }).first().click();
    await loses(/Second helper/);
    await press('Revoke');
    await closed();
    await page.getByText('Revoked').first().waitFor();
  });

  await t.test('a person is disabled and a session ended with numbers', async () => {
    await newToken(demo, tickets, { name: 'Third helper' });
    const users = await api.list('/users');
    const user = users.find((one) => one.email === employee.email);
    await open(`/people/${user.id}`);
    await page.getByRole('button', { name: 'Disable person' }).click();
    await loses(/agents/);
    await looked('person');
    await cancel();
    await closed();
    await page.getByRole('button', { name: /^End this session/ }).first().click();
    await affected.waitFor();
    await press('End');
    await closed();
  });

  await t.test('the question goes with the page, and a link in it leads away', async () => {
    const user = (await api.list('/users')).find((one) => one.email === employee.email);
    await open(path);
    await toggle.click();
    await loses(/agents/);
    await affected.getByRole('link', { name: employee.email }).first().click();
    await page.waitForURL(new RegExp(`/people/${user.id}`));
    await closed();
    clean(page, 'the questions');
  });

  await t.test('a policy turned to deny asks, and cancelling keeps form and policy', async () => {
    const app = await api.get(path);
    const policies = await Promise.all(app.policies.map((id) => api.get(`/policies/${id}`)));
    const staff = policies.find((one) => one.decision === 'allow');
    await open(`/policies/${staff.id}`);
    await page.getByLabel('Decision').first().selectOption('deny');
    await page.getByRole('button', { name: 'Save policy' }).click();
    await affected.waitFor();
    await loses(/agents/);
    await looked('policy');
    await cancel();
    await closed();
    assert.equal((await api.get(`/policies/${staff.id}`)).decision, 'allow');
    assert.equal(await page.getByLabel('Decision').first().inputValue(), 'deny', 'what was chosen is still there');
    // What takes nothing away is saved at once.
    await page.getByLabel('Decision').first().selectOption('allow');
    await page.getByLabel('Name').first().fill('Staff and their agents');
    await page.getByRole('button', { name: 'Save policy' }).click();
    await within(3000, 'the name', async () => (await api.get(`/policies/${staff.id}`)).name === 'Staff and their agents');
    assert.equal(await question.count(), 0);

    await page.getByRole('button', { name: 'Delete policy' }).click();
    await refused('Delete policy', /still used by/);
  });

  await t.test('taking the policies off an app asks', async () => {
    await open(`${path}?tab=policies`);
    await page.getByRole('button', { name: /^Take .* off this app/ }).last().click();
    await page.getByRole('button', { name: 'Save order' }).click();
    await loses(/agents/);
    await cancel();
    await closed();
    assert.equal((await api.get(path)).policies.length, 2);
  });

  await t.test('a connection is bound to all accounts only after the numbers', async () => {
    const other = await api.post('/connections', {
      name: 'Partner', kind: 'oidc', issuer: 'http://127.0.0.1:9', allow_internal: ['http://127.0.0.1:9'],
      client_id: 'x', client_secret: 'y', scopes: [],
    });
    await open(`/connections/${other.id}`);
    await page.getByRole('button', { name: 'Bind to all accounts' }).click();
    await affected.getByText(/No session at an app|access/i).first().waitFor();
    await looked('bind-to-all');
    assert.equal((await api.list(`/bindings?connection=${other.id}`)).length, 0);
    await press('Bind');
    await closed();
    await within(3000, 'the bindings', async () => (await api.list(`/bindings?connection=${other.id}`)).length === 2);
  });

  await t.test('a connection is disabled by typing its name; the primary one cannot be deleted', async () => {
    const [acme] = (await api.list('/connections')).filter((one) => one.name === 'Acme SSO');
    await open(`/connections/${acme.id}`);
    await page.getByRole('button', { name: 'Disable connection' }).click();
    await loses(/agents/);
    await held('Disable connection');
    await type('Acme SSO');
    await looked('disable-connection');
    await cancel();
    await closed();
    await page.getByRole('button', { name: 'Delete connection' }).click();
    await refused('Delete connection', /primary connection/);
    assert.equal((await api.get(`/connections/${acme.id}`)).enabled, true);
  });

  await t.test('settings of a connection that keep people out ask', async () => {
    const [acme] = (await api.list('/connections')).filter((one) => one.name === 'Acme SSO');
    await open(`/connections/${acme.id}`);
    await page.getByLabel('Only these e-mail domains').fill('nobody.example');
    await page.getByRole('button', { name: 'Save settings' }).click();
    await question.or(page.getByText('Acme SSO saved')).first().waitFor();
    if (await question.count()) await cancel();
  });

  await t.test('another primary connection is asked about when somebody loses by it', async () => {
    await open('/settings');
    await page.getByLabel('Primary connection').selectOption({ label: 'Partner' });
    await page.getByRole('button', { name: 'Save organisation' }).click();
    await question.or(page.getByText('Organisation saved')).first().waitFor();
    if (await question.count()) await cancel();
  });

  await t.test('an app, a group and an account: each with its numbers, by name', async () => {
    await open(`${path}?tab=settings`);
    for (const [button, typed] of [['Disable app', false], ['Delete app', true]]) {
      await page.getByRole('button', { name: button }).click();
      await loses(/agents/);
      if (typed) await type('Tickets');
      await cancel();
      await closed();
    }
    await open('/people?tab=groups');
    await page.getByRole('button', { name: 'Delete Staff' }).first().click();
    await refused('Delete', /still used by/);
    await open('/accounts');
    await page.getByRole('button', { name: 'Disable Production' }).click();
    await loses(/agents/);
    await type('Production');
    await looked('account');
    await press('Disable');
    await closed();
    await page.getByRole('row').filter({ hasText: 'Production' }).getByText('Disabled').waitFor();
    await page.getByRole('button', { name: 'Enable Production' }).click();
    await affected.getByText('Gain access').waitFor();
    await press('Enable');
    await closed();
  });
});
