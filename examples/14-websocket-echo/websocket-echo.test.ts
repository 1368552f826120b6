/** The two servers and their page, the client, and the programs, over real sockets. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import type { IncomingMessage, Server } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, type TestContext, test } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import {
  dial,
  listen,
  readAll,
  readBytes,
  reset,
  run,
  sendPieces,
  testReadme,
  testServer,
  testUsage,
} from '@shared/testing';
import { noBrowser, openPage } from '@shared/testing/browser';
import { tapTcp } from '@shared/wiretap';
import { WebSocket } from 'ws';
import { CLIENT_OPTIONS, connectTo, converse } from './client.ts';
import { type EchoServerOptions, fromCommandLine, PROGRAM_OPTIONS } from './echo.ts';
import { BINARY, CLOSE, encodeFrame, PING, PONG, TEXT } from './frames.ts';
import { createFromScratchServer } from './from-scratch.ts';
import { acceptHandshake, checkHandshake } from './handshake.ts';
import { ACCEPT, clientClose, clientFrame, openingHandshake, serverFrames } from './raw-client.ts';
import { createEchoServer } from './server.ts';

const MiB = 1024 * 1024;
const BYE = clientClose(1000);
const FOREVER = 2 ** 31 - 1;

const file = (name: string) => join(import.meta.dirname, name);
/** A key and a certificate for it that nobody has signed. */
const openssl = spawnSync('openssl', [
  ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
  ...['-subj', '/CN=localhost', '-keyout', '-', '-out', '-'],
]);
const noOpenssl = openssl.status === 0 ? false : 'openssl is not installed here';

const SERVERS: [string, (options: EchoServerOptions) => Server][] = [
  ['on ws', createEchoServer],
  ['from scratch', createFromScratchServer],
];

