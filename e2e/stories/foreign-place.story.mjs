// A place belongs to whoever had it first, and the server is not sent to itself: against the real binary.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { test } from 'node:test';
import { Api, within } from '../lib/api.mjs';
import { startDemo } from '../lib/demo.mjs';
import { request } from '../lib/forms.mjs';

/** An HTTP server of somebody's own on this machine; `seen` is what reached it. */
async function listen(t, handle) {
  const seen = [];
  const server = http.createServer((incoming, answer) => {
    seen.push({ url: incoming.url, headers: incoming.headers });
    handle(incoming, answer);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { seen, url: `http://127.0.0.1:${server.address().port}` };
}

test('a foreign place is refused, and shared only on purpose', async (t) => {
  const demo = await startDemo(t, { portBase: 8820 });
  const wiki = demo.app('Production', 'web');
  const [production, labs] = ['Production', 'Labs'].map((name) => demo.account(name).id);
  const control = new URL(demo.info.control_url);

  // The worst case: nothing of the organisation stands in the way of an app that asks for nobody.
  await demo.api.patch('/organisation', { floor: [] });
  const made = await demo.api.post('/api-tokens', {
    name: 'an editor of Labs', account: labs, role: 'account_editor', scopes: ['read', 'write'],
  });
  const editor = new Api(demo.info.control_url, made.token);
  const open = await editor.post('/policies', {
    account: labs, name: 'Everybody', decision: 'bypass', include: [{ type: 'everyone' }],
  });
  const attacker = await listen(t, (_, answer) => answer.end('<script>steal()</script>'));
  const app = (more) => ({ account: labs, name: 'Hook', kind: 'web', origin_url: attacker.url, policies: [open.id], ...more });
  const events = async (action) => (await demo.api.get(`/audit?action=${action}`)).items;

  await t.test('below another account\'s app, by whatever spelling', async () => {
    const https = wiki.url.replace('http:', 'https:');
    for (const url of [`${wiki.url}/hook/x`, `${wiki.url}/hook`, `${https}/hook/x`]) {
      const answer = await editor.raw('POST', '/apps', { body: app({ public_url: url }) });
      assert.equal(answer.status, 409, url);
      const problem = await answer.json();
      assert.match(problem.detail, /belongs to a different account/);
      assert.ok(!problem.detail.includes('Production'), 'whose it is, is not told');
    }
    const refused = await events('host.refused');
    // One at once; the same again within a minute is counted in another.
    assert.equal(refused.length, 1);
    assert.equal(refused[0].outcome, 'denied');
    assert.equal(refused[0].reason, 'foreign_host');
    assert.equal(refused[0].account, labs);
    // The Wiki's cookies go to the Wiki.
    await request(`${wiki.url}/hook/x`, { headers: { cookie: 'theme=dark; wiki=secret' } });
    assert.deepEqual(attacker.seen, []);
  });

  await t.test('an administrator of the organisation shares it, after a look', async () => {
    const host = (await demo.api.list('/hosts')).find((one) => one.name === new URL(wiki.url).host);
    assert.equal(host.account, production);
    assert.equal((await editor.raw('PATCH', `/hosts/${host.id}`, { body: { shared_with: [labs] } })).status, 404);
    const preview = await demo.api.call('PATCH', `/hosts/${host.id}?dry_run=true`, { body: { shared_with: [labs] } });
    assert.equal(preview.changes[0].action, 'host.update');
    assert.equal(preview.impact.accounts, 2);
    assert.equal((await editor.raw('POST', '/apps', { body: app({ public_url: `${wiki.url}/hook/x` }) })).status, 409);
    await demo.api.patch(`/hosts/${host.id}`, { shared_with: [labs] });
    const hook = await editor.post('/apps', app({ public_url: `${wiki.url}/hook/x` }));
    const answer = await request(`${wiki.url}/hook/x`, { headers: { cookie: 'theme=dark' } });
    assert.equal(answer.status, 200);
    assert.equal(attacker.seen.length, 1, 'now that it is meant, it works');
    // And nobody can take it away from under the app.
    assert.equal((await demo.api.raw('PATCH', `/hosts/${host.id}`, { body: { shared_with: [] } })).status, 409);
    await editor.delete(`/apps/${hook.id}`);
    await demo.api.patch(`/hosts/${host.id}`, { shared_with: [] });
    assert.equal((await editor.raw('POST', '/apps', { body: app({ public_url: `${wiki.url}/hook/x` }) })).status, 409);
  });

  await t.test('own listener: refused when made', async () => {
    for (const host of ['localhost', '127.0.0.1', '[::ffff:127.0.0.1]', '2130706433']) {
      const body = app({ public_url: 'http://127.0.0.1:8899', origin_url: `http://${host}:${control.port}` });
      const answer = await editor.raw('POST', '/apps', { body });
      assert.equal(answer.status, 400, host);
      assert.match(JSON.stringify(await answer.json()), /itself/);
    }
    const hook = { name: 'Echo', url: `${demo.info.control_url}/x`, events: ['*'], allow_internal: true };
    assert.equal((await demo.api.raw('POST', '/webhooks', { body: hook })).status, 400);
    for (const origin of ['http://169.254.169.254', 'http://[fd00:ec2::254]', 'http://168.63.129.16']) {
      const body = app({ public_url: 'http://127.0.0.1:8899', origin_url: origin });
      assert.equal((await editor.raw('POST', '/apps', { body })).status, 400, origin);
    }
  });

  await t.test('own listener behind something else: refused at the second hop', async () => {
    const proxy = await listen(t, (incoming, answer) => {
      const again = http.request({
        host: '127.0.0.1', port: control.port, method: incoming.method, path: incoming.url, headers: incoming.headers, agent: false,
      }, (back) => {
        answer.writeHead(back.statusCode, back.headers);
        back.pipe(answer);
      });
      again.on('error', () => answer.destroy());
      incoming.pipe(again);
    });
    const place = 'http://127.0.0.1:8899';
    const loop = await editor.post('/apps', app({ public_url: place, origin_url: proxy.url }));
    const answer = await request(`${place}/`, { target: control.port });
    assert.equal(answer.status, 508, answer.text);
    assert.equal(proxy.seen.length, 1, 'one request stays one request');
    const { result } = await within(5000, 'its event', async () =>
      (await events('gateway.request')).find((one) => one.reason === 'loop_detected'));
    assert.equal(result.target.app, loop.id);
  });
});
