import assert from 'node:assert/strict';
import { getEventListeners, once } from 'node:events';
import { openAsBlob } from 'node:fs';
import { mkdtemp, readdir, readFile, readlink, rm, symlink } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import {
  dial,
  listen,
  noSilence,
  readAll,
  readBytes,
  reset,
  run,
  silentPort,
  testReadme,
  testServer,
  testUsage,
} from '@shared/testing';
import { createProxy } from 'proxy';
import { Cookie } from 'tough-cookie';
import { MockAgent } from 'undici';
import { Cookies } from './cookies.ts';
import { download, fileName } from './download.ts';
import { clientError } from './errors.ts';
import { gather } from './gather.ts';
import { createHttpbin, type HttpbinOptions } from './httpbin.ts';
import type { SessionOptions } from './options.ts';
import { Places } from './places.ts';
import { formatBar, withProgress } from './progress.ts';
import type { HttpRequest } from './request.ts';
import { tour } from './requests.ts';
import type { ClientResponse } from './response.ts';
import { RETRY, retryAfter, retrying } from './retry.ts';
import { ClientSession } from './session.ts';
import { Deadline } from './timeout.ts';
import { urlopen } from './urllib.ts';

/** What waits for ever here has failed. */
const together = { concurrency: true, timeout: 60_000 };
const HTTPBIN = join(import.meta.dirname, 'httpbin.ts');
const REQUESTS = join(import.meta.dirname, 'requests.ts');
const URLLIB = join(import.meta.dirname, 'urllib.ts');
const GATHER = join(import.meta.dirname, 'gather.ts');
const DOWNLOAD = join(import.meta.dirname, 'download.ts');
const noSignals = process.platform === 'win32' ? 'Windows cannot send SIGINT' : false;
const noDevices = process.platform === 'win32' ? 'Windows has no /dev/null' : false;

const MiB = 1024 * 1024;
const SOON = { retry: { backoff: 1 } };

// biome-ignore lint/suspicious/noExplicitAny: it is what the test says that it is
type Any = any;

/** A session with httpbin as its base. */
async function start(t: TestContext, options: SessionOptions = {}, httpbin: HttpbinOptions = {}) {
  const server = createHttpbin(httpbin);
  const port = await listen(t, server);
  const baseUrl = `http://127.0.0.1:${port}`;
  const session = open(t, { baseUrl, ...SOON, ...options });
  const json = async (...args: Parameters<ClientSession['request']>) =>
    (await (await session.request(...args)).json()) as Any;
  return { server, port, baseUrl, session, json };
}

function open(t: TestContext, options: SessionOptions = {}): ClientSession {
  const session = new ClientSession(options);
  t.after(() => session.close());
  return session;
}

/** A server that answers as this function does, and the requests that it got. */
async function serve(
  t: TestContext,
  handler: (request: IncomingMessage, response: ServerResponse, count: number) => void,
) {
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    handler(request, response, requests.length);
  });
  return { server, requests, url: `http://127.0.0.1:${await listen(t, server)}` };
}

/** A server that answers each connection's first bytes with these, and ends, or is silent from then on. */
async function serveBytes(t: TestContext, bytes: string | Buffer, { silent = false } = {}) {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => (silent ? socket.write(bytes) : socket.end(bytes)));
  });
  return `http://127.0.0.1:${await listen(t, server)}/`;
}

const OK = 'HTTP/1.1 200 OK\r\n';

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'http-client-'));
  t.after(() => rm(path, { recursive: true }));
  return path;
}

describe('a request', together, () => {
  test('has the method that it says, and what belongs to it', async (t) => {
    const { json } = await start(t);
    const cases = [
      ['GET', '/anything'],
      ['POST', '/post'],
      ['PUT', '/put'],
      ['PATCH', '/patch'],
      ['DELETE', '/delete'],
    ] as const;
    for (const [method, path] of cases) {
      const { args, data } = await json(method, path, { params: { a: 1 }, data: 'text' });
      assert.deepEqual({ args, data }, { args: { a: '1' }, data: 'text' }, method);
    }
    assert.equal((await json('get', '/anything')).method, 'GET');
  });

  test('each method has its function', async (t) => {
    const { requests, url } = await serve(t, (_, response) => response.end());
    const session = open(t, { baseUrl: url });
    for (const name of ['get', 'post', 'put', 'patch', 'delete', 'head', 'options'] as const) {
      await using _ = await session[name]('/');
    }
    assert.deepEqual(
      requests.map(({ method }) => method),
      ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS'],
    );
  });

  test('adds its parameters to those of the URL', async (t) => {
    const { json } = await start(t);
    const params = { name: '张三', id: [1, 2], 'a&b': '=' };
    const { args, url } = await json('GET', '/get?x=0', { params });
    assert.deepEqual(args, { x: '0', name: '张三', id: ['1', '2'], 'a&b': '=' });
    assert.match(url, /\?x=0&name=张三&id=1&id=2&a%26b=%3D$/);
  });

  test('sends a form, JSON, text and bytes, each with its type', async (t) => {
    const { json } = await start(t);
    const type = ({ headers }: Any) => headers['Content-Type'];
    const form = await json('POST', '/post', { data: { user: 'x y', id: [1, 2] } });
    assert.deepEqual(form.form, { user: 'x y', id: ['1', '2'] });
    assert.equal(type(form), 'application/x-www-form-urlencoded');
    const article = await json('POST', '/post', { json: { title: '测试' } });
    assert.deepEqual([article.json, type(article)], [{ title: '测试' }, 'application/json']);
    const words = await json('POST', '/post', { data: 'é' });
    assert.deepEqual([words.data, type(words)], ['é', 'text/plain;charset=UTF-8']);
    const bytes = await json('POST', '/post', { data: Uint8Array.of(0xff) });
    assert.equal(bytes.data, 'data:application/octet-stream;base64,/w==');
  });

  test('uploads files, from memory and from disk, with a length', async (t) => {
    const { json } = await start(t);
    const data = new FormData();
    data.append('note', 'hello');
    data.append('file', new Blob(['This is test file content']), 'test.txt');
    data.append('source', await openAsBlob(import.meta.filename), 'test.ts');
    const { form, files, headers } = await json('POST', '/post', { data });
    assert.deepEqual(form, { note: 'hello' });
    assert.equal(files.file, 'This is test file content');
    assert.match(files.source, /^import assert[\s\S]*uploads files, from memory and from disk/);
    assert.equal(headers['Transfer-Encoding'], undefined);
    assert.match(headers['Content-Length'], /^\d+$/);
  });

  test('sends a Blob with its length and a stream in chunks', async (t) => {
    const { json } = await start(t);
    const file = Object.assign(new Blob(['from disk'], { type: 'text/x' }), {
      arrayBuffer: () => assert.fail('all of it in memory'),
    });
    const blob = await json('PUT', '/put', { data: file });
    assert.equal(blob.data, 'from disk');
    assert.equal(blob.headers['Content-Type'], 'text/x');
    assert.equal(blob.headers['Content-Length'], '9');
    const stream = await json('PUT', '/put', {
      data: Readable.from([Buffer.from('a'), Buffer.from('b')]),
    });
    assert.deepEqual([stream.data, stream.headers['Transfer-Encoding']], ['ab', 'chunked']);
  });

  test('has the headers of the session, but for those that it sets itself', async (t) => {
    const { json, session } = await start(t, { headers: { 'X-One': '1', 'X-Two': '2' } });
    const { headers } = await json('GET', '/headers', { headers: { 'x-TWO': 'mine' } });
    assert.deepEqual([headers['X-One'], headers['X-Two']], ['1', 'mine']);
    assert.equal(headers['Accept-Encoding'], 'gzip, deflate, br');
    assert.equal(session.headers['x-one'], '1');
  });

  test('to another server than the base URL has none of its credentials', async (t) => {
    const { json, port } = await start(t, { headers: { Authorization: 'Bearer x', 'X-One': '1' } });
    const own = await json('GET', '/headers');
    assert.equal(own.headers.Authorization, 'Bearer x');
    const { headers } = await json('GET', `http://localhost:${port}/headers`);
    assert.deepEqual([headers.Authorization, headers['X-One']], [undefined, '1']);
  });

  test('has Basic authorization, from the URL too, which no error shows', async (t) => {
    const { json, port, session } = await start(t);
    const auth = { login: 'me', password: 'p@ss' };
    const path = '/basic-auth/me/p%40ss';
    assert.deepEqual(await json('GET', path, { auth }), { authenticated: true, user: 'me' });
    const withPassword = `http://me:p%40ss@127.0.0.1:${port}`;
    assert.equal((await json('GET', `${withPassword}${path}`)).authenticated, true);
    await assert.rejects(
      session.get(`${withPassword}/status/403`, { auth, raiseForStatus: true }),
      {
        message: `GET http://127.0.0.1:${port}/status/403: 403 Forbidden`,
      },
    );
  });

  test('has the Basic authorization of the session, unless it has its own', async (t) => {
    const { json } = await start(t, { auth: { login: 'a', password: 'b' } });
    assert.equal((await json('GET', '/basic-auth/a/b')).user, 'a');
    const auth = { login: 'c', password: 'd' };
    assert.equal((await json('GET', '/basic-auth/c/d', { auth })).user, 'c');
  });

  test('cannot go to what is not a URL, or not http', async (t) => {
    const session = open(t);
    for (const [url, shown] of [
      ['ftp://me:p@ss@x/', 'ftp://…@x/: it is neither http: nor https:'],
      ['http://me:p@ss@x:99999/', '"http://…@x:99999/": it is not one'],
    ] as const) {
      await assert.rejects(session.get(url), { message: `cannot use URL ${shown}` });
    }
    assert.throws(() => new ClientSession({ proxy: 'me:p@ss@localhost:3128' }), {
      message: 'cannot use proxy "…@localhost:3128": want http://host:port',
    });
    await assert.rejects(session.get('/get'), {
      name: 'InvalidURL',
      message: 'cannot use URL "/get": it is not one',
    });
    await assert.rejects(session.get('file:///etc/passwd'), {
      name: 'InvalidURL',
      message: 'cannot use URL file:///etc/passwd: it is neither http: nor https:',
    });
    assert.throws(() => new ClientSession({ proxy: 'localhost:3128' }), {
      message: 'cannot use proxy "localhost:3128": want http://host:port',
    });
  });
});