for (const [which, create] of SERVERS) {
  /** A server that listens, its log without the clients' addresses, and what waits for a line of it. */
  async function start(t: TestContext, options: EchoServerOptions = {}) {
    const log: string[] = [];
    let changed = () => {};
    const logged = async (line: string) => {
      while (!log.includes(line)) {
        await new Promise<void>((resolve) => {
          changed = resolve;
        });
      }
    };
    const server = create({
      log: (line) => {
        log.push(line.replace(/^[\d.:]+ /, ''));
        changed();
      },
      ...options,
    });
    const port = await listen(t, server);
    return { server, port, log, logged };
  }

  /** A client of ws that is connected. */
  async function connect(t: TestContext, port: number, path = '/ws'): Promise<WebSocket> {
    const ws = new WebSocket(`ws://127.0.0.1:${port}${path}`);
    t.after(() => ws.terminate());
    await once(ws, 'open');
    return ws;
  }

  /** A plain socket behind the opening handshake, and the server's side of it. */
  async function connectRaw(
    t: TestContext,
    server: Server,
    port: number,
  ): Promise<[Socket, Socket]> {
    const accepted = once(server, 'connection');
    const socket = await dial(t, port);
    socket.write(openingHandshake());
    await readBytes(socket, 129);
    return [socket, (await accepted)[0] as Socket];
  }

  async function answer(ws: WebSocket, message: string | Buffer): Promise<[Buffer, boolean]> {
    ws.send(message);
    return (await once(ws, 'message')) as [Buffer, boolean];
  }

  describe(`the server ${which}`, { concurrency: true }, () => {
    test('answers text as the tutorial does, on every path', async (t) => {
      const { port } = await start(t);
      for (const path of ['/', '/ws', '/any/other?x=1']) {
        const ws = await connect(t, port, path);
        assert.equal(String((await answer(ws, 'Hello, server!'))[0]), 'Echo: Hello, server!');
        assert.equal(String((await answer(ws, '网络 🎉\0'))[0]), 'Echo: 网络 🎉\0');
      }
    });

    test('answers bytes with the same bytes, and not with text', async (t) => {
      const { port } = await start(t);
      const ws = await connect(t, port);
      assert.deepEqual(await answer(ws, Buffer.from('hi')), [Buffer.from('hi'), true]);
    });

    test('answers frames that came together with the request', async (t) => {
      const { port } = await start(t);
      const socket = await dial(t, port);
      socket.write(
        Buffer.concat([Buffer.from(openingHandshake()), clientFrame(TEXT, 'early'), BYE]),
      );
      const frames = serverFrames((await readAll(socket)).subarray(129));
      assert.deepEqual(
        frames.map(({ payload }) => payload.toString('latin1')),
        ['Echo: early', '\x03\xe8'],
      );
    });

    test('answers what came before a FIN, and then ends too', async (t) => {
      const { server, port, logged } = await start(t);
      const [socket] = await connectRaw(t, server, port);
      socket.end(clientFrame(TEXT, 'no close'));
      const frames = serverFrames(await readAll(socket));
      assert.deepEqual(
        frames.map(({ payload }) => String(payload)),
        ['Echo: no close'],
      );
      await logged('closed: 1006 ""');
    });

    test('logs who comes and who goes', async (t) => {
      const { port, log, logged } = await start(t);
      const ws = await connect(t, port);
      ws.close(4000, 'line\nbreak');
      await logged('closed: 4000 "line\\nbreak"');
      assert.deepEqual(log, ['connected', 'closed: 4000 "line\\nbreak"']);
    });

    test('outlives a client that resets, and serves the others', async (t) => {
      const { server, port, logged } = await start(t);
      const good = await connect(t, port);
      const [bad] = await connectRaw(t, server, port);
      reset(bad);
      await logged('closed: 1006 ""');
      assert.equal(String((await answer(good, 'still there?'))[0]), 'Echo: still there?');
    });

    test('refuses one client too many with 503, until there is room', async (t) => {
      const { server, port, logged } = await start(t, { maxClients: 1 });
      assert.equal(server.maxConnections, 101, 'room for those who are told so');
      const first = await connect(t, port);
      const second = new WebSocket(`ws://127.0.0.1:${port}`);
      await assert.rejects(once(second, 'open'), { message: 'Unexpected server response: 503' });
      await logged('refused: 503 too many clients; try again later');
      first.close();
      await logged('closed: 1005 ""');
      await connect(t, port);
    });

    test('lets in the own page, the pages that may, and programs; all other pages get 403', async (t) => {
      const { port } = await start(t, { origins: ['https://example.org'] });
      const tries: [string | undefined, number][] = [
        [undefined, 101],
        [`http://127.0.0.1:${port}`, 101],
        [`https://127.0.0.1:${port}`, 101], // behind a proxy that speaks TLS
        ['https://example.org', 101],
        ['http://example.org', 403],
        [`http://127.0.0.1:${port + 1}`, 403],
        ['http://127.0.0.1', 403],
        ['http://evil.example', 403],
        ['null', 403],
        ['', 403],
      ];
      for (const [origin, status] of tries) {
        const headers = {
          Host: `127.0.0.1:${port}`,
          ...(origin !== undefined && { Origin: origin }),
        };
        assert.equal(await statusOf(t, port, openingHandshake(headers)), status, origin);
      }
    });

    test('tells who is refused why, also in the middle of sending', async (t) => {
      const { port } = await start(t, { closeTimeout: FOREVER });
      const socket = await dial(t, port);
      socket.write(openingHandshake({ Origin: 'http://evil.example' }));
      // Reads to the end of it, or this would never be sent.
      await new Promise((sent) => socket.end(Buffer.alloc(8 * MiB), () => sent(undefined)));
      const answer = (await readAll(socket)).toString();
      assert.match(answer, /^HTTP\/1\.1 403 Forbidden\r\nConnection: close\r\n/);
      assert.match(answer, /\r\n\r\npages of this origin may not connect\n$/);
    });

    test('waits for the FIN behind a refusal, but not for ever', async (t) => {
      const { server, port } = await start(t, { closeTimeout: 50 });
      const accepted = once(server, 'connection');
      const socket = await dial(t, port);
      const [receiver] = (await accepted) as [Socket];
      const gone = once(receiver, 'close');
      socket.write(openingHandshake({ Origin: 'http://evil.example' }));
      await readAll(socket);
      await gone;
    });

    test('outlives a client that resets when it is refused', async (t) => {
      const { server, port, logged } = await start(t);
      const accepted = once(server, 'connection');
      const socket = await dial(t, port);
      const [receiver] = (await accepted) as [Socket];
      const gone = new Promise((resolve) => receiver.on('close', resolve));
      socket.write(openingHandshake({ Origin: 'http://evil.example' }));
      await once(socket, 'readable');
      reset(socket);
      await gone;
      await logged('failed: read ECONNRESET');
    });

    test('asks a silent client for a sign of life, and keeps it when there is one', async (t) => {
      const { port } = await start(t, { heartbeat: 1000 });
      const ws = await connect(t, port);
      for (let i = 0; i < 2; i++) await once(ws, 'ping');
      assert.equal(String((await answer(ws, 'alive'))[0]), 'Echo: alive');
    });

    test('finds a client whose cable was pulled, and keeps the others', async (t) => {
      const { port, log, logged } = await start(t, { heartbeat: 1000 });
      await using tap = await tapTcp({ port, faults: { stall: 1000 } });
      const near = await connect(t, port);
      const far = await connect(t, tap.port);
      assert.equal(String((await answer(far, 'hi'))[0]), 'Echo: hi');
      far.send('x'.repeat(1000)); // the cable gives way in the middle of it
      await logged('dropped: no sign of life');
      await logged('closed: 1006 ""');
      assert.ok(tap.recording.entries.some(({ event }) => event === 'stall'));
      assert.equal(String((await answer(near, 'here'))[0]), 'Echo: here');
      assert.equal(log.filter((line) => line.startsWith('dropped')).length, 1);
    });

    test('closes with 1001 when it is told to stop, and ends as soon as all have answered', async (t) => {
      const stop = new AbortController();
      const { server, port } = await start(t, { signal: stop.signal, closeTimeout: FOREVER });
      const clients = [await connect(t, port), await connect(t, port)];
      const idle = await dial(t, port); // has its page, and keeps the connection
      const ahead = await dial(t, port); // has not asked for anything yet
      idle.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
      await once(idle, 'data');
      const closes = clients.map((ws) => once(ws, 'close'));
      stop.abort();
      const closed = once(server.close(), 'close');
      for (const [code, reason] of await Promise.all(closes)) {
        assert.equal(`${code} ${reason}`, '1001 the server is stopping');
      }
      await closed;
      assert.equal((await readAll(ahead)).length, 0);
    });

    test('refuses who comes while it stops', async (t) => {
      const stop = new AbortController();
      const { port } = await start(t, { signal: stop.signal });
      stop.abort();
      assert.equal(await statusOf(t, port, openingHandshake()), 503);
    });

    test('waits for the answer to its close, but not for ever', async (t) => {
      const stop = new AbortController();
      const { server, port, logged } = await start(t, { signal: stop.signal, closeTimeout: 50 });
      const [socket] = await connectRaw(t, server, port);
      stop.abort();
      const [frame] = serverFrames(await readBytes(socket, 4 + 'the server is stopping'.length));
      assert.equal(frame?.opcode, CLOSE);
      socket.write(clientFrame(PING)); // a sign of life is no answer
      await logged('closed: 1006 ""');
    });

    test('waits for the FIN behind a close, but not for ever', async (t) => {
      const { server, port } = await start(t, { closeTimeout: 50 });
      const [socket, receiver] = await connectRaw(t, server, port);
      const gone = once(receiver, 'close');
      socket.write(BYE);
      assert.equal((await readAll(socket)).toString('hex'), '880203e8'); // and the server's FIN
      await gone;
    });

    test('names no subprotocol and no extension, whatever is offered', async (t) => {
      const { port } = await start(t);
      const socket = await dial(t, port);
      const offers = {
        'Sec-WebSocket-Protocol': 'chat',
        'Sec-WebSocket-Extensions': 'permessage-deflate',
      };
      socket.write(openingHandshake(offers));
      const head = (await readBytes(socket, 129)).toString();
      assert.equal(
        head,
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${ACCEPT}\r\n\r\n`,
      );
    });

    /** What is tried, its status from scratch, and from ws if that is another. */
    const REQUESTS: [string, string, number, number?][] = [
      ['as a browser does', openingHandshake({ Connection: 'keep-alive, Upgrade' }), 101],
      ['in other letters', openingHandshake({ Upgrade: 'WebSocket', Connection: 'uPGRADE' }), 101],
      ['a list of protocols', openingHandshake({ Upgrade: 'h2c, websocket' }), 101, 400],
      ['another protocol', openingHandshake({ Upgrade: 'h2c' }), 400],
      ['no Connection: Upgrade', openingHandshake({ Connection: 'keep-alive' }), 426],
      ['POST', openingHandshake({}, 'POST /ws HTTP/1.1'), 405],
      ['HTTP/1.0', openingHandshake({}, 'GET /ws HTTP/1.0'), 400, 101],
      ['no Host', openingHandshake({ Host: [] }), 400, 101],
      ['two Hosts', openingHandshake({ Host: ['a', 'b'] }), 400, 101],
      ['version 8', openingHandshake({ 'Sec-WebSocket-Version': '8' }), 426, 101],
      ['version 14', openingHandshake({ 'Sec-WebSocket-Version': '14' }), 426, 400],
      ['no version', openingHandshake({ 'Sec-WebSocket-Version': [] }), 426, 400],
      ['two versions', openingHandshake({ 'Sec-WebSocket-Version': ['13', '13'] }), 426, 400],
      ['no key', openingHandshake({ 'Sec-WebSocket-Key': [] }), 400],
      ['an empty key', openingHandshake({ 'Sec-WebSocket-Key': '' }), 400],
      ['a key of 15 bytes', openingHandshake({ 'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAA' }), 400],
      ['a key of 18', openingHandshake({ 'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAAAAAA' }), 400],
      [
        'a key not in base64',
        openingHandshake({ 'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAA-_==' }),
        400,
      ],
      [
        'two keys',
        openingHandshake({ 'Sec-WebSocket-Key': ['A', 'B'].map((c) => `${c.repeat(22)}==`) }),
        400,
      ],
      ['a body of 0 bytes', openingHandshake({ 'Content-Length': '0' }), 101],
      ['chunks', openingHandshake({ 'Transfer-Encoding': 'chunked' }), 400],
      ['a body', `${openingHandshake({ 'Content-Length': '5' })}hello`, 400],
    ];
    test('checks the request header by header', async (t) => {
      const { port } = await start(t);
      for (const [what, request, status, ws = status] of REQUESTS) {
        const expected = which === 'on ws' ? ws : status;
        assert.equal(await statusOf(t, port, request), expected, what);
      }
    });

    test('serves its page to whoever asks for it, and nothing else', async (t) => {
      const { port } = await start(t);
      const ask = async (line: string) => {
        const socket = await dial(t, port);
        socket.write(`${line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
        return (await readAll(socket)).toString();
      };
      const page = await ask('GET /?x=1');
      assert.match(page, /^HTTP\/1\.1 200 OK\r\nContent-Type: text\/html; charset=utf-8\r\n/);
      assert.match(page, /<title>WebSocket echo<\/title>/);
      assert.match(await ask('HEAD /'), /^HTTP\/1\.1 200 /);
      assert.match(await ask('POST /'), /^HTTP\/1\.1 405 .+\r\nAllow: GET, HEAD\r\n/s);
      assert.match(await ask('GET /page.html'), /^HTTP\/1\.1 404 /);
      assert.match(await ask('GET //['), /^HTTP\/1\.1 404 /);
      // With what is wanted instead, and with the end of the connection, as the client wants it.
      assert.match(
        await ask('GET /ws'),
        /^HTTP\/1\.1 426 .+\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n/s,
      );
    });
  });

  // One after the other: a load would make the others' clients late.
  describe(`the server ${which}, under load`, () => {
    test('costs little memory for a client that sends and never reads, and drops it', async (t) => {
      const { server, port, logged } = await start(t, { heartbeat: 100, maxBuffered: 100_000 });
      const [socket, receiver] = await connectRaw(t, server, port);
      socket.pause();
      // Large answers until one of them waits: the kernel holds the others.
      const large = clientFrame(BINARY, Buffer.alloc(65_536));
      for (let i = 0; i < 1000 && receiver.writableLength === 0; i++) {
        await sendPieces(socket, receiver, [large]);
      }
      let waiting = 0;
      receiver.on('data', () => {
        waiting = Math.max(waiting, receiver.writableLength);
      });
      const frame = clientFrame(TEXT, 'x'.repeat(1000));
      socket.write(Buffer.concat(Array(1000).fill(frame)));
      await logged('dropped: no sign of life');
      // What one chunk of 64 KiB is answered with comes on top of the limit.
      assert.ok(waiting > 100_000 && waiting < 300_000, `${waiting} bytes waited in the server`);
    });

    // How many answers may wait: a thousand, or as many as have so many bytes together.
    for (const [what, frame, most] of [
      ['messages', clientFrame(BINARY), 1000],
      ['pings', clientFrame(PING), 1000],
      ['long pings', clientFrame(PING, 'x'.repeat(125)), 500],
    ] as const) {
      test(`holds back a client of whose answers to ${what} too many wait, and loses none`, async (t) => {
        const { server, port } = await start(t, { maxBuffered: 500 * 127 });
        const [socket, receiver] = await connectRaw(t, server, port);
        receiver.cork(); // as if the kernel took nothing more
        await sendPieces(socket, receiver, [Buffer.concat(Array(most).fill(frame))]);
        assert.equal(receiver.isPaused(), false);
        await sendPieces(socket, receiver, [frame]);
        assert.equal(receiver.isPaused(), true);
        socket.write(BYE);
        receiver.uncork();
        assert.equal(serverFrames(await readAll(socket)).length, most + 2);
      });
    }

    test('is still told why, when it has broken the protocol in the middle of sending', async (t) => {
      const { server, port } = await start(t, { maxPayload: 1000, closeTimeout: FOREVER });
      const [socket] = await connectRaw(t, server, port);
      const header = clientFrame(BINARY, Buffer.alloc(1001)).subarray(0, 8);
      socket.write(Buffer.concat([header, Buffer.alloc(5 * MiB)]));
      const [frame] = serverFrames(await readAll(socket));
      assert.equal(frame?.payload.readUInt16BE(), 1009);
    });

    test('serves as many clients at once as it may', async (t) => {
      const { port } = await start(t, { maxClients: 20 });
      const clients = await Promise.all(Array.from({ length: 20 }, () => connect(t, port)));
      const answers = await Promise.all(clients.map((ws, n) => answer(ws, `client ${n}`)));
      assert.deepEqual(
        answers.map(([data]) => String(data)),
        clients.map((_, n) => `Echo: client ${n}`),
      );
    });
  });
}

/** The status that a request is answered with. */
async function statusOf(t: TestContext, port: number, request: string): Promise<number> {
  const socket = await dial(t, port);
  socket.write(request);
  const head = (await readBytes(socket, 12)).toString();
  socket.destroy();
  return Number(head.slice(9));
}

test('the server from scratch answers all messages of a chunk with one write', async (t) => {
  const server = createFromScratchServer();
  const port = await listen(t, server);
  const accepted = once(server, 'connection');
  const socket = await dial(t, port);
  socket.write(openingHandshake());
  await readBytes(socket, 129);
  const [receiver] = (await accepted) as [Socket];
  const { mock } = t.mock.method(receiver as Required<Socket>, '_writev');
  socket.write(Buffer.concat(Array(100).fill(clientFrame(TEXT, 'hi'))));
  await readBytes(socket, 100 * 10);
  assert.equal(mock.callCount(), 1);
});

test('a client is not dropped when the server was too busy to read its sign of life', async (t) => {
  const port = await listen(t, createFromScratchServer({ heartbeat: 500 }));
  const socket = await dial(t, port);
  socket.write(openingHandshake());
  await readBytes(socket, 129);
  assert.equal((await readBytes(socket, 2)).toString('hex'), '8900');
  socket.write(clientFrame(PONG));
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600); // busy with something else
  assert.equal((await readBytes(socket, 2)).toString('hex'), '8900');
});

