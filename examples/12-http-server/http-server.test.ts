import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { dial, listen, readAll, readBytes, reset, run, testReadme } from '@shared/testing';
import { noBrowser, openPage } from '@shared/testing/browser';
import { listInside, namesOf, openInside } from './folder.ts';
import { CustomHTTPRequestHandler } from './handler.ts';
import {
  BaseHTTPRequestHandler,
  HTTPServer,
  type HTTPServerOptions,
  type RequestHandlerClass,
  SimpleHTTPRequestHandler,
} from './http-server.ts';
import { createRawServer } from './raw-server.ts';
import { createFileServer } from './server.ts';

/** What waits for ever here has failed. */
const together = { concurrency: true, timeout: 60_000 };
// Not UTC, as on most machines: a date of HTTP must not be taken for local time.
process.env.TZ = 'Asia/Shanghai';

const SERVER = join(import.meta.dirname, 'server.ts');
const HANDLER = join(import.meta.dirname, 'handler.ts');
const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;
const noLinks =
  process.platform === 'win32' ? 'Windows lets only administrators make links' : false;
const noProc = process.platform === 'linux' ? false : 'only Linux lists the open files in /proc';
const isRoot =
  process.platform === 'win32' || process.getuid?.() === 0
    ? 'root, and everybody on Windows, may read all'
    : false;
const FORM = 'Content-Type: application/x-www-form-urlencoded\r\n';
/** A Sunday of 1994, the one of the RFC's examples. */
const DATE = 'Sun, 06 Nov 1994 08:49:37 GMT';

/** A folder with these files, as it is called when no links are left in its path. */
function folder(t: TestContext, files: Record<string, string | Buffer> = {}): string {
  const path = realpathSync(mkdtempSync(join(tmpdir(), 'http-server-')));
  t.after(() => rmSync(path, { recursive: true }));
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(path, name)), { recursive: true });
    writeFileSync(join(path, name), content);
    utimesSync(join(path, name), new Date(DATE), new Date(DATE));
  }
  return path;
}

/** A file that has a size, and hardly any content. */
function sparse(directory: string, name: string, size: number): string {
  const path = join(directory, name);
  writeFileSync(path, '');
  truncateSync(path, size);
  return path;
}

/** A server that listens, and its log. */
async function start(
  t: TestContext,
  what: RequestHandlerClass | string,
  options: HTTPServerOptions = {},
) {
  const log: string[] = [];
  const lines = new EventEmitter();
  const all = {
    ...options,
    log(line: string) {
      log.push(line.replace(/\[.*?\]/, '[DATE]'));
      lines.emit('line');
    },
  };
  const server = typeof what === 'string' ? createFileServer(what, all) : new HTTPServer(what, all);
  const port = await listen(t, server);
  /** Waits for a line in the log. */
  const logged = async (pattern: RegExp) => {
    while (!log.some((line) => pattern.test(line))) await once(lines, 'line');
  };
  /** A client, and the server's side of its connection. */
  const open = async (): Promise<[Socket, Socket]> => {
    const accepted = once(server, 'connection');
    return [await dial(t, port), (await accepted)[0] as Socket];
  };
  return { server, port, log, logged, open };
}

interface Answer {
  /** `200 OK` */
  status: string;
  headers: Record<string, string>;
  body: string;
}

function parse(bytes: Buffer): Answer {
  const text = bytes.toString('latin1');
  const end = text.indexOf('\r\n\r\n');
  const [first = '', ...lines] = text.slice(0, end).split('\r\n');
  const headers = lines.map((line) => line.split(/: (.*)/s).slice(0, 2));
  return {
    status: first.replace('HTTP/1.1 ', ''),
    headers: Object.fromEntries(
      headers.map(([name = '', value = '']) => [name.toLowerCase(), value]),
    ),
    body: bytes.subarray(end + 4).toString(),
  };
}

/** One request on a connection of its own, sent as it stands here. */
async function ask(
  t: TestContext,
  port: number,
  path: string,
  { method = 'GET', headers = '', body = '' } = {},
): Promise<Answer> {
  const socket = await dial(t, port);
  socket.write(
    `${method} ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${headers}\r\n${body}`,
  );
  return parse(await readAll(socket));
}

/** Reads one answer with a Content-Length from a connection, and leaves the rest. */
async function readAnswer(socket: Socket, method = 'GET'): Promise<Answer> {
  let head = '';
  while (!head.endsWith('\r\n\r\n')) {
    // No more than is missing for sure: what is behind the head may be the next answer.
    const missing = head.match(/\r\n\r$|\r\n$|\r$/)?.[0].length ?? 0;
    head += (await readBytes(socket, 4 - missing)).toString('latin1');
  }
  const answer = parse(Buffer.from(head, 'latin1'));
  const length = method === 'HEAD' ? 0 : Number(answer.headers['content-length'] ?? 0);
  return { ...answer, body: (await readBytes(socket, length)).toString() };
}

const get = (path: string, headers = '') => `GET ${path} HTTP/1.1\r\nHost: x\r\n${headers}\r\n`;

/** The handler of tutorial 001 §3.2. */
class Hello extends BaseHTTPRequestHandler {
  doGET() {
    this.sendResponse(200);
    this.sendHeader('Content-type', 'text/html');
    this.endHeaders();
    this.wfile.write('Hello, World!');
  }
}