describe('cookies', together, () => {
  test('are kept, also those of a redirect, and sent beside those set by hand', async (t) => {
    const { json, session } = await start(t);
    const { cookies } = await json('GET', '/cookies/set/sessionid/123456');
    assert.deepEqual(cookies, { sessionid: '123456' });
    const own = { headers: { Cookie: 'mine=1' }, cookies: { b: '2', c: '3' } };
    const again = await json('GET', '/cookies', own);
    assert.deepEqual(again.cookies, { mine: '1', b: '2', c: '3', sessionid: '123456' });
    const set = await session.get('/cookies/set?d=4&e=5', { allowRedirects: false });
    assert.deepEqual(set.cookies, { d: '4', e: '5' });
    assert.equal(session.cookieJar.serializeSync()?.cookies.length, 3);
  });

  test('go to the host that set them, and to no other', async (t) => {
    const { json, port } = await start(t);
    await json('GET', '/cookies/set/secret/1');
    assert.deepEqual((await json('GET', `http://localhost:${port}/cookies`)).cookies, {});
    await json('GET', `http://localhost:${port}/cookies/set/other/2`);
    assert.deepEqual((await json('GET', '/cookies')).cookies, { secret: '1' });
  });

  test('obey Path, Domain, Secure and Max-Age', async (t) => {
    const { requests, url } = await serve(t, (_, response) => {
      const cookies = ['a=1; Path=/a', 'b=2; Domain=example.com', 'c=3', 'd=4; Max-Age=0', 'bad'];
      response.setHeader('set-cookie', [...cookies, 'e=5; Domain=com']).end();
    });
    const session = open(t, { baseUrl: url });
    for (const path of ['/', '/', '/a/x']) await (await session.get(path)).read();
    assert.deepEqual(
      requests.map(({ headers }) => headers.cookie),
      [undefined, 'c=3', 'a=1; c=3'],
    );
  });

  test('of one host are 50 at most: the oldest go', async (t) => {
    const { requests, url } = await serve(t, (_, response, count) => {
      const cookies = Array.from({ length: 30 }, (_, n) => `c${count}-${n}=x; Path=/p${n}`);
      response.setHeader('set-cookie', cookies).end();
    });
    const session = open(t, { baseUrl: url });
    for (let n = 0; n < 5; n++) await (await session.get('/p7')).read();
    const kept = session.cookieJar.serializeSync()?.cookies ?? [];
    assert.equal(kept.length, 50);
    assert.deepEqual(new Set(kept.map(({ key }) => key?.slice(0, 2))), new Set(['c4', 'c5']));
    assert.equal(requests[2]?.headers.cookie, 'c2-7=x');
  });
});

test('cookies are 3,000 at most in all, and of 4,096 bytes', () => {
  const cookies = new Cookies();
  const put = (domain: string, key: string) =>
    cookies.jar.store.putCookie(new Cookie({ domain, path: '/', key }), () => {});
  // Each name of a host is a host of its own, and a redirect leads from one to the next.
  for (let n = 0; n < 3000; n++) put(`${n % 100}.example.com`, `c${n}`);
  cookies.store(new URL('http://x.example.com'), 'a=b');
  const kept = cookies.jar.serializeSync()?.cookies ?? [];
  assert.deepEqual([kept.length, kept[0]?.key, kept.at(-1)?.key], [3000, 'c1', 'a']);
  const url = 'http://example.org';
  cookies.store(new URL(url), [`a=${'x'.repeat(4094)}`, `b=${'x'.repeat(4095)}`]);
  assert.deepEqual(
    cookies.jar.getCookiesSync(url).map(({ key }) => key),
    ['a'],
  );
});

describe('a redirect', together, () => {
  const cases = [
    [301, 'POST', 'GET'],
    [302, 'POST', 'GET'],
    [302, 'PUT', 'PUT'],
    [303, 'PUT', 'GET'],
    [303, 'HEAD', 'HEAD'],
    [307, 'POST', 'POST'],
    [308, 'POST', 'POST'],
  ] as const;
  for (const [status, method, then] of cases) {
    test(`${status} makes ${then} of ${method}`, async (t) => {
      const { requests, url } = await serve(t, async (request, response, count) => {
        (request as Any).body = await text(request);
        if (count === 1) response.writeHead(status, { location: '/there' });
        response.end();
      });
      const response = await open(t).request(method, url, {
        ...(method !== 'HEAD' && { json: { a: 1 } }),
        headers: { 'Content-Language': 'en' },
      });
      await response.read();
      const [, second] = requests;
      assert.deepEqual([second?.method, second?.url], [then, '/there']);
      const kept = then !== 'GET';
      assert.equal((second as Any).body, kept && then !== 'HEAD' ? '{"a":1}' : '');
      assert.equal(second?.headers['content-language'], kept ? 'en' : undefined);
      assert.equal(
        second?.headers['content-type'],
        kept && then !== 'HEAD' ? 'application/json' : undefined,
      );
      assert.deepEqual([response.url.href, response.history.length], [`${url}/there`, 1]);
      assert.deepEqual([response.history[0]?.status, response.history[0]?.history], [status, []]);
    });
  }

  test('to another origin takes no credentials along, and to the same one all', async (t) => {
    const there = await serve(t, (_, response) => response.end());
    const here = await serve(t, ({ url }, response) => {
      const location = url === '/1' ? '/2' : there.url.replace('//', '//evil:pw@');
      response.writeHead(307, { location }).end();
    });
    const headers = {
      Authorization: 'x',
      Cookie: 'a=1',
      'Proxy-Authorization': 'y',
      'X-Other': 'z',
    };
    const last = await open(t).get(`${here.url}/1`, { headers: { ...headers, Host: 'me' } });
    await last.read();
    assert.equal(last.url.href, `${there.url}/`);
    const sent = ({ headers }: IncomingMessage) => [
      headers.authorization,
      headers.cookie,
      headers['proxy-authorization'],
      headers['x-other'],
    ];
    assert.deepEqual(here.requests.map(sent), [
      ['x', 'a=1', 'y', 'z'],
      ['x', 'a=1', 'y', 'z'],
    ]);
    assert.deepEqual(there.requests.map(sent), [[undefined, undefined, undefined, 'z']]);
    assert.equal(there.requests[0]?.headers.host, new URL(there.url).host);
  });

  test('cannot have a stream sent a second time', async (t) => {
    const { baseUrl, session } = await start(t);
    const url = `${baseUrl}/redirect-to?url=/post&status_code=307`;
    await assert.rejects(session.post(url, { data: Readable.from([Buffer.from('once')]) }), {
      name: 'RedirectClientError',
      message: `cannot follow redirect from ${url} to ${baseUrl}/post: the body is a stream, and cannot be sent a second time`,
    });
  });

  test('too many are an error, and none followed if there may be none', async (t) => {
    const { baseUrl, session, json } = await start(t);
    assert.equal((await session.get('/redirect/3', { maxRedirects: 3 })).history.length, 3);
    await assert.rejects(session.get('/redirect/4', { maxRedirects: 3 }), {
      name: 'TooManyRedirects',
      message: `cannot GET ${baseUrl}/redirect/4: more than 3 redirects`,
      status: 302,
    });
    const first = await session.get('/redirect/1', { allowRedirects: false });
    assert.deepEqual([first.status, first.headers.get('location')], [302, '/get']);
    assert.equal((await session.head('/redirect/1')).status, 302);
    await assert.rejects(session.get('/redirect/1', { maxRedirects: 0 }), {
      message: `cannot GET ${baseUrl}/redirect/1: more than 0 redirects`,
    });
    assert.equal((await json('GET', '/redirect/10')).url, `${baseUrl}/get`);
  });

  test('back to where it came from is fine once a cookie is set', async (t) => {
    const { url } = await serve(t, ({ headers }, response) => {
      if (headers.cookie === 'seen=1') response.end('welcome');
      else response.writeHead(302, { location: '/', 'set-cookie': 'seen=1' }).end();
    });
    assert.equal(await (await open(t).get(`${url}/`)).text(), 'welcome');
  });

  for (const [location, why] of [
    ['ftp://127.0.0.1/file', 'ftp://127.0.0.1/file: it is neither http: nor https:'],
    ['http://[', '"http://[": it is not a URL'],
    // To a terminal U+009B is ESC [, and this clears the screen.
    ['http://[\xc2\x9b2J', '"http://[\ufffd2J": it is not a URL'],
  ] as const) {
    test(`to ${location.replace(/\p{Cc}/gu, '?')} is refused`, async (t) => {
      const { url } = await serve(t, (_, response) => response.writeHead(302, { location }).end());
      await assert.rejects(open(t).get(url), {
        message: `cannot follow redirect from ${url}/ to ${why}`,
      });
    });
  }

  test('from https to http is refused', async (t) => {
    const connector = Object.assign(new MockAgent(), { destroy: async () => {} });
    connector.disableNetConnect();
    const headers = { location: 'http://shop.example/pay' };
    const shop = connector.get('https://shop.example');
    shop.intercept({ path: '/' }).reply(302, '', { headers });
    await assert.rejects(open(t, { connector }).get('https://shop.example'), {
      message:
        'cannot follow redirect from https://shop.example/ to http://shop.example/pay: everybody on the way could read it',
    });
  });

  test('may have UTF-8 in its Location, and keeps the fragment', async (t) => {
    const { requests, url } = await serve(t, ({ url }, response) => {
      if (url !== '/') response.end();
      else response.writeHead(302, { location: Buffer.from('/é').toString('latin1') }).end();
    });
    const response = await open(t).get(`${url}/#part`);
    assert.equal(requests[1]?.url, '/%C3%A9');
    assert.equal(response.url.hash, '#part');
  });
});

