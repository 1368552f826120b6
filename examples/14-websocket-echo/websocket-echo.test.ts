/**
 * The parts of the server from scratch, without a network: every cut, every byte, every alignment.
 * Then both servers, their page, the client, and the programs, over real sockets.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { EventEmitter, getEventListeners, once } from 'node:events';
import type { IncomingMessage, Server } from 'node:http';
import { connect as connectTcp, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, type TestContext, test } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import {
  cuts,
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
import { CASES, RESERVED } from './conformance.ts';
import { type EchoServerOptions, fromCommandLine, type Message, PROGRAM_OPTIONS } from './echo.ts';
import {
  BINARY,
  CLOSE,
  CONTINUATION,
  encodeFrame,
  PING,
  PONG,
  ProtocolError,
  TEXT,
} from './frames.ts';
import { createFromScratchServer } from './from-scratch.ts';
import { acceptHandshake, checkHandshake } from './handshake.ts';
import { unmask } from './masking.ts';
import { createReceiver } from './messages.ts';
import {
  ACCEPT,
  clientClose,
  clientFrame,
  MASK,
  openingHandshake,
  serverFrames,
} from './raw-client.ts';
import { createEchoServer } from './server.ts';
import { checkUtf8 } from './utf8.ts';

const MiB = 1024 * 1024;
const BYE = clientClose(1000);
/** Longer than any test may take. */
const FOREVER = 120_000;

/** Side by side; whatever waits for something that never comes fails, instead of waiting on. */
const together = { concurrency: true, timeout: 60_000 };

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

/** The cases' bytes come back as they went, and a slow machine has all the time that it needs. */
const ECHO: EchoServerOptions = { reply: (message) => message, closeTimeout: FOREVER };

/** A receiver, and what has come out of it. */
function receiver(maxPayload = MiB) {
  const out: (Message | [number, string])[] = [];
  const push = createReceiver(maxPayload, {
    message: (message) => out.push(message),
    control: (opcode, payload) => out.push([opcode, payload.toString()]),
  });
  return { out, push };
}

describe('messages', () => {
  test('come out the same for every way to cut the bytes', () => {
    const bytes = Buffer.concat([
      clientFrame(TEXT, 'Grüße, ', { fin: false }),
      clientFrame(PING, 'are you there?'),
      clientFrame(CONTINUATION, '网络! 🎉'),
      clientFrame(BINARY, Buffer.alloc(130, 7)),
      clientFrame(TEXT),
      clientClose(1000, 'bye'),
    ]);
    const expected = [
      [PING, 'are you there?'],
      'Grüße, 网络! 🎉',
      Buffer.alloc(130, 7),
      '',
      [CLOSE, '\x03\ufffdbye'],
    ];
    for (const { name, pieces } of cuts(bytes)) {
      const { out, push } = receiver();
      // A copy, since the receiver takes the masks off in place.
      for (const piece of pieces) push(Buffer.from(piece));
      assert.deepEqual(out, expected, name);
    }
  });

  test('are good up to a bad frame, also when both are in one chunk', () => {
    const { out, push } = receiver();
    const bytes = Buffer.concat([clientFrame(TEXT, 'good'), clientFrame(3)]);
    assert.throws(() => push(bytes), { code: 1002, message: 'opcode 3 is reserved' });
    assert.deepEqual(out, ['good']);
  });

  test('over the limit are refused by their header, before a byte of them is there', () => {
    const { push } = receiver(1000);
    push(clientFrame(TEXT, 'x'.repeat(900), { fin: false }));
    const header = clientFrame(CONTINUATION, 'x'.repeat(126)).subarray(0, 4);
    push(header.subarray(0, 3));
    assert.throws(() => push(header.subarray(3)), {
      name: 'ProtocolError',
      code: 1009,
      message: 'the message is too long',
    });
  });

  test('cost memory for what has arrived, not for what a header claims', (t) => {
    const { mock } = t.mock.method(Buffer, 'allocUnsafeSlow');
    const { push } = receiver();
    const frame = clientFrame(BINARY, Buffer.alloc(MiB));
    push(frame.subarray(0, 15));
    push(frame.subarray(15, 600_000));
    // And never for more than the whole message.
    assert.deepEqual(
      mock.calls.map((call) => call.arguments[0]),
      [4096, MiB],
    );
  });

  test('as long as they may be leave room for a ping', () => {
    const { out, push } = receiver(1000);
    push(clientFrame(TEXT, 'x'.repeat(1000), { fin: false }));
    push(clientFrame(PING, 'ping'));
    push(clientFrame(CONTINUATION));
    assert.deepEqual(out, [[PING, 'ping'], 'x'.repeat(1000)]);
  });

  test('of many small fragments are not copied again for each of them', (t) => {
    const { mock } = t.mock.method(Buffer, 'allocUnsafeSlow');
    const { out, push } = receiver();
    push(clientFrame(BINARY, 'x', { fin: false }));
    const more = Buffer.concat(Array(1000).fill(clientFrame(CONTINUATION, 'x', { fin: false })));
    for (let i = 0; i < 128; i++) push(Buffer.from(more));
    push(clientFrame(CONTINUATION, 'x'));
    assert.deepEqual(out, [Buffer.alloc(128_002, 'x')]);
    const sizes = mock.calls.map((call) => call.arguments[0]);
    assert.deepEqual(sizes, [4096, 8194, 16390, 32782, 65566, 131134]);
  });

  test('of 1 MiB come out the same in chunks of 64 bytes', () => {
    const { out, push } = receiver();
    const whole = 'x网'.repeat(MiB / 4);
    const frame = clientFrame(TEXT, whole);
    for (let at = 0; at < frame.length; at += 64) push(frame.subarray(at, at + 64));
    assert.equal(out.length, 1);
    assert.ok(out[0] === whole);
  });

  test('keep no chunk alive for the few bytes of it that have to wait', (t) => {
    const rest = clientFrame(TEXT).subarray(1);
    const { push } = receiver();
    const chunk = Buffer.concat([clientFrame(BINARY, Buffer.alloc(100_000)), Buffer.from([0x81])]);
    push(chunk);
    const { mock } = t.mock.method(Buffer, 'concat');
    push(rest);
    const held = mock.calls[0]?.arguments[0][0] as Buffer;
    assert.equal(held.toString('hex'), '81');
    assert.notEqual(held.buffer, chunk.buffer);

    const text = Buffer.from(`${'x'.repeat(100_000)}网`).subarray(0, -1);
    const begun = checkUtf8(Buffer.alloc(0), text);
    assert.equal(begun?.toString('hex'), 'e7bd');
    assert.notEqual(begun?.buffer, text.buffer);
  });
});

