// The command line of the real binary: the demo's organisation, as code, on a second server that is empty.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { within } from '../lib/api.mjs';
import { BINARY, Server, scratch, startDemo } from '../lib/demo.mjs';
import { Person } from '../lib/forms.mjs';
import { freshDatabase } from '../lib/postgres.mjs';

story('SQLite', 8900, () => undefined);
story('PostgreSQL', 8940, freshDatabase);

/** One command; never fails by itself. */
function run(args, env, input = '') {
  const { CHATELAINE_BIN: _, ...inherited } = process.env;
  return new Promise((resolve) => {
    const child = execFile(BINARY, args, { env: { ...inherited, ...env } }, (error, out, err) => {
      resolve({ code: error ? error.code : 0, out, err });
    });
    child.stdin.end(input);
  });
}

/** A token for the owner of a server that has only been set up, as the dashboard would make it. */
async function ownersToken(url, password) {
  const owner = new Person({ username: 'root@second.example', password });
  const form = await owner.send(`${url}/login`);
  const csrf = form.text.match(/name="csrf" value="([^"]+)"/)?.[1];
  const fields = { csrf, username: owner.username, password, return_to: '/' };
  const signedIn = await owner.send(`${url}/login/password`, { method: 'POST', fields });
  assert.equal(signedIn.status, 303, signedIn.text);
  const cookie = [...owner.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
  const session = await (await fetch(`${url}/api/v1/session`, { headers: { cookie } })).json();
  const answer = await fetch(`${url}/api/v1/api-tokens`, {
    method: 'POST',
    headers: { cookie, 'content-type': 'application/json', 'x-csrf-token': session.csrf_token, origin: url },
    body: JSON.stringify({ name: 'pipeline', scopes: ['read', 'write', 'audit'] }),
  });
  const made = await answer.json();
  assert.equal(answer.status, 201, JSON.stringify(made));
  return made.token;
}

