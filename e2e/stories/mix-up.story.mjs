// The mix-up of RFC 9700, section 4.4, against the real binary: the provider of an account's own connection hands a victim
// on to the organisation's provider, as if that had been asked, to get the code that comes back.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { within } from '../lib/api.mjs';
import { launch, person } from '../lib/browser.mjs';
import { startDemo } from '../lib/demo.mjs';
import { CLIENT, provider } from '../lib/provider.mjs';

const PORT_BASE = 8340;

test('what the organisation\'s provider answers is nothing to the provider of an account', async (t) => {
  const demo = await startDemo(t, { portBase: PORT_BASE });
  const { api, info } = demo;
  const control = info.control_url.replace(/\/$/, '');
  const labs = demo.account('Labs').id;
  const [honest, hostile] = [await provider(t, 'olga'), await provider(t, 'mallory')];
  const connect = (name, of, more = {}) => api.post('/connections', {
    name, kind: 'oidc', issuer: of.issuer, allow_internal: [of.issuer], ...CLIENT, ...more,
  });
  const company = await connect('Company', honest);
  const own = await connect('Labs\' own', hostile, { account: labs });
  honest.registered = [company.redirect_uri];
  hostile.registered = [own.redirect_uri];
  assert.notEqual(company.redirect_uri, own.redirect_uri);

  const browser = await launch(t);
  const victim = await person(browser);
  const signIn = async (page, connection, more = '') => {
    await page.goto(`${control}/login/oidc/${connection.id}${more}`, { waitUntil: 'domcontentloaded' });
  };
  await signIn(victim, company);
  await victim.waitForURL(`${control}/me`);
  const [olga] = await api.list('/users?q=olga');
  await api.post('/members', { user: olga.id, role: 'org_owner' });

  // The account's administrator begins a sign-in through the company's provider in a browser of their own, and keeps what is
  // sent along: an answer to that is what they can finish.
  const attacker = await person(browser);
  const begin = async () => {
    const away = await attacker.request.get(`${control}/login/oidc/${company.id}`, { maxRedirects: 0 });
    return Object.fromEntries(new URL(away.headers().location).searchParams);
  };
  const nobody = async () => {
    await attacker.goto(`${control}/me`, { waitUntil: 'domcontentloaded' });
    assert.match(attacker.url(), /\/login/, 'the attacker is nobody');
  };
  const refused = async (what) => {
    const before = (await api.exported('&action=login.failure')).length;
    await signIn(victim, own, `?account=${labs}`);
    await victim.getByRole('heading', { name: 'This sign-in cannot be trusted' }).waitFor()
      .catch((error) => { throw new Error(`${what}: ${error}\nat ${victim.url()}`); });
    const { result: events } = await within(5000, 'the record', async () => {
      const all = await api.exported('&action=login.failure');
      return all.length > before && all;
    });
    const event = events.find((one) => one.reason === 'callback_mismatch');
    assert.equal(event?.target.id, own.id, JSON.stringify(events));
  };
  const handOn = (theirs, redirectUri) => (asked) => {
    const onwards = new URL(`${honest.issuer}/authorize`);
    for (const [name, value] of Object.entries({
      ...theirs, state: asked.state, redirect_uri: redirectUri,
    })) onwards.searchParams.set(name, value);
    return onwards.href;
  };

  await t.test('the code comes to the company\'s redirect URI, and the attempt was another', async () => {
    const theirs = await begin();
    hostile.handOn = handOn(theirs, company.redirect_uri);
    const known = honest.redeemed.length;
    await refused('own redirect URI');
    assert.deepEqual(hostile.redeemed, [], 'the hostile provider got a code');
    assert.equal(honest.redeemed.length, known, 'nor was anybody else asked');
    await nobody();
  });

  await t.test('nor does it help that the old shared one is still registered', async () => {
    honest.registered.push(`${control}/login/callback`);
    hostile.handOn = handOn(await begin(), `${control}/login/callback`);
    await refused('shared redirect URI');
    assert.deepEqual(hostile.redeemed, []);
    await nobody();
  });

  await t.test('or that the company\'s provider takes any: the code is for another redirect URI', async () => {
    honest.registered.push(own.redirect_uri);
    const theirs = await begin();
    hostile.handOn = handOn(theirs, own.redirect_uri);
    await signIn(victim, own, `?account=${labs}`);
    const [stolen] = hostile.redeemed;
    assert.ok(stolen, 'this time the hostile provider has the code');
    const back = new URL(company.redirect_uri);
    back.searchParams.set('code', stolen);
    back.searchParams.set('state', theirs.state);
    await attacker.goto(back.href, { waitUntil: 'domcontentloaded' });
    await nobody();
  });

  await t.test('while everybody signs in as before, the victim too', async () => {
    hostile.handOn = null;
    const page = await person(browser);
    await signIn(page, own, `?account=${labs}`);
    await page.waitForURL(`${control}/me`);
    assert.match(await page.locator('body').innerText(), /mallory/);
    await victim.goto(`${control}/me`, { waitUntil: 'domcontentloaded' });
    assert.match(await victim.locator('body').innerText(), /olga/, 'she is who she was');
  });
});
