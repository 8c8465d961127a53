// Agents that are known by their metadata document, at a server that cannot fetch any.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startDemo } from '../lib/demo.mjs';
import { request } from '../lib/forms.mjs';
import { initialize, newToken, refresh } from '../lib/oauth.mjs';

const AGENTS = [
  ['Claude Code', 'https://claude.ai/oauth/claude-code-client-metadata', 'http://localhost:43117/callback'],
  ['Codex', 'https://chatgpt.com/oauth/codex/client.json', 'http://127.0.0.1:43118/callback'],
];

test('agents of the catalogue get in without a way out; others are told why not', async (t) => {
  const demo = await startDemo(t, { portBase: 8940, env: { CHATELAINE_METADATA_DOCUMENTS: 'off' } });
  const tickets = demo.app('Production', 'mcp');
  const { issuer } = await demo.api.get(`/apps/${tickets.id}`);
  const { origin, pathname } = new URL(issuer);
  const metadata = await (await fetch(`${origin}/.well-known/oauth-authorization-server${pathname}`)).json();
  assert.equal(metadata.client_id_metadata_document_supported, true);

  for (const [name, clientId, redirect] of AGENTS) {
    const tokens = await newToken(demo, tickets, { clientId, redirect });
    assert.equal(await initialize(tickets.url, tokens.access_token), 200, name);
    const next = await refresh(tokens);
    assert.equal(next.status, 200, JSON.stringify(next));
    const { items } = await demo.api.get(`/grants?app=${tickets.id}&state=active`);
    const grant = items.find((one) => one.client_name === name);
    assert.ok(grant, `${name}: ${items.map((one) => one.client_name)}`);
    await demo.api.delete(`/grants/${grant.id}`);
    assert.equal(await initialize(tickets.url, next.access_token), 401, `${name} after its grant was revoked`);
    assert.equal((await refresh({ ...next, client_id: clientId, issuer })).status, 400);
  }

  const unknown = new URL(`${issuer}/authorize`);
  unknown.search = new URLSearchParams({
    response_type: 'code',
    client_id: 'https://agent.invalid/client.json',
    redirect_uri: 'http://127.0.0.1:9/callback',
    code_challenge: 'x'.repeat(43),
    code_challenge_method: 'S256',
    resource: tickets.url,
  });
  const refused = await request(unknown.href, { headers: { accept: 'text/html' } });
  assert.equal(refused.status, 400);
  const { items } = await demo.api.get('/audit?action=client.document_refused');
  assert.equal(items[0]?.reason, 'fetching_off', JSON.stringify(items[0]));
  // Steps become attempts within a few seconds.
  let attempts = [];
  for (let tries = 0; tries < 50 && attempts.length === 0; tries += 1) {
    await new Promise((resolve) => { setTimeout(resolve, 200); });
    const { items: failed } = await demo.api.get(`/agent-attempts?app=${tickets.id}&state=failed`);
    attempts = failed.filter((one) => one.reason === 'document_unreadable');
  }
  assert.match(attempts[0]?.fix ?? '', /pin the document/, 'the recorder says what can be done');
});