describe('BaseHTTPRequestHandler', together, () => {
  test("serves the tutorial's Hello, World!", async (t) => {
    const { port } = await start(t, Hello);
    const { status, headers, body } = await ask(t, port, '/');
    assert.equal(status, '200 OK');
    assert.equal(headers.server, 'BaseHTTP/0.6 Node.js');
    assert.equal(headers['content-type'], 'text/html');
    assert.match(headers.date ?? '', /^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/);
    assert.equal(body, 'd\r\nHello, World!\r\n0\r\n\r\n');
  });

  test('sends no chunks to an HTTP/1.0 client, and closes', async (t) => {
    const { open } = await start(t, Hello);
    const [client] = await open();
    client.write('GET / HTTP/1.0\r\n\r\n');
    assert.equal(parse(await readAll(client)).body, 'Hello, World!');
  });

  test('answers 501 to a method that it does not have, known or not', async (t) => {
    const { port } = await start(t, Hello);
    for (const method of ['POST', 'HEAD', 'OPTIONS', 'FOO', 'get', 'CONNECT']) {
      const { status, headers, body } = await ask(t, port, method === 'CONNECT' ? 'x:1' : '/', {
        method,
      });
      assert.equal(status, `501 Unsupported method ('${method}')`);
      assert.equal(headers.server, 'BaseHTTP/0.6 Node.js');
      assert.equal(headers.connection, 'close');
      if (method !== 'HEAD') {
        assert.equal(
          body,
          `<!DOCTYPE HTML>
<html lang="en">
    <head>
        <meta charset="utf-8">
        <title>Error response</title>
    </head>
    <body>
        <h1>Error response</h1>
        <p>Error code: 501</p>
        <p>Message: Unsupported method ('${method}').</p>
        <p>Error code explanation: 501 - Server does not support this operation.</p>
    </body>
</html>
`,
        );
      } else assert.equal(body, '');
    }
  });

  test('escapes what an error page quotes, and keeps it out of the status line', async (t) => {
    const { port } = await start(
      t,
      class extends BaseHTTPRequestHandler {
        doGET() {
          this.sendError(404, '<b>&"\r\nSet-Cookie: a', '<i>网络');
        }
      },
    );
    const { status, headers, body } = await ask(t, port, '/');
    assert.equal(status, '404 <b>&"??Set-Cookie: a');
    assert.equal(headers['set-cookie'], undefined);
    assert.match(body, /Message: &lt;b&gt;&amp;"/);
    assert.match(body, /404 - &lt;i&gt;网络\./);
  });

  test('a handler that throws costs a 500 and a line in the log', async (t) => {
    const { port, log } = await start(
      t,
      class extends Hello {
        override doGET() {
          this.sendResponse(200);
          this.sendHeader('X-Half', 'an answer');
          throw new Error('told to fail');
        }
        doPOST() {}
        async doPUT() {
          this.sendHeader('X', 'a\r\nSet-Cookie: b');
        }
      },
    );
    const answer = await ask(t, port, '/');
    assert.equal(answer.status, '500 Internal Server Error');
    assert.match(answer.body, /Server got itself in trouble/);
    assert.equal(answer.headers['x-half'], undefined);
    assert.match(log[1] ?? '', /^127\.0\.0\.1 - - \[DATE\] Error: told to fail\\x0a +at /);
    for (const [method, error] of [
      ['POST', 'Error: doPOST has sent no response'],
      ['PUT', 'Invalid character in header content ["X"]'],
    ] as const) {
      assert.equal((await ask(t, port, '/', { method })).status, '500 Internal Server Error');
      assert.ok(
        log.some((line) => line.includes(error)),
        error,
      );
    }
  });

  test('half an answer does not look like a whole one', async (t) => {
    const { open } = await start(
      t,
      class extends Hello {
        override doGET() {
          super.doGET();
          throw new Error('told to fail');
        }
      },
    );
    const [client] = await open();
    client.write(get('/'));
    const received = await readAll(client).catch(() => Buffer.alloc(0));
    assert.doesNotMatch(received.toString(), /\r\n0\r\n\r\n$/);
    assert.ok(client.readableEnded || client.errored);
  });

  test("writes Python's log, and nothing that would move a cursor", async (t) => {
    const { port, log } = await start(
      t,
      class extends Hello {
        override doGET() {
          this.logMessage('a\x1b[2J\\b\nc\x9b网');
          super.doGET();
        }
      },
    );
    await ask(t, port, '/a?b');
    assert.deepEqual(log, [
      '127.0.0.1 - - [DATE] a\\x1b[2J\\\\b\\x0ac\\x9b网',
      '127.0.0.1 - - [DATE] "GET /a?b HTTP/1.1" 200 -',
    ]);
  });

  test('holds what node:http lets pass to the rules of the server by hand', async (t) => {
    const { open } = await start(t, Hello);
    const host = 'Host: a\r\n';
    for (const [request, status] of [
      ['GET / HTTP/1.0\r\n', '200 OK'],
      ['GET / HTTP/1.1\r\n', '400 there is no Host'],
      [`GET / HTTP/1.0\r\n${host}${host}`, '400 there is more than one Host'],
      ['GET / HTTP/1.1\r\nHost:\r\n', '400 the Host is malformed'],
      ['GET / HTTP/1.1\r\nHost: a/b\r\n', '400 the Host is malformed'],
      [`GET * HTTP/1.1\r\n${host}`, '400 the target is malformed'],
      [`GET /#x HTTP/1.1\r\n${host}`, '400 the target is malformed'],
      [`GET https://a/ HTTP/1.1\r\n${host}`, '400 the target is malformed'],
      [`GET / HTTP/2.0\r\n${host}`, '505 HTTP Version Not Supported'],
      [
        `GET / HTTP/1.1\r\n${host}Content-Length: 010\r\n`,
        '400 the Content-Length is not a number',
      ],
      [
        `GET / HTTP/1.0\r\n${host}Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n`,
        '400 HTTP/1.0 has no Transfer-Encoding',
      ],
      [
        `GET / HTTP/1.1\r\n${host}Transfer-Encoding: gzip, chunked\r\n`,
        '501 the only Transfer-Encoding here is chunked',
      ],
      [
        `GET / HTTP/1.1\r\n${host}Expect: miracles\r\n`,
        '417 the only expectation that can be met is 100-continue',
      ],
      [`GET / HTTP/1.1\r\n${host}${'a:b\r\n'.repeat(100)}`, '431 Too many headers'],
    ] as const) {
      const [client] = await open();
      client.write(`${request}\r\n`);
      assert.equal(parse(await readAll(client)).status, status, request.slice(0, 200));
    }
    const [client] = await open();
    client.write(`GET / HTTP/1.1\r\n${host}Connection: close\r\n${'a:b\r\n'.repeat(98)}\r\n`);
    assert.equal(parse(await readAll(client)).status, '200 OK', '100 headers');
  });

  test('tells a client that asks to go on', async (t) => {
    const { open } = await start(
      t,
      class extends Hello {
        async doPOST() {
          let length = 0;
          for await (const chunk of this.rfile) length += chunk.length;
          this.sendResponse(200);
          this.sendHeader('Content-Length', '2');
          this.endHeaders();
          this.wfile.write(String(length));
        }
      },
    );
    const post = (expect: string) =>
      `POST / HTTP/1.1\r\nHost: x\r\nExpect: ${expect}\r\nContent-Length: 10\r\n\r\n`;
    const [client] = await open();
    client.write(post('100-Continue'));
    assert.equal((await readBytes(client, 25)).toString(), 'HTTP/1.1 100 Continue\r\n\r\n');
    client.write('0123456789');
    assert.equal((await readAnswer(client)).body, '10');
    // No method for it, so it need not send its body either.
    const [other] = await open();
    other.write(post('100-continue').replace('POST', 'PUT'));
    assert.equal((await readAnswer(other)).status, "501 Unsupported method ('PUT')");
  });

  test('takes a target with a scheme and a host', async (t) => {
    const { port, log } = await start(
      t,
      class extends Hello {
        override doGET() {
          this.logMessage(this.path);
          super.doGET();
        }
      },
    );
    for (const target of ['http://x/a?b', 'HTTP://x', '//x/a']) await ask(t, port, target);
    assert.deepEqual(
      log.filter((_, at) => at % 2 === 0).map((line) => line.split('] ')[1]),
      ['/a?b', '/', '/x/a'],
    );
  });
});

/** What the tests serve: a file, folders with and without an index, and names that are hard to link to. */
const FILES = {
  'hello.txt': 'Hello, World!\n',
  'sub/inner.txt': 'inner',
  'site/index.html': '<h1>site</h1>',
  'old/index.htm': '<h1>old</h1>',
  'a b.txt': 'space',
  '100%.txt': 'percent',
  '%41.txt': 'not A.txt',
  'a#b.txt': 'hash',
  "it's.txt": 'apostrophe',
  'Grüße 网络 🎉.txt': 'UTF-8',
  'x&y;z=1+2.txt': 'sub-delims',
  '.hidden': 'hidden',
  Zeta: 'capital',
  'data.JSON': '{}',
  'mod.py': 'pass',
  'mod.ts': 'void 0',
};
/** Names that Windows does not allow. */
const ODD = {
  'a?b.txt': 'question mark',
  'say "hi".txt': 'quotes',
  '<script>alert(1)<': 'script',
  'new\nline.txt': 'newline',
  'back\\slash.txt': 'back-slash',
  'co:lon': 'colon',
};
const odd = process.platform === 'win32' ? {} : ODD;

describe('SimpleHTTPRequestHandler', together, () => {
  test('answers as python -m http.server does', async (t) => {
    const { port } = await start(t, folder(t, FILES));
    const html = 'text/html; charset=utf-8';
    const nothing = '404 File not found';
    for (const [path, status, type = 'text/html;charset=utf-8', length, location] of [
      ['/', '200 OK', html],
      ['/hello.txt', '200 OK', 'text/plain', '14'],
      ['/hello.txt?q=1', '200 OK', 'text/plain', '14'],
      ['/hello.txt/', nothing],
      ['/hello.txt/x', nothing],
      ['/nope', nothing],
      ['/sub', '301 Moved Permanently', undefined, '0', '/sub/'],
      ['/sub?x=1', '301 Moved Permanently', undefined, '0', '/sub/?x=1'],
      ['/sub/', '200 OK', html, '238'],
      ['/sub//inner.txt', '200 OK', 'text/plain', '5'],
      ['/sub/../hello.txt', '200 OK', 'text/plain', '14'],
      ['/sub/%2e%2E/hello.txt', '200 OK', 'text/plain', '14'],
      ['/../../hello.txt', '200 OK', 'text/plain', '14'],
      ['/site/', '200 OK', 'text/html', '13'],
      ['/old/', '200 OK', 'text/html', '12'],
      ['/a%20b.txt', '200 OK', 'text/plain', '5'],
      ['/100%25.txt', '200 OK', 'text/plain', '7'],
      ['/100%.txt', '200 OK', 'text/plain', '7'],
      ['/%2541.txt', '200 OK', 'text/plain', '9'],
      ['/%41.txt', nothing],
      ['/data.JSON', '200 OK', 'application/json', '2'],
      ['/mod.py', '200 OK', 'text/x-python', '4'],
      ['/mod.ts', '200 OK', 'text/plain', '6'],
      ['/Zeta', '200 OK', 'application/octet-stream', '7'],
      ['/.hidden', '200 OK', 'application/octet-stream', '6'],
      ['/%ff', nothing],
      ['/hello.txt%00', nothing],
      [`/${'x'.repeat(5000)}`, nothing],
      ['http://x/hello.txt', '200 OK', 'text/plain', '14'],
    ] as const) {
      const { headers, ...answer } = await ask(t, port, path);
      assert.equal(answer.status, status, path);
      assert.equal(headers.location, location, path);
      if (location === undefined) assert.equal(headers['content-type'], type, path);
      if (length !== undefined) assert.equal(headers['content-length'], length, path);
      assert.equal(Buffer.byteLength(answer.body), Number(headers['content-length']), path);
    }
  });

  test('lists a folder as python -m http.server does, to the byte', async (t) => {
    const directory = folder(t, {
      ...FILES,
      'b/x': '',
      B2: '',
      ſ: '',
      _u: '',
      '~t': '',
      'A(1)!.txt': '',
    });
    const { port } = await start(t, directory);
    const { headers, body } = await ask(t, port, '/');
    assert.equal(headers.server, 'SimpleHTTP/0.6 Node.js');
    assert.equal(
      body,
      `<!DOCTYPE HTML>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Directory listing for /</title>
</head>
<body>
<h1>Directory listing for /</h1>
<hr>
<ul>
<li><a href="%2541.txt">%41.txt</a></li>
<li><a href=".hidden">.hidden</a></li>
<li><a href="100%25.txt">100%.txt</a></li>
<li><a href="_u">_u</a></li>
<li><a href="a%20b.txt">a b.txt</a></li>
<li><a href="a%23b.txt">a#b.txt</a></li>
<li><a href="A%281%29%21.txt">A(1)!.txt</a></li>
<li><a href="b/">b/</a></li>
<li><a href="B2">B2</a></li>
<li><a href="data.JSON">data.JSON</a></li>
<li><a href="Gr%C3%BC%C3%9Fe%20%E7%BD%91%E7%BB%9C%20%F0%9F%8E%89.txt">Grüße 网络 🎉.txt</a></li>
<li><a href="hello.txt">hello.txt</a></li>
<li><a href="it%27s.txt">it's.txt</a></li>
<li><a href="mod.py">mod.py</a></li>
<li><a href="mod.ts">mod.ts</a></li>
<li><a href="old/">old/</a></li>
<li><a href="site/">site/</a></li>
<li><a href="sub/">sub/</a></li>
<li><a href="x%26y%3Bz%3D1%2B2.txt">x&amp;y;z=1+2.txt</a></li>
<li><a href="Zeta">Zeta</a></li>
<li><a href="~t">~t</a></li>
<li><a href="%C5%BF">ſ</a></li>
</ul>
<hr>
</body>
</html>
`,
    );
  });

  test('marks links, and lists folders whose own name is odd', { skip: noLinks }, async (t) => {
    const directory = folder(t, { '<b>&"/f': '', 'target/f': '' });
    symlinkSync('target', join(directory, 'link'));
    symlinkSync('nowhere', join(directory, 'broken'));
    const { port } = await start(t, directory);
    assert.deepEqual((await ask(t, port, '/')).body.match(/<li>.*/g), [
      '<li><a href="%3Cb%3E%26%22/">&lt;b&gt;&amp;"/</a></li>',
      '<li><a href="broken">broken@</a></li>',
      '<li><a href="link/">link@</a></li>',
      '<li><a href="target/">target/</a></li>',
    ]);
    assert.equal((await ask(t, port, '/%3Cb%3E%26%22')).headers.location, '/%3Cb%3E%26%22/');
    const { body } = await ask(t, port, '/%3Cb%3E%26%22/');
    assert.match(body, /<title>Directory listing for \/&lt;b&gt;&amp;"\/<\/title>/);
    assert.equal((await ask(t, port, '/link/f')).status, '200 OK');
  });

  test('leaves out a name that no link can have', { skip: noProc }, async (t) => {
    const directory = folder(t, { f: '' });
    writeFileSync(Buffer.concat([Buffer.from(`${directory}/`), Buffer.from([0xff])]), '');
    const { port } = await start(t, directory);
    assert.deepEqual((await ask(t, port, '/')).body.match(/<li>.*/g), [
      '<li><a href="f">f</a></li>',
    ]);
  });

  test('answers HEAD with the headers of GET, and no body', async (t) => {
    const { open } = await start(t, folder(t, FILES));
    const [client] = await open();
    for (const path of ['/', '/sub', '/site/', '/hello.txt', '/hello.txt?again']) {
      client.write(get(path));
      const { body: _, ...answer } = await readAnswer(client);
      client.write(get(path).replace('GET', 'HEAD'));
      const { body, ...same } = await readAnswer(client, 'HEAD');
      assert.equal(body, '');
      for (const { headers } of [answer, same]) delete headers.date;
      assert.deepEqual(same, answer, path);
    }
    client.write(get('/nope').replace('GET', 'HEAD'));
    const rest = parse(await readAll(client));
    assert.equal(rest.status, '404 File not found');
    assert.equal(rest.body, '');
  });

  test('sends the part that is asked for, and goes on with a download', async (t) => {
    const { open } = await start(t, folder(t, { 'abc.txt': 'abcdefghij', empty: '' }));
    const [client] = await open();
    client.write(get('/abc.txt'));
    const { headers } = await readAnswer(client);
    assert.equal(headers['accept-ranges'], 'bytes');
    const { etag = '' } = headers;
    assert.match(etag, /^"[-.\da-f]+"$/);
    for (const [range, status, body, contentRange] of [
      ['bytes=0-2', '206', 'abc', 'bytes 0-2/10'],
      ['Bytes=0-0', '206', 'a', 'bytes 0-0/10'],
      ['bytes=7-', '206', 'hij', 'bytes 7-9/10'],
      ['bytes=-3', '206', 'hij', 'bytes 7-9/10'],
      ['bytes=-30', '206', 'abcdefghij', 'bytes 0-9/10'],
      ['bytes=8-99999999999999999999', '206', 'ij', 'bytes 8-9/10'],
      ['bytes=10-', '416', undefined, 'bytes */10'],
      ['bytes=-0', '416', undefined, 'bytes */10'],
      ['bytes=3-1', '200', 'abcdefghij', undefined],
      ['bytes=-', '200', 'abcdefghij', undefined],
      ['bytes=1-2,4-5', '200', 'abcdefghij', undefined],
      ['bytes=a-b', '200', 'abcdefghij', undefined],
      ['lines=1-2', '200', 'abcdefghij', undefined],
      [`bytes=0-2\r\nIf-Range: ${etag}`, '206', 'abc', 'bytes 0-2/10'],
      [`bytes=0-2\r\nIf-Range: ${DATE}`, '206', 'abc', 'bytes 0-2/10'],
      ['bytes=0-2\r\nIf-Range: "other"', '200', 'abcdefghij', undefined],
      [`bytes=0-2\r\nIf-Range: W/${etag}`, '200', 'abcdefghij', undefined],
      ['bytes=0-2\r\nIf-Range: Sun, 06 Nov 1994 08:49:38 GMT', '200', 'abcdefghij', undefined],
    ] as const) {
      const [client] = await open();
      client.write(get('/abc.txt', `Range: ${range}\r\n`));
      const answer = await readAnswer(client);
      assert.equal(answer.status.slice(0, 3), status, range);
      assert.equal(answer.headers['content-range'], contentRange, range);
      if (body !== undefined) assert.equal(answer.body, body, range);
    }
    client.write(get('/abc.txt', 'Range: bytes=0-2\r\n').replace('GET', 'HEAD'));
    assert.equal((await readAnswer(client, 'HEAD')).headers['content-length'], '10');
    client.write(get('/empty', 'Range: bytes=0-\r\n'));
    assert.equal((await readAnswer(client)).headers['content-range'], 'bytes */0');
  });

  test('does not send again what the client has already', async (t) => {
    const { open } = await start(t, folder(t, { 'abc.txt': 'abcdefghij' }));
    const [client] = await open();
    client.write(get('/abc.txt'));
    const { headers } = await readAnswer(client);
    assert.equal(headers['last-modified'], DATE);
    const { etag } = headers;
    const [before, after] = ['Sun, 06 Nov 1994 08:49:36 GMT', 'Fri, 01 Jan 2100 00:00:00 GMT'];
    for (const [condition, status] of [
      [`If-None-Match: ${etag}`, '304 Not Modified'],
      [`If-None-Match: "a", W/${etag}`, '304 Not Modified'],
      ['If-None-Match: *', '304 Not Modified'],
      ['If-None-Match: "a,*,b"', '200 OK'],
      ['If-None-Match: "a"', '200 OK'],
      [`If-None-Match: "a"\r\nIf-Modified-Since: ${after}`, '200 OK'],
      [`If-Modified-Since: ${DATE}`, '304 Not Modified'],
      [`If-Modified-Since: ${after}`, '304 Not Modified'],
      [`If-Modified-Since: ${before}`, '200 OK'],
      ['If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT', '304 Not Modified'],
      ['If-Modified-Since: Sunday, 06-Nov-94 08:49:36 GMT', '200 OK'],
      ['If-Modified-Since: Sun Nov  6 08:49:37 1994', '304 Not Modified'],
      ['If-Modified-Since: Sun Nov  6 08:49:36 1994', '200 OK'],
      ['If-Modified-Since: 2100', '200 OK'],
      ['If-Modified-Since: Fri, 01 Jan 2100 00:00:00', '200 OK'],
      ['If-Modified-Since: junk GMT', '200 OK'],
      [`If-Match: ${etag}`, '200 OK'],
      ['If-Match: *', '200 OK'],
      [`If-Match: W/${etag}`, '412 Precondition Failed'],
      [`If-Unmodified-Since: ${DATE}`, '200 OK'],
      [`If-Unmodified-Since: ${before}`, '412 Precondition Failed'],
      [`If-None-Match: ${etag}\r\nRange: bytes=0-2`, '304 Not Modified'],
    ] as const) {
      const [client] = await open();
      client.write(get('/abc.txt', `${condition}\r\n`));
      const answer = await readAnswer(client);
      assert.equal(answer.status, status, condition);
      if (!status.startsWith('304')) continue;
      assert.equal(answer.headers.etag, etag);
      // Nothing follows: the next answer begins right behind this one.
      client.write(get('/nope'));
      assert.equal((await readAnswer(client)).status, '404 File not found');
    }
  });

  test('a date in the future is not told: it would be fresh until then', async (t) => {
    const directory = folder(t, { f: 'x' });
    utimesSync(join(directory, 'f'), new Date('2100-01-01'), new Date('2100-01-01'));
    const { port } = await start(t, directory);
    const { headers } = await ask(t, port, '/f');
    assert.ok(Date.parse(headers['last-modified'] ?? '') <= Date.parse(headers.date ?? ''));
  });

  test('answers OPTIONS with its methods', async (t) => {
    for (const [what, allow] of [
      [SimpleHTTPRequestHandler, 'GET, HEAD, OPTIONS'],
      [CustomHTTPRequestHandler, 'GET, HEAD, POST, OPTIONS'],
    ] as const) {
      const { port } = await start(t, what);
      for (const target of ['*', '/']) {
        const { status, headers } = await ask(t, port, target, { method: 'OPTIONS' });
        const { allow: said, 'content-length': length } = headers;
        assert.deepEqual([status, said, length], ['200 OK', allow, '0']);
      }
    }
  });

  test('a redirect never leads to another host', async (t) => {
    const { port } = await start(t, folder(t, FILES));
    for (const [path, location] of [
      ['//evil.example/..', '/'],
      ['/\\evil.example/%2e%2e', '/'],
      ['//evil.example/%2e%2e/sub', '/sub/'],
      ['/%5cevil.example/..%2fsub', '/sub/'],
      ['http://evil.example/sub', '/sub/'],
    ] as const) {
      assert.equal((await ask(t, port, path)).headers.location, location, path);
    }
  });
});

describe('the way out of the folder', together, () => {
  test('is found by no path', async (t) => {
    const directory = folder(t, {
      'secret.txt': 'SECRET',
      'root/hello.txt': 'hello',
      'rootless/f': 'SECRET',
    });
    const { port } = await start(t, join(directory, 'root'));
    const up = [
      '..',
      '%2e%2e',
      '.%2E',
      '%252e%252e',
      '..%00',
      '..%c0%ae',
      '%c0%ae%c0%ae',
      '....',
      '..;',
    ];
    const slash = ['/', '%2f', '\\', '%5c', '%252f', '%255c', '//', '%c0%af', '/./'];
    const paths = up.flatMap((dots) =>
      slash.flatMap((bar) => [
        `/${dots}${bar}secret.txt`,
        `/hello.txt${bar}${dots}${bar}${dots}${bar}secret.txt`,
      ]),
    );
    paths.push(
      '/x/../../secret.txt',
      join(directory, 'secret.txt'),
      `/${join(directory, 'secret.txt')}`,
      '/../rootless/f',
      '/c:/windows/win.ini',
      '/file:///etc/passwd',
    );
    for (const path of paths) {
      const { status, body } = await ask(t, port, path);
      assert.match(status, /^404 File not found$|^400 Bad request syntax$/, path);
      assert.doesNotMatch(body, /SECRET/, path);
    }
  });

  test('is no link either, while a link within the folder is one', { skip: noLinks }, async (t) => {
    const directory = folder(t, {
      'secret/index.html': 'SECRET',
      'root/hello.txt': 'hello',
      'root/d/f': 'f',
      'rootless/f': 'SECRET',
    });
    const root = join(directory, 'root');
    symlinkSync(join(directory, 'secret'), join(root, 'out'));
    symlinkSync('../secret/index.html', join(root, 'index.html'));
    symlinkSync('../rootless/f', join(root, 'near'));
    symlinkSync('d', join(root, 'in'));
    symlinkSync('loop', join(root, 'loop'));
    // The folder that is served may be a link itself.
    symlinkSync('root', join(directory, 'alias'));
    const { port } = await start(t, join(directory, 'alias'));
    for (const path of [
      '/out',
      '/out/',
      '/out/index.html',
      '/index.html',
      '/',
      '/near',
      '/loop',
      '/loop/',
    ]) {
      const { status, body } = await ask(t, port, path);
      assert.equal(status, '404 File not found', path);
      assert.doesNotMatch(body, /SECRET/);
    }
    assert.equal((await ask(t, port, '/in/f')).body, 'f');
    assert.equal((await ask(t, port, '/in')).headers.location, '/in/');
  });

  test('a file that was swapped for a link, a pipe or a folder after the look is not sent', {
    skip: noLinks,
  }, async (t) => {
    const directory = folder(t, { secret: 'SECRET', 'root/f': '', 'root/d/f': '' });
    const root = join(directory, 'root');
    symlinkSync('../secret', join(root, 'link'));
    execFileSync('mkfifo', [join(root, 'pipe')]);
    for (const name of ['link', 'pipe', 'd', 'gone', 'loop']) {
      assert.equal(await openInside(root, join(root, name)), undefined, name);
    }
    symlinkSync(directory, join(root, 'up'));
    assert.equal(await listInside(root, join(root, 'up')), undefined);
    const [file] = (await openInside(root, join(root, 'f'))) ?? assert.fail('a file can be opened');
    await file.close();
  });

  test('a link that is a file again when we check is found out', { skip: noProc }, async (t) => {
    const directory = folder(t, { secret: 'SECRET', 'root/other': '' });
    const root = join(directory, 'root');
    symlinkSync('../secret', join(root, 'f'));
    const opening = openInside(root, join(root, 'f'));
    // Another thread opens it. Until we return from here, nobody can look at what it has opened.
    while (openFiles(directory).length === 0);
    renameSync(join(root, 'other'), join(root, 'f'));
    assert.equal(await opening, undefined);
    assert.deepEqual(openFiles(directory), []);
  });

  test('an error of our own is not taken for a file that is not there', async () => {
    await assert.rejects(openInside('.', 'a\0b'), { code: 'ERR_INVALID_ARG_VALUE' });
  });

  test('devices, pipes and sockets are not there, and nobody waits for them', {
    skip: noLinks,
  }, async (t) => {
    const directory = folder(t);
    const pipe = join(directory, 'pipe');
    execFileSync('mkfifo', [pipe]);
    const socket = createServer().listen(join(directory, 'sock'));
    t.after(() => socket.close());
    await once(socket, 'listening');
    // Whoever writes into a pipe waits until somebody opens it to read.
    let opened = false;
    const writer = open(pipe, 'w').finally(() => {
      opened = true;
    });
    const { port } = await start(t, directory);
    for (const path of ['/pipe', '/sock']) {
      assert.equal((await ask(t, port, path)).status, '404 File not found');
    }
    assert.equal(opened, false);
    const reader = await open(pipe, 'r');
    await (await writer).close();
    await reader.close();
    const devices = await start(t, '/dev');
    for (const path of ['/zero', '/null', '/tty'])
      assert.equal((await ask(t, devices.port, path)).status, '404 File not found');
  });

  test('what may not be read is not there', { skip: isRoot }, async (t) => {
    const directory = folder(t, { f: '', 'd/f': '' });
    chmodSync(join(directory, 'f'), 0);
    chmodSync(join(directory, 'd'), 0o300);
    t.after(() => chmodSync(join(directory, 'd'), 0o700));
    const { port } = await start(t, directory);
    assert.equal((await ask(t, port, '/f')).status, '404 File not found');
    assert.equal((await ask(t, port, '/d/')).status, '404 No permission to list directory');
  });

  test('on Windows, other words for a file, a drive or a device are refused', () => {
    for (const path of [
      '/..\\x',
      '/a\\b',
      '/%5c',
      '/C:',
      '/c:/x',
      '/a.txt::$DATA',
      '/a.txt.',
      '/a%20',
      '/CON',
      '/nul.txt',
      '/d/Com1.x.y',
      '/lpt\u00b9',
      '/aux',
      '/prn .txt',
      '/conin$',
    ]) {
      assert.equal(namesOf(path, true), undefined, path);
    }
    assert.deepEqual(namesOf('/console/com10/.a/nullable', true), [
      'console',
      'com10',
      '.a',
      'nullable',
    ]);
    assert.deepEqual(namesOf('/a\\b/c:', false), ['a\\b', 'c:']);
    assert.deepEqual(namesOf('/a%2Fb/../c%20d', false), ['a', 'c d']);
  });
});

/** Which files in a folder this process has open. */
function openFiles(directory: string): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      return path.startsWith(directory) ? [path] : [];
    } catch {
      return []; // that of readdir itself
    }
  });
}

