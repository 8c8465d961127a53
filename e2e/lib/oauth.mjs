// The protocol by hand: for where a story needs a token rather than a client.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { Person } from './forms.mjs';

const REDIRECT = 'http://127.0.0.1:9/callback';

/** Registers a client and gets tokens of a grant by `user` (the allowed employee if absent). */
export async function newToken(demo, app, { user = demo.employee, name = 'By hand' } = {}) {
  const { issuer } = await demo.api.get(`/apps/${app.id}`);
  const registered = await fetch(`${issuer}/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      client_name: name,
      redirect_uris: [REDIRECT],
      grant_types: ['authorization_code', 'refresh_token'],
      token_endpoint_auth_method: 'none',
    }),
  });
  assert.equal(registered.status, 201);
  const { client_id: clientId } = await registered.json();
  const verifier = randomBytes(32).toString('base64url');
  const url = new URL(`${issuer}/authorize`);
  url.search = new URLSearchParams({
    response_type: 'code',
    client_id: clientId,
    redirect_uri: REDIRECT,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    resource: app.url,
    state: 'story',
  });
  const back = await new Person(user).authorize(url, REDIRECT);
  const code = back.searchParams.get('code');
  assert.ok(code, back.href);
  const answer = await fetch(`${issuer}/token`, {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'authorization_code',
      code,
      redirect_uri: REDIRECT,
      client_id: clientId,
      code_verifier: verifier,
      resource: app.url,
    }),
  });
  assert.equal(answer.status, 200);
  return { ...(await answer.json()), client_id: clientId, issuer };
}
