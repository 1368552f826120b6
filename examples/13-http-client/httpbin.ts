/**
 * The test service that stands in for httpbin.org, so that all of this works offline: its paths, its
 * JSON, its limits. Beside session.ts, which is the lesson; httpbin-routes.ts has the paths.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { host, port, program, serve } from '@shared/program';
import { BadRequest, setStatus } from './httpbin-echo.ts';
import { createRoutes, type Route } from './httpbin-routes.ts';

export interface HttpbinOptions {
  /** The largest body that is taken, in bytes; a larger one gets 413. Default 1 MiB. */
  maxBody?: number;
  /** How long a client may neither send nor read, in milliseconds. Default 15,000: `/delay/10` is silence too. */
  idleTimeout?: number;
  /** How many connections there may be. Default 1,000. */
  maxConnections?: number;
  /** How many keys of `/flaky` are remembered; of more, the oldest goes. Default 1,000. */
  maxKeys?: number;
  /** Where a line about each request goes. Default: nowhere. */
  log?: (line: string) => void;
}

/** Builds the server; the caller lets it listen, and closes it. (Tutorials 001 §3.1, 003 §06) */
export function createHttpbin(options: HttpbinOptions = {}): Server {
  const { maxBody = 1024 * 1024, idleTimeout = 15_000, log = () => {} } = options;
  const routes = createRoutes(options.maxKeys);
  const server = createServer(
    // Slow headers and slow bodies; a client that does not read falls to the idle timeout.
    { headersTimeout: 10_000, requestTimeout: 30_000, connectionsCheckingInterval: 1000 },
    async (request, response) => {
      // close() ends the connections that are idle then: one that was busy would stay for seconds.
      response.on('close', () => {
        if (!server.listening) request.socket.destroySoon();
      });
      try {
        await answer(routes, request, response, maxBody);
      } catch (error) {
        if (response.destroyed) return; // the client has gone
        // What is left of a body that was too large: unread it would keep the answer from being read.
        request.resume();
        fail(response, error);
      }
      log(`${request.method} ${request.url} ${response.statusCode}`);
    },
  );
  server.timeout = idleTimeout;
  server.maxConnections = options.maxConnections ?? 1000;
  return server;
}

async function answer(
  routes: Route[],
  request: IncomingMessage,
  response: ServerResponse,
  maxBody: number,
): Promise<void> {
  const { method = 'GET', headers } = request;
  const target = request.url ?? '/';
  const base = `http://${headers.host ?? 'localhost'}`;
  if (!URL.canParse(target, base)) throw new BadRequest(400, 'cannot parse the URL');
  const url = new URL(target, base);
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  // A script of any web page may ask, as it may ask httpbin.org.
  response.setHeader('Access-Control-Allow-Origin', '*');
  const there = routes.filter(({ path }) => path.test(url.pathname));
  if (there.length === 0) throw new BadRequest(404, `there is no ${url.pathname} here`);
  const wanted = method === 'HEAD' ? 'GET' : method;
  const route = there.find((one) => one.method === '' || one.method === wanted);
  if (route === undefined) {
    response.setHeader('Allow', ['OPTIONS', ...there.map((one) => one.method)].join(', '));
    if (method === 'OPTIONS') return void response.end();
    throw new BadRequest(405, `${url.pathname} does not take ${method}`);
  }
  const [, ...args] = (route.path.exec(url.pathname) ?? []).map((arg = '') => decode(arg));
  const body = await readBody(request, maxBody);
  await route.handle({ request, response, url, args, body, signal: gone.signal });
}

async function readBody(request: IncomingMessage, maxBody: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    size += chunk.length;
    if (size > maxBody) {
      const limit = maxBody.toLocaleString('en-US');
      throw new BadRequest(413, `cannot accept body: the limit is ${limit} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size);
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new BadRequest(400, 'cannot decode the path: a % stands without its two digits');
  }
}

function fail(response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const [status, text] =
    error instanceof BadRequest ? [error.status, error.message] : [500, 'that did not work'];
  setStatus(response, status);
  response.setHeader('Content-Type', 'text/plain; charset=utf-8').end(`${text}\n`);
}

program(import.meta, {
  about:
    'Answers as httpbin.org does: /get /post /cookies /status/404 /delay/2 /redirect/3 /gzip …',
  options: { host: host(), port: port(8000) },
  run: ({ host, port }, { signal }) =>
    serve(createHttpbin({ log: console.log }), { host, port, signal, scheme: 'http://' }),
});