describe('a file on its way', together, () => {
  test('that shrinks is cut off, and never filled up', async (t) => {
    const directory = folder(t);
    const path = sparse(directory, 'f', 64 * MiB);
    const { open, logged } = await start(t, directory);
    const [client] = await open();
    client.write(get('/f'));
    // The client reads no further: most of the file is still to be read by the server.
    await readBytes(client, 1000);
    truncateSync(path, 0);
    let received = 1000;
    const count = async () => {
      for await (const chunk of client) received += chunk.length;
    };
    await count().catch((error) => assert.equal(error.code, 'ECONNRESET'));
    assert.ok(received < 64 * MiB, `${received} bytes`);
    await logged(/Error: the file ended at \d+ of 67108864 bytes/);
  });

  test('that grows is sent as long as was promised, and the connection is kept', async (t) => {
    const directory = folder(t);
    const path = sparse(directory, 'f', 10 * MiB + 1);
    const { open } = await start(t, directory);
    const [client] = await open();
    client.write(get('/f') + get('/nope'));
    await readBytes(client, 1000);
    appendFileSync(path, 'more');
    const tail = (await readAll(client)).subarray(-1000).toString('latin1');
    assert.match(tail, /\0HTTP\/1\.1 404 File not found\r\n/);
  });

  test('that vanishes arrives whole', { skip: noLinks }, async (t) => {
    const directory = folder(t, { f: Buffer.alloc(10 * MiB, 'x') });
    const { open } = await start(t, directory);
    const [client] = await open();
    client.write(get('/f', 'Connection: close\r\n'));
    const head = await readBytes(client, 1000);
    unlinkSync(join(directory, 'f'));
    const { headers, body } = parse(Buffer.concat([head, await readAll(client)]));
    assert.equal(headers['content-length'], String(10 * MiB));
    assert.equal(body.length, 10 * MiB);
  });

  test('may have 10 GiB: its size, and its last bytes', { skip: noLinks }, async (t) => {
    const directory = folder(t);
    appendFileSync(sparse(directory, 'f', 10 * GiB), 'the end');
    const { port } = await start(t, directory);
    const { status, headers, body } = await ask(t, port, '/f', { headers: 'Range: bytes=-7\r\n' });
    assert.equal(status, '206 Partial Content');
    assert.equal(headers['content-range'], 'bytes 10737418240-10737418246/10737418247');
    assert.equal(body, 'the end');
    const whole = await ask(t, port, '/f', { method: 'HEAD' });
    assert.equal(whole.headers['content-length'], '10737418247');
  });

  test('costs little memory for a client that never reads, who is dropped', {
    timeout: 20_000,
  }, async (t) => {
    const directory = folder(t);
    sparse(directory, 'f', 10 * GiB);
    const { open, logged } = await start(t, directory, { timeout: 1000 });
    const [client, receiver] = await open();
    client.write(get('/f'));
    let waiting = 0;
    const { write } = receiver;
    receiver.write = ((...args: Parameters<typeof write>) => {
      const more = write.apply(receiver, args);
      waiting = Math.max(waiting, receiver.writableLength);
      return more;
    }) as typeof write;
    await once(receiver, 'close');
    assert.ok(waiting > 0 && waiting <= 300 * KiB, `${waiting} bytes waited in the server`);
    await logged(/the client has gone$/);
    if (!noProc) assert.deepEqual(openFiles(directory), []);
    const rest = await readAll(client).catch(() => Buffer.alloc(0));
    assert.ok(rest.length < MiB, `the kernel has kept ${rest.length} bytes for it`);
  });

  test('is closed when the client gives up', { skip: noProc }, async (t) => {
    const directory = folder(t);
    const path = sparse(directory, 'f', 64 * MiB);
    const { open, log, logged } = await start(t, directory);
    for (const leave of [reset, (socket: Socket) => socket.destroy()]) {
      log.length = 0;
      const [client] = await open();
      client.write(get('/f'));
      await readBytes(client, 1000);
      assert.deepEqual(openFiles(directory), [path]);
      leave(client);
      await logged(/the client has gone$/);
      assert.deepEqual(openFiles(directory), []);
    }
  });

  test('is given up also when the client goes between a read and a write', async (t) => {
    const file = { read: async () => ({ bytesRead: 10 }) } as unknown as FileHandle;
    const { open, logged } = await start(
      t,
      class extends SimpleHTTPRequestHandler {
        override async doGET() {
          this.sendResponse(200);
          this.endHeaders();
          this.rfile.socket.destroy();
          await this.copyFile(file, { code: 200, start: 0, end: 10 });
        }
      },
    );
    const [client] = await open();
    client.write(get('/'));
    await logged(/the client has gone$/);
  });

  test('is open once, however many requests a client sends before it reads', {
    skip: noProc,
  }, async (t) => {
    const directory = folder(t);
    const path = sparse(directory, 'f', 64 * MiB);
    const { open, logged } = await start(t, directory);
    const [client] = await open();
    client.write(get('/f').repeat(50));
    await readBytes(client, 1000);
    assert.deepEqual(openFiles(directory), [path]);
    client.destroy();
    await logged(/the client has gone$/);
  });

  test('is closed after every answer: whole, part, HEAD, 304, 416, 412', {
    skip: noProc,
  }, async (t) => {
    const directory = folder(t, { f: 'x' });
    const { open } = await start(t, directory);
    const [client] = await open();
    for (const header of ['', 'Range: bytes=0-0\r\n', 'If-None-Match: *\r\n']) {
      client.write(get('/f', header));
      await readAnswer(client);
      client.write(get('/f', header).replace('GET', 'HEAD'));
      await readAnswer(client, 'HEAD');
    }
    client.write(get('/f', 'Range: bytes=9-\r\n'));
    await readAll(client);
    assert.deepEqual(openFiles(directory), []);
  });
});

