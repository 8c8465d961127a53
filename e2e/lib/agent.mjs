// A real agent: the MCP TypeScript SDK with its own OAuth, and a loopback address for the code.
import assert from 'node:assert/strict';
import http from 'node:http';
import { once } from 'node:events';
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

export { UnauthorizedError };

export class Agent {
  /** `authorize(url, redirectUri)` opens the page for the person; the code arrives at the loopback address. */
  constructor(url, { name = 'Story agent', authorize }) {
    Object.assign(this, { url: new URL(url), name, authorize, requests: [] });
  }

  async start(t) {
    this.codes = [];
    this.waiting = [];
    this.callback = http.createServer((request, response) => {
      const url = new URL(request.url, this.redirectUri);
      response.setHeader('content-type', 'text/html').end('<!doctype html><title>Done</title><p>Done.');
      if (url.pathname !== '/callback') return;
      const waiting = this.waiting.shift();
      if (waiting) waiting(url.searchParams);
      else this.codes.push(url.searchParams);
    });
    this.callback.listen(0, '127.0.0.1');
    await once(this.callback, 'listening');
    this.redirectUri = `http://127.0.0.1:${this.callback.address().port}/callback`;
    t.after(async () => {
      await this.client?.close().catch(() => {});
      this.callback.closeAllConnections();
      this.callback.close();
    });
    this.provider = this.#provider();
    return this;
  }

  #provider() {
    const agent = this;
    return {
      get redirectUrl() { return agent.redirectUri; },
      get clientMetadata() {
        return {
          client_name: agent.name,
          redirect_uris: [agent.redirectUri],
          grant_types: ['authorization_code', 'refresh_token'],
          response_types: ['code'],
          token_endpoint_auth_method: 'none',
        };
      },
      state() { return (agent.state = crypto.randomUUID()); },
      clientInformation: () => agent.registration,
      saveClientInformation: (registration) => { agent.registration = registration; },
      tokens: () => agent.tokens,
      saveTokens: (tokens) => { agent.tokens = tokens; },
      redirectToAuthorization: (url) => { agent.authorizationUrl = url; },
      saveCodeVerifier: (verifier) => { agent.verifier = verifier; },
      codeVerifier: () => agent.verifier,
    };
  }

  #transport() {
    return new StreamableHTTPClientTransport(this.url, {
      authProvider: this.provider,
      fetch: async (url, init) => {
        const answer = await fetch(url, init);
        this.requests.push(`${init?.method ?? 'GET'} ${url} ${answer.status}`);
        return answer;
      },
    });
  }

  async #open() {
    const transport = this.#transport();
    const client = new Client({ name: this.name, version: '1.0.0' });
    await client.connect(transport);
    this.client = client;
    return client;
  }

  /** Connects, authorizing first when the server asks for it. */
  async connect() {
    try {
      return await this.#open();
    } catch (error) {
      if (!(error instanceof UnauthorizedError) || !this.authorizationUrl) throw error;
    }
    const arrived = new Promise((resolve) => {
      const early = this.codes.shift();
      if (early) resolve(early);
      else this.waiting.push(resolve);
    });
    await this.authorize(this.authorizationUrl, this.redirectUri);
    this.answer = await arrived;
    assert.equal(this.answer.get('state'), this.state, 'the state comes back as it was sent');
    const code = this.answer.get('code');
    assert.ok(code, `no code: ${this.answer}`);
    await this.#transport().finishAuth(code);
    return this.#open();
  }

  /** Calls a tool and returns what it answered as data. */
  async call(name, args = {}) {
    const result = await this.client.callTool({ name, arguments: args });
    return result.structuredContent ?? result;
  }
}
