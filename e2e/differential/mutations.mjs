// Requests that try to have an origin do what the gateway does not see: a forbidden method, path or tool, written in the ways
// that servers read differently. The same seed makes the same requests.

/** A small generator of numbers that can be repeated (mulberry32). */
export function random(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const below = (n) => Math.floor(next() * n);
  return { below, one: (list) => list[below(list.length)], chance: (share) => next() < share };
}

const hex = (byte, r) => {
  const text = byte.toString(16).padStart(2, '0');
  return `%${r.chance(0.5) ? text.toUpperCase() : text}`;
};

const PATHS = [
  (path, r) => path.split('').map((c) => (r.chance(0.3) ? c.toUpperCase() : c)).join(''),
  (path, r) => path.split('').map((c) => (c !== '/' && r.chance(0.3) ? hex(c.charCodeAt(0), r) : c)).join(''),
  (path, r) => path.split('').map((c) => (r.chance(0.2) ? hex(c.charCodeAt(0), r) : c)).join(''),
  (path, r) => path.replace(/%/g, '%25') + (r.chance(0.5) ? '' : '%00'),
  (path) => `/${path}`,
  (path, r) => `/open${r.one(['/..', '/.;/..', '/%2e%2e', '/.%2e', '\\..', '/..;', '/%252e%252e', '/..%c0%af..', '/..%2f..'])}${path}`,
  (path, r) => path.replace('/', r.one(['/./', '//', '/;x/', '/%2f', '\\', '/%5c', '/\t', '/%09', '/%20', '/\u00a0', '/.//'])),
  (path, r) => `${path}${r.one(['/', '/.', '%20', '.', ';', ';a=b', '/..', '/%2e', '?', '#', '%00', '/x/../y', '.json', '::$DATA', '%0a'])}`,
  (path, r) => path.replace('s', r.one(['\u017f', '%c5%bf', '%73', '%u0073', '\uff53', '%EF%BD%93', '%f3%a0%81%b3'])),
  (path) => `http://${HOST}${path}`,
  (path, r) => `http://${r.one(['other', 'user@HOST', 'HOST:80', 'HOST.'])}${path}`.replace('HOST', HOST),
  (path, r) => `/open?${r.one(['path', 'url', 'file', '_url'])}=${path}`,
  (path) => `/open${path}`,
];
export const HOST = '{host}';

const HEADERS = [
  (r, path) => [r.one(['X-Original-URL', 'X-Rewrite-URL', 'X-Forwarded-Path', 'X-Forwarded-Prefix', 'X-Envoy-Original-Path',
    'X-HTTP-DestinationURL', 'X-Accel-Redirect', 'X-Original-Uri', 'X_Original_Url']), path],
  (r) => [r.one(['X-HTTP-Method-Override', 'X-HTTP-Method', 'X-Method-Override', 'X_HTTP_Method_Override']), 'DELETE'],
  (r, path) => ['Destination', r.one([path, `http://${HOST}${path}`, `http://other${path}`, `/open/..${path}`])],
  (r) => ['Transfer-Encoding', r.one(['chunked', 'Chunked', ' chunked', 'xchunked', 'chunked, identity', 'identity', 'gzip, chunked'])],
  (r) => ['Content-Length', String(r.below(60))],
  (r) => ['Connection', r.one(['Host', 'Content-Length', 'keep-alive, X-Real-IP', 'Transfer-Encoding', 'Authorization'])],
  (r) => ['Upgrade', r.one(['h2c', 'websocket', 'TLS/1.0'])],
  (r) => ['Expect', '100-continue'],
  (r) => ['Content-Encoding', r.one(['gzip', 'identity', 'br', 'deflate'])],
  (r) => ['Host', r.one(['other.localhost', '', `${HOST}/secret`])],
];

const METHODS = ['GET', 'POST', 'HEAD', 'PUT', 'PATCH', 'OPTIONS', 'DELETE', 'delete', 'Delete', 'dELETE', 'COPY', 'MOVE', 'PROPFIND',
  'TRACE', 'CONNECT', 'DELETE\t', ' DELETE', 'PURGE', 'QUERY', 'G\u00cbT', 'post', 'get'];

function lines(method, target, headers, body) {
  const head = [`${method} ${target} HTTP/1.1`, ...headers.map(([name, value]) => `${name}: ${value}`), '', ''].join('\r\n');
  return Buffer.concat([Buffer.from(head, 'utf8'), Buffer.isBuffer(body) ? body : Buffer.from(body ?? '', 'utf8')]);
}

/** A request that may come to `/secret/…`, or delete something. */
export function webRequest(r) {
  let path = r.one(['/secret/x', '/secret', '/secret/deep/er']);
  let method = r.chance(0.6) ? 'GET' : r.one(METHODS);
  if (r.chance(0.25)) {
    path = r.one(['/open/x', '/']);
    method = r.one(['DELETE', 'delete', 'Delete', 'POST', ...METHODS]);
  }
  for (let times = 1 + r.below(2); times > 0; times -= 1) if (r.chance(0.8)) path = r.one(PATHS)(path, r);
  const headers = [['Host', HOST], ['Connection', 'close']];
  for (let times = r.below(3); times > 0; times -= 1) headers.push(r.one(HEADERS)(r, '/secret/x'));
  let body = '';
  if (['POST', 'PUT', 'PATCH', 'post', 'QUERY'].includes(method)) {
    body = r.one(['_method=DELETE', '', 'a=b', '0\r\n\r\nGET /secret/x HTTP/1.1\r\nHost: x\r\n\r\n', '5\r\nhello\r\n0\r\n\r\n']);
    if (body.startsWith('_method') && r.chance(0.5)) return webRequest(r);
    headers.push(['Content-Type', 'application/x-www-form-urlencoded']);
    if (r.chance(0.8)) headers.push(['Content-Length', String(Buffer.byteLength(body))]);
  }
  return lines(method, path.replace(/[\r\n]/g, ''), headers, body);
}

