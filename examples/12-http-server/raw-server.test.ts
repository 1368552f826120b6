import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, get } from 'node:http';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  cuts,
  dial,
  listen,
  readAll,
  readBytes,
  reset,
  sendPieces,
  testServer,
} from '@shared/testing';
import { HttpError } from './raw-response.ts';
import { createRawServer, type RawServerOptions } from './raw-server.ts';
import type { Limits } from './request-body.ts';
import { type Request, RequestParser } from './request-parser.ts';

const SERVER = join(import.meta.dirname, 'raw-server.ts');
const MiB = 1024 * 1024;
const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
/** One whose answer is about as long. */
const LARGE = `GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(4000)}\r\n\r\n`;
const LAST = 'GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';
const POST = 'POST / HTTP/1.1\r\nHost: a\r\n';
const CHUNKED = `${POST}Transfer-Encoding: chunked\r\n\r\n`;
const noLoopback =
  process.platform === 'linux' ? false : 'only on Linux is what was sent there at once';
/** What waits for ever here has failed. */
const together = { concurrency: true, timeout: 30_000 };

/** All that a parser says to these pieces: requests in short, and at last the status of a refusal. */
function parse(pieces: Iterable<Buffer>, limits: Partial<Limits> = {}, end = true) {
  const parser = new RequestParser(limits);
  const said: (string | number)[] = [];
  try {
    for (const piece of pieces) {
      parser.push(piece);
      for (let event = parser.next(); event !== undefined; event = parser.next()) {
        if (event === 'continue') said.push(event);
        else {
          const { method, target, host, body, trailers, keepAlive } = event;
          const more = trailers.map(([name, value]) => ` ${name}=${value}`).join('');
          said.push(`${method} ${target} ${host} ${body}${more} ${keepAlive ? 'open' : 'close'}`);
        }
      }
    }
    if (end) parser.end();
  } catch (error) {
    if (!(error instanceof HttpError)) throw error;
    said.push(error.status);
  }
  return said;
}

/** The same for every way to cut the bytes, but for a beginning that many of them have. */
function check(bytes: string, expected: (string | number)[], limits = {}, end = true): void {
  const beginning = [CHUNKED, POST, GET.slice(0, -2)].find((one) => bytes.startsWith(one)) ?? '';
  const first = Buffer.from(beginning);
  const rest = Buffer.from(bytes.slice(beginning.length), 'latin1');
  assert.deepEqual(parse([Buffer.concat([first, rest])], limits, end), expected, bytes);
  for (const { name, pieces } of cuts(rest)) {
    assert.deepEqual(parse([first, ...pieces], limits, end), expected, `${bytes}, ${name}`);
  }
}

const UNUSUAL: [string, string][] = [
  ['\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n', 'GET / a  open'],
  ['GET / HTTP/1.1\r\nhOsT:\t a:80 \t\r\nX:\r\n\r\n', 'GET / a:80  open'],
  ['GET / HTTP/1.1\r\nHost: [::1]:80\r\nX: \xe7\xbd\x91\ta\r\n\r\n', 'GET / [::1]:80  open'],
  ['GET http://b:1/x?y HTTP/1.1\r\nHost: a\r\n\r\n', 'GET http://b:1/x?y b:1  open'],
  ['GET HTTP://b HTTP/1.1\r\nHost: a\r\n\r\n', 'GET HTTP://b b  open'],
  ['OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n', 'OPTIONS * a  open'],
  ['GET / HTTP/1.9\r\nHost: a\r\n\r\n', 'GET / a  open'],
  ['GET / HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\n\r\n', 'GET / a  close'],
  ['GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nconnection: close\r\n\r\n', 'GET / a  close'],
  ['GET / HTTP/1.0\r\n\r\n', 'GET / undefined  close'],
  ['GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n', 'GET / undefined  open'],
  ['GET / HTTP/1.0\r\nExpect: something\r\n\r\n', 'GET / undefined  close'],
  [`${POST}Expect: 100-continue\r\nContent-Length: 0\r\n\r\n`, 'POST / a  open'],
  [`${POST}Expect: , 100-continue,\r\nContent-Length: 0\r\n\r\n`, 'POST / a  open'],
  [`${POST}Transfer-Encoding: ,chunked, ,\r\n\r\n0\r\n\r\n`, 'POST / a  open'],
  [`${POST}transfer-encoding: \tCHUNKED\t\r\n\r\n000\r\n\r\n`, 'POST / a  open'],
  [`${CHUNKED}1 ;\ta\r\nx\r\n0;b\r\n\r\n`, 'POST / a x open'],
];