describe('a retry', together, () => {
  test('follows an answer that may be another the next time', async (t) => {
    const { json, session } = await start(t);
    const { args } = await json('GET', '/flaky', { params: { key: 'a' } });
    assert.deepEqual(args, { key: 'a' });
    const enough = await session.get('/flaky', { params: { key: 'b', fail: 3 } });
    assert.equal(enough.status, 503);
    const never = await session.get('/flaky', { params: { key: 'c' }, retry: { retries: 0 } });
    assert.equal(never.status, 503);
  });

  test('of POST there is none, unless it is asked for', async (t) => {
    const { requests, url } = await serve(t, (_, response, count) => {
      response.writeHead(count < 3 ? 503 : 200).end();
    });
    const session = open(t, SOON);
    assert.equal((await session.post(url, { data: 'x' })).status, 503);
    assert.equal(requests.length, 1);
    const retry = { ...SOON.retry, methods: ['POST'] };
    assert.equal((await session.post(url, { data: 'x', retry })).status, 200);
  });

  test('sends a body again that can be, and a stream only once', async (t) => {
    const { json, session } = await start(t);
    const form = new FormData();
    form.set('a', 'b');
    for (const [key, data] of [
      ['blob', new Blob(['again'])],
      ['form', form],
      ['text', 'again'],
    ] as const) {
      const answer = await json('PUT', '/flaky', { params: { key }, data });
      assert.deepEqual(
        key === 'form' ? answer.form.a : answer.data,
        key === 'form' ? 'b' : 'again',
      );
    }
    const stream = Readable.from([Buffer.from('once')]);
    const response = await session.put('/flaky', { params: { key: 'stream' }, data: stream });
    assert.equal(response.status, 503);
  });

  test('is made when the server closes an idle connection just as the request comes', async (t) => {
    const { server, requests, url } = await serve(t, ({ socket, method }, response) => {
      const sockets = seen.get(socket) ?? 0;
      seen.set(socket, sockets + 1);
      // The second one on a connection: to the client it looks as if it had come too late.
      if (sockets > 0) socket.destroy();
      else response.end(method);
    });
    const seen = new Map<net.Socket, number>();
    let connections = 0;
    server.on('connection', () => connections++);
    const session = open(t, { baseUrl: url, ...SOON });
    for (const _ of [1, 2, 3]) {
      assert.equal(await (await session.get('/')).text(), 'GET');
    }
    assert.deepEqual([requests.length, connections], [5, 3]);
    await assert.rejects(session.post('/'), {
      name: 'ServerDisconnectedError',
      message: `cannot POST ${url}/: the server closed the connection in the middle`,
    });
  });

  test('waits as long as Retry-After says, in seconds or until a date', (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.parse('2026-01-01T00:00:00Z') });
    const cases = { '7': 7000, '0': 0, soon: 0, '-1': 0, 'Thu, 01 Jan 2026 00:01:00 GMT': 60_000 };
    for (const [header, wait] of Object.entries(cases)) assert.equal(retryAfter(header), wait);
    assert.equal(retryAfter('Wed, 31 Dec 2025 23:59:00 GMT'), 0);
    assert.equal(retryAfter(null), 0);
  });

  /** The waits between the tries for these answers. */
  async function waits(answers: (string | Error)[], options = {}): Promise<number[]> {
    const delays: number[] = [];
    const deadline = { sleep: async (ms: number) => delays.push(ms) } as unknown as Deadline;
    await retrying(
      { method: 'GET' } as HttpRequest,
      { ...RETRY, ...options },
      deadline,
      async () => {
        const answer = answers.shift() ?? '';
        if (answer instanceof Error) throw answer;
        const headers = new Headers({ 'retry-after': answer });
        return { status: 503, headers, release: async () => {} } as ClientResponse;
      },
    ).catch(() => {});
    return delays;
  }

  test('waits twice as long each time, half of it by chance, and no longer than the limit', async () => {
    const delays = await waits([], { retries: 4, maxDelay: 400 });
    for (const [index, most] of [100, 200, 400, 400].entries()) {
      const delay = delays[index] ?? Number.NaN;
      assert.ok(delay >= most / 2 && delay <= most, `wait ${index + 1} was ${delay} ms`);
    }
    const many = await Promise.all(Array.from({ length: 20 }, () => waits([], { retries: 1 })));
    assert.ok(new Set(many.flat()).size > 1, 'all at the same time');
  });

  test('keeps to Retry-After, and keeps the answer if that is too late', async () => {
    assert.deepEqual(await waits(['2', '30']), [2000, 30_000]);
    assert.deepEqual(await waits(['31']), []);
  });

  test('is made for a connection that failed, not for one that never can', async () => {
    const error = (code: string) => Object.assign(new Error(code), { code });
    const refused = new AggregateError([error('ECONNREFUSED'), error('ECONNREFUSED')]);
    assert.equal((await waits([error('ECONNREFUSED'), refused])).length, 2);
    assert.equal((await waits([error('ENOTFOUND')])).length, 0);
    assert.equal(
      (await waits([new AggregateError([error('ENOTFOUND'), error('ECONNRESET')])])).length,
      0,
    );
  });

  test('ends with the total timeout, with the signal, and with the session', async (t) => {
    const { server, url } = await serve(t, (_, response) => {
      response.writeHead(503, { 'retry-after': '20' }).end(() => server.emit('answered'));
    });
    const session = open(t);
    await assert.rejects(session.get(url, { timeout: { total: 50 } }), {
      name: 'ServerTimeoutError',
      message: `cannot get all of ${url}/ within 0.05 s (timeout.total)`,
    });
    const stop = new AbortController();
    const reason = new Error('enough');
    const stopped = session.get(url, { signal: stop.signal });
    const closed = assert.rejects(session.get(url), {
      name: 'ClientConnectionError',
      message: 'the session was closed before the answer was there',
    });
    for (const _ of [1, 2]) await once(server, 'answered');
    stop.abort(reason);
    await assert.rejects(stopped, reason);
    await session.close();
    await closed;
  });
});