/** A handler that answers when it is told to. */
function waiting() {
  const events = new EventEmitter();
  let atOnce = 0;
  let most = 0;
  class Waiting extends BaseHTTPRequestHandler {
    async doGET() {
      most = Math.max(most, ++atOnce);
      const early = this.path.startsWith('/early');
      const go = once(events, 'go');
      if (early) this.#head();
      events.emit('asked');
      await go;
      if (!early) this.#head();
      this.wfile.write(this.path);
      atOnce--;
    }
    #head() {
      this.sendResponse(200);
      this.sendHeader('Content-Length', String(this.path.length));
      this.endHeaders();
      this.wfile.flushHeaders();
    }
  }
  return {
    Waiting,
    asked: () => once(events, 'asked'),
    go: () => events.emit('go'),
    most: () => most,
  };
}

describe('clients', together, () => {
  test('that keep the connection get one answer after another', async (t) => {
    const { open } = await start(t, folder(t, FILES));
    for (const [version, header] of [
      ['1.1', ''],
      ['1.0', 'Connection: keep-alive\r\n'],
    ] as const) {
      const [client] = await open();
      for (const path of ['/hello.txt', '/sub', '/hello.txt']) {
        client.write(get(path, header).replace('1.1', version));
        assert.match((await readAnswer(client)).status, /^200|^301/);
      }
    }
  });

  test('that send several requests at once are answered in order, one at a time', async (t) => {
    const { Waiting, asked, go, most } = waiting();
    const { open } = await start(t, Waiting);
    const [client] = await open();
    let next = asked();
    client.write(get('/1') + get('/2') + get('/3'));
    for (const path of ['/1', '/2', '/3']) {
      await next;
      next = asked();
      go();
      assert.equal((await readAnswer(client)).body, path);
    }
    assert.equal(most(), 1);
  });

  test('whose connection is to be closed get no further answer', async (t) => {
    const { open, log } = await start(t, Hello);
    // The next request comes together with the refused one, or behind the answer with its body.
    for (const [first, second] of [
      [get('/').replace('GET', 'PUT') + get('/'), ''],
      [get('/', 'Content-Length: 5\r\n').replace('GET', 'PUT'), `hello${get('/')}`],
    ] as const) {
      const [client, receiver] = await open();
      const closed = once(receiver, 'close');
      client.write(first);
      await readAll(client);
      client.end(second);
      await closed;
      assert.deepEqual(log.splice(0), [
        "127.0.0.1 - - [DATE] code 501, message Unsupported method ('PUT')",
        '127.0.0.1 - - [DATE] "PUT / HTTP/1.1" 501 -',
      ]);
    }
  });

  test('that send more than 100 requests ahead are dropped', { timeout: 20_000 }, async (t) => {
    const { Waiting, asked } = waiting();
    const { open } = await start(t, Waiting, { timeout: 0 });
    const [client, receiver] = await open();
    const first = asked();
    client.write(get('/').repeat(100));
    await first;
    assert.equal(receiver.destroyed, false);
    const [other] = await open();
    other.write(get('/').repeat(102));
    assert.equal((await readAll(other).catch(() => Buffer.alloc(0))).length, 0);
    assert.equal(client.destroyed, false);
  });

  test('that have ended their half still get the answer', async (t) => {
    const { Waiting, asked, go } = waiting();
    const { open } = await start(t, Waiting);
    const [client, receiver] = await open();
    const first = asked();
    client.end(get('/late'));
    await first;
    if (!receiver.readableEnded) await once(receiver, 'end');
    go();
    assert.equal(parse(await readAll(client)).body, '/late');
  });

  test('get the answers to whole requests before they are told what came behind', async (t) => {
    const { Waiting, asked, go } = waiting();
    const { open } = await start(t, Waiting);
    for (const path of ['/early', '/late']) {
      const [client] = await open();
      const first = asked();
      client.write(get(path));
      await first;
      client.write(`${get(path)}nonsense\r\n\r\n`);
      const second = asked();
      go();
      await second;
      go();
      const answers = (await readAll(client)).toString().match(/HTTP\/1\.1 .*/g);
      const ok = 'HTTP/1.1 200 OK';
      assert.deepEqual(answers, [ok, ok, 'HTTP/1.1 400 Bad request syntax']);
    }
  });

  test('get an answer that is ready, though their body is none', async (t) => {
    const { open } = await start(t, CustomHTTPRequestHandler, { keepAliveTimeout: 50 });
    const [client] = await open();
    client.write('GET /time HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n');
    assert.equal(parse(await readAll(client)).status, '200 OK');
  });

  test('that send something else are told so, in the same form', async (t) => {
    const { open, log } = await start(t, folder(t, FILES));
    for (const [bytes, status] of [
      ['nonsense\r\n\r\n', '400 Bad request syntax'],
      ['\x16\x03\x01\x02\0\x01\0\x01\xfc', '400 Bad request syntax'],
      ['GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n', '400 Bad request syntax'],
      [
        'GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
        '400 Bad request syntax',
      ],
      ['GET / HTTP/1\r\nHost: x\r\n\r\n', '400 Bad request syntax'],
      ['GET / HTTP/1.2\r\nHost: x\r\n\r\n', '505 HTTP Version Not Supported'],
      [`GET /${'x'.repeat(17 * KiB)} HTTP/1.1\r\n`, '414 URI Too Long'],
      [
        `GET / HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(17 * KiB)}\r\n`,
        '431 Request Header Fields Too Large',
      ],
      ['BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n', "501 Unsupported method ('BREW')"],
    ] as const) {
      const [client] = await open();
      client.write(bytes, 'latin1');
      const answer = parse(await readAll(client));
      assert.equal(answer.status, status);
      assert.equal(answer.headers.server, 'SimpleHTTP/0.6 Node.js');
      assert.equal(answer.headers.connection, 'close');
      assert.match(answer.body, /<h1>Error response<\/h1>/);
      assert.deepEqual(log.splice(0), [
        `127.0.0.1 - - [DATE] code ${status.replace(' ', ', message ')}`,
        `127.0.0.1 - - [DATE] "" ${status.slice(0, 3)} -`,
      ]);
    }
    const [client] = await open();
    client.write(get('/hello.txt'));
    await readAnswer(client);
    client.write('BREW /pot HTTP/1.1\r\n\r\n');
    assert.equal((await readAnswer(client)).status, "501 Unsupported method ('BREW')");
  });

  test('that ask for CONNECT and reset do no harm', async (t) => {
    const { open, port } = await start(t, Hello);
    const [client, receiver] = await open();
    client.write('CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n');
    await readBytes(client, 100);
    // Not once(receiver, 'close'): that would listen for its error too.
    const closed = new Promise((resolve) => receiver.on('close', resolve));
    reset(client);
    await closed;
    assert.equal((await ask(t, port, '/')).status, '200 OK');
  });

  test('that are slow with their headers or their body are told so', {
    timeout: 10_000,
  }, async (t) => {
    const { port } = await start(t, CustomHTTPRequestHandler, {
      headersTimeout: 800,
      requestTimeout: 1000,
    });
    const slow = [
      'GET / HTTP/1.1\r\nHost: x\r\n',
      `POST /submit HTTP/1.1\r\nHost: x\r\n${FORM}Content-Length: 10\r\n\r\nname`,
    ].map(async (bytes) => {
      const client = await dial(t, port);
      client.write(bytes);
      return parse(await readAll(client));
    });
    for (const { status, body } of await Promise.all(slow)) {
      assert.equal(status, '408 Request Timeout');
      assert.match(body, /Request timed out; try again later/);
    }
  });

  test('that wait for an answer, or have not sent all, are not cut off as if they did not read', async (t) => {
    const { Waiting, asked, go } = waiting();
    const answering = await start(t, Waiting, { timeout: 500 });
    const reading = await start(t, CustomHTTPRequestHandler, { timeout: 500 });
    const [[one, first], [other, second]] = [await answering.open(), await reading.open()];
    const quiet = Promise.all([once(first, 'timeout'), once(second, 'timeout'), asked()]);
    one.write(get('/late'));
    other.write(`POST /submit HTTP/1.1\r\nHost: x\r\n${FORM}Content-Length: 3\r\n\r\na=`);
    await quiet;
    go();
    other.write('b');
    assert.equal((await readAnswer(one)).body, '/late');
    assert.match((await readAnswer(other)).body, /<li>a：b<\/li>/);
  });

  test('that say nothing are closed without a word, at first and between requests', {
    timeout: 20_000,
  }, async (t) => {
    const one = await start(t, Hello, { headersTimeout: 50 });
    const [silent] = await one.open();
    assert.equal((await readAll(silent)).length, 0);
    const other = await start(t, folder(t, FILES), { keepAliveTimeout: 50 });
    const [client] = await other.open();
    client.write(get('/hello.txt'));
    await readAnswer(client);
    assert.equal((await readAll(client)).length, 0);
  });

  test('that wish for another protocol are answered in this one, and asked to come again', async (t) => {
    const { open } = await start(t, folder(t, FILES));
    const [client] = await open();
    const wish = 'Connection: Upgrade\r\nUpgrade: h2c\r\n';
    client.write(get('/hello.txt', wish) + get('/hello.txt'));
    const { status, headers, body } = parse(await readAll(client));
    assert.deepEqual(
      [status, headers.connection, body],
      ['200 OK', 'close', 'Hello, World!\n'],
      'and no second answer, for which Node has lost the request',
    );
  });

  test('are no more than they may be', async (t) => {
    const { open, port } = await start(t, folder(t, FILES), { maxConnections: 1 });
    const [first] = await open();
    const second = await dial(t, port);
    assert.equal((await readAll(second)).length, 0);
    first.write(get('/hello.txt'));
    assert.equal((await readAnswer(first)).status, '200 OK');
  });
});

