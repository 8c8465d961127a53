// The protocol by hand: for where a story needs a token rather than a client.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { Person, request } from './forms.mjs';

const REDIRECT = 'http://127.0.0.1:9/callback';

/**
 * Gets a code of a grant by `user` (the allowed employee if absent), or in the browser of `person`: for a client that is known
 * as `clientId` already, or else registers.
 */
export async function newCode(demo, app, options = {}) {
  const { user = demo.employee, name = 'By hand', person = new Person(user), redirect = REDIRECT } = options;
  const { issuer } = await demo.api.get(`/apps/${app.id}`);
  const clientId = options.clientId ?? (await register(issuer, name));
  const verifier = randomBytes(32).toString('base64url');
  const url = new URL(`${issuer}/authorize`);
  url.search = new URLSearchParams({
    response_type: 'code',
    client_id: clientId,
    redirect_uri: redirect,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    resource: app.url,
    state: 'story',
  });
  const back = await person.authorize(url, redirect);
  const code = back.searchParams.get('code');
  assert.ok(code, back.href);
  return { code, verifier, clientId, issuer, redirect, resource: app.url };
}

async function register(issuer, name) {
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
  assert.equal(registered.status, 201, await registered.clone().text());
  return (await registered.json()).client_id;
}

/** Redeems a code; returns status and body. */
export function redeem({ code, verifier, clientId, issuer, redirect, resource }) {
  return tokenRequest(issuer, {
    grant_type: 'authorization_code',
    code,
    redirect_uri: redirect,
    client_id: clientId,
    code_verifier: verifier,
    resource,
  });
}

/** Uses a refresh token; returns status and body. */
export function refresh({ issuer, client_id: clientId, refresh_token: refreshToken }) {
  return tokenRequest(issuer, { grant_type: 'refresh_token', refresh_token: refreshToken, client_id: clientId });
}

async function tokenRequest(issuer, fields) {
  const answer = await fetch(`${issuer}/token`, { method: 'POST', body: new URLSearchParams(fields) });
  return { status: answer.status, ...(await answer.json()) };
}

/** Gets tokens of a new grant. */
export async function newToken(demo, app, options) {
  const code = await newCode(demo, app, options);
  const tokens = await redeem(code);
  assert.equal(tokens.status, 200, JSON.stringify(tokens));
  return { ...tokens, client_id: code.clientId, issuer: code.issuer };
}

/** The status of an MCP `initialize` with this token, at `port` if another process is meant. */
export async function initialize(url, token, port) {
  const answer = await request(url, {
    method: 'POST',
    target: port,
    headers: {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
    },
    body: JSON.stringify({
      jsonrpc: '2.0',
      id: 0,
      method: 'initialize',
      params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'story', version: '1' } },
    }),
  });
  return answer.status;
}