describe('the timeouts', together, () => {
  test('total covers a body that drips, however lively it is', async (t) => {
    const { baseUrl, session } = await start(t);
    const path = '/drip?numbytes=100&duration=10';
    const timeout = { total: 1500 };
    const [response, late] = await Promise.all([
      session.get(path, { timeout }),
      session.get(path, { timeout }),
    ]);
    await assert.rejects(response.read(), {
      name: 'ServerTimeoutError',
      message: `cannot get all of ${baseUrl}${path} within 1.5 s (timeout.total)`,
    });
    // Also when it was over before anybody wanted the body.
    await new Promise<void>((resolve) => late.onClose(resolve));
    await assert.rejects(late.text(), { name: 'ServerTimeoutError' });
    await assert.rejects(
      async () => {
        for await (const _ of late.content);
      },
      { name: 'ServerTimeoutError' },
    );
  });

  test('total covers the wait for a connection that others have', async (t) => {
    const { server, url } = await serve(t, () => {});
    const session = open(t, { limitPerHost: 1 });
    const busy = assert.rejects(session.get(url));
    await once(server, 'request');
    await assert.rejects(session.get(url, { timeout: { total: 50 } }), {
      name: 'ServerTimeoutError',
      message: `cannot get all of ${url}/ within 0.05 s (timeout.total)`,
    });
    await session.close();
    await busy;
  });

  test('once over stay over: nothing is waited for any more', async () => {
    const deadline = new Deadline(new URL('http://127.0.0.1/'), 60_000);
    const reason = new Error('enough');
    deadline.abort(reason);
    await assert.rejects(deadline.sleep(60_000), reason);
  });

  test('may be Infinity', async (t) => {
    const timeout = { total: Infinity, read: Infinity };
    const { session } = await start(t, { timeout });
    assert.equal((await (await session.get('/bytes/9')).read()).length, 9);
  });

  test('read is for a server that says nothing, before the headers and after', async (t) => {
    const session = open(t, { timeout: { read: 50 } });
    const mute = await serveBytes(t, '', { silent: true });
    const half = await serveBytes(t, `${OK}Content-Length: 10\r\n\r\nhello`, { silent: true });
    // At the same time: undici looks once a second.
    await Promise.all([
      assert.rejects(session.get(mute), {
        name: 'ServerTimeoutError',
        message: `cannot GET ${mute}: the server is silent (timeout.read)`,
      }),
      assert.rejects((await session.get(half)).read(), {
        name: 'ServerTimeoutError',
        message: `cannot read ${half} after 5 of 10 bytes: the server is silent (timeout.read)`,
      }),
    ]);
  });

  test('connect is for a host that does not answer', { skip: noSilence }, async (t) => {
    const url = `http://127.0.0.1:${await silentPort(t)}/`;
    const session = open(t, { timeout: { connect: 50 }, retry: { retries: 0 } });
    await assert.rejects(session.get(url), {
      name: 'ServerTimeoutError',
      message: `cannot GET ${url}: no connection in time (timeout.connect)`,
    });
  });

  test('a signal may be that of many requests, without a warning', async (t) => {
    const warnings: string[] = [];
    const warned = ({ name }: Error) => warnings.push(name);
    process.on('warning', warned);
    t.after(() => process.off('warning', warned));
    const { session } = await start(t);
    const { signal } = new AbortController();
    await Promise.all(Array.from({ length: 11 }, () => session.get('/status/200', { signal })));
    assert.equal(warnings.includes('MaxListenersExceededWarning'), false);
  });

  test('a signal ends a request, and forgets it when it is over', async (t) => {
    const { session } = await start(t);
    const stop = new AbortController();
    const { signal } = stop;
    await (await session.get('/get', { signal })).read();
    await assert.rejects(session.get('/redirect/9', { signal, maxRedirects: 1 }));
    assert.equal(getEventListeners(signal, 'abort').length, 0);
    const waiting = session.get('/delay/5', { signal });
    const dripping = await session.get('/drip', { signal });
    stop.abort();
    await assert.rejects(waiting, { name: 'AbortError' });
    await assert.rejects(dripping.read(), { name: 'AbortError' });
    await assert.rejects(session.get('/get', { signal }), { name: 'AbortError' });
  });
});

describe('a body', together, () => {
  test('is decoded from gzip, deflate and brotli', async (t) => {
    const { json } = await start(t);
    assert.equal((await json('GET', '/gzip')).gzipped, true);
    assert.equal((await json('GET', '/deflate')).deflated, true);
    assert.equal((await json('GET', '/brotli')).brotli, true);
  });

  test('with an empty Content-Encoding is as it is', async (t) => {
    const url = await serveBytes(t, `${OK}Content-Encoding: \r\n\r\nhello`);
    assert.equal(await (await open(t).get(url)).text(), 'hello');
  });

  test('can be asked for twice, and not after it was given up', async (t) => {
    const { baseUrl, session } = await start(t);
    const response = await session.get('/get');
    assert.equal(await response.text(), (await response.read()).toString());
    const released = await session.get('/get');
    await released.release();
    const large = await session.get('/bytes/10000000');
    await large.release();
    const closed = await session.get('/drip');
    closed.close();
    for (const [response, path] of [
      [released, '/get'],
      [large, '/bytes/10000000'],
      [closed, '/drip'],
    ] as const) {
      await assert.rejects(response.text(), {
        name: 'ClientPayloadError',
        message: `cannot read ${baseUrl}${path}: its body has been read or released`,
      });
    }
    await new Promise<void>((resolve) => closed.onClose(resolve));
  });

  test('comes in chunks, and a loop that is left early closes the connection', async (t) => {
    const { server, session } = await start(t);
    const response = await session.get('/bytes/1000000');
    let size = 0;
    for await (const chunk of response.content) size += chunk.length;
    assert.equal(size, 1_000_000);
    const [first] = await Promise.all([
      once(server, 'request'),
      session.get('/bytes/10000000').then(async ({ content }) => {
        for await (const _ of content) break;
      }),
    ]);
    const { socket } = first[0] as IncomingMessage;
    if (!socket.closed) await new Promise((resolve) => socket.on('close', resolve));
  });

  test('of HEAD, 204 and 304 is empty, whatever the headers say', async (t) => {
    const { url } = await serve(t, ({ url }, response) => {
      const headers = { 'content-encoding': 'gzip', 'content-type': 'application/json' };
      response.writeHead(Number(url?.slice(1)), headers).end();
    });
    const session = open(t, { baseUrl: url });
    for (const [method, path] of [
      ['HEAD', '/200'],
      ['GET', '/204'],
      ['GET', '/304'],
    ] as const) {
      const response = await session.request(method, path);
      assert.equal((await response.read()).length, 0);
      for await (const _ of response.content) assert.fail();
      await new Promise<void>((resolve) => response.onClose(resolve));
    }
  });

  const bad: [string, string | Buffer, string][] = [
    [
      'cut off',
      `${OK}Content-Length: 10\r\n\r\nhello`,
      'cannot read URL after 5 of 10 bytes: the server closed the connection in the middle',
    ],
    [
      'cut off between chunks',
      `${OK}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`,
      'cannot read URL after 5 bytes: the server closed the connection in the middle',
    ],
    [
      'of two lengths',
      `${OK}Content-Length: 3\r\nContent-Length: 5\r\n\r\nhello`,
      'cannot GET URL: two lengths contradict each other',
    ],
    ['that is not HTTP', 'SSH-2.0-OpenSSH\r\n', 'cannot GET URL: that is not HTTP/1.1'],
    [
      'with a status that there is none of',
      'HTTP/1.1 000 What\r\n\r\n',
      'cannot GET URL: that is not HTTP/1.1',
    ],
    [
      'behind a 100 that nobody asked for',
      `HTTP/1.1 100 Continue\r\n\r\n${OK}\r\nhello`,
      'cannot GET URL: the server answers what we did not ask (100 or 101)',
    ],
    [
      'of another protocol',
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n',
      'cannot GET URL: the server answers what we did not ask (100 or 101)',
    ],
    ['without an answer', '', 'cannot GET URL: the server closed the connection in the middle'],
    [
      'with endless headers',
      `${OK}X: ${'x'.repeat(20_000)}\r\n\r\n`,
      'cannot GET URL: the headers are over 16 KiB',
    ],
    [
      'that is not gzip',
      `${OK}Content-Encoding: gzip\r\n\r\nhello`,
      'cannot read URL after 5 bytes: the body is not compressed as its header says',
    ],
    [
      'that is not brotli',
      `${OK}Content-Encoding: br\r\n\r\nhello, this is plain text`,
      'cannot read URL after 25 bytes: the body is not compressed as its header says',
    ],
    [
      'with half a gzip',
      Buffer.concat([
        Buffer.from(`${OK}Content-Encoding: gzip\r\n\r\n`),
        gzipSync('hello').subarray(0, 15),
      ]),
      'cannot read URL after 15 bytes: the compressed body ends too early',
    ],
    [
      'in a coding we do not know',
      `${OK}Content-Encoding: zstd\r\n\r\nhello`,
      'cannot read URL: its Content-Encoding is "zstd", we asked for gzip, deflate, br',
    ],
    [
      'with a coding on top of another',
      `${OK}Content-Encoding: gzip, br\r\n\r\nhello`,
      'cannot read URL: its Content-Encoding is "gzip, br", we asked for gzip, deflate, br',
    ],
  ];
  for (const [what, bytes, message] of bad) {
    test(`${what} is an error`, async (t) => {
      const url = await serveBytes(t, bytes);
      const session = open(t, { retry: { retries: 0 } });
      const read = async () => (await session.get(url)).read();
      await assert.rejects(read, { message: message.replace('URL', url) });
      if (!message.startsWith('cannot read')) return;
      await assert.rejects(
        async () => {
          for await (const _ of (await session.get(url)).content);
        },
        { message: message.replace('URL', url) },
      );
    });
  }

  const bombs: [string, (size: number) => Buffer, string][] = [
    ['gzip', (size) => gzipSync(Buffer.alloc(size)), 'gzip'],
    ['deflate', (size) => deflateSync(Buffer.alloc(size)), 'deflate'],
    ['brotli', (size) => brotliCompressSync(Buffer.alloc(size)), 'br'],
  ];
  for (const [name, make, coding] of bombs) {
    test(`that is small, and large when decoded (${name}), meets a limit`, async (t) => {
      const bomb = make(MiB / 4);
      assert.ok(bomb.length < 1024);
      const { url } = await serve(t, (_, response) => {
        response.setHeader('content-encoding', coding).end(bomb);
      });
      const response = await open(t, { maxSize: 100_000 }).get(url);
      await assert.rejects(response.read(), ({ name, message }) => {
        const [, size = ''] =
          message.match(/: ([\d,]+) bytes after decoding, the limit is 100,000$/) ??
          assert.fail(message);
        // It stopped there and then, and did not decode all of it to find out.
        assert.ok(Number(size.replaceAll(',', '')) < 200_000, size);
        return name === 'ClientPayloadError';
      });
    });
  }

  test('that is too large by its own account is not even begun', async (t) => {
    const url = await serveBytes(t, `${OK}Content-Length: 9000000\r\n\r\nhello`, { silent: true });
    await assert.rejects((await open(t, { maxSize: MiB }).get(url)).read(), {
      name: 'ClientPayloadError',
      message: `cannot read ${url}: 9,000,000 bytes announced, the limit is 1,048,576`,
    });
  });

  for (const [what, part, coding, counted] of [
    ['endless', Buffer.alloc(65_536), 'identity', 'after decoding'],
    [
      'of endless gzip members that hold nothing',
      Buffer.concat(Array(3000).fill(gzipSync(''))),
      'gzip',
      'compressed',
    ],
  ] as const) {
    test(`${what} meets the limit too`, async (t) => {
      const { url } = await serve(t, (_, response) => {
        response.setHeader('content-encoding', coding);
        const more = () => {
          while (!response.destroyed && response.write(part));
        };
        response.on('drain', more).on('error', () => {});
        more();
      });
      const response = await open(t, { maxSize: 100_000 }).get(url);
      const message = new RegExp(`: \\d{3},\\d{3} bytes ${counted}, the limit is 100,000$`);
      await assert.rejects(response.read(), { name: 'ClientPayloadError', message });
    });
  }

  test('is JSON only if it says so, unless that does not matter', async (t) => {
    const { url } = await serve(t, ({ url }, response) => {
      if (url !== '/none')
        response.setHeader('content-type', decodeURIComponent(url?.slice(1) ?? ''));
      response.end(url === '/application/json' ? 'oops' : '{"a":1}');
    });
    const session = open(t, { baseUrl: url });
    for (const type of ['application/JSON;charset=utf-8', 'application/problem+json']) {
      assert.deepEqual(await (await session.get(`/${encodeURIComponent(type)}`)).json(), { a: 1 });
    }
    for (const type of ['text/html', 'application/jsonp']) {
      const response = await session.get(`/${type}`);
      await assert.rejects(response.json(), {
        name: 'ContentTypeError',
        message: `cannot read ${url}/${type} as JSON: its Content-Type is "${type}"`,
      });
      assert.deepEqual(await response.json({ contentType: null }), { a: 1 });
    }
    await assert.rejects((await session.get('/none')).json(), {
      message: /its Content-Type is ""$/,
    });
    await assert.rejects((await session.get('/application/json')).json(), {
      name: 'ClientPayloadError',
      message: `cannot read ${url}/application/json as JSON: it is not`,
    });
  });

  test('is text in the charset that it names', async (t) => {
    const { url } = await serve(t, ({ url }, response) => {
      response.setHeader('content-type', `text/plain; charset="${url?.slice(1)}"`);
      response.end(url === '/gbk' ? Buffer.from([0xc4, 0xe3]) : '\ufeff你');
    });
    const session = open(t, { baseUrl: url });
    for (const charset of ['gbk', 'utf-8'])
      assert.equal(await (await session.get(charset)).text(), '你');
    assert.equal(await (await session.get('klingon')).text(), '你');
    const response = await session.get('gbk');
    assert.deepEqual([response.contentType, response.charset], ['text/plain', 'gbk']);
    assert.equal(await response.text('latin1'), 'Äã');
    const { session: other } = await start(t);
    const bare = await other.get('/status/200');
    assert.deepEqual([bare.contentType, bare.charset], ['application/octet-stream', undefined]);
  });

  test('raiseForStatus() names the status in words of our own', async (t) => {
    const url = await serveBytes(t, 'HTTP/1.1 404 \x1b[2Jboo\r\nContent-Length: 0\r\n\r\n');
    const session = open(t);
    const error = {
      name: 'ClientResponseError',
      message: `GET ${url}: 404 Not Found`,
      status: 404,
    };
    const response = await session.get(url);
    assert.equal(response.ok, false);
    assert.throws(() => response.raiseForStatus(), error);
    await assert.rejects(session.get(url, { raiseForStatus: true }), error);
    const { session: fine } = await start(t);
    assert.equal((await fine.get('/status/204')).raiseForStatus().status, 204);
  });
});

