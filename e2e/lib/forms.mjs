// A person without a screen: follows redirects, keeps cookies, fills in forms. For where Chromium adds nothing.
import assert from 'node:assert/strict';
import http from 'node:http';

/** One request as node sends it, to `target` if it is to reach another process than the URL names. */
export function request(url, { method = 'GET', headers = {}, body, target, agent = false } = {}) {
  const to = new URL(url);
  return new Promise((resolve, reject) => {
    const sent = http.request({
      host: '127.0.0.1',
      port: target ?? (to.port || 80),
      method,
      path: to.pathname + to.search,
      headers: { host: to.host, ...headers, ...(body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }) },
      agent,
    }, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (chunk) => { text += chunk; });
      answer.on('end', () => resolve({ status: answer.statusCode, headers: answer.headers, text }));
      answer.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

/** Follows redirects to a page; its status and address. */
export async function open(person, url) {
  let at = url;
  for (let step = 0; step < 20; step += 1) {
    const answer = await person.send(at);
    if (!answer.headers.location) return { status: answer.status, at, text: answer.text };
    at = new URL(answer.headers.location, at).href;
  }
  throw new Error(`going round in circles at ${at}`);
}

export class Person {
  constructor({ username, password }) {
    Object.assign(this, { username, password, cookies: new Map() });
  }

  async send(url, { method = 'GET', fields } = {}) {
    const answer = await request(url, {
      method,
      headers: {
        accept: 'text/html',
        'sec-fetch-mode': 'navigate',
        'sec-fetch-dest': 'document',
        cookie: [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; '),
        ...(fields ? {
          'content-type': 'application/x-www-form-urlencoded',
          origin: new URL(url).origin,
          'sec-fetch-site': 'same-origin',
        } : {}),
      },
      body: fields ? new URLSearchParams(fields).toString() : undefined,
    });
    for (const cookie of answer.headers['set-cookie'] ?? []) {
      const [pair] = cookie.split(';');
      const at = pair.indexOf('=');
      if (pair.slice(at + 1) === '') this.cookies.delete(pair.slice(0, at));
      else this.cookies.set(pair.slice(0, at), pair.slice(at + 1));
    }
    return answer;
  }

  /** Opens `url` and does what each page asks for until it is sent to `redirectUri`; returns that URL. */
  async authorize(url, redirectUri, decision = 'allow') {
    let at = String(url);
    let answer = await this.send(at);
    for (let step = 0; step < 20; step += 1) {
      if (answer.headers.location) {
        at = new URL(answer.headers.location, at).href;
        if (at.startsWith(redirectUri)) return new URL(at);
        answer = await this.send(at);
        continue;
      }
      const form = findForm(answer.text);
      assert.ok(answer.status === 200 && form, `no way on from ${at}: ${answer.status}\n${answer.text}`);
      const fields = form.fields.map(([name, value]) =>
        [name, { username: this.username, password: this.password }[name] ?? value]);
      if (form.decides) fields.push(['decision', decision]);
      at = new URL(form.action, at).href;
      answer = await this.send(at, { method: 'POST', fields });
    }
    throw new Error(`going round in circles at ${at}`);
  }
}

function findForm(html) {
  for (const [, attributes, inner] of html.matchAll(/<form([^>]*)>([\s\S]*?)<\/form>/g)) {
    const decides = /name="decision"/.test(inner);
    if (!decides && !/name="password"/.test(inner)) continue;
    const fields = [...inner.matchAll(/<input([^>]*)>/g)]
      .map(([, input]) => [attribute(input, 'name'), attribute(input, 'value') ?? ''])
      .filter(([name]) => name);
    return { action: attribute(attributes, 'action') ?? '', fields, decides };
  }
  return null;
}

function attribute(tag, name) {
  const found = tag.match(new RegExp(`\\s${name}="([^"]*)"`));
  return found?.[1].replace(/&(#x?[0-9a-f]+|amp|lt|gt|quot|apos);/gi, (_, entity) => {
    const named = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }[entity];
    if (named) return named;
    return String.fromCodePoint(entity[1] === 'x' ? parseInt(entity.slice(2), 16) : Number(entity.slice(1)));
  });
}