// A browser takes a second to start: these two have one together, and nobody else's clock runs.
test('the Date is that of the answer, also if Node has slept through the end of a second', async (t) => {
  let second = 0;
  class Sleeper extends BaseHTTPRequestHandler {
    doGET() {
      second = Math.ceil((Date.now() + 1) / 1000) * 1000;
      const left = this.path === '/sleep' ? second - Date.now() + 1 : 0;
      // For real: Node keeps its own date, which no mocked clock changes.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, left);
      this.sendResponse(200);
      this.endHeaders();
    }
  }
  const { port } = await start(t, Sleeper);
  await ask(t, port, '/');
  const { headers } = await ask(t, port, '/sleep');
  assert.ok(Date.parse(headers.date ?? '') >= second, headers.date);
});

test('browsers', { skip: noBrowser }, async (t) => {
  const page = await openPage(t);
  page.on('dialog', () => assert.fail('a script of a file name ran'));

  await t.test('find each file by its link in the listing', async (t) => {
    const files = { ...FILES, ...odd };
    const { port } = await start(t, folder(t, files));
    await page.goto(`http://127.0.0.1:${port}/`);
    const links = await page
      .locator('li a')
      .evaluateAll((all) =>
        all.map((link) => [link.textContent ?? '', (link as unknown as { href: string }).href]),
      );
    const expected = new Map(Object.entries(files));
    for (const [name = '', href = ''] of links) {
      const content = expected.get(name);
      if (content === undefined) continue; // a folder
      assert.equal((await ask(t, port, new URL(href).pathname)).body, content, name);
      expected.delete(name);
    }
    assert.deepEqual(
      [...expected.keys()].filter((name) => !name.includes('/')),
      [],
    );
    await page.getByText('sub/').click();
    await page.getByText('inner.txt').click();
    assert.equal(page.url(), `http://127.0.0.1:${port}/sub/inner.txt`);
  });

  await t.test('show the page of the server by hand', async (t) => {
    const port = await listen(t, createRawServer());
    await page.goto(`http://127.0.0.1:${port}/?<script>document.title='bad'</script>`);
    assert.equal(await page.title(), 'HTTP by hand');
    const shown = await page.locator('pre').textContent();
    assert.match(shown ?? '', /^GET \/\?.*script.* HTTP\/1\.1\nHost: 127\.0\.0\.1:\d+\n/);
  });
});