function story(engine, portBase, database) {
  test(`an organisation as code moves to another server (${engine})`, async (t) => {
    const demo = await startDemo(t, { portBase, databaseUrl: await database(t) });
    const folder = scratch(t, 'cli');
    const home = { XDG_CONFIG_HOME: join(folder, 'config') };
    const first = { ...home, CHATELAINE_URL: demo.info.control_url, CHATELAINE_TOKEN: demo.info.api_token };
    const org = join(folder, 'org.yaml');

    await t.test('a login is checked, remembered and kept to oneself', async () => {
      const login = await run(['login', '--server', demo.info.control_url, '--token', '-'], home, demo.info.api_token);
      assert.equal(login.code, 0, login.err);
      assert.match(login.out, /organisation {2}Acme/);
      assert.doesNotMatch(login.out + login.err, /cht_/);
      assert.equal(statSync(join(folder, 'config/chatelaine/profiles.json')).mode & 0o777, 0o600);
      const who = await run(['whoami'], home);
      assert.match(who.out, /owner@acme\.example/);
    });

    await t.test('resources are read and changed by name', async () => {
      const list = await run(['apps', 'list'], home);
      assert.match(list.out, /^NAME .*\n.*Wiki +web +Production/m, list.err);
      const lab = demo.app('Labs', 'mcp');
      const dry = await run(['app', 'update', lab.name, '--set', 'managed_oauth=true', '--dry-run'], home);
      assert.match(dry.out, /app\.update[\s\S]*nothing has changed/, dry.err);
      assert.equal((await demo.api.get(`/apps/${lab.id}`)).managed_oauth, false);
    });

    await t.test('the export is complete, readable and without secrets', async () => {
      const exported = await run(['export'], first);
      assert.equal(exported.code, 0, exported.err);
      writeFileSync(org, exported.out);
      assert.match(exported.out, /client_secret: \{from_env: ACME_SSO_CLIENT_SECRET\}/);
      for (const name of ['Production', 'Labs', 'Wiki', 'Tickets', 'No contractors', 'tickets:write']) {
        assert.ok(exported.out.includes(name), name);
      }
      assert.doesNotMatch(exported.out, /\b[a-z]{3}_[0-9a-f]{32}\b/, 'names, not identifiers');
      const diff = await run(['diff', '-f', org, '--prune'], first);
      assert.deepEqual([diff.code, diff.out], [0, ''], diff.err);
    });

    // Only `setup` was run on the second server.
    const settings = {
      CHATELAINE_PUBLIC_URL: `http://127.0.0.1:${portBase + 30}`,
      CHATELAINE_LISTEN: `["127.0.0.1:${portBase + 30}"]`,
      CHATELAINE_DATABASE_URL: (await database(t)) ?? `sqlite:${join(folder, 'second.db')}`,
      CHATELAINE_MASTER_KEY_FILE: join(folder, 'second.key'),
      CHATELAINE_AUDIT_DIGEST_FILE: join(folder, 'second.digests'),
    };
    const password = 'correct-horse-battery-staple';
    const made = await run(
      ['setup', '--organisation', 'Second', '--slug', 'second', '--owner', 'root@second.example', '--password-stdin'],
      settings,
      password,
    );
    assert.equal(made.code, 0, made.err);
    const server = new Server(['serve'], settings);
    t.after(() => server.stop());
    const url = settings.CHATELAINE_PUBLIC_URL;
    await within(20_000, 'the second server', () => fetch(`${url}/healthz`).then((r) => r.ok, () => false));
    const second = { ...home, CHATELAINE_URL: url, CHATELAINE_TOKEN: await ownersToken(url, password) };

    await t.test('applied to an empty server it makes the same organisation', async () => {
      const blind = await run(['apply', '-f', org], second);
      assert.equal(blind.code, 2, 'without a terminal it wants --yes');
      const poor = await run(['apply', '-f', org, '--yes'], second);
      assert.equal(poor.code, 2);
      assert.match(poor.err, /ACME_SSO_CLIENT_SECRET/);
      const applied = await run(['apply', '-f', org, '--yes'], { ...second, ACME_SSO_CLIENT_SECRET: 'canary-secret' });
      assert.equal(applied.code, 0, applied.err);
      assert.doesNotMatch(applied.out + applied.err, /canary-secret/);
      const again = await run(['export'], second);
      assert.equal(again.out, readFileSync(org, 'utf8'), 'byte for byte');
      const connections = JSON.parse((await run(['connections', 'list', '-o', 'json'], second)).out);
      assert.equal(connections.filter((one) => one.kind === 'password').length, 1, 'matched, not doubled');
    });

    await t.test('a second apply changes nothing', async () => {
      const newest = async () => JSON.parse((await run(['audit', 'list', '--limit', '1', '-o', 'json'], second)).out)[0];
      const before = await newest();
      const applied = await run(['apply', '-f', org, '--yes'], second);
      assert.equal(applied.code, 0, applied.err);
      assert.match(applied.err, /Nothing to do/);
      const events = JSON.parse(
        (await run(['audit', 'list', '--limit', '50', '-o', 'json'], second)).out,
      ).filter((event) => event.seq > before.seq && !event.action.startsWith('audit.'));
      assert.deepEqual(events.map((event) => event.action), []);
    });

    await t.test('a change is shown as a difference and applied as one', async () => {
      writeFileSync(org, readFileSync(org, 'utf8').replace('name: Lab notes', 'name: Notebook\n        previously: Lab notes'));
      const diff = await run(['diff', '-f', org], second);
      assert.equal(diff.code, 2, diff.err);
      assert.match(diff.out, /~ update app Labs\/Notebook[\s\S]*- name: Lab notes[\s\S]*\+ name: Notebook/);
      const applied = await run(['apply', '-f', org, '--yes', '-o', 'json'], second);
      assert.equal(applied.code, 0, applied.err);
      assert.deepEqual(JSON.parse(applied.out).applied, ['updated app Labs/Notebook']);
      assert.equal((await run(['diff', '-f', org, '--prune'], second)).code, 0);
    });
  });
}
