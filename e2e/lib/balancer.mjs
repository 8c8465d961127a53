// A load balancer as people put one in front: asks `/readyz`, sends requests in turn to what is ready, keeps connections, and
// tries nothing twice, so that each request that fails is seen.
import http from 'node:http';
import { once } from 'node:events';

export class Balancer {
  constructor(host, ports) {
    this.host = host;
    this.backends = ports.map((port) => ({ port, ready: false, agent: new http.Agent({ keepAlive: true }) }));
    this.next = 0;
    this.server = http.createServer((request, response) => this.forward(request, response));
    this.server.keepAliveTimeout = 60_000;
  }

  async start(t) {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    this.port = this.server.address().port;
    this.timer = setInterval(() => this.backends.forEach((backend) => this.probe(backend)), 200);
    t.after(() => {
      clearInterval(this.timer);
      this.server.closeAllConnections();
      this.server.close();
      this.backends.forEach((backend) => backend.agent.destroy());
    });
    return this;
  }

  probe(backend) {
    const asked = http.get({ host: '127.0.0.1', port: backend.port, path: '/readyz', headers: { host: this.host }, timeout: 1000, agent: false }, (answer) => {
      answer.resume();
      backend.ready = answer.statusCode === 200;
    });
    asked.on('timeout', () => asked.destroy());
    asked.on('error', () => { backend.ready = false; });
  }

  forward(request, response) {
    const ready = this.backends.filter((backend) => backend.ready);
    this.next += 1;
    const backend = ready[this.next % ready.length];
    if (!backend) {
      response.writeHead(502).end('nobody is ready');
      return;
    }
    const sent = http.request({
      host: '127.0.0.1', port: backend.port, method: request.method, path: request.url, headers: request.headers, agent: backend.agent,
    }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
      answer.on('error', () => response.destroy());
    });
    sent.on('error', (error) => {
      if (!response.headersSent) response.writeHead(502).end(`${backend.port}: ${error.message}`);
      else response.destroy();
    });
    request.pipe(sent);
  }

  isReady(port) {
    return this.backends.find((backend) => backend.port === port).ready;
  }
}
