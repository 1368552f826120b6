/** The paths of httpbin, each with what it answers. Part of httpbin.ts. */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import * as echo from './httpbin-echo.ts';
import { type Exchange, integer, sendEmpty, sendJson } from './httpbin-echo.ts';

type Handler = (exchange: Exchange) => void | Promise<void>;

export interface Route {
  /** Empty: any. */
  method: string;
  path: RegExp;
  handle: Handler;
}

const MAX_BYTES = 10 * 1024 * 1024;
const MAX_SECONDS = 10;
/** How many keys of `/flaky` are remembered. */
const MAX_KEYS = 1000;

/** The routes of one server: `/flaky` remembers whom it has failed. */
export function createRoutes(): Route[] {
  return Object.entries({ ...ROUTES, '/flaky': createFlaky() }).map(([route, handle]) => {
    const [, method = '', path = ''] = route.match(/^(?:([A-Z]+) )?(.+)$/) ?? [];
    return { method, path: new RegExp(`^${path.replaceAll('*', '([^/]+)')}$`), handle };
  });
}

const CHALLENGE = { 'www-authenticate': 'Basic realm="Fake Realm"' };

const echoBody: Handler = async (all) => sendJson(all, await echo.describeBody(all));

const ROUTES: Record<string, Handler> = {
  'GET /get': (all) => sendJson(all, echo.describeRequest(all)),
  'POST /post': echoBody,
  'PUT /put': echoBody,
  'PATCH /patch': echoBody,
  'DELETE /delete': echoBody,
  '/anything(?:/.*)?': async (all) => {
    const { origin, url, ...about } = await echo.describeBody(all);
    sendJson(all, { ...about, method: all.request.method, origin, url });
  },
  'GET /headers': (all) => sendJson(all, { headers: echo.describeHeaders(all.request) }),
  'GET /cookies': (all) => sendJson(all, { cookies: echo.describeCookies(all.request) }),
  'GET /cookies/set/*/*': (all) => {
    const [name = '', value = ''] = all.args;
    sendEmpty(all, 302, { location: '/cookies', 'set-cookie': cookie(name, value) });
  },
  'GET /cookies/set': (all) => {
    const cookies = [...all.url.searchParams].map(([name, value]) => cookie(name, value));
    sendEmpty(all, 302, { location: '/cookies', 'set-cookie': cookies });
  },
  '/status/*': (all) => {
    const status = integer('status', all.args[0], 200, 599);
    if (status === 401) sendEmpty(all, status, CHALLENGE);
    else sendEmpty(all, status, status > 300 && status < 309 ? { location: '/redirect/1' } : {});
  },
  'GET /basic-auth/*/*': (all) => {
    const [user, password] = all.args;
    const wanted = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
    if (all.request.headers.authorization !== wanted) sendEmpty(all, 401, CHALLENGE);
    else sendJson(all, { authenticated: true, user });
  },
  '/delay/*': async (all) => {
    await wait(integer('delay', all.args[0], 0, MAX_SECONDS), all.signal);
    await echoBody(all);
  },
  'GET /redirect/*': (all) => {
    const left = integer('redirects', all.args[0], 1, 100) - 1;
    sendEmpty(all, 302, { location: left === 0 ? '/get' : `/redirect/${left}` });
  },
  '/redirect-to': (all) => {
    const { searchParams: query } = all.url;
    const status = integer('status_code', query.get('status_code') ?? '302', 300, 399);
    const location = encodeURI(query.get('url') ?? '/').replaceAll('%25', '%');
    sendEmpty(all, status, { location });
  },
  'GET /stream/*': (all) => {
    const about = echo.describeRequest(all);
    const lines = integer('lines', all.args[0], 0, 100);
    all.response.setHeader('content-type', 'application/json');
    for (let id = 0; id < lines; id++) all.response.write(`${JSON.stringify({ id, ...about })}\n`);
    all.response.end();
  },
  'GET /gzip': compressed('gzip', 'gzipped', gzipSync),
  'GET /deflate': compressed('deflate', 'deflated', deflateSync),
  'GET /brotli': compressed('br', 'brotli', brotliCompressSync),
  'GET /bytes/*': async ({ request, response, args: [count], signal }) => {
    const length = integer('bytes', count, 0, MAX_BYTES);
    const type = 'application/octet-stream';
    response.writeHead(200, { 'content-type': type, 'content-length': length });
    if (request.method === 'HEAD') response.end();
    else await pipeline(Readable.from(counting(length)), response, { signal });
  },
  'GET /drip': async ({ response, url: { searchParams: query }, signal }) => {
    const length = integer('numbytes', query.get('numbytes') ?? '10', 1, 1000);
    const duration = integer('duration', query.get('duration') ?? '2', 0, MAX_SECONDS);
    response.writeHead(200, { 'content-length': length });
    for (let sent = 0; sent < length; sent++) {
      response.write('*');
      await wait(duration / length, signal);
    }
    response.end();
  },
};

/** Not one of httpbin's: fails `fail` times (2) for each `key`, and then works. */
function createFlaky(): Handler {
  const failures = new Map<string, number>();
  return async (all) => {
    const { searchParams: query } = all.url;
    const key = query.get('key') ?? '';
    const count = failures.get(key) ?? 0;
    failures.delete(key);
    if (count >= integer('fail', query.get('fail') ?? '2', 0, 100)) return echoBody(all);
    failures.set(key, count + 1);
    const [oldest = ''] = failures.keys();
    if (failures.size > MAX_KEYS) failures.delete(oldest);
    sendEmpty(all, 503, { 'retry-after': query.get('retry_after') ?? '0' });
  };
}

function compressed(coding: string, name: string, compress: (text: string) => Buffer): Handler {
  return (all) => {
    const { headers, origin } = echo.describeRequest(all);
    all.response
      .setHeader('content-encoding', coding)
      .setHeader('content-type', 'application/json');
    const about = { [name]: true, headers, method: all.request.method, origin };
    all.response.end(compress(echo.toJson(about)));
  };
}

/** Bytes 0 to 255, over and over: whoever has them can tell whether one is missing. */
function* counting(length: number): Generator<Buffer> {
  const block = Buffer.from(Array.from({ length: 65_536 }, (_, index) => index % 256));
  for (let sent = 0; sent < length; sent += block.length) yield block.subarray(0, length - sent);
}

/** Encoded, or a `;` in the value would begin an attribute. */
function cookie(name: string, value: string): string {
  return `${encodeURIComponent(name)}=${encodeURIComponent(value)}; Path=/`;
}

/** Rejects as soon as the client is gone. */
async function wait(seconds: number, signal: AbortSignal): Promise<void> {
  await sleep(seconds * 1000, undefined, { signal });
}