describe('the connections', together, () => {
  /** Counts the connections to a server: all of them, and the most at a time. */
  function count(server: net.Server) {
    const seen = { all: 0, most: 0, open: 0 };
    server.on('connection', (socket: net.Socket) => {
      seen.all++;
      seen.open++;
      seen.most = Math.max(seen.most, seen.open);
      socket.on('close', () => {
        seen.open--;
        server.emit('gone');
      });
    });
    return seen;
  }

  test('are used again: three requests, redirects and errors, one connection', async (t) => {
    const { server, session, json } = await start(t);
    const seen = count(server);
    await json('GET', '/get');
    await json('GET', '/redirect/3');
    await assert.rejects(session.get('/status/404', { raiseForStatus: true }));
    await (await session.get('/bytes/20000')).release();
    await json('POST', '/post', { json: {} });
    assert.equal(seen.all, 1);
  });

  test('are not held by an answer that only made an error', async (t) => {
    const { url } = await serve(t, ({ url }, response) => {
      response.writeHead(url === '/404' ? 404 : 302, { location: '/large' });
      response.end(url === '/' ? '' : Buffer.alloc(MiB));
    });
    for (const _ of [1, 2]) {
      const session = open(t, { baseUrl: url, limitPerHost: 1, maxRedirects: 1 });
      for (const _ of [1, 2]) {
        await assert.rejects(session.get('/'), { name: 'TooManyRedirects' });
      }
      const other = open(t, { baseUrl: url, limitPerHost: 1 });
      for (const _ of [1, 2]) {
        const response = await other.get('/404');
        assert.throws(() => response.raiseForStatus(), { status: 404 });
      }
    }
  });

  test('are no more than there may be', async (t) => {
    const { server, json } = await start(t, { limitPerHost: 3 });
    const seen = count(server);
    await Promise.all(Array.from({ length: 30 }, () => json('GET', '/get')));
    assert.deepEqual([seen.all, seen.most], [3, 3]);
  });

  test('give their place back when a body breaks in the packet that begins it', async (t) => {
    const url = await serveBytes(t, `${OK}Transfer-Encoding: chunked\r\n\r\nzz\r\n`);
    const session = open(t, { limit: 1, timeout: { total: 2000 } });
    for (const _ of [1, 2]) {
      const read = async () => (await session.get(url)).read();
      await assert.rejects(read, { message: /: that is not HTTP\/1\.1$/ });
    }
  });

  test('have a place that is not lost when it is free just as the time is over', async () => {
    const places = new Places(1);
    const [soon, late] = [1, 2].map(() => new Deadline(new URL('http://127.0.0.1/'), 1000));
    assert.ok(soon && late);
    await places.take(soon);
    const waiting = places.take(late);
    places.leave();
    late.abort(new Error('late'));
    await assert.rejects(waiting, { message: 'late' });
    await places.take(soon);
    soon.clear();
  });

  test('are as many as are wanted with a limit of 0', async (t) => {
    const { server, json } = await start(t, { limit: 0 });
    const seen = count(server);
    await Promise.all(Array.from({ length: 5 }, () => json('GET', '/delay/0.05')));
    assert.equal(seen.most, 5);
  });

  test('to all hosts together are no more than there may be', async (t) => {
    const [one, two, three] = [await serve(t, () => {}), await start(t), await start(t)];
    const session = open(t, { limit: 2, limitPerHost: 1 });
    const busy = assert.rejects(session.get(one.url), { name: 'ClientConnectionError' });
    await once(one.server, 'request');
    // It waits for the connection to the same host, and gives its place back when its time is over.
    const late = { timeout: { total: 50 } };
    await assert.rejects(session.get(one.url, late), { name: 'ServerTimeoutError' });
    assert.equal((await session.get(`${two.baseUrl}/status/200`)).status, 200);
    const held = await session.get(`${two.baseUrl}/drip?duration=10`);
    const later = { timeout: { total: 500 } };
    await assert.rejects(session.get(three.baseUrl, later), { name: 'ServerTimeoutError' });
    const next = session.get(`${three.baseUrl}/cookies`);
    await session.cookieJar.setCookie('new=1', three.baseUrl);
    held.close();
    const answer = (await (await next).json()) as Any;
    assert.deepEqual(answer.cookies, { new: '1' });
    await session.close();
    await busy;
  });

  test('are all gone behind `await using`, also one in the middle of an answer', async (t) => {
    const { server, baseUrl } = await start(t);
    const seen = count(server);
    let unread: ClientResponse;
    let waiting: Promise<unknown>;
    {
      await using session = new ClientSession({ baseUrl });
      await (await session.get('/get')).read();
      unread = await session.get('/drip');
      waiting = assert.rejects(session.get('/delay/5'), {
        name: 'ClientConnectionError',
        message: 'the session was closed before the answer was there',
      });
      while (seen.all < 2) await once(server, 'connection');
    }
    await waiting;
    while (seen.open > 0) await once(server, 'gone');
    await assert.rejects(unread.read(), { message: /^the session was closed before/ });
    const session = open(t, { baseUrl });
    assert.equal(session.closed, false);
    await session.close();
    assert.equal(session.closed, true);
    await assert.rejects(session.get('/get'), {
      name: 'ClientError',
      message: 'cannot send a request: the session is closed',
    });
  });

  test('that cannot be made are told in one sentence', async (t) => {
    const server = net.createServer();
    const port = await listen(t, server);
    await once(server.close(), 'close');
    await assert.rejects(open(t, SOON).get(`http://127.0.0.1:${port}`), {
      name: 'ClientConnectionError',
      message: `cannot connect to 127.0.0.1:${port}: connection refused; is the server running there?`,
    });
    await assert.rejects(open(t).get('http://no-such-host.invalid'), {
      name: 'ClientConnectionError',
      message: /^cannot connect to no-such-host\.invalid: /,
    });
    const code = 'DEPTH_ZERO_SELF_SIGNED_CERT';
    const untrusted = Object.assign(new Error('self-signed certificate'), { code });
    assert.equal(
      String(clientError(untrusted, 'cannot GET https://127.0.0.1/')),
      'ClientConnectionError: cannot GET https://127.0.0.1/: self-signed certificate',
    );
    const bug = new TypeError('x is not a function');
    assert.equal(clientError(bug, 'cannot GET https://127.0.0.1/'), bug);
  });
});

