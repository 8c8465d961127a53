// Whoever waits with the end of a request has at its end what holds then: against the real binary.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { test } from 'node:test';
import { Api } from '../lib/api.mjs';
import { startDemo } from '../lib/demo.mjs';

/** A request whose body is sent in two parts; `meanwhile` happens between them. */
async function inTwoParts(url, { method = 'POST', headers }, body, meanwhile) {
  const target = new URL(url);
  const asked = http.request({
    host: '127.0.0.1', port: target.port, path: target.pathname, method,
    headers: { host: target.host, 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), ...headers },
  });
  const answered = once(asked, 'response');
  asked.write(body.slice(0, 10));
  await new Promise((done) => { setTimeout(done, 500); });
  await meanwhile();
  asked.end(body.slice(10));
  const [answer] = await answered;
  let text = '';
  for await (const part of answer) text += part;
  return { status: answer.statusCode, text };
}

test('half a request is a ticket to nothing', async (t) => {
  const demo = await startDemo(t, { portBase: 8840 });
  const control = demo.info.control_url;
  const labs = demo.account('Labs').id;
  const policy = (name) => JSON.stringify({
    account: labs, name, decision: 'bypass', include: [{ type: 'everyone' }],
  });
  const token = async (name) => demo.api.post('/api-tokens', {
    name, account: labs, role: 'account_editor', scopes: ['read', 'write'],
  });

  await t.test('where nothing changes in between it is a request like others', async () => {
    const made = await token('stays');
    const headers = { authorization: `Bearer ${made.token}` };
    const answer = await inTwoParts(`${control}/api/v1/policies`, { headers }, policy('Slow'), async () => {});
    assert.equal(answer.status, 201, answer.text);
  });

  await t.test('an API token that is deleted before the last byte does nothing', async () => {
    const made = await token('goes');
    const headers = { authorization: `Bearer ${made.token}` };
    const gone = () => demo.api.delete(`/api-tokens/${made.id}`);
    const answer = await inTwoParts(`${control}/api/v1/policies`, { headers }, policy('Ghost'), gone);
    assert.equal(answer.status, 401, answer.text);
    const { items } = await demo.api.get('/policies');
    assert.ok(!items.some((one) => one.name === 'Ghost'));
    await assert.rejects(new Api(control, made.token).get('/policies'));
  });

  await t.test('what never comes is cut off, and larger than anything is refused', async () => {
    const made = await token('large');
    const headers = { authorization: `Bearer ${made.token}` };
    const large = JSON.stringify({ name: 'x'.repeat(1_100_000) });
    const answer = await fetch(`${control}/api/v1/policies`, {
      method: 'POST', headers: { ...headers, 'content-type': 'application/json' }, body: large,
    });
    assert.equal(answer.status, 413);
  });
});
