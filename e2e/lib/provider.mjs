// An OpenID provider that says what a story wants it to say.
import { createHash, createSign, generateKeyPairSync, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';

export const CLIENT = { client_id: 'chatelaine', client_secret: 'a-secret-between-two-servers' };

/** A provider that never says whose its answers are, as the largest do. `subject` is signed in there already. */
export async function provider(t, subject) {
  const server = http.createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const codes = new Map();
  const self = {
    issuer,
    /** Redirect URIs, compared byte for byte. */
    registered: [],
    /** Codes that came to the token endpoint, whoever gave them out. */
    redeemed: [],
    /** Where the authorization endpoint sends people in place of answering. */
    handOn: null,
    /** What else its ID tokens say. */
    claims: {},
    /** Whether the person works here; refresh tokens of those who do not are refused. */
    employed: true,
    /** Refresh tokens that came. */
    refreshed: [],
  };
  let refreshToken;
  const sign = (claims) => {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const text = `${part({ alg: 'RS256', kid: 'one', typ: 'JWT' })}.${part(claims)}`;
    return `${text}.${createSign('RSA-SHA256').update(text).sign(privateKey, 'base64url')}`;
  };
  const json = (answer, value, status = 200) => {
    answer.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  };
  server.on('request', async (request, answer) => {
    const url = new URL(request.url, issuer);
    switch (url.pathname) {
      case '/.well-known/openid-configuration':
        return json(answer, {
          issuer,
          authorization_endpoint: `${issuer}/authorize`,
          token_endpoint: `${issuer}/token`,
          jwks_uri: `${issuer}/jwks`,
          response_types_supported: ['code'],
          subject_types_supported: ['public'],
          id_token_signing_alg_values_supported: ['RS256'],
          token_endpoint_auth_methods_supported: ['client_secret_post'],
          code_challenge_methods_supported: ['S256'],
        });
      case '/jwks':
        return json(answer, { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'one', alg: 'RS256', use: 'sig' }] });
      case '/authorize': {
        const asked = Object.fromEntries(url.searchParams);
        if (self.handOn) {
          return answer.writeHead(302, { location: self.handOn(asked) }).end();
        }
        if (asked.client_id !== CLIENT.client_id || !self.registered.includes(asked.redirect_uri)) {
          return json(answer, { error: 'this redirect URI is not registered' }, 400);
        }
        const back = new URL(asked.redirect_uri);
        if (self.employed) {
          const code = randomUUID();
          codes.set(code, asked);
          back.searchParams.set('code', code);
        } else {
          back.searchParams.set('error', 'access_denied');
        }
        back.searchParams.set('state', asked.state);
        return answer.writeHead(302, { location: back.href }).end();
      }
      case '/token': {
        let body = '';
        for await (const chunk of request) body += chunk;
        const sent = Object.fromEntries(new URLSearchParams(body));
        if (sent.grant_type === 'refresh_token') {
          self.refreshed.push(sent.refresh_token);
          if (!self.employed || sent.refresh_token !== refreshToken || sent.client_secret !== CLIENT.client_secret) {
            return json(answer, { error: 'invalid_grant' }, 400);
          }
          refreshToken = randomUUID();
          return json(answer, { access_token: randomUUID(), token_type: 'Bearer', expires_in: 300, refresh_token: refreshToken });
        }
        self.redeemed.push(sent.code);
        const asked = codes.get(sent.code);
        codes.delete(sent.code);
        const shown = createHash('sha256').update(sent.code_verifier ?? '').digest('base64url');
        if (!asked || sent.client_secret !== CLIENT.client_secret || asked.redirect_uri !== sent.redirect_uri
          || asked.code_challenge !== shown) {
          return json(answer, { error: 'invalid_grant' }, 400);
        }
        const now = Math.floor(Date.now() / 1000);
        const id_token = sign({
          iss: issuer, aud: CLIENT.client_id, sub: subject, iat: now, exp: now + 300, auth_time: now, nonce: asked.nonce,
          email: `${subject}@acme.example`, email_verified: true, name: subject, ...self.claims,
        });
        const tokens = { access_token: randomUUID(), token_type: 'Bearer', expires_in: 300, id_token };
        if (asked.scope.split(' ').includes('offline_access')) tokens.refresh_token = refreshToken = randomUUID();
        return json(answer, tokens);
      }
      default:
        return json(answer, {}, 404);
    }
  });
  return self;
}