describe('a proxy', together, () => {
  async function startProxy(t: TestContext) {
    const requests: string[] = [];
    const server = createServer();
    server.on('request', ({ method, url }) => requests.push(`${method} ${url}`));
    server.on('connect', ({ url }) => requests.push(`CONNECT ${url}`));
    const proxy = createProxy(server);
    proxy.authenticate = ({ headers }) =>
      headers['proxy-authorization'] === `Basic ${Buffer.from('me:p@ss').toString('base64')}`;
    const port = await listen(t, proxy);
    return { requests, proxy, port, url: `http://me:p%40ss@127.0.0.1:${port}` };
  }

  test('is asked for the whole URL, with its own password, over few connections', async (t) => {
    const { requests, proxy, url } = await startProxy(t);
    let connections = 0;
    proxy.on('connection', () => connections++);
    const { baseUrl, json } = await start(t, { proxy: url, limitPerHost: 2 });
    const answers = await Promise.all(Array.from({ length: 9 }, () => json('GET', '/get')));
    assert.equal(answers[0].headers['Proxy-Authorization'], undefined);
    assert.deepEqual(requests, Array(9).fill(`GET ${baseUrl}/get`));
    assert.equal(connections, 2);
  });

  test('is asked for a tunnel for https', async (t) => {
    const { requests, url } = await startProxy(t);
    const port = await listen(
      t,
      net.createServer((socket) => socket.destroy()),
    );
    await assert.rejects(open(t, { proxy: url, ...SOON }).get(`https://127.0.0.1:${port}`));
    assert.equal(requests[0], `CONNECT 127.0.0.1:${port}`);
  });

  test('may close the connection, or say nothing, and is not asked for ever', async (t) => {
    let connections = 0;
    const server = net.createServer((socket) => {
      connections++;
      socket.once('data', () => socket.end());
    });
    const proxy = `http://127.0.0.1:${await listen(t, server)}`;
    const session = open(t, { proxy, retry: { retries: 1, backoff: 1 } });
    await assert.rejects(session.get('https://example.invalid'), {
      name: 'ClientProxyConnectionError',
      message: 'cannot GET https://example.invalid/: the proxy closed the connection',
    });
    assert.equal(connections, 2);
    const silent = net.createServer();
    const url = `http://127.0.0.1:${await listen(t, silent)}`;
    const other = open(t, { proxy: url, timeout: { connect: 50 }, retry: { retries: 0 } });
    await assert.rejects(other.get('https://example.invalid'), {
      name: 'ServerTimeoutError',
      message: 'cannot GET https://example.invalid/: no connection in time (timeout.connect)',
    });
  });

  test('may refuse', async (t) => {
    const { port } = await startProxy(t);
    const { baseUrl, session } = await start(t, { proxy: `http://127.0.0.1:${port}` });
    for (const url of [`${baseUrl}/get`, baseUrl.replace('http:', 'https:')]) {
      await assert.rejects(session.get(url), {
        name: 'ClientHttpProxyError',
        message: `cannot GET ${new URL(url)}: the proxy refused with 407`,
        status: 407,
      });
    }
  });
});

test('an answer that nobody reads does not keep the process', async (t) => {
  const { session } = await start(t);
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const before = timers();
  await session.get('/get');
  assert.ok(timers() <= before);
});