describe('the parser', together, () => {
  test('finds the same requests, however the bytes are cut', () => {
    check(
      `${GET}${POST}Content-Length: 5\r\nExpect: 100-Continue\r\n\r\nh\r\n\0\xff` +
        `${CHUNKED}5;a=b; c = "\\";"\r\n` +
        `hello\r\n00A\r\n0123456789\r\n0\r\nSum: 15\r\n\r\n${LAST}`,
      [
        'GET / a  open',
        'continue',
        'POST / a h\r\n\0\ufffd open',
        'POST / a hello0123456789 Sum=15 open',
        'GET /last a  close',
      ],
    );
  });

  test('copies little of a body that comes one byte at a time', (t) => {
    const { mock } = t.mock.method(Buffer, 'allocUnsafeSlow');
    const parser = new RequestParser();
    parser.push(Buffer.from(`${POST}Content-Length: 20000\r\n\r\n`));
    const byte = Buffer.from('x');
    for (let n = 0; n < 20_000; n++) {
      if (parser.next() !== undefined) assert.fail(`a request after ${n} bytes`);
      parser.push(byte);
    }
    const { body } = parser.next() as Request;
    assert.ok(body.equals(Buffer.alloc(20_000, 'x')));
    assert.ok(mock.callCount() < 20, `${mock.callCount()} copies`);
  });

  test('takes what is unusual and right', () => {
    for (const [bytes, expected] of UNUSUAL) check(bytes, [expected]);
  });
});