// Alone: they have two seconds for the rest of what they send, on a processor that is busy too.
test('clients read why they are refused, although they are still sending', async (t) => {
  const { open } = await start(t, CustomHTTPRequestHandler);
  for (const [head, status] of [
    [
      'PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n',
      "501 Unsupported method ('PUT')",
    ],
    [
      'POST /submit HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n',
      '413 Payload Too Large',
    ],
    [
      `POST /submit HTTP/1.1\r\nHost: x\r\n${FORM}Transfer-Encoding: chunked\r\n\r\nffffff\r\n`,
      '413 Payload Too Large',
    ],
    // Its handler has begun to read.
    [
      `POST /submit HTTP/1.1\r\nHost: x\r\n${FORM}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n`,
      '400 Bad request syntax',
    ],
    ['nonsense\r\n\r\n', '400 Bad request syntax'],
    ['CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n', "501 Unsupported method ('CONNECT')"],
  ] as const) {
    const [client, receiver] = await open();
    const closed = once(receiver, 'close');
    client.write(head);
    client.write(Buffer.alloc(2 * MiB, 'x'));
    assert.equal(parse(await readAll(client)).status, status);
    // All that it has to send is read.
    client.end(Buffer.alloc(MiB, 'x'));
    await closed;
    assert.equal(receiver.bytesRead, head.length + 3 * MiB, head);
  }
});