describe('httpbin', together, () => {
  test('tells of a request what httpbin.org tells', async (t) => {
    const { port, baseUrl, session } = await start(t);
    const host = `127.0.0.1:${port}`;
    const headers = {
      Accept: '*/*',
      'Accept-Encoding': 'gzip, deflate, br',
      Connection: 'keep-alive',
      Host: host,
      'User-Agent': 'net-by-example/13',
    };
    const get = await session.get('/get?b=2&b=3&a=1&__proto__=%E7%BD%91%26%FF');
    const args = { ['__proto__']: '网&\ufffd', a: '1', b: ['2', '3'] };
    const url = `${baseUrl}/get?b=2&b=3&a=1&__proto__=网%26%FF`;
    assert.equal(
      await get.text(),
      `${JSON.stringify({ args, headers, origin: '127.0.0.1', url }, null, 2)}\n`,
    );
    assert.equal(get.headers.get('access-control-allow-origin'), '*');
    const data = new FormData();
    data.append('text', 'é');
    data.append('file', new Blob([Uint8Array.of(0xff, 0xd8)], { type: 'image/jpeg' }), 'a.jpg');
    const post = (await (await session.post('/post', { data })).json()) as Record<string, unknown>;
    assert.deepEqual(Object.keys(post), [
      'args',
      'data',
      'files',
      'form',
      'headers',
      'json',
      'origin',
      'url',
    ]);
    assert.deepEqual(post.form, { text: 'é' });
    assert.deepEqual(post.files, { file: 'data:image/jpeg;base64,/9g=' });
    assert.deepEqual([post.data, post.json], ['', null]);
    const anything = (await (await session.patch('/anything/a/b?c')).json()) as typeof post;
    assert.deepEqual(
      [anything.method, anything.args, anything.url],
      ['PATCH', { c: '' }, `${baseUrl}/anything/a/b?c`],
    );
  });

  test('has the paths of the lesson', async (t) => {
    const { port, session } = await start(t);
    const lines = (await (await session.get('/stream/3')).text()).trim().split('\n');
    assert.deepEqual(
      lines.map((line) => JSON.parse(line).id),
      [0, 1, 2],
    );
    const cookies = await session.get('/cookies/set?a=1&b=x%3B+y', { allowRedirects: false });
    assert.deepEqual(cookies.headers.getSetCookie(), ['a=1; Path=/', 'b=x%3B%20y; Path=/']);
    for (const status of [200, 204, 404, 418, 599]) {
      const response = await session.get(`/status/${status}`);
      const length = status === 204 ? null : '0';
      assert.deepEqual([response.status, response.headers.get('content-length')], [status, length]);
    }
    const reply = await dial(t, port);
    reply.end('GET /status/404 HTTP/1.1\r\nHost: x\r\n\r\n');
    assert.match((await readAll(reply)).toString(), /^HTTP\/1.1 404 NOT FOUND\r\n/);
    for (const [status, location] of [
      [301, '/redirect/1'],
      [304, null],
    ] as const) {
      const { headers } = await session.head(`/status/${status}`);
      assert.equal(headers.get('location'), location);
    }
    const challenge = 'Basic realm="Fake Realm"';
    for (const path of ['/status/401', '/basic-auth/a/b']) {
      const { status, headers } = await session.get(path);
      assert.deepEqual([status, headers.get('www-authenticate')], [401, challenge]);
    }
    assert.equal(await (await session.get('/drip?numbytes=5&duration=0')).text(), '*****');
    const delayed = await (await session.post('/delay/0.01', { data: 'x' })).json();
    assert.equal((delayed as { data: string }).data, 'x');
    const bytes = await (await session.get('/bytes/70000')).read();
    assert.deepEqual([bytes.length, bytes[69_999]], [70_000, 69_999 % 256]);
    const head = await session.head('/bytes/1000');
    assert.equal(head.headers.get('content-length'), '1000');
  });

  test('refuses what it cannot do, or not so much of', async (t) => {
    const { session } = await start(t);
    for (const [path, status, text] of [
      ['/nothing', 404, 'there is no /nothing here'],
      ['/post', 405, '/post does not take GET'],
      ['/status/99', 400, 'status must be a whole number from 200 to 599, not "99"'],
      ['/delay/x', 400, 'delay must be a number from 0, not "x"'],
      ['/redirect/0', 400, 'redirects must be a whole number from 1 to 100, not "0"'],
      ['/stream/1e9', 400, 'lines must be a whole number from 0 to 100, not "1e9"'],
      ['/bytes/x', 400, 'bytes must be a whole number from 0 to 10485760, not "x"'],
      ['/status/%ff', 400, 'cannot decode the path: a % stands without its two digits'],
    ] as const) {
      const response = await session.get(path);
      assert.deepEqual([response.status, await response.text()], [status, `${text}\n`]);
    }
    const headers = { 'content-type': 'multipart/form-data; boundary=x' };
    const bad = await session.post('/post', { data: 'oops', headers });
    assert.equal(await bad.text(), 'cannot parse body: it is not multipart/form-data\n');
    const wrong = await session.put('/get');
    assert.deepEqual([wrong.status, wrong.headers.get('allow')], [405, 'OPTIONS, GET']);
    const options = await session.options('/get');
    assert.deepEqual([options.status, options.headers.get('allow')], [200, 'OPTIONS, GET']);
  });

  test('takes a body of so many bytes, and answers 413 to more, however it comes', async (t) => {
    const { session } = await start(t, {}, { maxBody: 100_000 });
    assert.equal((await session.post('/post', { data: 'x'.repeat(100_000) })).status, 200);
    async function* stream() {
      for (let n = 0; n < 50; n++) yield Buffer.alloc(65_536);
    }
    for (const data of ['x'.repeat(3_000_000), stream()]) {
      const response = await session.post('/post', { data });
      assert.equal(response.status, 413);
      assert.equal(await response.text(), 'cannot accept body: the limit is 100,000 bytes\n');
    }
  });

  test('closes on clients that stop in the middle, or do not read', async (t) => {
    const { server, port } = await start(t, {}, { idleTimeout: 50 });
    for (const text of [
      '',
      'GET /get HT',
      'POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf',
      'GET /bytes/10000000 HTTP/1.1\r\nHost: x\r\n\r\n',
    ]) {
      const accepted = once(server, 'connection');
      const client = await dial(t, port);
      client.write(text);
      const [socket] = await accepted;
      await new Promise((resolve) => socket.on('close', resolve));
    }
  });

  test('outlives clients that reset', async (t) => {
    const log: string[] = [];
    const { server, port, session } = await start(t, {}, { log: (line) => log.push(line) });
    for (const path of ['/delay/10', '/drip', '/bytes/10000000']) {
      const client = await dial(t, port);
      client.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
      const [, response] = await once(server, 'request');
      reset(client);
      if (!response.closed) await once(response, 'close');
    }
    assert.equal((await session.get('/get')).status, 200);
    assert.deepEqual(log, ['GET /get 200']);
  });

  test('remembers only so many keys of /flaky', async (t) => {
    const { port } = await start(t, {}, { maxKeys: 10 });
    const client = await dial(t, port);
    const keys = ['first', ...Array(10).keys(), 'first', 'first'];
    const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\n`;
    client.write(keys.map((key) => `${get(`/flaky?fail=1&key=${key}`)}\r\n`).join(''));
    client.write(`${get('/status/200')}Connection: close\r\n\r\n`);
    const answers = (await readAll(client)).toString().matchAll(/^HTTP\/1\.1 (\d+)/gm);
    const statuses = Array.from(answers, ([, status]) => status).slice(0, -1);
    assert.equal(statuses.length, keys.length);
    assert.deepEqual([statuses[0], ...statuses.slice(-2)], ['503', '503', '200']);
  });

  test('ends at once with idle clients, and lets the others finish', {
    timeout: 30_000,
  }, async (t) => {
    const { server, port } = await start(t, {}, { idleTimeout: 120_000 });
    server.keepAliveTimeout = 120_000;
    const request = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
    const idle = await dial(t, port);
    idle.write(request('/status/200'));
    await readBytes(idle, 20);
    const busy = await dial(t, port);
    busy.write(request('/get'));
    await once(server, 'request');
    const closed = once(server.close(), 'close');
    const answers = (await readAll(busy)).toString();
    assert.match(answers, /^HTTP\/1.1 200 OK\r\n[\s\S]*\/get"\n}\n$/);
    await closed;
  });
});

describe('a download', together, () => {
  const terminal = () => {
    const written: string[] = [];
    return { isTTY: true, columns: 60, written, write: (text: string) => written.push(text) };
  };

  test('writes the file, and draws a bar in a terminal', async (t) => {
    const { session } = await start(t);
    const file = join(await directory(t), 'file');
    const screen = terminal();
    await download(session, '/bytes/3000000', { file, terminal: screen });
    const bytes = await readFile(file);
    assert.deepEqual([bytes.length, bytes[2_999_999]], [3_000_000, 2_999_999 % 256]);
    const bars = screen.written.join('').split('\r');
    assert.equal(bars.shift(), '');
    assert.match(bars.at(-1) ?? '', /^\[#+\] 100 % {2}2\.9 MiB of 2\.9 MiB .*\/s\n$/);
    for (const bar of bars) assert.equal(bar.trimEnd().length, 59);
  });

  test('draws nothing where there is no terminal', async (t) => {
    const { session } = await start(t);
    const screen = { ...terminal(), isTTY: false };
    await download(session, '/get', { file: join(await directory(t), 'file'), terminal: screen });
    assert.deepEqual(screen.written, []);
  });

  test('leaves no file behind that is not whole', async (t) => {
    const { baseUrl, session } = await start(t);
    const path = await directory(t);
    const file = join(path, 'file');
    await assert.rejects(download(session, '/bytes/200000', { file, maxSize: 1000 }), {
      name: 'ClientPayloadError',
      message: /^cannot download: [\d,]+ bytes, the limit is 1,000$/,
    });
    const cut = createServer((_, response) => {
      response.writeHead(200, { 'content-length': 10 });
      response.write('half');
    });
    const url = `http://127.0.0.1:${await listen(t, cut)}/`;
    // The bar of the first bytes is drawn: they are there.
    const cutting = { ...terminal(), write: () => cut.closeAllConnections() };
    await assert.rejects(download(session, url, { file, terminal: cutting }), {
      name: 'ServerDisconnectedError',
      message: `cannot read ${url} after 4 of 10 bytes: the server closed the connection in the middle`,
    });
    await assert.rejects(download(session, '/status/404', { file }), {
      message: `GET ${baseUrl}/status/404: 404 Not Found`,
    });
    assert.deepEqual(await readdir(path), []);
    await download(session, '/bytes/3', { file });
    await assert.rejects(download(session, url, { file, terminal: cutting }));
    assert.equal((await readFile(file)).length, 3, 'the one that was there before');
  });

  test('goes into a device as it is, and leaves it one', { skip: noDevices }, async (t) => {
    const { session } = await start(t);
    const path = await directory(t);
    const file = join(path, 'null');
    await symlink('/dev/null', file);
    await download(session, '/bytes/9', { file });
    await assert.rejects(download(session, '/bytes/9', { file, maxSize: 1 }));
    assert.deepEqual(await readdir(path), ['null']);
    assert.equal(await readlink(file), '/dev/null');
  });

  test('of which the length is not known has a bar without an end', async (t) => {
    const { session } = await start(t);
    const screen = terminal();
    await download(session, '/gzip', { file: join(await directory(t), 'file'), terminal: screen });
    assert.match(screen.written.at(-2) ?? '', /^\r0\.0 MiB +\d+\.\d MiB\/s +$/);
    assert.equal(screen.written.at(-1), '\n');
  });

  test('formatBar() never fills the last column', () => {
    const MiB = 1024 * 1024;
    assert.equal(
      formatBar(5 * MiB, 10 * MiB, 1000, 60),
      '[#########         ]  50 %  5.0 MiB of 10.0 MiB   5.0 MiB/s',
    );
    for (const columns of [1, 20, 40, 60, 80, 200]) {
      for (const total of [0, 1000, MiB, undefined]) {
        assert.equal(formatBar(999, total, 0, columns).length, Math.min(columns, 80) - 1);
      }
    }
    assert.equal(formatBar(1, 2, 1, 0).length, 79);
  });

  test('an error behind a bar stands on a line of its own', async () => {
    const screen = terminal();
    async function* chunks() {
      yield Buffer.alloc(10);
      throw new Error('cut');
    }
    const all = async () => {
      for await (const _ of withProgress(chunks(), { maxSize: 100, terminal: screen }));
    };
    await assert.rejects(all, /cut/);
    assert.equal(screen.written.at(-1), '\n');
  });

  test('is called what the URL says, and nothing that leaves the folder', () => {
    const names = {
      'http://x/a/b.tgz?c#d': 'b.tgz',
      'http://x': 'index.html',
      'http://x/a/': 'index.html',
      'http://x/..%2F..%2Fetc%2Fpasswd': '_2F.._2Fetc_2Fpasswd',
      'http://x/%5C..%5CC:': '_5C.._5CC_',
      'http://x/.bashrc': 'bashrc',
    };
    for (const [url, name] of Object.entries(names)) assert.equal(fileName(url), name, url);
  });
});