/** For each status the request lines and headers, bodies and chunks that get it. */
const REFUSED: Record<number, string[]> = {
  400: [
    // line ends, controls, lines that go on
    'GET / HTTP/1.1\nHost: a\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: a\n\r\n',
    'GET / HTTP/1.1\r\nHost: a\r\n\n',
    '\nGET / HTTP/1.1\r\nHost: a\r\n\r\n',
    'GET / HTTP/1.1\rHost: a\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: a\r\nX: a\rY: b\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: a\r\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n',
    'GET / HTTP/1.1\r\n Host: a\r\n\r\n',
    '\x16\x03\x01\x02',
    '\r\n'.repeat(6),
    // request lines
    'GET /\r\n\r\n',
    'GET  / HTTP/1.1\r\n\r\n',
    'GET / HTTP/1.1 \r\n\r\n',
    ' GET / HTTP/1.1\r\n\r\n',
    'GET\t/\tHTTP/1.1\r\n\r\n',
    'GET / x HTTP/1.1\r\n\r\n',
    'GET /\xff HTTP/1.1\r\n\r\n',
    'G(T / HTTP/1.1\r\n\r\n',
    'GET / http/1.1\r\n\r\n',
    'GET / HTTP/1.10\r\n\r\n',
    'GET / HTTP/1\r\n\r\n',
    'GET / HTTP /1.1\r\n\r\n',
    // targets and hosts
    'GET x HTTP/1.1\r\nHost: a\r\n\r\n',
    'GET * HTTP/1.1\r\nHost: a\r\n\r\n',
    'GET /#x HTTP/1.1\r\nHost: a\r\n\r\n',
    'GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n',
    'GET http://a@b/ HTTP/1.1\r\nHost: a\r\n\r\n',
    'GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n',
    'GET / HTTP/1.1\r\n\r\n',
    'GET http://a/ HTTP/1.1\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n',
    ...['', 'a b', 'a/b', 'a@b', 'a:x', 'a:65536', '[a]', '[::1', 'a:1:1', '\xff', '%', '?'].map(
      (host) => `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
    ),
    // headers
    ...['X : a', ': a', 'X', 'X\t: a', 'X(: a', '\xff: a', 'X Y: a'].map(
      (line) => `${POST}${line}\r\n\r\n`,
    ),
    // lengths and codings
    ...['+5', '-5', '5 5', '5, 5', '5,', '0x5', '5_0', '5.0', '', '5\xa0', '٥', 'five', '5;'].map(
      (length) => `${POST}Content-Length: ${length}\r\n\r\n`,
    ),
    ...['05', '00', '-0', '0o5'].map((length) => `${POST}Content-Length: ${length}\r\n\r\n`),
    `${POST}Content-Length: 5\r\nContent-Length: 6\r\n\r\n`,
    `${POST}Content-Length: 5\r\ncontent-length: 5\r\n\r\n`,
    `${POST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n`,
    `${POST}Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n`,
    'POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n',
    ...['', 'gzip', 'identity', 'xchunked', 'chunked, gzip', 'chunked, chunked', 'chunked;a'].map(
      (coding) => `${POST}Transfer-Encoding: ${coding}\r\n\r\n`,
    ),
    ...['"chunked"', 'chunked\xa0', ',', ', identity', 'chunked\r\nTransfer-Encoding: x'].map(
      (coding) => `${POST}Transfer-Encoding: ${coding}\r\n\r\n`,
    ),
    // chunks
    ...['', '+5', '-5', ' 5', '5 ', '0x5', '5_0', '5h', ';a', '5;', '5;a=', '5;"a"', '5;a="b'].map(
      (size) => `${CHUNKED}${size}\r\n`,
    ),
    `${CHUNKED}${'0'.repeat(17)}\r\n`,
    `${CHUNKED}5\nhello\r\n0\r\n\r\n`,
    `${CHUNKED}5\r\nhello\n0\r\n\r\n`,
    `${CHUNKED}5\r\nhellooo\r\n0\r\n\r\n`,
    `${CHUNKED}5\r\nhello0\r\n\r\n`,
    `${CHUNKED}5;a\rb\r\nhello\r\n0\r\n\r\n`,
    `${CHUNKED}0\r\nContent-Length: 5\r\n\r\n`,
    `${CHUNKED}0\r\nA: b\r\nHOST: b\r\n\r\n`,
    `${CHUNKED}0\r\nA : b\r\n\r\n`,
    `${CHUNKED}0\r\n\n`,
  ],
  405: ['PUT', 'PATCH', 'DELETE', 'TRACE', 'CONNECT'].map((method) => `${method} / HTTP/1.1\r\n`),
  413: ['11', '9007199254740993', '9'.repeat(30)]
    .map((length) => `${POST}Expect: 100-continue\r\nContent-Length: ${length}\r\n\r\n`)
    .concat(`${CHUNKED}B\r\n`, `${CHUNKED}5\r\nhello\r\n6\r\n`, `${CHUNKED}${'f'.repeat(16)}\r\n`),
  414: [
    `GET /${'x'.repeat(100)}`,
    `GET /${'x'.repeat(100)}\0`,
    `GET /${'x'.repeat(87)} HTTP/1.1\r\n`,
  ],
  417: ['something', '100-continue, something', '100'].map(
    (one) => `${POST}Expect: ${one}\r\n\r\n`,
  ),
  431: [
    `GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(100)}`,
    `GET / HTTP/1.1\r\nHost: a\r\n${'X: y\r\n'.repeat(10)}\r\n`,
    `GET / HTTP/1.1\r\nHost: a\r\n${`X: ${'y'.repeat(20)}\r\n`.repeat(5)}\r\n`,
    `${CHUNKED}1;${'x'.repeat(100)}\r\n`,
    `${CHUNKED}1;${'x'.repeat(120)}`,
    `${CHUNKED}${`1;${'x'.repeat(19)}\r\nx\r\n`.repeat(6)}`,
    `${CHUNKED}0\r\n${`X: ${'y'.repeat(20)}\r\n`.repeat(5)}\r\n`,
  ],
  501: ['get', 'FOO', 'GETX', "!#$%&'*+-.^_`|~09"]
    .map((method) => `${method} / HTTP/1.1\r\n`)
    .concat('X'.repeat(101))
    .concat(`${POST}Transfer-Encoding: gzip, chunked\r\n\r\n`)
    .concat(`${POST}Transfer-Encoding: x\r\ntransfer-encoding: chunked\r\n\r\n`),
  505: ['GET / HTTP/2.0\r\n', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'GET / HTTP/0.9\r\n'],
};

describe('refuses what can be understood in two ways, however the bytes are cut', together, () => {
  const limits = { maxRequestLine: 100, maxHeaderBytes: 100, maxHeaders: 10, maxBody: 10 };
  for (const [status, requests] of Object.entries(REFUSED)) {
    test(`with ${status}`, () => {
      // Without an end, which is a 400 by itself.
      for (const bytes of requests) check(bytes, [Number(status)], limits, false);
    });
  }

  test('with 400 for an end in the middle', () => {
    const cutOff = ['GET', '\r', 'GET / HTTP/1.1\r\nHost: a\r\n', `${CHUNKED}0\r\n`];
    for (const bytes of [...cutOff, `${POST}Content-Length: 5\r\n\r\nhell`]) check(bytes, [400]);
  });

  test('but not what fits exactly', () => {
    const line = `GET /${'x'.repeat(84)} HTTP/1.1\r\n`;
    const headers = `Host: a\r\n${'A: b\r\n'.repeat(8)}X: ${'x'.repeat(100 - 9 - 48 - 5)}\r\n`;
    assert.equal(line.length, 100);
    assert.equal(headers.length, 100);
    assert.match(String(parse([Buffer.from(`${line}${headers}\r\n`)], limits)), /^GET /);
    const body = `5\r\nhello\r\n5;${'x'.repeat(99)}\r\nhello\r\n0\r\n${headers.slice(9)}\r\n`;
    assert.match(String(parse([Buffer.from(CHUNKED + body)], limits)), /^POST \/ a hellohello A=b/);
  });

  test('and takes nothing behind it for a request', () => {
    const parser = new RequestParser();
    parser.push(Buffer.from(`GET / HTTP/1.1\r\n\r\n${GET}`));
    assert.throws(() => parser.next(), { status: 400, message: 'there is no Host' });
    assert.equal(parser.next(), undefined);
  });
});

/** A server that listens, its log, and the server's side of each connection. */
async function start(t: TestContext, options: RawServerOptions = {}) {
  const log: string[] = [];
  const write = (line: string) => log.push(line.replace(/^[\d.:]+/, 'CLIENT'));
  const server = createRawServer({ lingerTimeout: 60_000, log: write, ...options });
  const port = await listen(t, server);
  const open = async (): Promise<[Socket, Socket]> => {
    const accepted = once(server, 'connection');
    return [await dial(t, port), (await accepted)[0] as Socket];
  };
  return { server, port, log, open };
}

/** What the server answers to all this, up to its end. The client does not end its own half. */
async function ask(t: TestContext, port: number, bytes: string | Buffer): Promise<string> {
  const client = await dial(t, port);
  client.write(bytes as string, 'latin1');
  return (await readAll(client)).toString();
}

/** An answer's status, fields and body, of which the time is taken out. */
function split(answer: string) {
  const [head = '', body = ''] = answer.split(/\r\n\r\n(.*)/s);
  const [line = '', ...fields] = head.split('\r\n');
  const headers = Object.fromEntries(fields.map((field) => field.split(': ')));
  return { status: Number(line.split(' ')[1]), headers, body };
}

/** The statuses of several answers. */
function statuses(answers: string): number[] {
  return [...answers.matchAll(/^HTTP\/1\.1 (\d{3}) /gm)].map(([, status]) => Number(status));
}

/**
 * One after the other, since the clock is stopped for all, and before the tests that use it. Each
 * waits until its connections are closed: on Node 20 they would clear the timers of the next one.
 */
describe('time', { timeout: 30_000 }, () => {
  const stopped = async (t: TestContext) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    return await start(t, { lingerTimeout: 2000 });
  };

  test('closes an idle connection without a word', async (t) => {
    const { open } = await stopped(t);
    const [[silent, one], [used, two]] = [await open(), await open()];
    used.write(`${GET}\r\n`);
    await once(used, 'readable');
    t.mock.timers.tick(59_999);
    assert.deepEqual([one.writableEnded, two.writableEnded], [false, false]);
    t.mock.timers.tick(1);
    assert.equal((await readAll(silent)).length, 0);
    assert.deepEqual(statuses((await readAll(used)).toString()), [200]);
    const closed = [once(one, 'close'), once(two, 'close')];
    t.mock.timers.tick(2000);
    await Promise.all(closed);
  });

  test('gives a request so much time, however often a byte comes', async (t) => {
    const { open } = await stopped(t);
    const [client, receiver] = await open();
    t.mock.timers.tick(50_000);
    await sendPieces(client, receiver, [Buffer.from(GET)]);
    t.mock.timers.tick(50_000);
    await sendPieces(client, receiver, [Buffer.from('G')]);
    t.mock.timers.tick(29_999);
    await sendPieces(client, receiver, [Buffer.from('E')]);
    assert.equal(receiver.writableEnded, false);
    t.mock.timers.tick(1);
    assert.deepEqual(statuses((await readAll(client)).toString()), [200, 408]);
    client.end();
    await once(receiver, 'close');
  });

  test('drops a client that does not read its answers', async (t) => {
    const { open } = await stopped(t);
    const [client, receiver] = await open();
    // One by one: to close with bytes unread would be a reset by itself.
    const body = '&'.repeat(16_000);
    const request = Buffer.from(`${POST}Content-Length: ${body.length}\r\n\r\n${body}`);
    while (receiver.writableLength === 0) await sendPieces(client, receiver, [request]);
    // A network that takes a little more of them gives it another minute.
    while (!receiver.closed) {
      t.mock.timers.tick(60_000);
      await nextTurn();
    }
    assert.equal(receiver.writableEnded, false);
    const rest = await readAll(client).catch(() => Buffer.alloc(0));
    assert.ok(rest.length < MiB, `the kernel has kept ${rest.length} bytes for it`);
  });

  test('waits no longer than it may for the end of a client that has its last answer', async (t) => {
    const { open } = await stopped(t);
    const [client, receiver] = await open();
    client.write(LAST);
    assert.deepEqual(statuses((await readAll(client)).toString()), [200]);
    t.mock.timers.tick(1999);
    assert.equal(receiver.destroyed, false);
    t.mock.timers.tick(1);
    assert.equal(receiver.destroyed, true);
    await once(receiver, 'close');
  });
});

describe('the server', together, () => {
  test('answers with a page that shows the request, as text and not as HTML', async (t) => {
    const { port } = await start(t);
    const body = Buffer.concat([Buffer.from('<b>&"\'</b> 网络 '), Buffer.from([0xff])]);
    const head = `POST /<i> HTTP/1.1\r\nHost: a'b\r\nX: 网\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n`;
    const answer = await ask(t, port, Buffer.concat([Buffer.from(head), body]));
    const { status, headers, body: page } = split(answer);
    const { Date: date, ...others } = headers;
    assert.equal(status, 200);
    assert.match(date, /^(Sun|Mon|Tue|Wed|Thu|Fri|Sat), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/);
    assert.deepEqual(others, {
      'Content-Type': 'text/html; charset=utf-8',
      'Content-Length': String(Buffer.byteLength(page)),
      Connection: 'close',
    });
    assert.equal(
      page.replace(/time: \S+Z</, 'time: …<'),
      `<!doctype html>
<title>HTTP by hand</title>
<h1>Hello from TypeScript!</h1>
<p>The time: …</p>
<p>Your request to a&#39;b:</p>
<pre>
POST /&#60;i&#62; HTTP/1.1
Host: a&#39;b
X: 网
Connection: close
Content-Length: ${body.length}

&#60;b&#62;&#38;&#34;&#39;&#60;/b&#62; 网络 \ufffd
</pre>
`,
    );
  });

  test('shows trailers behind the body, and no more of that than 16 KiB', async (t) => {
    const { port } = await start(t);
    const size = 20_000;
    const chunk = `${size.toString(16)}\r\n${'x'.repeat(size)}\r\n`;
    const body = `${chunk}0\r\nSum: 1\r\n\r\n`;
    const answer = await ask(
      t,
      port,
      CHUNKED.replace('\r\n\r\n', `\r\nConnection: close\r\n\r\n${body}`),
    );
    assert.match(answer, /\n\nx{16384}\nSum: 1\n<\/pre>\n$/);
  });

  test('answers HEAD with the headers of the body, and without the body', async (t) => {
    const { port } = await start(t);
    const head = 'HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';
    const without = split(await ask(t, port, head));
    const full = split(await ask(t, port, head.replace('HEAD', 'POST')));
    assert.deepEqual([without.status, without.body], [200, '']);
    assert.deepEqual({ ...without.headers, Date: '' }, { ...full.headers, Date: '' });
    assert.equal(Number(full.headers['Content-Length']), full.body.length);
    assert.equal(split(await ask(t, port, 'HEAD / HTTP/1.1\r\n\r\n')).body, '');
    // What is no request any more is not refused as if it were a HEAD too.
    const behind = await ask(t, port, `${head.replace('close', 'x')}G(T / HTTP/1.1\r\n`);
    assert.match(behind, /\r\n\r\n400 Bad Request: the request line is malformed\n$/);
  });

  const connections: [string, string | undefined][] = [
    ['GET / HTTP/1.1\r\nHost: a\r\n\r\n', undefined],
    ['GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n', 'close'],
    ['GET / HTTP/1.0\r\n\r\n', 'close'],
    ['GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n', 'keep-alive'],
  ];
  for (const [request, connection] of connections) {
    test(`says ${connection ?? 'nothing'} of the connection to ${JSON.stringify(request)}, and does so`, async (t) => {
      const { port } = await start(t);
      const answers = (await ask(t, port, request + LAST)).split(/(?=HTTP\/1\.1 )/);
      assert.equal(answers.length, connection === 'close' ? 1 : 2);
      assert.equal(split(answers[0] ?? '').headers.Connection, connection);
    });
  }

  test('answers OPTIONS with what it serves', async (t) => {
    const { port } = await start(t);
    const request = 'OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';
    const { status, headers } = split(await ask(t, port, request));
    assert.deepEqual([status, headers.Allow], [200, 'GET, HEAD, POST, OPTIONS']);
    assert.equal(headers['Content-Length'], '0');
  });

  test('answers pipelined requests in order, also to a client that has ended its half', async (t) => {
    const { port } = await start(t);
    const client = await dial(t, port);
    const numbers = Array.from({ length: 500 }, (_, n) => String(n));
    client.end(numbers.map((n) => GET.replace('/', `/${n}`)).join(''));
    const answers = (await readAll(client)).toString();
    assert.deepEqual(
      [...answers.matchAll(/^GET \/(\d+) /gm)].map(([, n]) => n),
      numbers,
    );
  });

  test('lets no answer wait until the client has confirmed the one before', {
    skip: noLoopback,
  }, async (t) => {
    const { open } = await start(t);
    const [client] = await open();
    let apart = 0;
    for (let n = 0; n < 10; n++) {
      client.write(GET.repeat(2));
      let answers = '';
      for (let chunks = 1; statuses(answers).length < 2; chunks++) {
        answers += (await once(client, 'data'))[0];
        if (chunks === 2) apart++;
      }
    }
    assert.ok(apart < 5, `${apart} of 10 times, the second answer came after the first`);
  });

  test('asks a client that waits for its body, or refuses before it comes', async (t) => {
    const { open, port } = await start(t);
    const [client] = await open();
    const head = (length: number) =>
      `${POST}Connection: close\r\nExpect: 100-continue\r\nContent-Length: ${length}\r\n\r\n`;
    client.write(head(5));
    const asked = 'HTTP/1.1 100 Continue\r\n\r\n';
    assert.equal((await readBytes(client, asked.length)).toString(), asked);
    client.write('hello');
    assert.match((await readAll(client)).toString(), /^HTTP\/1\.1 200 [\s\S]*\nhello\n<\/pre>\n$/);
    assert.deepEqual(statuses(await ask(t, port, head(MiB + 1))), [413]);
  });

  test('refuses with the status, the reason and the end of the connection', async (t) => {
    const { port, log } = await start(t);
    const { status, headers, body } = split(await ask(t, port, `BREW / HTTP/1.1\r\n\r\n${GET}`));
    assert.equal(status, 501);
    assert.equal(headers.Connection, 'close');
    assert.equal(headers['Content-Type'], 'text/plain; charset=utf-8');
    assert.equal(body, '501 Not Implemented: this server knows no such method\n');
    assert.deepEqual(log, ['CLIENT 501: this server knows no such method']);
    const put = split(await ask(t, port, 'PUT / HTTP/1.1\r\n'));
    assert.deepEqual([put.status, put.headers.Allow], [405, 'GET, HEAD, POST, OPTIONS']);
    assert.deepEqual(
      statuses(await ask(t, port, `${GET}${GET.replace('GET', 'G\0')}`)),
      [200, 400],
    );
  });

  test('refuses what has no end, to a client that has ended its half', async (t) => {
    const { port } = await start(t);
    const client = await dial(t, port);
    client.end(`${GET}GET / HTTP/1.1\r\n`);
    assert.deepEqual(statuses((await readAll(client)).toString()), [200, 400]);
  });

  test('a refusal reaches a client that is still sending', async (t) => {
    const { open } = await start(t);
    const [client, receiver] = await open();
    client.write(`${POST}Content-Length: ${8 * MiB}\r\n\r\n`);
    await once(receiver, 'finish');
    client.end(Buffer.alloc(8 * MiB));
    await once(client, 'finish');
    assert.deepEqual(statuses((await readAll(client)).toString()), [413]);
  });

  test('reads no more than 16 MiB behind its last answer', async (t) => {
    const { open } = await start(t);
    const [client, receiver] = await open();
    client.write(LAST);
    client.write(Buffer.alloc(20 * MiB));
    await once(receiver, 'close');
    assert.ok(receiver.bytesRead < 17 * MiB, `${receiver.bytesRead} bytes`);
  });

  test('gives all its answers and reads to the end, though it had to hold the client back', async (t) => {
    const { open } = await start(t);
    // By then all that the client says has arrived, or most of it has not.
    for (const [more, event] of [
      ['', 'end'],
      ['x'.repeat(MiB), 'pause'],
    ] as const) {
      const [client, receiver] = await open();
      const held = once(receiver, event);
      receiver.cork(); // as if the client did not read
      // Few bytes, with more answers than a socket takes: 16 KiB, or 64 KiB from Node 22 on.
      client.end(GET.repeat(300) + LAST + more);
      await held;
      const closed = once(receiver, 'close');
      receiver.uncork();
      assert.equal(statuses((await readAll(client)).toString()).length, 301);
      await closed;
    }
  });

  test('costs little memory for a client that pipelines and never reads', async (t) => {
    const { open } = await start(t);
    const [client, receiver] = await open();
    let waiting = 0;
    receiver.on('data', () => {
      waiting = Math.max(waiting, receiver.writableLength);
    });
    client.end(LARGE.repeat(2000));
    // Until the server holds the client back; a server that does not reads to the end.
    await Promise.race([once(receiver, 'pause'), once(receiver, 'end')]);
    let received = 0;
    for await (const chunk of client.iterator({ destroyOnReturn: false })) {
      received += chunk.length;
    }
    assert.ok(received > 2000 * LARGE.length, `${received} bytes received`);
    assert.ok(waiting < MiB, `${waiting} bytes waited in the server`);
  });

  test('tells one client too many to come again, and only so many of those', async (t) => {
    const { open, port } = await start(t, { maxConnections: 1 });
    const [first, receiver] = await open();
    const refused = await Promise.all(Array.from({ length: 100 }, () => ask(t, port, '')));
    for (const answer of refused) {
      const { status, headers } = split(answer);
      assert.deepEqual([status, headers['Retry-After']], [503, '1']);
    }
    assert.equal(await ask(t, port, ''), '');
    const closed = once(receiver, 'close');
    first.end(LAST);
    assert.deepEqual(statuses((await readAll(first)).toString()), [200]);
    await closed;
    assert.deepEqual(statuses(await ask(t, port, LAST)), [200], 'there is room again');
  });

  test('outlives a client that resets', async (t) => {
    const { open, port, log } = await start(t);
    const [client, receiver] = await open();
    const closed = once(receiver, 'close').catch(() => {});
    reset(client);
    await closed;
    assert.deepEqual(statuses(await ask(t, port, LAST)), [200]);
    assert.equal(log[0], 'CLIENT failed: read ECONNRESET');
  });

  test('told to stop, it closes who is idle at once, and answers who is not', async (t) => {
    const stop = new AbortController();
    const { open, server } = await start(t, { signal: stop.signal });
    const [[idle, idler], [used], [busy, worker]] = [await open(), await open(), await open()];
    used.write(GET);
    await once(used, 'readable');
    // Its answer is still on its way when we are told.
    const [late, writer] = await open();
    writer.cork();
    await sendPieces(late, writer, [Buffer.from(GET)]);
    await sendPieces(busy, worker, [Buffer.from(`${POST}Content-Length: 5\r\n\r\n`)]);
    const closed = once(server.close(), 'close');
    stop.abort();
    assert.deepEqual([idler.destroyed, worker.destroyed], [true, false]);
    assert.equal((await readAll(idle)).length, 0);
    for (const client of [used, late]) {
      assert.deepEqual(statuses((await readAll(client)).toString()), [200]);
    }
    busy.write(`hello${GET}`);
    const answer = (await readAll(busy)).toString();
    assert.deepEqual(statuses(answer), [200]);
    assert.equal(split(answer).headers.Connection, 'close');
    busy.end();
    await closed;
  });
});

describe('real clients', together, () => {
  test("node:http's agent gets its answers over one connection", async (t) => {
    const { port, server } = await start(t);
    let connections = 0;
    server.on('connection', () => connections++);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    t.after(() => agent.destroy());
    for (const path of ['/one', '/two']) {
      const request = get({ port, host: '127.0.0.1', path, agent });
      const [response] = await once(request, 'response');
      assert.match(await text(response), new RegExp(`^GET ${path} HTTP/1.1$`, 'm'));
    }
    assert.equal(connections, 1);
  });

  test('fetch sends a body in chunks', async (t) => {
    const { port } = await start(t);
    const body = new Blob(['Hello, ', 'HTTP!']).stream();
    const init = { method: 'POST', body, duplex: 'half', headers: { connection: 'close' } };
    const response = await fetch(`http://127.0.0.1:${port}/`, init as RequestInit);
    assert.match(await response.text(), /^transfer-encoding: chunked$[\s\S]*^Hello, HTTP!$/m);
  });
});

describe('the program', together, () => {
  testServer(SERVER, async (t, port) => {
    assert.deepEqual(statuses(await ask(t, port, LAST)), [200]);
  });
});