describe('UTF-8', () => {
  const CHARACTER =
    '[\\x00-\\x7f]|[\\xc2-\\xdf][\\x80-\\xbf]|\\xe0[\\xa0-\\xbf][\\x80-\\xbf]|[\\xe1-\\xec\\xee\\xef][\\x80-\\xbf]{2}|\\xed[\\x80-\\x9f][\\x80-\\xbf]|\\xf0[\\x90-\\xbf][\\x80-\\xbf]{2}|[\\xf1-\\xf3][\\x80-\\xbf]{3}|\\xf4[\\x80-\\x8f][\\x80-\\xbf]{2}';
  const BEGUN =
    '[\\xc2-\\xf4]|\\xe0[\\xa0-\\xbf]|[\\xe1-\\xec\\xee\\xef][\\x80-\\xbf]|\\xed[\\x80-\\x9f]|\\xf0[\\x90-\\xbf][\\x80-\\xbf]?|[\\xf1-\\xf3][\\x80-\\xbf]{1,2}|\\xf4[\\x80-\\x8f][\\x80-\\xbf]?';
  // Unicode's table 3-7, of what is well-formed, and of what may still become it.
  const possible = new RegExp(`^(?:${CHARACTER})*(?:${BEGUN})?$`);
  const complete = new RegExp(`^(?:${CHARACTER})*$`);
  /** The bytes at which one of the rules begins or ends. */
  const EDGES = Buffer.from('007f808f909fa0bfc0c1c2dfe0e1eceeedeff0f1f3f4f5ff', 'hex');

  /** Pushes one byte after the other: how many were good, and whether the end may be there. */
  function check(bytes: Buffer): string {
    let rest: Buffer | undefined = Buffer.alloc(0);
    for (let i = 0; i < bytes.length; i++) {
      rest = checkUtf8(rest, bytes.subarray(i, i + 1));
      if (rest === undefined) return `${i} false`;
    }
    return `${bytes.length} ${rest.length === 0}`;
  }

  test('is refused with the first byte that nothing can make good, and not before', () => {
    const sequences = [...EDGES].flatMap((a) =>
      [...EDGES].flatMap((b) => [...EDGES].map((c) => [a, b, c, 0x80, 0x41])),
    );
    for (const sequence of sequences) {
      const bytes = Buffer.from(sequence);
      const text = bytes.toString('latin1');
      let good = text.length;
      while (!possible.test(text.slice(0, good))) good--;
      assert.equal(check(bytes), `${good} ${complete.test(text)}`, text);
      assert.equal(
        checkUtf8(bytes.subarray(0, 0), bytes) !== undefined,
        good === text.length,
        text,
      );
    }
  });

  test('is refused in the middle of a frame, before the rest of it arrives', () => {
    for (const bytes of ['ff', 'c0', 'e080', 'eda0', 'f08f', 'f490', 'c328', 'e28228']) {
      const { push } = receiver();
      const bad = Buffer.from(bytes, 'hex');
      const frame = clientFrame(TEXT, Buffer.concat([Buffer.from('网'), bad, Buffer.alloc(1000)]));
      push(frame.subarray(0, 8 + 3 + bad.length - 1)); // all but the bad byte
      const next = frame.subarray(8 + 3 + bad.length - 1, 8 + 3 + bad.length);
      assert.throws(() => push(next), { code: 1007, message: 'the text is not UTF-8' }, bytes);
    }
  });
});

