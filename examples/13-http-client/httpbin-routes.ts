/** The paths of httpbin, each with what it answers. Part of httpbin.ts. */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import * as echo from './httpbin-echo.ts';
import { BadRequest, type Exchange, integer, sendEmpty, sendJson } from './httpbin-echo.ts';

type Handler = (exchange: Exchange) => void | Promise<void>;

export interface Route {
  /** Empty: any. */
  method: string;
  path: RegExp;
  handle: Handler;
}

const BYTES = 'application/octet-stream';
const MAX_BYTES = 10 * 1024 * 1024;
const MAX_SECONDS = 10;

/** The routes of one server: `/flaky` remembers whom it has failed. */
export function createRoutes(maxKeys = 1000): Route[] {
  return Object.entries({ ...ROUTES, '/flaky': createFlaky(maxKeys) }).map(([route, handle]) => {
    const [, method = '', path = ''] = route.match(/^(?:([A-Z]+) )?(.+)$/) ?? [];
    const pattern = path.replace('/**', '(?:/.*)?').replaceAll('/*', '/([^/]+)');
    return { method, path: new RegExp(`^${pattern}$`), handle };
  });
}

const CHALLENGE = { 'WWW-Authenticate': 'Basic realm="Fake Realm"' };
/** The statuses that /status sends with a Location: 304 is no redirect, and of 308 httpbin knows nothing. */
const REDIRECTS = [301, 302, 303, 305, 307];

const echoBody: Handler = async (all) => sendJson(all, await echo.describeBody(all));

const ROUTES: Record<string, Handler> = {
  'GET /get': (all) => sendJson(all, echo.describeRequest(all)),
  'POST /post': echoBody,
  'PUT /put': echoBody,
  'PATCH /patch': echoBody,
  'DELETE /delete': echoBody,
  '/anything/**': async (all) =>
    sendJson(all, { ...(await echo.describeBody(all)), method: all.request.method }),
  'GET /headers': (all) => sendJson(all, { headers: echo.describeHeaders(all.request) }),
  'GET /cookies': (all) => sendJson(all, { cookies: echo.describeCookies(all.request) }),
  'GET /cookies/set/*/*': (all) => {
    const [name = '', value = ''] = all.args;
    sendEmpty(all, 302, { Location: '/cookies', 'Set-Cookie': cookie(name, value) });
  },
  'GET /cookies/set': (all) => {
    const cookies = [...all.url.searchParams].map(([name, value]) => cookie(name, value));
    sendEmpty(all, 302, { Location: '/cookies', 'Set-Cookie': cookies });
  },
  '/status/*': (all) => {
    const status = integer('status', all.args[0], 200, 599);
    if (status === 401) sendEmpty(all, status, CHALLENGE);
    else sendEmpty(all, status, REDIRECTS.includes(status) ? { Location: '/redirect/1' } : {});
  },
  'GET /basic-auth/*/*': (all) => {
    const [user, password] = all.args;
    const wanted = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
    if (all.request.headers.authorization !== wanted) sendEmpty(all, 401, CHALLENGE);
    else sendJson(all, { authenticated: true, user });
  },
  '/delay/*': async (all) => {
    await wait(seconds('delay', all.args[0]), all.signal);
    const { json: _, ...about } = await echo.describeBody(all);
    sendJson(all, about);
  },
  'GET /redirect/*': (all) => {
    const left = integer('redirects', all.args[0], 1, 100) - 1;
    sendEmpty(all, 302, { Location: left === 0 ? '/get' : `/redirect/${left}` });
  },
  '/redirect-to': (all) => {
    const { searchParams: query } = all.url;
    const status = integer('status_code', query.get('status_code') ?? '302', 300, 399);
    const location = encodeURI(query.get('url') ?? '/').replaceAll('%25', '%');
    sendEmpty(all, status, { Location: location });
  },
  'GET /stream/*': (all) => {
    const about = echo.describeRequest(all);
    const lines = integer('lines', all.args[0], 0, 100);
    all.response.setHeader('Content-Type', 'application/json');
    for (let id = 0; id < lines; id++) all.response.write(`${JSON.stringify({ id, ...about })}\n`);
    all.response.end();
  },
  'GET /gzip': compressed('gzip', 'gzipped', gzipSync),
  'GET /deflate': compressed('deflate', 'deflated', deflateSync),
  'GET /brotli': compressed('br', 'brotli', brotliCompressSync),
  'GET /bytes/*': async ({ request, response, args: [count], signal }) => {
    const length = integer('bytes', count, 0, MAX_BYTES);
    response.writeHead(200, { 'Content-Type': BYTES, 'Content-Length': length });
    if (request.method === 'HEAD') response.end();
    else await pipeline(Readable.from(counting(length)), response, { signal });
  },
  'GET /drip': async ({ response, url: { searchParams: query }, signal }) => {
    const length = integer('numbytes', query.get('numbytes') ?? '10', 1, 1000);
    const duration = seconds('duration', query.get('duration') ?? '2');
    response.writeHead(200, { 'Content-Type': BYTES, 'Content-Length': length });
    for (let sent = 0; sent < length; sent++) {
      response.write('*');
      await wait(duration / length, signal);
    }
    response.end();
  },
};

/** Not one of httpbin's: fails `fail` times (2) for each `key`, and then works. */
function createFlaky(maxKeys: number): Handler {
  const failures = new Map<string, number>();
  return async (all) => {
    const { searchParams: query } = all.url;
    const key = query.get('key') ?? '';
    const count = failures.get(key) ?? 0;
    failures.delete(key);
    if (count >= integer('fail', query.get('fail') ?? '2', 0, 100)) return echoBody(all);
    failures.set(key, count + 1);
    const [oldest = ''] = failures.keys();
    if (failures.size > maxKeys) failures.delete(oldest);
    sendEmpty(all, 503, { 'Retry-After': query.get('retry_after') ?? '0' });
  };
}

function compressed(coding: string, name: string, compress: (text: string) => Buffer): Handler {
  return (all) => {
    const { headers, origin } = echo.describeRequest(all);
    all.response
      .setHeader('Content-Encoding', coding)
      .setHeader('Content-Type', 'application/json');
    const about = { [name]: true, headers, method: all.request.method, origin };
    all.response.end(compress(echo.toJson(about)));
  };
}

/** Bytes 0 to 255, over and over: whoever has them can tell whether one is missing. */
function* counting(length: number): Generator<Buffer> {
  const block = Buffer.alloc(65_536, Uint8Array.from(Array(256).keys()));
  for (let sent = 0; sent < length; sent += block.length) yield block.subarray(0, length - sent);
}

/** Encoded, or a `;` in the value would begin an attribute. */
function cookie(name: string, value: string): string {
  return `${encodeURIComponent(name)}=${encodeURIComponent(value)}; Path=/`;
}

/** Also 0.5; of more than ten httpbin makes ten. */
function seconds(what: string, text: string | undefined): number {
  const value = Number(text);
  if (value >= 0) return Math.min(value, MAX_SECONDS);
  throw new BadRequest(400, `${what} must be a number from 0, not ${JSON.stringify(text)}`);
}

/** Rejects as soon as the client is gone. */
async function wait(seconds: number, signal: AbortSignal): Promise<void> {
  await sleep(seconds * 1000, undefined, { signal });
}
