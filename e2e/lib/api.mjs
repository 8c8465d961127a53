// The admin REST API, as automation uses it.
import assert from 'node:assert/strict';

export class Api {
  constructor(controlUrl, token) {
    this.base = `${controlUrl.replace(/\/$/, '')}/api/v1`;
    this.token = token;
  }

  async raw(method, path, { body, headers = {} } = {}) {
    return fetch(this.base + path, {
      method,
      headers: {
        authorization: `Bearer ${this.token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  }

  async call(method, path, options) {
    const answer = await this.raw(method, path, options);
    const text = await answer.text();
    assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
    return text === '' ? null : JSON.parse(text);
  }

  get(path) {
    return this.call('GET', path);
  }

  post(path, body) {
    return this.call('POST', path, { body });
  }

  delete(path) {
    return this.call('DELETE', path);
  }

  /** Changes what was just read, and nothing else. */
  async patch(path, body) {
    const before = await this.raw('GET', path);
    assert.equal(before.status, 200, `GET ${path}`);
    const etag = before.headers.get('etag');
    return this.call('PATCH', path, { body, headers: etag ? { 'if-match': etag } : {} });
  }

  /** Every item of a list. */
  async list(path) {
    const items = [];
    let next = null;
    do {
      const glue = path.includes('?') ? '&' : '?';
      const page = await this.get(`${path}${glue}limit=200${next ? `&cursor=${encodeURIComponent(next)}` : ''}`);
      items.push(...page.items);
      next = page.next;
    } while (next);
    return items;
  }

  /** The audit export, parsed. */
  async exported(query = '') {
    const answer = await this.raw('GET', `/audit/export?format=ndjson${query}`);
    assert.equal(answer.status, 200, 'the audit export');
    assert.match(answer.headers.get('content-type') ?? '', /ndjson/);
    const text = await answer.text();
    return text.split('\n').filter((line) => line !== '').map((line) => JSON.parse(line));
  }
}

/** Tries until `probe` gives something true; fails after `millis`. Returns how long it took. */
export async function within(millis, what, probe) {
  const start = performance.now();
  for (;;) {
    const result = await probe();
    const took = performance.now() - start;
    if (result) return { result, took };
    assert.ok(took < millis, `${what}: not within ${millis} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