describe('masks', () => {
  test('come off at every alignment, length and offset', () => {
    const memory = new ArrayBuffer(400);
    for (let start = 0; start < 8; start++) {
      for (const length of [0, 1, 5, 127, 128, 129, 130, 131, 255]) {
        for (let offset = 0; offset < 5; offset++) {
          const bytes = Buffer.from(memory, start, length);
          const plain = Buffer.from(bytes.map((_, i) => i));
          const masked = plain.map((byte, i) => byte ^ (MASK[(i + offset) & 3] as number));
          new Uint8Array(memory).fill(0xee);
          bytes.set(masked);
          unmask(bytes, MASK.readInt32BE(), offset);
          assert.ok(bytes.equals(plain), `${length} bytes at ${start}, offset ${offset}`);
          const around = [...new Uint8Array(memory)].filter(
            (_, i) => i < start || i >= start + length,
          );
          assert.ok(
            around.every((byte) => byte === 0xee),
            'nothing around it has changed',
          );
        }
      }
    }
  });
});

describe('frames', () => {
  test('have the shortest header that holds their length', () => {
    const header = (length: number, size: number) =>
      encodeFrame(BINARY, Buffer.alloc(length)).subarray(0, size).toString('hex');
    assert.equal(header(125, 2), '827d');
    assert.equal(header(126, 4), '827e007e');
    assert.equal(header(65_535, 4), '827effff');
    assert.equal(header(65_536, 10), '827f0000000000010000');
  });

  test('count text in bytes', () => {
    assert.equal(encodeFrame(TEXT, '网络').toString('hex'), '8106e7bd91e7bb9c');
  });

  test('that break the protocol say how', () => {
    const wrong: [string, string][] = [
      ...[1, 2, 3, 4, 5, 6, 7].flatMap((rsv) =>
        [TEXT, BINARY, CLOSE, PING, PONG].map((opcode): [string, string] => [
          clientFrame(opcode, '', { rsv }).toString('hex', 0, 2),
          'a reserved bit is set',
        ]),
      ),
      ...RESERVED.map((opcode): [string, string] => [
        clientFrame(opcode).toString('hex', 0, 2),
        `opcode ${opcode} is reserved`,
      ]),
      ['8100', 'a client must mask its frames'],
      ['0980', 'a control frame is in one piece, of at most 125 bytes'],
      ['89fe', 'a control frame is in one piece, of at most 125 bytes'],
      ['82fe007d', 'a length must take as few bytes as it can'],
      ['82ff000000000000ffff', 'a length must take as few bytes as it can'],
      ['82ff8000000000000000', 'the highest bit of a length must be 0'],
      ['808000000000', 'nothing to continue'],
    ];
    for (const [bytes, message] of wrong) {
      // The header alone is enough, and its last byte is the one that is missed.
      const whole = Buffer.from(bytes, 'hex');
      const { push } = receiver();
      push(whole.subarray(0, -1));
      assert.throws(() => push(whole.subarray(-1)), new ProtocolError(1002, message), bytes);
    }
  });
});

test('the server from scratch takes all cases of conformance.ts the same, whole and one byte at a time', () => {
  /** All that comes out, up to the end of the connection. */
  function taken(pieces: Buffer[]): string[] {
    const out: string[] = [];
    let open = true;
    const push = createReceiver(MiB, {
      message: (message) =>
        out.push(typeof message === 'string' ? message : message.toString('hex')),
      control(opcode, payload) {
        out.push(`${opcode} ${payload.toString('hex')}`);
        open = opcode !== CLOSE;
      },
    });
    try {
      for (const piece of pieces) if (open) push(piece);
    } catch (error) {
      out.push(String(error));
    }
    return out;
  }
  for (const { name, frames } of CASES) {
    const whole = Buffer.concat(frames);
    if (whole.length > 2000) continue;
    const single = [...whole].map((byte) => Buffer.from([byte]));
    assert.deepEqual(taken(single), taken([whole]), name);
  }
});

/**
 * A server that listens, its log without the clients' addresses, and what waits until a line, or so
 * many lines, are there.
 */
