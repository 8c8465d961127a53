// The main story for an agent: off, one PATCH, discovery, registration, sign-in, consent, token, tool call,
// attributed audit, revocation. The same on both databases.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Agent } from '../lib/agent.mjs';
import { within } from '../lib/api.mjs';
import { clean, consent, launch, person, violations } from '../lib/browser.mjs';
import { startDemo } from '../lib/demo.mjs';
import { freshDatabase } from '../lib/postgres.mjs';

story('SQLite', 8000, () => undefined);
story('PostgreSQL', 8020, freshDatabase);

function story(engine, portBase, database) {
  test(`an agent works for a person as long as it may (${engine})`, async (t) => {
    const databaseUrl = await database(t);
    const demo = await startDemo(t, { portBase, databaseUrl });
    const { api, employee, contractor } = demo;
    const tickets = demo.app('Labs', 'mcp');
    assert.equal(tickets.managed_oauth, false, 'the demo starts with the switch off in Labs');
    const browser = await launch(t);
    const page = await person(browser);
    let asked;
    const agent = await new Agent(tickets.url, {
      authorize: async (url) => {
        asked = await consent(page, url, employee, {
          look: async () => {
            clean(page, 'the consent page');
            assert.deepEqual(await violations(page), []);
          },
        });
      },
    }).start(t);

    await t.test('with Managed OAuth off it is refused and shown no way in', async () => {
      const answer = await fetch(tickets.url, { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } });
      assert.equal(answer.status, 401);
      assert.doesNotMatch(answer.headers.get('www-authenticate') ?? '', /resource_metadata/);
      assert.match(await answer.text(), /Managed OAuth/);
      const metadata = await fetch(new URL('/.well-known/oauth-protected-resource/mcp', tickets.url));
      assert.equal(metadata.status, 404);
      await assert.rejects(agent.connect());
      assert.equal(agent.authorizationUrl, undefined, 'nobody was asked to sign in');
    });

    await t.test('one PATCH takes effect within a second', async () => {
      await api.patch(`/apps/${tickets.id}`, { managed_oauth: true });
      await within(1000, 'the switch', async () => {
        const answer = await fetch(tickets.url, { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } });
        await answer.body?.cancel();
        return answer.status === 401 && /^Bearer .*resource_metadata="/.test(answer.headers.get('www-authenticate') ?? '');
      });
    });

    await t.test('the same agent registers, the employee signs in and consents, a tool is called', async () => {
      await agent.connect();
      assert.match(asked, /Story agent/, 'the page names who asks');
      assert.match(asked, new RegExp(employee.email), 'the page says who is signed in');
      assert.equal(agent.answer.get('iss'), (await api.get(`/apps/${tickets.id}`)).issuer, 'RFC 9207');
      const { tools } = await agent.client.listTools();
      assert.ok(tools.some((tool) => tool.name === 'whoami'));
      const who = await agent.call('whoami');
      assert.equal(who.verified, true, JSON.stringify(who));
      assert.equal(who.email, employee.email, 'the origin sees the person');
      assert.equal(who.agent, agent.registration.client_id, 'and the agent');
      const made = await agent.call('create_ticket', { title: 'From the story' });
      assert.equal(made.opened_by, employee.email);
    });

    let grant;
    await t.test('the audit export names person, client, grant, app, tool, decision and rule', async () => {
      const { result: call } = await within(5000, 'the record of the call', async () =>
        (await api.exported()).find((event) => event.action === 'gateway.request' && event.mcp?.tool === 'create_ticket'));
      const grants = await api.list(`/grants?app=${tickets.id}&state=active`);
      assert.equal(grants.length, 1);
      [grant] = grants;
      assert.equal(call.actor.kind, 'agent');
      assert.equal(call.actor.email, employee.email);
      assert.equal(call.actor.user, grant.user);
      assert.equal(call.actor.client, grant.client);
      assert.equal(call.actor.client_name, 'Story agent');
      assert.equal(call.actor.grant, grant.id);
      assert.equal(call.target.app, tickets.id);
      assert.equal(call.outcome, 'allowed');
      assert.equal(call.reason, 'policy_allowed');
      assert.ok(call.rule?.id && call.rule?.name, `no rule: ${JSON.stringify(call)}`);
      assert.equal(call.response?.status, 200);
      const actions = new Set((await api.exported()).map((event) => event.action));
      assert.ok([...actions].some((action) => /login|sign_in|session/.test(action)), `no sign-in among ${[...actions]}`);
      assert.ok([...actions].some((action) => /consent|grant/.test(action)), `no consent among ${[...actions]}`);
      assert.ok([...actions].some((action) => /token/.test(action)), `no token among ${[...actions]}`);
    });

    await t.test('a token of one app is nothing at another', async () => {
      const other = demo.app('Production', 'mcp');
      const answer = await fetch(other.url, {
        method: 'POST',
        headers: { authorization: `Bearer ${agent.tokens.access_token}`, 'content-type': 'application/json' },
        body: '{}',
      });
      await answer.body?.cancel();
      assert.equal(answer.status, 401);
    });

    await t.test('a contractor is refused, and the admin sees by which rule', async () => {
      const theirs = await person(browser);
      const refused = await new Agent(tickets.url, {
        name: 'Contractor agent',
        authorize: async (url, redirectUri) => {
          await theirs.goto(String(url), { waitUntil: 'domcontentloaded' });
          await theirs.locator('input[name=username]').fill(contractor.username);
          await theirs.locator('input[name=password]').fill(contractor.password);
          await theirs.keyboard.press('Enter');
          await theirs.waitForURL((at) => at.href.startsWith(redirectUri) || at.href.startsWith(demo.info.control_url));
          throw new Error(`ended at ${theirs.url()}`);
        },
      }).start(t);
      await assert.rejects(refused.connect());
      assert.equal(refused.tokens, undefined, 'no token');
      const { result: denial } = await within(5000, 'the record of the refusal', async () =>
        (await api.exported()).find((event) => event.outcome === 'denied' && event.actor.email === contractor.email));
      assert.match(denial.rule?.name ?? '', /contractor/i, JSON.stringify(denial));
    });

    await t.test('revoking the grant ends it within 5 s', async () => {
      assert.ok(await agent.call('whoami'), 'it works until then');
      await api.delete(`/grants/${grant.id}`);
      const { took } = await within(5000, 'the refusal', async () => {
        const answer = await fetch(tickets.url, {
          method: 'POST',
          headers: {
            authorization: `Bearer ${agent.tokens.access_token}`,
            'content-type': 'application/json',
            accept: 'application/json, text/event-stream',
          },
          body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list' }),
        });
        await answer.body?.cancel();
        return answer.status === 401;
      });
      t.diagnostic(`revoked: refused after ${took.toFixed(0)} ms`);
      const refresh = await fetch(`${(await api.get(`/apps/${tickets.id}`)).issuer}/token`, {
        method: 'POST',
        body: new URLSearchParams({
          grant_type: 'refresh_token',
          refresh_token: agent.tokens.refresh_token,
          client_id: agent.registration.client_id,
        }),
      });
      assert.equal(refresh.status, 400);
      assert.equal((await refresh.json()).error, 'invalid_grant');
    });
  });
}
