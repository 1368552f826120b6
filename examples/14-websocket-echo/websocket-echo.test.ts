/** The two servers and their page, over real sockets. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { dial, listen, readAll, readBytes, reset } from '@shared/testing';
import { noBrowser, openPage } from '@shared/testing/browser';
import { tapTcp } from '@shared/wiretap';
import { WebSocket } from 'ws';
import type { EchoServerOptions } from './echo.ts';
import { BINARY, CLOSE, PING, TEXT } from './frames.ts';
import { createFromScratchServer } from './from-scratch.ts';
import { checkHandshake } from './handshake.ts';
import { ACCEPT, clientClose, clientFrame, openingHandshake, serverFrames } from './raw-client.ts';
import { createEchoServer } from './server.ts';

const MiB = 1024 * 1024;
const BYE = clientClose(1000);
const FOREVER = 2 ** 31 - 1;

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
      const { port } = await start(t);
      const socket = await dial(t, port);
      socket.write(openingHandshake({ Origin: 'http://evil.example' }));
      // Reads to the end of it, or this would never be sent.
      await new Promise((sent) => socket.end(Buffer.alloc(16 * MiB), () => sent(undefined)));
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
      const { port } = await start(t, { heartbeat: 250 });
      const ws = await connect(t, port);
      for (let i = 0; i < 2; i++) await once(ws, 'ping');
      assert.equal(String((await answer(ws, 'alive'))[0]), 'Echo: alive');
    });

    test('finds a client whose cable was pulled, and keeps the others', async (t) => {
      const { port, log, logged } = await start(t, { heartbeat: 250 });
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
      const page = await fetch(`http://127.0.0.1:${port}/?x=1`);
      assert.equal(page.headers.get('content-type'), 'text/html; charset=utf-8');
      assert.match(await page.text(), /<title>WebSocket echo<\/title>/);
      const statuses = async (path: string, init?: RequestInit) =>
        (await fetch(`http://127.0.0.1:${port}${path}`, init)).status;
      assert.equal(await statuses('/', { method: 'HEAD' }), 200);
      assert.equal(await statuses('/', { method: 'POST' }), 405);
      assert.equal(await statuses('/ws'), 426);
      assert.equal(await statuses('/page.html'), 404);
      assert.equal(await statusOf(t, port, 'GET //[ HTTP/1.1\r\nHost: x\r\n\r\n'), 404);
    });
  });

  // One after the other: a load would make the others' clients late.
  describe(`the server ${which}, under load`, () => {
    for (const [what, frame] of [
      ['messages', clientFrame(TEXT, 'x'.repeat(1000))],
      ['pings', clientFrame(PING, 'x'.repeat(125))],
    ] as const) {
      test(`costs little memory for a client that sends ${what} and never reads, and drops it`, async (t) => {
        const { server, port, logged } = await start(t, { heartbeat: 100, maxBuffered: 100_000 });
        const [socket, receiver] = await connectRaw(t, server, port);
        socket.pause();
        let waiting = 0;
        receiver.on('data', () => {
          waiting = Math.max(waiting, receiver.writableLength);
        });
        const many = Buffer.concat(Array(500).fill(frame));
        const send = () => {
          while (socket.writable && socket.write(many));
        };
        socket.on('drain', send);
        send();
        await logged('dropped: no sign of life');
        // What one chunk of 64 KiB is answered with comes on top of the limit.
        assert.ok(waiting > 100_000 && waiting < 300_000, `${waiting} bytes waited in the server`);
      });
    }

    test('loses nothing of a client that reads late', async (t) => {
      const { server, port } = await start(t, { maxBuffered: 100_000 });
      const [socket, receiver] = await connectRaw(t, server, port);
      const message = clientFrame(BINARY, Buffer.alloc(MiB, 7));
      for (let i = 0; i < 20; i++) socket.write(message);
      socket.write(BYE);
      await once(receiver, 'pause');
      const frames = serverFrames(await readAll(socket));
      assert.equal(frames.length, 21);
      assert.ok(frames.slice(0, 20).every(({ payload }) => payload.equals(Buffer.alloc(MiB, 7))));
    });

    test('is still told why, when it has broken the protocol in the middle of sending', async (t) => {
      const { server, port } = await start(t, { maxPayload: 1000 });
      const [socket] = await connectRaw(t, server, port);
      socket.write(clientFrame(BINARY, Buffer.alloc(5 * MiB)));
      const [frame] = serverFrames(await readAll(socket));
      assert.equal(frame?.payload.readUInt16BE(), 1009);
    });

    test('serves 200 clients at once', async (t) => {
      const { port } = await start(t);
      const clients = await Promise.all(Array.from({ length: 200 }, () => connect(t, port)));
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
