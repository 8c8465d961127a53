// People: the admin's dashboard, the employee at the wiki, the refused contractor, "my agents".
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { within } from '../lib/api.mjs';
import { clean, launch, person, signIn, violations } from '../lib/browser.mjs';
import { startDemo } from '../lib/demo.mjs';
import { initialize, newToken } from '../lib/oauth.mjs';

test('people in real Chromium', async (t) => {
  const demo = await startDemo(t, { portBase: 8100 });
  const { api, info, employee, contractor } = demo;
  const control = info.control_url.replace(/\/$/, '');
  const browser = await launch(t);
  const admin = await person(browser);

  await t.test('the owner signs in with the local password', async () => {
    await admin.goto(`${control}/login`);
    clean(admin, 'the login page');
    assert.deepEqual(await violations(admin), []);
    await signIn(admin, { username: info.admin.email, password: info.admin.password });
    await admin.getByRole('navigation', { name: 'Main' }).waitFor();
    await admin.getByRole('heading', { level: 1 }).first().waitFor();
    clean(admin, 'after signing in');
  });

  await t.test('every page loads without an error and passes axe in both themes', async () => {
    const paths = await admin.getByRole('navigation', { name: 'Main' }).getByRole('link')
      .evaluateAll((all) => all.map((link) => new URL(link.href).pathname));
    assert.ok(paths.length >= 5, `only ${paths}`);
    for (const list of ['connections', 'apps', 'policies', 'people']) {
      const { items } = await api.get(`/${list === 'people' ? 'users' : list}?limit=1`);
      if (items.length > 0) paths.push(`/${list}/${items[0].id}`);
    }
    const found = [];
    for (const path of paths) {
      await admin.goto(control + path);
      await admin.getByRole('heading', { level: 1 }).first().waitFor();
      await admin.waitForLoadState('networkidle');
      clean(admin, path);
      found.push(...await violations(admin));
    }
    assert.deepEqual(found, []);
  });

  await t.test('one click turns Managed OAuth on', async () => {
    const tickets = demo.app('Labs', 'mcp');
    assert.equal((await api.get(`/apps/${tickets.id}`)).managed_oauth, false);
    await admin.goto(`${control}/apps/${tickets.id}`);
    const toggle = admin.getByRole('switch', { name: /Managed OAuth/ })
      .or(admin.getByRole('checkbox', { name: /Managed OAuth/ })).first();
    await toggle.waitFor();
    await toggle.click();
    await within(3000, 'the switch', async () => (await api.get(`/apps/${tickets.id}`)).managed_oauth);
    await within(1000, 'the challenge', async () => {
      const answer = await fetch(tickets.url);
      await answer.body?.cancel();
      return /resource_metadata=/.test(answer.headers.get('www-authenticate') ?? '');
    });
    clean(admin, 'the app page');
  });

  const wiki = demo.app('Production', 'web');
  await t.test('an employee reads the wiki after signing in at the shared provider', async () => {
    const page = await person(browser);
    await page.goto(wiki.url);
    assert.ok(page.url().startsWith(info.idp.issuer), `at ${page.url()}`);
    await signIn(page, employee);
    await page.waitForURL((url) => url.origin === new URL(wiki.url).origin);
    assert.match(await page.locator('#visitor').innerText(), new RegExp(employee.email));
    await page.getByRole('main').getByRole('link', { name: 'Handbook' }).click();
    await page.getByRole('heading', { level: 1, name: 'Handbook' }).waitFor();
    clean(page, 'the wiki');
    // Another account, the same provider: nothing had to be configured or typed again.
    await page.goto(demo.app('Labs', 'web').url);
    assert.match(await page.locator('#visitor').innerText(), new RegExp(employee.email));
  });

  await t.test('two tabs sign in one after the other, and each comes to its own page, however long its link', async () => {
    const first = await person(browser);
    const second = await first.context().newPage();
    const page = (n, more) => `${wiki.url.replace(/\/$/, '')}/?tab=${n}&${more}`;
    const [short, long] = [page(1, 'a=b'), page(2, `r=${'deep%20link,'.repeat(220)}`)];
    assert.ok(long.length > 2500);
    await first.goto(short, { waitUntil: 'domcontentloaded' });
    await second.goto(long, { waitUntil: 'domcontentloaded' });
    await signIn(first, employee);
    await first.waitForURL(short);
    // The provider knows them by now; the tab still shows its form.
    await signIn(second, employee);
    await second.waitForURL(long);
    assert.match(await second.locator('#visitor').innerText(), new RegExp(employee.email));
    clean(first, 'two tabs');
  });

  await t.test('eight restored tabs begin at once; signed in in one, each comes to its own page', async () => {
    const first = await person(browser);
    const tabs = [first];
    while (tabs.length < 8) tabs.push(await first.context().newPage());
    const base = wiki.url.replace(/\/$/, '');
    const wanted = tabs.map((_, n) => `${base}/?tab=${n}&r=${n === 7 ? 'x'.repeat(6000) : 'y'}`);
    await Promise.all(tabs.map((tab, n) => tab.goto(wanted[n], { waitUntil: 'domcontentloaded' })));
    for (const tab of tabs) assert.ok(tab.url().startsWith(info.idp.issuer), `at ${tab.url()}`);
    // People sign in in the tab that they see; browsers let the others wait.
    await first.bringToFront();
    await signIn(first, employee);
    await first.waitForURL(wanted[0]);
    await Promise.all(tabs.slice(1).map(async (tab, n) => {
      await tab.reload({ waitUntil: 'domcontentloaded' });
      await tab.waitForURL(wanted[n + 1]);
    }));
    const connection = (await demo.api.list('/connections')).find((one) => one.kind === 'oidc');
    // An answer that nobody waits for any more leads somebody who is signed in to their page, here and at the app.
    const stray = await first.goto(`${control}/login/callback/${connection.id}?code=old&state=old`);
    assert.equal(stray.status(), 200);
    assert.equal(new URL(first.url()).pathname, '/me');
    await first.goto(`${base}/.chatelaine/callback?code=old&state=old`);
    assert.match(await first.locator('#visitor').innerText(), new RegExp(employee.email));
    clean(first, 'eight tabs');
  });

  await t.test('eight sign-in pages that are restored at once all take the password', async () => {
    const first = await person(browser);
    const tabs = [first];
    while (tabs.length < 8) tabs.push(await first.context().newPage());
    await Promise.all(tabs.map((tab) => tab.goto(`${control}/login`)));
    for (const tab of tabs) {
      await tab.bringToFront();
      await signIn(tab, { username: info.admin.email, password: info.admin.password });
      await tab.waitForURL(`${control}/`);
      // The next sign-in ends this session: what a page still asks then is refused.
      await tab.waitForLoadState('networkidle');
    }
    clean(first, 'eight sign-in pages');
  });

  await t.test('a contractor gets a page that says no, and the log says why', async () => {
    const page = await person(browser);
    await page.goto(wiki.url);
    await signIn(page, contractor);
    const answer = await page.textContent('body');
    assert.ok(page.url().startsWith(control), `at ${page.url()}`);
    assert.match(answer, /request/i, 'the page has a request id to quote');
    assert.deepEqual(await violations(page), []);
    assert.doesNotMatch(answer, /No contractors/, 'rule names are for admins');
    const { result: event } = await within(5000, 'the record', async () =>
      (await api.exported()).find((one) => one.outcome === 'denied' && one.actor.email === contractor.email));
    assert.match(event.rule?.name ?? '', /contractor/i);
  });

  await t.test('the employee revokes an agent on "my agents"', async () => {
    const tickets = demo.app('Production', 'mcp');
    const token = await newToken(demo, tickets, { name: 'Revoked by its person' });
    assert.equal(await initialize(tickets.url, token.access_token), 200);

    const page = await person(browser);
    await page.goto(wiki.url);
    await signIn(page, employee);
    await page.waitForURL((url) => url.origin === new URL(wiki.url).origin);
    await page.goto(`${control}/me`);
    assert.deepEqual(await violations(page), []);
    const entry = page.locator('tr, li, article, section > div').filter({ hasText: 'Revoked by its person' }).last();
    await entry.getByRole('button', { name: /revoke/i }).click();
    await page.waitForLoadState('networkidle');
    const { took } = await within(5000, 'the refusal', async () => (await initialize(tickets.url, token.access_token)) === 401);
    t.diagnostic(`my agents: refused after ${took.toFixed(0)} ms`);
    clean(page, 'my agents');
  });
});