test('the server from scratch tells which version it wants', async (t) => {
  const port = await listen(t, createFromScratchServer());
  const socket = await dial(t, port);
  socket.write(openingHandshake({ 'Sec-WebSocket-Version': '14' }));
  assert.equal(
    (await readAll(socket)).toString(),
    'HTTP/1.1 426 Upgrade Required\r\nConnection: close, Upgrade\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 33\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\nSec-WebSocket-Version must be 13\n',
  );
});

test('the server from scratch reads on behind a close, however much waits', async (t) => {
  const server = createFromScratchServer({ maxBuffered: 1000 });
  const port = await listen(t, server);
  const accepted = once(server, 'connection');
  const socket = await dial(t, port);
  socket.write(openingHandshake());
  await readBytes(socket, 129);
  const [receiver] = (await accepted) as [Required<Socket>];
  // As if the kernel took nothing more. Not cork(), which end() undoes.
  for (const name of ['_write', '_writev'] as const) t.mock.method(receiver, name, () => {});
  const message = clientFrame(BINARY, Buffer.alloc(2000));
  await sendPieces(socket, receiver, [Buffer.concat([message, BYE])]);
  assert.equal(receiver.writableLength, 2004 + 4);
  assert.equal(receiver.isPaused(), false);
});

test('a request that node:http would not hand over is refused all the same', () => {
  const request = {
    method: 'GET',
    httpVersion: '1.1',
    headersDistinct: { host: ['localhost'], upgrade: ['websocket'], connection: ['keep-alive'] },
  };
  assert.deepEqual(checkHandshake(request as unknown as IncomingMessage), {
    status: 400,
    why: 'Connection must say Upgrade',
  });
});