// Not beside others: it stops the clock for all of them.
test('clients that never stop sending what was refused are cut off', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { open } = await start(t, Hello);
  for (const head of [
    'PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n',
    'nonsense\r\n\r\n',
    'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n',
  ]) {
    const [client, receiver] = await open();
    client.write(head);
    await readAll(client);
    client.write('x');
    assert.equal(receiver.destroyed, false, head);
    t.mock.timers.tick(2000);
    assert.equal(receiver.destroyed, true, head);
  }
});

test('a client that is gone keeps nobody waiting', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { server, open, logged } = await start(t, CustomHTTPRequestHandler);
  const [client, receiver] = await open();
  const asked = once(server, 'request');
  client.write(`POST /submit HTTP/1.1\r\nHost: x\r\n${FORM}Content-Length: 10\r\n\r\na=`);
  await asked;
  const closed = once(server.close(), 'close');
  // As the program does with those that are still there when its time is over.
  receiver.destroy();
  await Promise.all([closed, logged(/the client has gone$/)]);
  await nextTurn();
  const { mock } = t.mock.method(receiver, 'destroy');
  t.mock.timers.tick(2000);
  assert.equal(mock.callCount(), 0, 'no timer is left that would keep the program');
});

describe('the end', together, () => {
  test('comes at once when nothing is under way', { timeout: 10_000 }, async (t) => {
    const { server, open } = await start(t, folder(t, FILES));
    const [idle] = await open();
    idle.write(get('/hello.txt'));
    await readAnswer(idle);
    const [silent] = await open();
    const [half, receiver] = await open();
    half.write('GET / HT');
    await once(receiver, 'data').catch(() => {});
    server.close();
    await once(server, 'close');
    for (const client of [idle, silent, half]) assert.equal((await readAll(client)).length, 0);
  });

  test('waits for answers, and lets nobody wait for another', { timeout: 20_000 }, async (t) => {
    for (const path of ['/early', '/late']) {
      const { Waiting, asked, go } = waiting();
      const { server, open } = await start(t, Waiting, { timeout: 0 });
      const [client] = await open();
      const first = asked();
      client.write(get(path) + get('/second'));
      await first;
      server.close();
      const closed = once(server, 'close');
      go();
      const { headers, body } = parse(await readAll(client));
      assert.equal(body, path, 'and no second answer');
      assert.equal(headers.connection, path === '/late' ? 'close' : 'keep-alive');
      await closed;
    }
  });
});