async function start(
  t: TestContext,
  create: (options: EchoServerOptions) => Server,
  options: EchoServerOptions = {},
) {
  const log: string[] = [];
  const changed = new EventEmitter();
  const logged = async (what: string | number) => {
    const there = () => (typeof what === 'string' ? log.includes(what) : log.length >= what);
    while (!there()) await once(changed, 'line');
  };
  const server = create({
    log: (line) => {
      log.push(line.replace(/^[\d.:]+ /, ''));
      changed.emit('line');
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
async function connectRaw(t: TestContext, server: Server, port: number): Promise<[Socket, Socket]> {
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

/** What a request is answered with: `101`, or the status and why. */
async function answerTo(t: TestContext, port: number, request: string): Promise<string> {
  const socket = await dial(t, port);
  socket.write(request);
  const status = (await readBytes(socket, 12)).toString().slice(9);
  if (status === '101') return status;
  const [, why = ''] = (await readAll(socket)).toString().split('\r\n\r\n');
  return `${status} ${why.trim()}`;
}

const KINDS: Record<number, string> = { [BINARY]: 'binary', [PONG]: 'pong' };

/** A server's frames as the cases name them. With what words it complains is its own affair. */
function named(bytes: Buffer): string[] {
  return serverFrames(bytes).map(({ fin, opcode, payload }) => {
    assert.ok(fin, 'the servers send no fragments');
    if (opcode === TEXT) return `text:${payload}`;
    if (opcode !== CLOSE) return `${KINDS[opcode]}:${payload.toString('hex')}`;
    if (payload.length === 0) return 'close:';
    const code = payload.readUInt16BE();
    const reason = [1002, 1007, 1008, 1009].includes(code) ? '' : payload.toString('utf8', 2);
    return `close:${code} ${reason}`.trimEnd();
  });
}

/** Sends each piece as a chunk of its own, and reads until the server ends, which has to be the first. */
async function exchange(t: TestContext, server: Server, port: number, pieces: Buffer[]) {
  const [socket, receiver] = await connectRaw(t, server, port);
  const answers = readAll(socket);
  if (pieces.length === 1) socket.write(pieces[0] as Buffer);
  else await sendPieces(socket, receiver, pieces);
  const all = await answers;
  socket.end();
  return named(all);
}

for (const [which, create] of SERVERS) {
  describe(`the server ${which}`, together, () => {
    test('answers all cases of conformance.ts', async (t) => {
      const { server, port } = await start(t, create, ECHO);
      for (const { name, frames, answers, ws = answers } of CASES) {
        const expected = which === 'on ws' ? ws : answers;
        if (expected === null) continue;
        assert.deepEqual(await exchange(t, server, port, [Buffer.concat(frames)]), expected, name);
      }
    });

    test('answers text as the tutorial does, on every path', async (t) => {
      const { port } = await start(t, create);
      for (const path of ['/', '/ws', '/any/other?x=1']) {
        const ws = await connect(t, port, path);
        assert.equal(String((await answer(ws, 'Hello, server!'))[0]), 'Echo: Hello, server!');
        assert.equal(String((await answer(ws, '网络 🎉\0'))[0]), 'Echo: 网络 🎉\0');
      }
    });

    test('answers bytes with the same bytes, and not with text', async (t) => {
      const { port } = await start(t, create);
      const ws = await connect(t, port);
      assert.deepEqual(await answer(ws, Buffer.from('hi')), [Buffer.from('hi'), true]);
    });

    test('answers frames that came together with the request', async (t) => {
      const { port } = await start(t, create);
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
      const { server, port, logged } = await start(t, create);
      const [socket, receiver] = await connectRaw(t, server, port);
      receiver.cork(); // as if the kernel took nothing for the time being
      socket.end(clientFrame(TEXT, 'no close'));
      const frames = serverFrames(await readAll(socket));
      assert.deepEqual(
        frames.map(({ payload }) => String(payload)),
        ['Echo: no close'],
      );
      await logged('closed: 1006 ""');
    });

    test('logs who comes and who goes', async (t) => {
      const { port, log, logged } = await start(t, create);
      const ws = await connect(t, port);
      ws.close(4000, 'line\nbreak');
      await logged('closed: 4000 "line\\nbreak"');
      assert.deepEqual(log, ['connected', 'closed: 4000 "line\\nbreak"']);
    });

    test('outlives a client that resets, and serves the others', async (t) => {
      const { server, port, logged } = await start(t, create);
      const good = await connect(t, port);
      const [bad] = await connectRaw(t, server, port);
      reset(bad);
      await logged('closed: 1006 ""');
      assert.equal(String((await answer(good, 'still there?'))[0]), 'Echo: still there?');
    });

    test('refuses one client too many with 503, until there is room', async (t) => {
      const { server, port, logged } = await start(t, create, { maxClients: 1 });
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
      const { port } = await start(t, create, { origins: ['https://example.org'] });
      const STRANGER = '403 pages of this origin may not connect';
      const tries: [string | undefined, string][] = [
        [undefined, '101'],
        [`http://127.0.0.1:${port}`, '101'],
        [`https://127.0.0.1:${port}`, '101'], // behind a proxy that speaks TLS
        ['https://example.org', '101'],
        ['http://example.org', STRANGER],
        [`http://127.0.0.1:${port + 1}`, STRANGER],
        ['http://127.0.0.1', STRANGER],
        ['http://evil.example', STRANGER],
        ['null', STRANGER],
        ['', STRANGER],
      ];
      for (const [origin, answer] of tries) {
        const headers = {
          Host: `127.0.0.1:${port}`,
          ...(origin !== undefined && { Origin: origin }),
        };
        assert.equal(await answerTo(t, port, openingHandshake(headers)), answer, origin);
      }
    });

    test('tells who is refused why, also in the middle of sending', async (t) => {
      const { port } = await start(t, create, { closeTimeout: FOREVER });
      const socket = await dial(t, port);
      socket.write(openingHandshake({ Origin: 'http://evil.example' }));
      // Reads to the end of it, or this would never be sent.
      await new Promise((sent) => socket.end(Buffer.alloc(8 * MiB), () => sent(undefined)));
      const answer = (await readAll(socket)).toString();
      assert.match(answer, /^HTTP\/1\.1 403 Forbidden\r\nConnection: close\r\n/);
      assert.match(answer, /\r\n\r\npages of this origin may not connect\n$/);
    });

    test('waits for the FIN behind a refusal, but not for ever', async (t) => {
      const { server, port } = await start(t, create, { closeTimeout: 50 });
      const accepted = once(server, 'connection');
      const socket = await dial(t, port);
      const [receiver] = (await accepted) as [Socket];
      const gone = once(receiver, 'close');
      socket.write(openingHandshake({ Origin: 'http://evil.example' }));
      await readAll(socket);
      await gone;
    });

    test('outlives a client that resets when it is refused', async (t) => {
      const { server, port, logged } = await start(t, create, { closeTimeout: FOREVER });
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

    test('closes with 1001 when it is told to stop, and ends as soon as all have answered', async (t) => {
      const stop = new AbortController();
      const { server, port, log, logged } = await start(t, create, {
        signal: stop.signal,
        closeTimeout: FOREVER,
      });
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
      await logged(4);
      assert.deepEqual(log.slice(2), Array(2).fill('closed: 1001 "the server is stopping"'));
      assert.deepEqual(getEventListeners(stop.signal, 'abort'), []);
    });

    test('refuses who comes while it stops', async (t) => {
      const stop = new AbortController();
      const { port } = await start(t, create, { signal: stop.signal });
      stop.abort();
      const answered = await answerTo(t, port, openingHandshake());
      assert.equal(answered, '503 the server is stopping');
    });

    test('says nothing behind its own close', async (t) => {
      const stop = new AbortController();
      const { server, port, logged } = await start(t, create, {
        signal: stop.signal,
        closeTimeout: FOREVER,
      });
      const [socket] = await connectRaw(t, server, port);
      stop.abort();
      socket.write(
        Buffer.concat([clientFrame(PING), clientFrame(TEXT, 'late'), clientClose(1001)]),
      );
      const frames = serverFrames(await readAll(socket));
      assert.deepEqual(
        frames.map(({ opcode }) => opcode),
        [CLOSE],
      );
      socket.end();
      await logged('closed: 1001 ""');
    });

    test('waits for the answer to its close, but not for ever', async (t) => {
      const stop = new AbortController();
      const { server, port, logged } = await start(t, create, {
        signal: stop.signal,
        closeTimeout: 50,
      });
      const [socket] = await connectRaw(t, server, port);
      stop.abort();
      const [frame] = serverFrames(await readBytes(socket, 4 + 'the server is stopping'.length));
      assert.equal(frame?.opcode, CLOSE);
      socket.write(clientFrame(PING)); // a sign of life is no answer
      await logged('closed: 1006 ""');
    });

    test('waits for the FIN behind a close, but not for ever', async (t) => {
      const { server, port } = await start(t, create, { closeTimeout: 50 });
      const [socket, receiver] = await connectRaw(t, server, port);
      const gone = once(receiver, 'close');
      socket.write(BYE);
      assert.equal((await readAll(socket)).toString('hex'), '880203e8'); // and the server's FIN
      await gone;
    });

    test('names no subprotocol and no extension, whatever is offered', async (t) => {
      const { port } = await start(t, create);
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

    const key = (value: string | string[]) => openingHandshake({ 'Sec-WebSocket-Key': value });
    const version = (value: string | string[]) =>
      openingHandshake({ 'Sec-WebSocket-Version': value });
    const BAD_KEY = '400 Sec-WebSocket-Key must be 16 bytes in base64, once';
    const BAD_VERSION = '426 Sec-WebSocket-Version must be 13';
    /** What is tried, the answer from scratch, and the status from ws if that is another. */
    const REQUESTS: [string, string, string, string?][] = [
      ['as a browser does', openingHandshake({ Connection: 'keep-alive, Upgrade' }), '101'],
      [
        'in other letters',
        openingHandshake({ Upgrade: 'WebSocket', Connection: 'uPGRADE' }),
        '101',
      ],
      ['a list of protocols', openingHandshake({ Upgrade: 'h2c, websocket' }), '101', '400'],
      ['another protocol', openingHandshake({ Upgrade: 'h2c' }), '400 Upgrade must say websocket'],
      [
        'no Connection: Upgrade',
        openingHandshake({ Connection: 'keep-alive' }),
        '426 15\r\n426 Upgrade Required\n\r\n0', // no upgrade to node:http, but a request; a chunk
      ],
      ['POST', openingHandshake({}, 'POST /ws HTTP/1.1'), '405 the method must be GET'],
      [
        'HTTP/1.0',
        openingHandshake({}, 'GET /ws HTTP/1.0'),
        '400 the version must be HTTP/1.1',
        '101',
      ],
      ['no Host', openingHandshake({ Host: [] }), '400 there must be one Host', '101'],
      ['two Hosts', openingHandshake({ Host: ['a', 'b'] }), '400 there must be one Host', '101'],
      ['version 8', version('8'), BAD_VERSION, '101'],
      ['version 14', version('14'), BAD_VERSION, '400'],
      ['no version', version([]), BAD_VERSION, '400'],
      ['two versions', version(['13', '13']), BAD_VERSION, '400'],
      ['no key', key([]), BAD_KEY],
      ['an empty key', key(''), BAD_KEY],
      ['a key of 15 bytes', key('A'.repeat(20)), BAD_KEY],
      ['a key of 18', key('A'.repeat(24)), BAD_KEY],
      ['a key not in base64', key(`${'A'.repeat(20)}-_==`), BAD_KEY],
      ['two keys', key(['A', 'B'].map((c) => `${c.repeat(22)}==`)), BAD_KEY],
      ['a body of 0 bytes', openingHandshake({ 'Content-Length': '0' }), '101'],
      [
        'chunks',
        openingHandshake({ 'Transfer-Encoding': 'chunked' }),
        '400 an upgrade request has no body',
      ],
      [
        'a body',
        `${openingHandshake({ 'Content-Length': '5' })}hello`,
        '400 an upgrade request has no body',
      ],
    ];
    test('checks the request header by header', async (t) => {
      const { port } = await start(t, create);
      for (const [what, request, answer, ws = answer.slice(0, 3)] of REQUESTS) {
        const answered = await answerTo(t, port, request);
        if (which === 'on ws') assert.equal(answered.slice(0, 3), ws, what);
        else assert.equal(answered, answer, what);
      }
    });

    test('serves its page to whoever asks for it, and nothing else', async (t) => {
      const { port } = await start(t, create);
      const ask = async (line: string) => {
        const socket = await dial(t, port);
        socket.write(`${line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
        return (await readAll(socket)).toString();
      };
      const page = await ask('GET /?x=1');
      assert.match(page, /^HTTP\/1\.1 200 OK\r\nContent-Type: text\/html; charset=utf-8\r\n/);
      assert.match(page, /<title>WebSocket echo<\/title>/);
      // Nothing runs but what stands in it, and that reaches nothing but this server.
      const hash = (element: string) => {
        const [begin, end] = [page.indexOf(`<${element}>`), page.lastIndexOf(`</${element}>`)];
        const text = page.slice(begin + `<${element}>`.length, end);
        return createHash('sha256').update(text).digest('base64');
      };
      assert.equal(
        page.match(/\r\nContent-Security-Policy: (.+)\r\n/)?.[1],
        `default-src 'none'; connect-src 'self'; img-src data:; script-src 'sha256-${hash('script')}'; style-src 'sha256-${hash('style')}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
      );
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

    test('costs little memory for a client that sends and never reads, and drops it', async (t) => {
      const { server, port, logged } = await start(t, create, {
        heartbeat: 100,
        maxBuffered: 100_000,
      });
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
        const { server, port } = await start(t, create, { maxBuffered: 500 * 127 });
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

    test('tells who breaks the protocol why, also in the middle of sending', async (t) => {
      const { server, port } = await start(t, create, { maxPayload: 1000, closeTimeout: FOREVER });
      const [socket] = await connectRaw(t, server, port);
      const header = clientFrame(BINARY, Buffer.alloc(1001)).subarray(0, 8);
      socket.write(Buffer.concat([header, Buffer.alloc(5 * MiB)]));
      const [frame] = serverFrames(await readAll(socket));
      assert.equal(frame?.payload.readUInt16BE(), 1009);
    });

    test('serves as many clients at once as it may', async (t) => {
      const { port } = await start(t, create, { maxClients: 20 });
      const clients = await Promise.all(Array.from({ length: 20 }, () => connect(t, port)));
      const answers = await Promise.all(clients.map((ws, n) => answer(ws, `client ${n}`)));
      assert.deepEqual(
        answers.map(([data]) => String(data)),
        clients.map((_, n) => `Echo: client ${n}`),
      );
    });
  });
}

/** Sent one byte at a time too: text, control frames and an end of each kind, cut everywhere. */
const TYPICAL = [
  '2.4 a ping of 125',
  '5.19 five, and two pings',
  '6.2 one byte a fragment',
  '6 the same across fragments',
  '7.1.3 more behind the close',
  '7.3.4 a reason',
  '7.5 half a character as reason',
];

test('the server from scratch answers typical cases also one byte at a time', async (t) => {
  const { server, port } = await start(t, createFromScratchServer, ECHO);
  const cases = CASES.filter(({ name }) => TYPICAL.includes(name));
  assert.equal(cases.length, TYPICAL.length);
  for (const { name, frames, answers } of cases) {
    const pieces = [...Buffer.concat(frames)].map((byte) => Buffer.from([byte]));
    assert.deepEqual(await exchange(t, server, port, pieces), answers, name);
  }
});

test('the server from scratch answers all messages of a chunk with one write', async (t) => {
  const { server, port } = await start(t, createFromScratchServer);
  const [socket, receiver] = await connectRaw(t, server, port);
  const { mock } = t.mock.method(receiver as Required<Socket>, '_writev');
  socket.write(Buffer.concat(Array(100).fill(clientFrame(TEXT, 'hi'))));
  await readBytes(socket, 100 * 10);
  assert.equal(mock.callCount(), 1);
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
  const { server, port } = await start(t, createFromScratchServer, { maxBuffered: 1000 });
  const [socket, receiver] = await connectRaw(t, server, port);
  // As if the kernel took nothing more. Not cork(), which end() undoes.
  for (const name of ['_write', '_writev'] as const) {
    t.mock.method(receiver as Required<Socket>, name, () => {});
  }
  const message = clientFrame(BINARY, Buffer.alloc(2000));
  await sendPieces(socket, receiver, [Buffer.concat([message, BYE])]);
  assert.equal(receiver.writableLength, 2004 + 4);
  assert.equal(receiver.isPaused(), false);
});

test('a connection to the server from scratch leaves no timer behind', async (t) => {
  const { mock: set } = t.mock.method(globalThis, 'setTimeout');
  const { mock: cleared } = t.mock.method(globalThis, 'clearTimeout');
  const stop = new AbortController();
  const options = { signal: stop.signal, closeTimeout: 99_999 };
  const { server, port, logged } = await start(t, createFromScratchServer, options);
  const [socket] = await connectRaw(t, server, port);
  stop.abort();
  socket.write(clientClose(1001));
  await readAll(socket);
  socket.end();
  await logged('closed: 1001 ""');
  // For the answer to its close, and for the FIN behind that.
  const timers = set.calls.filter(({ arguments: [, ms] }) => ms === options.closeTimeout);
  assert.equal(timers.length, 2);
  for (const { result } of timers) {
    assert.ok(cleared.calls.some((call) => call.arguments[0] === result));
  }
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

describe('the client', together, () => {
  /** Has a conversation: what it prints, or how it fails. */
  async function talk(url: string, ...messages: string[]): Promise<string> {
    const output = new PassThrough();
    await converse(await connectTo(url), messages, output);
    output.end();
    return await text(output);
  }

  test('sends each message when the one before is answered, then closes with 1000', async (t) => {
    const { port, log, logged } = await start(t, createEchoServer);
    const answers = await talk(`ws://127.0.0.1:${port}`, 'one', '', '网络\n');
    assert.equal(answers, 'Echo: one\nEcho: \nEcho: 网络\n\n');
    await logged('closed: 1000 ""');
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

  test('refuses a message of more than 16 MiB by its header', async (t) => {
    const url = await fakeServer(t, (socket, handshake) => {
      socket.write(handshake);
      socket.write(Buffer.from('827f0000000001000001', 'hex'));
    });
    await assert.rejects(talk(url, 'hello'), {
      message: 'the server broke the protocol: Max payload size exceeded',
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
  for (const [what, answer, why, timeout = FOREVER] of FAILURES) {
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

/** Sends one byte of a header when the one before has gone. */
function trickle(socket: Socket): void {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nX: ');
  const more = () => !socket.destroyed && socket.write('x', () => setImmediate(more));
  more();
}

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

/** Most of it is waiting: for timers, and for other processes. */
describe('what takes its time', together, () => {
  for (const [which, create] of SERVERS) {
    describe(`the server ${which}`, together, () => {
      test('asks a silent client for a sign of life, and keeps it when there is one', async (t) => {
        const { port } = await start(t, create, { heartbeat: 500 });
        const ws = await connect(t, port);
        for (let i = 0; i < 2; i++) await once(ws, 'ping');
        assert.equal(String((await answer(ws, 'alive'))[0]), 'Echo: alive');
      });

      test('finds a client whose cable was pulled, and keeps the others', async (t) => {
        const { port, log, logged } = await start(t, create, { heartbeat: 500 });
        const tap = await tapTcp({ port, faults: { stall: 1000 } });
        t.after(tap.close);
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
    });
  }

  test('a client is not dropped when the server was too busy to read its sign of life', async (t) => {
    const { server, port } = await start(t, createFromScratchServer, { heartbeat: 100 });
    const [socket] = await connectRaw(t, server, port);
    assert.equal((await readBytes(socket, 2)).toString('hex'), '8900');
    socket.write(clientFrame(PONG));
    // Busy with something else, and for real: no mocked clock moves the timers of Node's sockets.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 120);
    assert.equal((await readBytes(socket, 2)).toString('hex'), '8900');
  });

  test('the page talks to its own server from a real browser', { skip: noBrowser }, async (t) => {
    const page = await openPage(t);
    const complaints: string[] = [];
    page.on('console', (message) => complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(String(error)));
    await page.setViewportSize({ width: 500, height: 300 });
    for (const [which, create] of SERVERS) {
      const { port, log, logged } = await start(t, create);
      await page.goto(`http://127.0.0.1:${port}/`);
      await page.getByText('open · 已连接').waitFor();
      // Too long for the window, too: the log scrolls to its end, and the form stays where it is.
      const markup = `<img src=x onerror=alert(1)> 网络 🎉 ${'long '.repeat(500)}`;
      await page.getByRole('textbox').fill(markup);
      await page.keyboard.press('Enter');
      await page.locator('li.received').waitFor();
      assert.deepEqual(
        await page.locator('li').allTextContents(),
        [markup, `Echo: ${markup}`],
        which,
      );
      const scrolled = '[scrollY, log.scrollHeight - log.clientHeight - log.scrollTop < 1]';
      assert.deepEqual(await page.evaluate(scrolled), [0, true], which);
      await page.getByRole('button', { name: 'Close' }).click();
      await page.getByText('closed · 已关闭: 1000 the user left').waitFor();
      await logged('closed: 1000 "the user left"');
      assert.deepEqual(log, ['connected', 'closed: 1000 "the user left"'], which);
      await page.getByRole('button', { name: 'Connect' }).click();
      await page.getByText('open · 已连接').waitFor();
    }
    assert.deepEqual(complaints, []);

    await t.test('also behind TLS', { skip: noOpenssl }, async (t) => {
      const { port } = await start(t, createFromScratchServer);
      const { stdout } = openssl;
      const tls = createTlsServer({ key: stdout, cert: stdout }, (socket) => {
        const behind = connectTcp(port, '127.0.0.1');
        socket.on('error', () => {}).pipe(behind);
        behind.on('error', () => {}).pipe(socket);
      });
      const browser = page.context().browser() ?? assert.fail('the browser is gone');
      const trusting = await browser.newPage({ ignoreHTTPSErrors: true });
      await trusting.goto(`https://localhost:${await listen(t, tls)}/`);
      await trusting.getByText('open · 已连接').waitFor();
    });
  });

  testUsage(file('server.ts'));
  testServer(file('server.ts'), async (_, port) => {
    const ws = await connectTo(`ws://127.0.0.1:${port}/ws`, { timeout: FOREVER });
    const output = new PassThrough();
    await converse(ws, ['hello'], output);
    assert.equal(String(output.read()), 'Echo: hello\n');
  });

  test('from-scratch.ts --echo answers up to 16 MiB as they came, and says 1001 on SIGTERM', async (t) => {
    const server = run(t, file('from-scratch.ts'), ['--port', '0', '--echo']);
    const ws = await connectTo(`ws://127.0.0.1:${await server.ready()}/ws`, { timeout: FOREVER });
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
    // Starting the others keeps this process busy, which has to answer.
    const patient = ['--timeout', String(FOREVER)];
    const [words, lines] = [
      run(t, file('client.ts'), ['--port', String(port), ...patient, 'Hello,', 'server!']),
      run(t, file('client.ts'), ['--url', `ws://127.0.0.1:${port}`, ...patient]),
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

  testReadme(import.meta.dirname);
});