test('the page of each server talks to it from a real browser', { skip: noBrowser }, async (t) => {
  const page = await openPage(t);
  const complaints: string[] = [];
  page.on('console', (message) => complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  for (const [which, create] of SERVERS) {
    const log: string[] = [];
    const port = await listen(
      t,
      create({ log: (line) => log.push(line.replace(/^[\d.:]+ /, '')) }),
    );
    await page.goto(`http://127.0.0.1:${port}/`);
    await page.getByText('open · 已连接').waitFor();
    const markup = '<img src=x onerror=alert(1)> 网络 🎉';
    await page.getByRole('textbox').fill(markup);
    await page.keyboard.press('Enter');
    await page.locator('li.received').waitFor();
    assert.deepEqual(
      await page.locator('li').allTextContents(),
      [markup, `Echo: ${markup}`],
      which,
    );
    await page.getByRole('button', { name: 'Close' }).click();
    await page.getByText('closed · 已关闭: 1000 the user left').waitFor();
    assert.deepEqual(log, ['connected', 'closed: 1000 "the user left"'], which);
    await page.getByRole('button', { name: 'Connect' }).click();
    await page.getByText('open · 已连接').waitFor();
  }
  assert.deepEqual(complaints, []);
});

/** A server that speaks to each client as `answer` does, behind a good handshake if it is to. */
async function fakeServer(t: TestContext, answer: (socket: Socket, handshake: string) => void) {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (request) => {
      const [, key] = String(request).match(/Sec-WebSocket-Key: (.+)\r/) ?? [];
      const headers = { 'sec-websocket-key': key };
      answer(socket, acceptHandshake({ headers } as unknown as IncomingMessage));
    });
  });
  return `ws://127.0.0.1:${await listen(t, server)}/ws`;
}