describe("the tutorial's handler", together, () => {
  const submit = (t: TestContext, port: number, body: string, headers = FORM) =>
    ask(t, port, '/submit', {
      method: 'POST',
      headers: `${headers}Content-Length: ${Buffer.byteLength(body)}\r\n`,
      body,
    });

  test('has its pages, for GET and HEAD, and files for the other paths', async (t) => {
    const directory = folder(t, FILES);
    const { port } = await start(
      t,
      class extends CustomHTTPRequestHandler {
        override directory = directory;
      },
    );
    for (const [path, type, content] of [
      ['/', 'text/html; charset=utf-8', /<h1>HTTP服务器示例<\/h1>[\s\S]+href="\/form"/],
      ['/?x', 'text/html; charset=utf-8', /HTTP服务器示例/],
      ['/time', 'text/plain; charset=utf-8', /^当前服务器时间: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/],
      [
        '/api/data',
        'application/json',
        /^\{"status":"success","message":"这是API响应","timestamp":\d+\.?\d*,"data":\[1,2,3,4,5\]\}$/,
      ],
      ['/form', 'text/html; charset=utf-8', /<form method="post" action="\/submit">/],
      ['/hello.txt', 'text/plain', /^Hello, World!\n$/],
    ] as const) {
      const { status, headers, body } = await ask(t, port, path);
      assert.equal(status, '200 OK', path);
      assert.equal(headers['content-type'], type, path);
      assert.match(body, content);
      assert.equal(headers['content-length'], String(Buffer.byteLength(body)));
      const head = await ask(t, port, path, { method: 'HEAD' });
      assert.equal(head.status, '200 OK');
      assert.equal(head.body, '');
    }
  });

  test('shows what was sent, and runs none of it', async (t) => {
    const { port } = await start(t, CustomHTTPRequestHandler);
    const { status, body } = await submit(
      t,
      port,
      'name=%E5%BC%A0+%E4%B8%89&m=%3Cscript%3Ealert(1)%3C/script%3E&%22=%27%26',
    );
    assert.equal(status, '200 OK');
    assert.match(
      body,
      /<li>name：张 三<\/li><li>m：&lt;script&gt;alert\(1\)&lt;\/script&gt;<\/li><li>&quot;：&#x27;&amp;<\/li>/,
    );
  });

  test('takes a form of 1 MiB, and 413 for one byte more', async (t) => {
    const { port, open } = await start(t, CustomHTTPRequestHandler);
    assert.equal((await submit(t, port, `a=${'x'.repeat(MiB - 2)}`)).status, '200 OK');
    assert.equal(
      (await submit(t, port, `a=${'x'.repeat(MiB - 1)}`)).status,
      '413 Payload Too Large',
    );
    for (const [length, status] of [
      [MiB, '200 OK'],
      [MiB + 1, '413 Payload Too Large'],
    ] as const) {
      const [client] = await open();
      client.write(
        `POST /submit HTTP/1.1\r\nHost: x\r\n${FORM}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n`,
      );
      client.write(
        `${(length - 5).toString(16)}\r\n${'x'.repeat(length - 5)}\r\n5\r\n=1234\r\n0\r\n\r\n`,
      );
      assert.equal(parse(await readAll(client)).status, status);
    }
  });

  test('says what is wrong with a form, before it is sent if the client asks', async (t) => {
    const { port, open } = await start(t, CustomHTTPRequestHandler);
    for (const [path, headers, status] of [
      ['/submit', '', '411 Length Required'],
      ['/submit', `${FORM}Content-Length: 1048577\r\n`, '413 Payload Too Large'],
      [
        '/submit',
        'Content-Type: application/json\r\nContent-Length: 2\r\n',
        '415 Unsupported Media Type',
      ],
      ['/elsewhere', `${FORM}Content-Length: 2\r\n`, '404 Not Found'],
    ] as const) {
      for (const expect of ['', 'Expect: 100-continue\r\n']) {
        const [client] = await open();
        client.write(`POST ${path} HTTP/1.1\r\nHost: x\r\n${headers}${expect}\r\n`);
        assert.equal((await readAnswer(client)).status, status);
      }
    }
    const [client] = await open();
    client.write(
      `POST /submit HTTP/1.1\r\nHost: x\r\n${FORM}Content-Length: 3\r\nExpect: 100-continue\r\n\r\n`,
    );
    assert.equal((await readBytes(client, 25)).toString(), 'HTTP/1.1 100 Continue\r\n\r\n');
    client.write('a=b');
    assert.match((await readAnswer(client)).body, /<li>a：b<\/li>/);
    assert.equal((await ask(t, port, '/submit')).status, '404 File not found');
  });

  test('outlives a client that leaves in the middle of a form', async (t) => {
    const { server, port, open, logged } = await start(t, CustomHTTPRequestHandler);
    const [client] = await open();
    const asked = once(server, 'request');
    client.write(`POST /submit HTTP/1.1\r\nHost: x\r\n${FORM}Content-Length: 10\r\n\r\na=`);
    await asked;
    reset(client);
    await logged(/the client has gone$/);
    assert.equal((await ask(t, port, '/time')).status, '200 OK');
  });
});

describe('the programs', { ...together, timeout: 120_000 }, () => {
  // What they have in common, such as a port in use, is tested with that of raw-server.ts.
  test('handler.ts has the pages, and the files of --directory', async (t) => {
    const args = ['--port', '0', '--directory', folder(t, FILES)];
    const program = run(t, HANDLER, args);
    const port = await program.ready();
    assert.match((await ask(t, port, '/time')).body, /^当前服务器时间/);
    assert.equal((await ask(t, port, '/hello.txt')).body, 'Hello, World!\n');
    if (process.platform !== 'win32') assert.equal(await program.stop(), 0);
  });

  test('server.ts takes --bind, --directory and a port, and ends at once with a client', async (t) => {
    const program = run(t, SERVER, ['--bind', '127.0.0.1', '--directory', folder(t, FILES), '0']);
    const port = await program.ready();
    assert.equal(program.stdout, `listening on http://127.0.0.1:${port}\n`);
    const client = await dial(t, port);
    client.write(get('/hello.txt'));
    assert.equal((await readAnswer(client)).body, 'Hello, World!\n');
    await program.complained(/^127\.0\.0\.1 - - \[.+\] "GET \/hello\.txt HTTP\/1\.1" 200 -\n$/);
    if (process.platform === 'win32') return;
    // By now the file of the first answer is closed too.
    client.write(get('/sub'));
    await readAnswer(client);
    assert.equal(await program.stop(), 0);
    assert.doesNotMatch(program.stderr, /stopping/);
  });

  test('server.ts says what is wrong with its arguments', async (t) => {
    for (const [args, code, message] of [
      [
        ['http'],
        2,
        /^error: PORT must be a whole number from 0 to 65,535, not "http"\nusage: npm run server -w 12-http-server -- \[options\] \[PORT\]\n/,
      ],
      [['--directory', 'nowhere', '0'], 1, /^error: cannot serve nowhere: it is not a folder\n$/],
    ] as const) {
      const program = run(t, SERVER, [...args]);
      assert.equal(await program.exit(), code);
      assert.match(program.stderr, message);
    }
  });
});

testReadme(import.meta.dirname);
