import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  dial,
  listen,
  readAll,
  readBytes,
  reset,
  run,
  testReadme,
  testServer,
  testUsage,
} from '@shared/testing';
import { download, fileName } from './download.ts';
import { gather } from './gather.ts';
import { createHttpbin, type HttpbinOptions } from './httpbin.ts';
import { formatBar, withProgress } from './progress.ts';
import { tour } from './requests.ts';
import { ClientSession } from './session.ts';
import { urlopen } from './urllib.ts';

const HTTPBIN = join(import.meta.dirname, 'httpbin.ts');
const REQUESTS = join(import.meta.dirname, 'requests.ts');
const URLLIB = join(import.meta.dirname, 'urllib.ts');
const GATHER = join(import.meta.dirname, 'gather.ts');
const DOWNLOAD = join(import.meta.dirname, 'download.ts');
const noSignals = process.platform === 'win32' ? 'Windows cannot send SIGINT' : false;

/** httpbin, and a session with it as its base. */
async function start(t: TestContext, options: HttpbinOptions = {}) {
  const server = createHttpbin(options);
  const port = await listen(t, server);
  const baseUrl = `http://127.0.0.1:${port}`;
  const session = new ClientSession({
    baseUrl,
    headers: { 'user-agent': 'test' },
    retry: { retries: 0 },
  });
  t.after(() => session.close());
  return { server, port, baseUrl, session };
}

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'http-client-'));
  t.after(() => rm(path, { recursive: true }));
  return path;
}

describe('httpbin', { concurrency: true }, () => {
  test('tells of a request what httpbin.org tells', async (t) => {
    const { port, baseUrl, session } = await start(t);
    const host = `127.0.0.1:${port}`;
    const headers = {
      Accept: '*/*',
      'Accept-Encoding': 'gzip, deflate, br',
      Connection: 'keep-alive',
      Host: host,
      'User-Agent': 'test',
    };
    const get = await session.get('/get?a=1&b=2&b=3&__proto__=x');
    assert.equal(
      await get.text(),
      `${JSON.stringify({ args: { a: '1', b: ['2', '3'], ['__proto__']: 'x' }, headers, origin: '127.0.0.1', url: `${baseUrl}/get?a=1&b=2&b=3&__proto__=x` }, null, 2)}\n`,
    );
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
  });

  test('has the paths of the lesson', async (t) => {
    const { session } = await start(t);
    const lines = (await (await session.get('/stream/3')).text()).trim().split('\n');
    assert.deepEqual(
      lines.map((line) => JSON.parse(line).id),
      [0, 1, 2],
    );
    const cookies = await session.get('/cookies/set?a=1&b=x%3B+y', { maxRedirects: 0 });
    assert.deepEqual(cookies.headers.getSetCookie(), ['a=1; Path=/', 'b=x%3B%20y; Path=/']);
    for (const status of [200, 204, 404, 418, 599]) {
      const response = await session.get(`/status/${status}`);
      const length = status === 204 ? null : '0';
      assert.deepEqual([response.status, response.headers.get('content-length')], [status, length]);
    }
    const challenge = 'Basic realm="Fake Realm"';
    for (const path of ['/status/401', '/basic-auth/a/b']) {
      const { status, headers } = await session.get(path);
      assert.deepEqual([status, headers.get('www-authenticate')], [401, challenge]);
    }
    assert.equal(await (await session.get('/drip?numbytes=5&duration=0')).text(), '*****');
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
      ['/delay/11', 400, 'delay must be a whole number from 0 to 10, not "11"'],
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
    assert.deepEqual([wrong.status, wrong.headers.get('allow')], [405, 'GET']);
  });

  test('takes a body of so many bytes, and answers 413 to more, however it comes', async (t) => {
    const { session } = await start(t, { maxBody: 100_000 });
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
    const { server, port } = await start(t, { idleTimeout: 50 });
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
    const { server, port, session } = await start(t, { log: (line) => log.push(line) });
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
    const { port } = await start(t);
    // All of them on one connection: a session would take ten times as long.
    const client = await dial(t, port);
    const keys = ['first', ...Array(1000).keys(), 'first', 'first'];
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
    const { server, port } = await start(t, { idleTimeout: 120_000 });
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

describe('a download', { concurrency: true }, () => {
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
      response.write('half', () => response.destroy());
    });
    const url = `http://127.0.0.1:${await listen(t, cut)}/`;
    await assert.rejects(download(session, url, { file }), {
      name: 'ServerDisconnectedError',
      message: `cannot read ${url} after 4 of 10 bytes: the server closed the connection in the middle`,
    });
    await assert.rejects(download(session, '/status/404', { file }), {
      message: `GET ${baseUrl}/status/404: 404 Not Found`,
    });
    assert.deepEqual(await readdir(path), []);
    await download(session, '/bytes/3', { file });
    await assert.rejects(download(session, url, { file }));
    assert.equal((await readFile(file)).length, 3, 'the one that was there before');
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

describe('gather()', { concurrency: true }, () => {
  test('keeps the order, and one that fails does not lose the others', async (t) => {
    const { baseUrl, session } = await start(t);
    const urls = ['/delay/1', '/status/404', 'nope:', '/anything/data2'];
    const results = await gather(session, urls);
    const told = results.map((result) =>
      result.status === 'fulfilled'
        ? JSON.parse(result.value.body.toString()).url
        : result.reason.message,
    );
    assert.deepEqual(told, [
      `${baseUrl}/delay/1`,
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

describe('urlopen()', { concurrency: true }, () => {
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

describe('tour()', { concurrency: true }, () => {
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
      'GET with parameters            {"name":"张三","age":"25"}',
      'POST a form                    {"username":"testuser","password":"testpass"}',
      'POST JSON                      {"title":"测试文章","content":"这是一篇测试文章的内容"}',
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

describe('the programs', { concurrency: true }, () => {
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