describe('the client', { concurrency: true }, () => {
  /** Has a conversation: what it prints, or how it fails. */
  async function talk(url: string, ...messages: string[]): Promise<string> {
    const output = new PassThrough();
    await converse(await connectTo(url), messages, output);
    output.end();
    return await text(output);
  }

  test('sends each message when the one before is answered, then closes with 1000', async (t) => {
    const log: string[] = [];
    const server = createEchoServer({ log: (line) => log.push(line.replace(/^[\d.:]+ /, '')) });
    const url = `ws://127.0.0.1:${await listen(t, server)}`;
    assert.equal(await talk(url, 'one', '', '网络\n'), 'Echo: one\nEcho: \nEcho: 网络\n\n');
    assert.deepEqual(log, ['connected', 'closed: 1000 ""']);
  });

  test('shows what the server says at once, and bytes as hex', async (t) => {
    const url = await fakeServer(t, (socket, handshake) => {
      const greeting = [encodeFrame(TEXT, 'welcome'), encodeFrame(BINARY, Buffer.from('hi'))];
      socket.write(Buffer.concat([Buffer.from(handshake), ...greeting]));
      socket.once('data', () => socket.write(encodeFrame(CLOSE, Buffer.from([3, 232]))));
    });
    assert.equal(await talk(url), 'welcome\n2 bytes: 6869\n');
  });

  test('offers no compression', async (t) => {
    const server = createEchoServer();
    const upgraded = once(server, 'upgrade');
    await connectTo(`ws://127.0.0.1:${await listen(t, server)}`);
    const [request] = (await upgraded) as [IncomingMessage];
    assert.equal(request.headers['sec-websocket-extensions'], undefined);
  });

  test('stops reading while nobody reads its output', async (t) => {
    const url = await fakeServer(t, (socket, handshake) => {
      socket.write(handshake);
      socket.write(encodeFrame(TEXT, 'x'.repeat(100_000)));
    });
    const stop = new AbortController();
    const ws = await connectTo(url);
    const output = new PassThrough();
    const shown = once(ws, 'message');
    const conversation = converse(ws, new PassThrough(), output, { signal: stop.signal });
    await shown;
    assert.equal(ws.isPaused, true);
    output.resume();
    await once(output, 'drain');
    assert.equal(ws.isPaused, false);
    ws.terminate();
    await assert.rejects(conversation, {
      message: 'the server ended the conversation before the input did: 1006 without a close frame',
    });
  });

  test('says so when the server ends before the input does', async (t) => {
    const stop = new AbortController();
    const server = createFromScratchServer({ signal: stop.signal });
    const ws = await connectTo(`ws://127.0.0.1:${await listen(t, server)}`);
    const conversation = converse(ws, new PassThrough(), new PassThrough());
    stop.abort();
    await assert.rejects(conversation, {
      message:
        'the server ended the conversation before the input did: 1001 the server is stopping',
    });
  });

  test('says so when the server breaks the protocol', async (t) => {
    const url = await fakeServer(t, (socket, handshake) => {
      socket.write(handshake);
      socket.write(Buffer.from([0xc1, 0]));
    });
    await assert.rejects(talk(url, 'hello'), {
      message: 'the server broke the protocol: Invalid WebSocket frame: RSV1 must be clear',
    });
  });

  /** What the server does, and what the client says about it. */
  const FAILURES: [string, (socket: Socket) => void, string, number?][] = [
    [
      'refuses it',
      (socket) => socket.end('HTTP/1.1 403 Forbidden\r\n\r\n'),
      '403 Forbidden; the server lets in only pages of certain origins',
    ],
    [
      'is full',
      (socket) => socket.end('HTTP/1.1 503 x\r\n\r\n'),
      'the server refused: 503 Service Unavailable',
    ],
    [
      'has only pages',
      (socket) => socket.end('HTTP/1.1 200 OK\r\n\r\n'),
      '200 OK; that is HTTP, and no WebSocket',
    ],
    ['is an echo server', (socket) => socket.end('GET /ws'), 'the server does not speak HTTP'],
    ['hangs up', (socket) => socket.end(), 'the server hung up; does it speak WebSocket?'],
    [
      'answers another key',
      (socket) => socket.end(acceptHandshake({ headers: {} } as IncomingMessage)),
      'Invalid Sec-WebSocket-Accept header',
    ],
    ['says nothing', () => {}, 'no answer within 0.05 s', 50],
    ['never ends its headers', trickle, 'no answer within 0.05 s', 50],
  ];
  for (const [what, answer, why, timeout = 3000] of FAILURES) {
    test(`says so when the server ${what}`, async (t) => {
      const url = await fakeServer(t, answer);
      await assert.rejects(connectTo(url, { timeout }), {
        name: 'ProgramError',
        message: `cannot connect to ${url}: ${why}`,
      });
    });
  }

  test('says so when nobody listens', async (t) => {
    const server = createServer();
    const port = await listen(t, server);
    await once(server.close(), 'close');
    await assert.rejects(connectTo(`ws://127.0.0.1:${port}`), {
      message: `cannot connect to 127.0.0.1:${port}: connection refused; is the server running there?`,
    });
  });

  test('says so when the server does not speak TLS', async (t) => {
    const url = (await fakeServer(t, (socket) => socket.end('what?'))).replace('ws:', 'wss:');
    await assert.rejects(connectTo(url), {
      message: `cannot connect to ${url}: no TLS there; ws:// and not wss://?`,
    });
  });

  test('says so when the certificate cannot be trusted', { skip: noOpenssl }, async (t) => {
    const { stdout } = openssl;
    const port = await listen(
      t,
      createTlsServer({ key: stdout, cert: stdout }).on('tlsClientError', () => {}),
    );
    const url = `wss://localhost:${port}/`;
    // Newer versions of Node have advice behind it.
    await assert.rejects(connectTo(url), {
      message:
        /^cannot connect to wss:.+: the certificate cannot be trusted: self-signed certificate/,
    });
  });

  test('gives up when it is told to, also while it connects', async (t) => {
    const stop = new AbortController();
    const waiting = connectTo(await fakeServer(t, () => {}), { signal: stop.signal });
    const server = createEchoServer();
    const ws = await connectTo(`ws://127.0.0.1:${await listen(t, server)}`);
    const { signal } = stop;
    const talking = converse(ws, new PassThrough(), new PassThrough(), { signal });
    stop.abort();
    await assert.rejects(waiting, { name: 'AbortError' });
    await assert.rejects(talking, { name: 'AbortError' });
  });
});

