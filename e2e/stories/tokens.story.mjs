// Single use, one successor, no fork: against the real server, in parallel.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { within } from '../lib/api.mjs';
import { startDemo } from '../lib/demo.mjs';
import { initialize, newCode, newToken, redeem, refresh } from '../lib/oauth.mjs';
import { freshDatabase } from '../lib/postgres.mjs';

story('SQLite', 8140, () => undefined);
story('PostgreSQL', 8160, freshDatabase);

function story(engine, portBase, database) {
  test(`codes and refresh tokens under pressure (${engine})`, async (t) => {
    const demo = await startDemo(t, { portBase, databaseUrl: await database(t) });
    const tickets = demo.app('Production', 'mcp');

    await t.test('CD8: 50 parallel redemptions of one code give one 200', async () => {
      const code = await newCode(demo, tickets);
      const answers = await Promise.all(Array.from({ length: 50 }, () => redeem(code)));
      assert.equal(answers.filter((one) => one.status === 200).length, 1);
      for (const one of answers.filter((each) => each.status !== 200)) assert.equal(one.error, 'invalid_grant');
    });

    await t.test('CD6: a replayed code is refused and ends what it yielded', async () => {
      const code = await newCode(demo, tickets);
      const tokens = await redeem(code);
      assert.equal(tokens.status, 200);
      assert.equal(await initialize(tickets.url, tokens.access_token), 200);
      assert.equal((await redeem(code)).error, 'invalid_grant');
      await within(5000, 'the end of the first tokens', async () =>
        (await initialize(tickets.url, tokens.access_token)) === 401);
      assert.equal((await refresh({ ...tokens, ...code, client_id: code.clientId })).error, 'invalid_grant');
    });

    await t.test('RT2: 20 parallel refreshes give one successor, and nobody is logged out', async () => {
      const tokens = await newToken(demo, tickets);
      const answers = await Promise.all(Array.from({ length: 20 }, () => refresh(tokens)));
      for (const one of answers) assert.equal(one.status, 200, JSON.stringify(one));
      const successors = new Set(answers.map((one) => one.refresh_token));
      assert.equal(successors.size, 1);
      const [next] = successors;
      assert.equal((await refresh({ ...tokens, refresh_token: next })).status, 200);
      assert.equal(await initialize(tickets.url, answers[7].access_token), 200);
    });

    await t.test('RT4: switching Managed OAuth off ends agents within 5 s', async () => {
      const tokens = await newToken(demo, tickets);
      assert.equal(await initialize(tickets.url, tokens.access_token), 200);
      await demo.api.patch(`/apps/${tickets.id}`, { managed_oauth: false });
      const { took } = await within(5000, 'the refusal', async () =>
        (await initialize(tickets.url, tokens.access_token)) === 401);
      t.diagnostic(`switched off: refused after ${took.toFixed(0)} ms`);
    });
  });
}
