// Webhooks and service tokens against the real server; signatures are verified by the reference library.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { test } from 'node:test';
import { Webhook } from 'standardwebhooks';
import { within } from '../lib/api.mjs';
import { scratch, startDemo } from '../lib/demo.mjs';

const PORT_BASE = 8420;

/** Whoever receives: keeps what arrived, answers as it is told. */
async function receiver(t) {
  const seen = [];
  const answers = [];
  const server = createServer((request, response) => {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => {
      seen.push({ headers: request.headers, body: Buffer.concat(chunks).toString('utf8') });
      const answer = answers.shift() ?? 204;
      if (answer !== 'never') response.writeHead(answer).end();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}/hook`, seen, answers };
}

test('webhooks: an admin\'s change arrives, signed, again after a failure, and once more on request', async (t) => {
  const demo = await startDemo(t, { portBase: PORT_BASE });
  const there = await receiver(t);
  const hook = await demo.api.post('/webhooks', {
    name: 'SIEM', url: there.url, events: ['group.', 'service_token.'], allow_internal: true,
  });
  const path = `/webhooks/${hook.id}`;
  const library = new Webhook(hook.secret);
  const arrived = async (n, millis = 5000) => {
    await within(millis, `${n} deliveries`, () => there.seen.length >= n);
    return there.seen.at(-1);
  };

  await t.test('a test event shows its outcome at once', async () => {
    const shown = await demo.api.post(`${path}/test`);
    assert.equal(shown.state, 'succeeded');
    assert.equal(shown.status, 204);
    const { headers, body } = await arrived(1);
    const event = library.verify(body, headers);
    assert.equal(event.type, 'webhook.test');
    assert.equal(event.data.id, headers['webhook-id']);
  });

  await t.test('the library refuses what is not genuine', () => {
    const { headers, body } = there.seen[0];
    assert.throws(() => library.verify(`${body} `, headers));
    assert.throws(() => library.verify(body, { ...headers, 'webhook-id': 'evt_x' }));
    assert.throws(() => new Webhook('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw').verify(body, headers));
  });

  let group;
  await t.test('a change arrives within seconds, as it is in the log', async () => {
    group = await demo.api.post('/groups', { account: demo.account('Production').id, name: 'Night shift' });
    const { headers, body } = await arrived(2);
    const event = library.verify(body, headers);
    assert.equal(event.type, 'group.create');
    assert.equal(event.data.target.id, group.id);
    const { response: _, ...logged } = await demo.api.get(`/audit/${event.data.id}`);
    assert.deepEqual(event.data, logged);
  });

  await t.test('what the receiver refuses is sent again, with the same id', async () => {
    there.answers.push(500);
    await demo.api.patch(`/groups/${group.id}`, { name: 'Day shift' });
    const first = await arrived(3);
    const { result } = await within(5000, 'the failure', async () => {
      const [newest] = (await demo.api.get(`${path}/deliveries`)).items;
      return newest.status === 500 && newest;
    });
    assert.equal(result.state, 'pending');
    const second = await arrived(4, 20_000);
    assert.equal(second.headers['webhook-id'], first.headers['webhook-id']);
    assert.equal(second.body, first.body);
    library.verify(second.body, second.headers);
    await within(5000, 'success', async () =>
      (await demo.api.get(`${path}/deliveries/${result.id}`)).state === 'succeeded');
  });

  await t.test('a delivery is sent once more on request', async () => {
    const [newest] = (await demo.api.get(`${path}/deliveries`)).items;
    await demo.api.post(`${path}/deliveries/${newest.id}/replay`);
    const again = await arrived(5);
    assert.equal(again.headers['webhook-id'], newest.event);
    library.verify(again.body, again.headers);
  });

  await t.test('after a rotation both secrets verify', async () => {
    const rotated = await demo.api.post(`${path}/rotate-secret`, { overlap_seconds: 600 });
    await demo.api.post(`${path}/test`);
    const { headers, body } = await arrived(6);
    for (const secret of [hook.secret, rotated.secret]) new Webhook(secret).verify(body, headers);
  });

  await t.test('no secret is in the log', async () => {
    const log = JSON.stringify(await demo.api.exported());
    assert.ok(!log.includes(hook.secret.slice('whsec_'.length)));
  });
});

test('webhooks: what was on its way when the process was killed arrives after it', async (t) => {
  const data = scratch(t, 'webhooks');
  const start = () => startDemo(null, { portBase: PORT_BASE + 40, data, keep: true });
  let running = await start();
  t.after(() => running.stop());
  const there = await receiver(t);
  const hook = await running.api.post('/webhooks', {
    name: 'SIEM', url: there.url, events: ['group.'], allow_internal: true,
  });
  there.answers.push('never');
  await running.api.post('/groups', { account: running.account('Production').id, name: 'Night shift' });
  await within(5000, 'the first attempt', () => there.seen.length === 1);
  await running.kill9();
  running = await start();
  // The attempt that nobody finished is somebody else's after half a minute.
  const { took } = await within(60_000, 'the second attempt', () => there.seen.length === 2);
  t.diagnostic(`delivered ${(took / 1000).toFixed(0)} s after the start`);
  const [first, second] = there.seen;
  assert.equal(second.headers['webhook-id'], first.headers['webhook-id']);
  new Webhook(hook.secret).verify(second.body, second.headers);
  await within(5000, 'success', async () =>
    (await running.api.get(`/webhooks/${hook.id}/deliveries`)).items[0].state === 'succeeded');
});

test('service tokens: a machine reaches the ticket server, and not any more once it is rotated away', async (t) => {
  const demo = await startDemo(t, { portBase: PORT_BASE + 20 });
  const tickets = demo.app('Production', 'mcp');
  const account = demo.account('Production').id;
  const token = await demo.api.post('/service-tokens', { account, name: 'Nightly job' });
  const call = async (secret, app = tickets) => {
    const answer = await fetch(app.url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        'chatelaine-client-id': token.id,
        'chatelaine-client-secret': secret,
      },
      body: JSON.stringify({
        jsonrpc: '2.0', id: 1, method: 'initialize',
        params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'job', version: '1' } },
      }),
    });
    await answer.text();
    return answer.status;
  };

  await t.test('without a policy for machines it is refused', async () => {
    assert.equal(await call(token.client_secret), 403);
    const [event] = (await demo.api.get(`/audit?action=gateway.request&q=${token.id}`)).items;
    assert.equal(event.reason, 'no_policy_matched');
    assert.equal(event.actor.kind, 'service');
    assert.equal(event.actor.service_token_name, 'Nightly job');
  });

  await t.test('a policy of the account does not get it past the organisation\'s floor', async () => {
    const policy = await demo.api.post('/policies', {
      account, name: 'Nightly job', decision: 'service_auth',
      include: [{ type: 'service_token', service_token: token.id }],
    });
    const app = await demo.api.get(`/apps/${tickets.id}`);
    await demo.api.patch(`/apps/${tickets.id}`, { policies: [policy.id, ...app.policies] });
    assert.equal(await call(token.client_secret), 403);
    const [event] = (await demo.api.get(`/audit?action=gateway.request&q=${token.id}`)).items;
    assert.equal(event.reason, 'organisation_floor');
  });

  await t.test('once the floor lets machines in, it comes through, and the origin accepts the assertion', async () => {
    await demo.api.patch('/organisation', { floor: [] });
    await within(5000, 'the way in', async () => (await call(token.client_secret)) === 200);
    const { result } = await within(5000, 'the noted use', async () => {
      const shown = await demo.api.get(`/service-tokens/${token.id}`);
      return shown.last_used_app && shown;
    });
    assert.equal(result.last_used_app, tickets.id);
  });

  await t.test('it is nothing in another account', async () => {
    assert.equal(await call(token.client_secret, demo.app('Labs', 'mcp')), 401);
  });

  await t.test('a rotation without overlap ends the old secret', async () => {
    const rotated = await demo.api.post(`/service-tokens/${token.id}/rotate`, { overlap_seconds: 0 });
    const { took } = await within(5000, 'the end of the old secret', async () =>
      (await call(token.client_secret)) === 401);
    t.diagnostic(`rotated: refused after ${took.toFixed(0)} ms`);
    assert.equal(await call(rotated.client_secret), 200);
  });
});