test('the option --origins takes only origins', () => {
  const { origins } = PROGRAM_OPTIONS;
  assert.equal(
    origins.parse('http://a.example,https://b.example:1', '--origins'),
    'http://a.example,https://b.example:1',
  );
  for (const wrong of ['b.example', 'http://a.example/', 'http://a.example/x', '*', 'null']) {
    assert.throws(() => origins.parse(`http://a.example,${wrong}`, '--origins'), {
      name: 'UsageError',
      message: `--origins takes origins like https://example.org, not "${wrong}"`,
    });
  }
});

test('what is given on the command line are the options of a server', () => {
  const { signal } = new AbortController();
  const given = { maxPayload: 125, maxClients: 2, heartbeat: 3 };
  const some = { ...given, origins: 'http://a.example,http://b.example', echo: false };
  const { reply, log, ...options } = fromCommandLine(some, signal);
  assert.deepEqual(options, {
    ...given,
    origins: ['http://a.example', 'http://b.example'],
    signal,
  });
  assert.equal(reply?.('hi'), 'Echo: hi');
  assert.equal(log, console.log);

  const none = { ...given, origins: '', maxPayload: PROGRAM_OPTIONS.maxPayload.default };
  const defaults = fromCommandLine({ ...none, echo: false }, signal);
  assert.deepEqual(defaults.origins, []);
  assert.equal(defaults.maxPayload, MiB);
  const echo = fromCommandLine({ ...none, echo: true }, signal);
  assert.equal(echo.maxPayload, 16 * MiB);
  assert.equal(echo.reply?.('hi'), 'hi');
});