const utf7 = (text) => text.replace(/["{}\[\]:,]/g, (c) => {
  const bytes = Buffer.from([0, c.charCodeAt(0)]).toString('base64').replace(/=+$/, '');
  return `+${bytes}-`;
});

const call = (tool) => `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"${tool}","arguments":{}}}`;
const ping = '{"jsonrpc":"2.0","id":1,"method":"ping"}';

const BODIES = [
  () => call('danger'),
  () => call('harmless'),
  () => ping,
  (r) => `[${[call('harmless'), call('danger'), ping].slice(r.below(2)).join(',')}]`,
  (r) => call('danger').replace('"name"', r.one(['"Name"', '"NAME"', '"n\\u0061me"', '"name":"harmless","name"', '"name\\u0000"', '"na\u200bme"'])),
  (r) => call('danger').replace('"method"', r.one(['"Method"', '"m\\u0065thod"', '"method":"ping","method"', '"METHOD"', '"method ":"ping","method"'])),
  (r) => call('harmless').replace('"params"', r.one([`"params":{"name":"danger"},"params"`, '"Params":{"name":"danger"},"params"', '"param\u017f":{"name":"danger"},"params"'])),
  (r) => call('danger').replace('danger', r.one(['d\\u0061nger', 'dang\\u0065r', 'danger\\u0000', 'danger ', ' danger', 'Danger', 'danger\\n', '\uff44anger', 'danger\u200b'])),
  (r) => `${r.one(['\ufeff', ' ', '\u00a0', '\u2028', '/**/', '//\n', '\u0000'])}${call('danger')}`,
  (r) => `${ping}${r.one(['\n', ',', '', '\u0000', '\r\n'])}${call('danger')}`,
  () => `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"${utf7('"}},"method":"tools/call","params":{"name":"danger","arguments":{}},"y":"')}"}}`,
  () => utf7(call('danger')),
  (r) => Buffer.from(call('danger'), r.one(['utf16le', 'latin1'])),
  () => Buffer.concat([Buffer.from('{"jsonrpc":"2.0","id":1,"method":"ping","x":"'), Buffer.from([0xff, 0xc0, 0xaf]), Buffer.from('"}')]),
  (r) => call('danger').replace('"2.0"', r.one(['"2.0","result":{}', '"1.0"', '2.0', '"2.0","error":{}'])),
  (r) => call('danger').replace('"id":1', r.one(['"id":null', '"id":"x"', '"id":[1]', '"id":1e400', '"id":NaN'])),
  () => `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["danger",{}]}`,
  () => `{"jsonrpc":"2.0","id":1,"method":["tools/call"],"params":{"name":"danger"}}`,
  () => `{"jsonrpc":"2.0","id":1,"method":"tools\\/call","params":{"name":"danger","arguments":{}}}`,
];

const TYPES = ['application/json', 'application/json', 'application/json; charset=utf-8', 'application/json; charset=utf-7',
  'application/json; charset=utf-16', 'application/json;charset=UTF-16LE', 'application/json; charset="utf-7"', 'Application/JSON ; Charset=utf-7',
  'application/json; charset=utf-8; charset=utf-7', 'application/json, text/plain', 'text/plain', 'text/json', 'application/vnd.api+json',
  'application/x-www-form-urlencoded', '', 'application/json; charset=latin1', 'application/json;', 'application/json; boundary=x'];

/** A request that may call the tool `danger`. */
export function mcpRequest(r) {
  const made = r.one(BODIES)(r);
  const body = Buffer.isBuffer(made) ? made : Buffer.from(made, 'utf8');
  const method = r.chance(0.75) ? 'POST' : r.one(['post', 'Post', 'PUT', 'PATCH', 'GET', 'DELETE', 'QUERY', 'OPTIONS', 'POST\t', 'pOST']);
  const path = r.chance(0.85) ? '/mcp' : r.one(['/mcp/', '/MCP', '/mcp?x', '/./mcp', '//mcp', '/mcp%2f', '/mcp;x', '/mc%70', '/other/../mcp', '/']);
  const headers = [['Host', HOST], ['Connection', 'close'], ['Accept', 'application/json, text/event-stream']];
  headers.push(['Content-Type', r.chance(0.5) ? 'application/json' : r.one(TYPES)]);
  if (r.chance(0.1)) headers.push(['Content-Type', r.one(TYPES)]);
  if (r.chance(0.1)) headers.push([r.one(['Mcp-Method', 'mcp-method']), r.one(['ping', 'tools/call', 'tools/list'])]);
  if (r.chance(0.1)) headers.push(['Mcp-Name', r.one(['harmless', 'danger', '=?base64?ZGFuZ2Vy?='])]);
  if (r.chance(0.15)) headers.push(r.one(HEADERS)(r, '/mcp'));
  if (r.chance(0.9)) headers.push(['Content-Length', String(body.length)]);
  return lines(method, path, headers, body);
}