describe('gather()', together, () => {
  test('keeps the order, and one that fails does not lose the others', async (t) => {
    const { baseUrl, session } = await start(t);
    const urls = ['/delay/0.1', '/status/404', 'nope:', '/anything/data2'];
    const results = await gather(session, urls);
    const told = results.map((result) =>
      result.status === 'fulfilled'
        ? JSON.parse(result.value.body.toString()).url
        : result.reason.message,
    );
    assert.deepEqual(told, [
      `${baseUrl}/delay/0.1`,
      `GET ${baseUrl}/status/404: 404 Not Found`,
      'cannot use URL nope:: it is neither http: nor https:',
      `${baseUrl}/anything/data2`,
    ]);
  });

  test('has no more under way than it may, bodies too', async (t) => {
    let [open, most] = [0, 0];
    const server = createServer(async (_, response) => {
      most = Math.max(most, ++open);
      response.write('begin');
      // In these a request over the limit would come too; there is no event for one that does not.
      for (let n = 0; n < 20; n++) await nextTurn();
      open--;
      response.end('end');
    });
    const url = `http://127.0.0.1:${await listen(t, server)}/`;
    const { session } = await start(t);
    const results = await gather(session, Array(20).fill(url), { limit: 3 });
    assert.deepEqual(new Set(results.map(({ status }) => status)), new Set(['fulfilled']));
    assert.equal(most, 3);
  });
});

describe('urlopen()', together, () => {
  test('reads a URL, and says what is wrong with others', async (t) => {
    const { baseUrl } = await start(t);
    assert.equal(JSON.parse((await urlopen(`${baseUrl}/get`)).toString()).url, `${baseUrl}/get`);
    const cases = [
      [`${baseUrl}/status/404`, 'HTTP Error 404: Not Found'],
      [`${baseUrl}/redirect/1`, 'HTTP Error 302: Found'],
      [
        `${baseUrl}/bytes/2000000`,
        `cannot read ${baseUrl}/bytes/2000000: the limit is 1,048,576 bytes`,
      ],
      ['ftp://x', 'cannot open "ftp://x": want http://… or https://…'],
      ['http://', 'cannot open "http://": want http://… or https://…'],
    ] as const;
    for (const [url, message] of cases) await assert.rejects(urlopen(url), { message });
  });

  test('leaves no connection behind, neither with an answer nor with an error', {
    timeout: 30_000,
  }, async (t) => {
    const { server, url } = await serve(t, ({ url, headers }, response) => {
      assert.equal(headers.connection, 'close');
      // Of the error the body never ends, and nobody reads it.
      if (url === '/') response.end('fine');
      else response.writeHead(404).write('x');
    });
    for (const path of ['/', '/404']) {
      const accepted = once(server, 'connection');
      const outcome = await urlopen(url + path, { timeout: 60_000 }).catch(
        ({ message }) => message,
      );
      assert.equal(String(outcome), path === '/' ? 'fine' : 'HTTP Error 404: Not Found');
      const [socket] = await accepted;
      if (!socket.closed) await new Promise((resolve) => socket.on('close', resolve));
    }
  });

  test('gives up when the time is over, though bytes still drip, or when told to', async (t) => {
    const { server, baseUrl } = await start(t);
    const url = `${baseUrl}/drip?numbytes=1000&duration=10`;
    const message = `cannot get ${url} within 0.1 s`;
    await assert.rejects(urlopen(url, { timeout: 100 }), { message });
    const stop = new AbortController();
    const opened = urlopen(`${baseUrl}/delay/10`, { signal: stop.signal });
    once(server, 'request').then(() => stop.abort());
    await assert.rejects(opened, { name: 'AbortError' });
  });
});

describe('tour()', together, () => {
  test('does what the tutorial does', async (t) => {
    const { baseUrl } = await start(t);
    const proxied: (string | undefined)[] = [];
    const server = createServer(({ url }, response) => {
      proxied.push(url);
      response.end();
    });
    const proxy = `http://127.0.0.1:${await listen(t, server)}`;
    const { signal } = new AbortController();
    const lines: string[] = [];
    for await (const line of tour({ baseUrl, proxy, signal })) lines.push(line);
    const last = lines.pop() ?? '';
    assert.deepEqual(lines, [
      'GET with parameters            {"age":"25","name":"张三"}',
      'POST a form                    {"password":"testpass","username":"testuser"}',
      'POST JSON                      {"content":"这是一篇测试文章的内容","title":"测试文章"}',
      'upload a file                  {"file":"This is test file content"}',
      'a session                      {"cookies":{"sessionid":"123456"}}',
      `/delay/5                       cannot get ${baseUrl}/delay/5 within 0.2 s`,
      'retries                        200 after two of 503',
      'by a proxy                     200',
      '/status/200                    200',
      `/status/404                    HTTP error 404: ${baseUrl}/status/404`,
      `/status/500                    HTTP error 500: ${baseUrl}/status/500`,
    ]);
    assert.deepEqual(proxied, [`${baseUrl}/get`]);
    assert.match(
      last,
      /^http:\/\/does-not-exist\.invalid {2}cannot connect to does-not-exist\.invalid: /,
    );
  });

  test('has a limit for what it reads', async (t) => {
    const { baseUrl } = await start(t);
    const { signal } = new AbortController();
    await assert.rejects(tour({ baseUrl, signal, maxSize: 10 }).next(), {
      message: `cannot read ${baseUrl}/get?name=%E5%BC%A0%E4%B8%89&age=25: over 10 bytes`,
    });
  });

  test('says in one line that the service is none', async (t) => {
    const { signal } = new AbortController();
    const answers = [404, 200];
    const server = createServer((_, response) => {
      response.statusCode = answers.shift() ?? 200;
      response.end('<html>');
    });
    const baseUrl = `http://127.0.0.1:${await listen(t, server)}`;
    const url = `${baseUrl}/get?name=%E5%BC%A0%E4%B8%89&age=25`;
    await assert.rejects(tour({ baseUrl: 'nowhere', signal }).next(), {
      message: 'cannot use URL "nowhere": it is not one',
    });
    for (const message of [`HTTP error 404: ${url}`, `cannot read ${url}: that is not JSON`]) {
      await assert.rejects(tour({ baseUrl, signal }).next(), { name: 'ProgramError', message });
    }
  });
});

describe('the programs', { ...together, timeout: 120_000 }, () => {
  for (const file of [REQUESTS, URLLIB]) testUsage(file);
  testServer(HTTPBIN, async (_, port) => {
    const response = await fetch(`http://127.0.0.1:${port}/get?a=1`);
    assert.deepEqual(((await response.json()) as { args: unknown }).args, { a: '1' });
  });

  test('gather.ts prints a line about each URL, and fails if one has', async (t) => {
    const { baseUrl } = await start(t);
    const program = run(t, GATHER, [
      '--base-url',
      baseUrl,
      '/status/200',
      '/status/500',
      '/bytes/1234',
    ]);
    assert.equal(await program.exit(), 1);
    assert.equal(
      program.stdout,
      `200          0 bytes  /status/200\nfailed  GET ${baseUrl}/status/500: 500 Internal Server Error\n200      1,234 bytes  /bytes/1234\n`,
    );
    assert.equal(program.stderr, 'error: 1 of 3 URLs could not be fetched\n');
  });

  test('download.ts stopped by Ctrl+C leaves no half of a file', { skip: noSignals }, async (t) => {
    const path = await directory(t);
    const file = join(path, 'file');
    const server = createServer((_, response) => response.write('half'));
    const url = `http://127.0.0.1:${await listen(t, server)}/`;
    const program = run(t, DOWNLOAD, [url, '--output', file]);
    await once(server, 'request');
    program.child.kill('SIGINT');
    assert.equal(await program.exit(), 0, program.stderr);
    assert.deepEqual([program.stdout, program.stderr, await readdir(path)], ['', '', []]);
  });
});

testReadme(import.meta.dirname);
