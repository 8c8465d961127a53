// Real Chromium, and a watch on everything that goes wrong in it.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const NAMES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'];

export async function launch(t) {
  const executablePath = process.env.CHROMIUM ?? NAMES.find(existsSync);
  assert.ok(executablePath, 'there is no Chromium: set CHROMIUM');
  const browser = await chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
      // Everything is on this machine: no name is looked up, whatever a page asks for.
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost'],
  });
  t.after(() => browser.close());
  return browser;
}

/** A person's own browser: own cookies. `page.problems` collects errors and what the CSP refused. */
export async function person(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  page.problems = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || /content security policy/i.test(message.text())) {
      page.problems.push(`${page.url()}: ${message.text()} (${message.location().url})`);
    }
  });
  page.on('pageerror', (error) => page.problems.push(`${page.url()}: ${error}`));
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      console.error(`CSP violation: ${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  return page;
}

/** Fails when the page logged an error since the last look. */
export function clean(page, where) {
  const problems = page.problems.splice(0);
  assert.deepEqual(problems, [], `${where}: console errors or CSP violations`);
}

/** What axe finds on the page, light and dark: nothing, if it is as it should be. */
export async function violations(page) {
  const source = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  await page.evaluate(source);
  const found = [];
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    // Colours that are still changing are nobody's to judge. Endless animations cannot be finished, and need not.
    await page.evaluate(() => document.getAnimations().forEach((one) => {
      try { one.finish(); } catch { /* endless */ }
    }));
    const result = await page.evaluate(() =>
      globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] }));
    for (const one of result.violations) {
      found.push(`${page.url()} (${colorScheme}): ${one.id}: ${one.nodes.map((node) => node.target.join(' ')).join(', ')}`);
    }
    await shot(page, `${new URL(page.url()).pathname.replaceAll('/', '-').slice(1) || 'index'}-${colorScheme}`);
  }
  return found;
}

/** A picture of the page, for people; only where SCREENSHOTS names a folder. */
export async function shot(page, name) {
  if (!process.env.SCREENSHOTS) return;
  await page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}.png`, fullPage: true });
}

/** Fills in the identity provider's login form, if the page is one. */
export async function signIn(page, user) {
  await page.locator('input[name=username]').fill(user.username);
  await page.locator('input[name=password]').fill(user.password);
  await Promise.all([
    page.waitForNavigation({ waitUntil: 'domcontentloaded' }),
    page.locator('form:has(input[name=password]) button[type=submit], form:has(input[name=password]) button:not([type])').first().click(),
  ]);
}

/** Does what a person does when an agent opens `url`: sign in, read, decide. Returns the text of the consent. */
export async function consent(page, url, user, { decision = 'allow', look } = {}) {
  await page.goto(String(url), { waitUntil: 'domcontentloaded' });
  if (await page.locator('input[name=password]').count()) await signIn(page, user);
  const button = page.locator(`button[name=decision][value=${decision}]`);
  await button.waitFor();
  const text = await page.locator('body').innerText();
  await look?.(page);
  await Promise.all([page.waitForNavigation({ waitUntil: 'domcontentloaded' }), button.click()]);
  return text;
}