test('the option --url takes only addresses of WebSockets', () => {
  const { url } = CLIENT_OPTIONS;
  assert.equal(url.parse('wss://localhost:1/x?y', '--url'), 'wss://localhost:1/x?y');
  for (const wrong of ['http://localhost', 'localhost', 'ws://localhost/#x']) {
    assert.throws(() => url.parse(wrong, '--url'), {
      name: 'UsageError',
      message: `--url must be like wss://localhost:8443/ws, not "${wrong}"`,
    });
  }
});

/** Sends one byte of a header when the one before has gone. */
function trickle(socket: Socket): void {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nX: ');
  const more = () => !socket.destroyed && socket.write('x', () => setImmediate(more));
  more();
}

describe('the programs', { concurrency: true }, () => {
  testUsage(file('server.ts'));
  testServer(file('server.ts'), async (_, port) => {
    const ws = await connectTo(`ws://127.0.0.1:${port}/ws`);
    const output = new PassThrough();
    await converse(ws, ['hello'], output);
    assert.equal(String(output.read()), 'Echo: hello\n');
  });

  test('from-scratch.ts --echo answers up to 16 MiB as they came, and says 1001 on SIGTERM', async (t) => {
    const server = run(t, file('from-scratch.ts'), ['--port', '0', '--echo']);
    const ws = await connectTo(`ws://127.0.0.1:${await server.ready()}/ws`);
    ws.resume();
    ws.send('hello');
    assert.equal(String((await once(ws, 'message'))[0]), 'hello');
    const large = Buffer.alloc(16 * MiB, 7);
    ws.send(large);
    assert.ok(large.equals((await once(ws, 'message'))[0]));
    if (process.platform === 'win32') return; // which cannot send SIGTERM
    const closed = once(ws, 'close');
    assert.equal(await server.stop(), 0, server.stderr);
    assert.equal((await closed)[0], 1001);
  });

  test('client.ts sends its arguments as one message, or each line of its input', async (t) => {
    const port = await listen(t, createEchoServer());
    const [words, lines] = [
      run(t, file('client.ts'), ['--port', String(port), 'Hello,', 'server!']),
      run(t, file('client.ts'), ['--url', `ws://127.0.0.1:${port}`]),
    ];
    for (const line of ['one', 'two']) {
      lines.stdin.write(`${line}\n`);
      await lines.printed(new RegExp(`^Echo: ${line}$`, 'm'));
    }
    lines.stdin.end();
    assert.equal(await words.exit(), 0, words.stderr);
    assert.equal(await lines.exit(), 0, lines.stderr);
    assert.equal(words.stdout, 'Echo: Hello, server!\n');
    assert.equal(lines.stdout, 'Echo: one\nEcho: two\n');
  });
});

testReadme(import.meta.dirname);
