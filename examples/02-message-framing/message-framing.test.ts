import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, Socket } from 'node:net';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { encodeDelimited, encodeFixedLength, encodeLengthPrefix } from '@shared/framing';
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
import fc from 'fast-check';
import * as delimiter from './delimiter.ts';
import * as fixedLength from './fixed-length.ts';
import * as lengthPrefix from './length-prefix.ts';
import { measure, ways } from './nagle.ts';
import { oneWrite, twoWrites } from './sticky.ts';

const LENGTH = 16;
const MiB = 1024 * 1024;
const notLinux = process.platform === 'linux' ? false : 'other kernels acknowledge at other times';

type Options = lengthPrefix.MessageServerOptions;
type Lesson = Pick<typeof lengthPrefix, 'createMessageServer' | 'converse'>;

/** The fixed-length lesson in the shape of the other two. */
const fixed = (length: number): Lesson => ({
  createMessageServer: (options) => fixedLength.createMessageServer({ length, ...options }),
  converse: (socket, messages) => fixedLength.converse(socket, messages, { length }),
});

/** One scheme, so that whatever holds for each of them is said once. */
interface Scheme {
  file: string;
  lesson: Lesson;
  /** One message on the wire, as the other side would send it. */
  encode(text: string): Buffer;
  /** What may be sent. */
  allows(text: string): boolean;
  /** What the server logs if a client ends three bytes into a frame. */
  cut: string;
  /** A long message on the wire, and a server that takes it. */
  bulk(length: number): [Buffer, Lesson];
}

const fits = (text: string) => !text.endsWith(' ') && Buffer.byteLength(text) <= LENGTH;

const schemes: Record<string, Scheme> = {
  'fixed length': {
    file: 'fixed-length.ts',
    lesson: fixed(LENGTH),
    encode: (text) => encodeFixedLength(text, LENGTH),
    allows: (text) => fits(text) && fits(text.toUpperCase()),
    cut: 'the stream ended inside a message: 3 of 16 bytes had arrived',
    bulk: (length) => [Buffer.alloc(length, 'X'), fixed(length)],
  },
  delimiter: {
    file: 'delimiter.ts',
    lesson: delimiter,
    encode: (text) => encodeDelimited(text),
    allows: (text) => !text.includes('\n'),
    cut: 'the stream ended inside a message: 3 bytes had arrived, and no delimiter',
    bulk: (length) => [encodeDelimited('X'.repeat(length)), delimiter],
  },
  'length prefix': {
    file: 'length-prefix.ts',
    lesson: lengthPrefix,
    encode: (text) => encodeLengthPrefix(text),
    allows: () => true,
    cut: 'the stream ended inside a length prefix: 3 of 4 bytes had arrived',
    bulk: (length) => [encodeLengthPrefix('X'.repeat(length)), lengthPrefix],
  },
};

/** A server that listens, its log without the clients' addresses, and both sides of each connection. */
async function start(t: TestContext, lesson: Lesson, options: Options = {}) {
  const log: string[] = [];
  const server = lesson.createMessageServer({
    log: (line) => log.push(line.replace(/^127\.0\.0\.1:\d+ /, '')),
    ...options,
  });
  const port = await listen(t, server);
  const open = async (): Promise<[Socket, Socket]> => {
    const accepted = once(server, 'connection');
    return [await dial(t, port), (await accepted)[0] as Socket];
  };
  return { server, port, log, open };
}

/** All answers to these messages. */
async function ask(
  lesson: Lesson,
  port: number,
  messages: Iterable<string> | AsyncIterable<string>,
): Promise<string[]> {
  const answers: string[] = [];
  const socket = connect({ port, host: '127.0.0.1' });
  for await (const answer of lesson.converse(socket, messages)) answers.push(answer);
  return answers;
}

/** Any character. Not fast-check's own `unit: 'binary'`, which takes a second to set up. */
const character = fc
  .integer({ min: 0, max: 0x10ffff - 0x800 })
  .map((code) => String.fromCodePoint(code < 0xd800 ? code : code + 0x800));

const upper = (texts: string[]) => texts.map((text) => text.toUpperCase());

for (const [name, scheme] of Object.entries(schemes)) {
  const { lesson, encode, allows } = scheme;
  const frames = (texts: string[]) => Buffer.concat(texts.map(encode));
  const anyMessages = fc.array(fc.string({ unit: character, maxLength: 16 }).filter(allows), {
    maxLength: 8,
  });
  const anySizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 });

  describe(name, { concurrency: true, timeout: 20_000 }, () => {
    test('any messages, cut anywhere, are the same messages to the server', async (t) => {
      const { open } = await start(t, lesson);
      await fc.assert(
        fc.asyncProperty(anyMessages, anySizes, async (texts, sizes) => {
          const [client, receiver] = await open();
          await sendPieces(client, receiver, pieces(frames(texts), sizes));
          client.end();
          assert.deepEqual(await readAll(client), frames(upper(texts)));
        }),
        // The decoders have had their hundreds where they are at home; each run here is a connection.
        { numRuns: 8 },
      );
    });

    test('three messages, the second one empty, cut at every offset, are three answers', async (t) => {
      const { open } = await start(t, lesson);
      const [client, receiver] = await open();
      const all = [...cuts(frames(['Grüße', '', ' 网络']))];
      for (const { pieces } of all) await sendPieces(client, receiver, pieces);
      client.end();
      const answers = await readAll(client);
      const expected = frames(['GRÜSSE', '', ' 网络']);
      for (const [n, { name }] of all.entries()) {
        const at = n * expected.length;
        assert.deepEqual(answers.subarray(at, at + expected.length), expected, name);
      }
      assert.equal(answers.length, all.length * expected.length);
    });

    test('the client gets an answer to each message, empty ones too, however answers are cut', async (t) => {
      const { port } = await start(t, lesson);
      const texts = ['', 'Hello', '', '网络 🎉', ''];
      assert.deepEqual(await ask(lesson, port, texts), upper(texts));

      const byByte = createServer({ allowHalfOpen: true }, async (socket) => {
        await readAll(socket);
        for (const byte of frames(texts)) {
          await new Promise((taken) => socket.write(Buffer.from([byte]), taken));
        }
        socket.end();
      });
      assert.deepEqual(await ask(lesson, await listen(t, byByte), texts), texts);
    });

    test('two clients that interleave inside their messages are kept apart', async (t) => {
      const { open } = await start(t, lesson);
      const ends = [await open(), await open()];
      const halves = [encode('one ü'), encode('two ö')].map((frame) => [
        frame.subarray(0, 3),
        frame.subarray(3),
      ]);
      for (const half of [0, 1]) {
        for (const [n, [client, receiver]] of ends.entries()) {
          await sendPieces(client, receiver, [halves[n]?.[half] as Buffer]);
        }
      }
      for (const [n, [client]] of ends.entries()) {
        client.end();
        assert.deepEqual(await readAll(client), encode(['ONE Ü', 'TWO Ö'][n] as string));
      }
    });

    test('each message is answered before the next one comes', async (t) => {
      const { port } = await start(t, lesson);
      const socket = connect({ port, host: '127.0.0.1' });
      const answers: string[] = [];
      let answered = () => {};
      async function* questions() {
        for (const text of ['one', 'two', 'three']) {
          const next = new Promise<void>((resolve) => {
            answered = resolve;
          });
          yield text;
          await next;
        }
      }
      for await (const answer of lesson.converse(socket, questions())) {
        answers.push(answer);
        answered();
      }
      assert.deepEqual(answers, ['ONE', 'TWO', 'THREE']);
    });

    test('a client that ends its half gets every answer', async (t) => {
      const { open } = await start(t, lesson);
      const [client] = await open();
      const texts = Array.from({ length: 1000 }, (_, n) => `message ${n}`);
      client.end(frames(texts));
      assert.deepEqual(await readAll(client), frames(upper(texts)));
    });

    test('answers that wait when the client ends its half are not lost', async (t) => {
      const [frame, lesson] = scheme.bulk(4096);
      const { open } = await start(t, lesson);
      const [client, receiver] = await open();
      // Letters that need three times the bytes in upper case: one chunk of them fills the buffer.
      const growing = Array<string>(14).fill('\u0390'.repeat(1000));
      const padded = name === 'fixed length';
      receiver.cork(); // as a network that takes nothing
      const ended = once(receiver, 'end');
      client.end(padded ? Buffer.concat(Array<Buffer>(15).fill(frame)) : frames(growing));
      await ended;
      receiver.uncork();
      const expected = padded
        ? Buffer.concat(Array<Buffer>(15).fill(frame))
        : frames(upper(growing));
      assert.ok((await readAll(client)).equals(expected));
    });

    test('the last answer is not lost either when the network is slow', async (t) => {
      const { open } = await start(t, lesson);
      const [client, receiver] = await open();
      let before = 0;
      // Until the kernel takes no more: the answer waits in the server then.
      for (; receiver.writableLength === 0; before += 10_000) receiver.write(Buffer.alloc(10_000));
      const ended = once(receiver, 'end');
      client.end(encode('last'));
      await ended;
      assert.deepEqual((await readAll(client)).subarray(before), encode('LAST'));
    });

    test('the client says how many answers the server left out', async (t) => {
      const silent = createServer({ allowHalfOpen: true }, (socket) => {
        socket.on('end', () => socket.end()).resume();
      });
      await assert.rejects(ask(lesson, await listen(t, silent), ['one', 'two']), {
        message: 'the server ended after 0 of 2 answers',
      });
    });

    test('a stream that ends inside a frame is an error that names the numbers', async (t) => {
      const { open, log } = await start(t, lesson);
      const [client, receiver] = await open();
      const closed = closing(receiver);
      client.end(encode('Hello').subarray(0, 3));
      await closed;
      assert.deepEqual(log, ['connected', `failed: ${scheme.cut}`, 'closed']);
    });

    test('the client says that the answers end inside a frame', async (t) => {
      const half = createServer((socket) => socket.end(encode('Hello').subarray(0, 3)));
      const port = await listen(t, half);
      await assert.rejects(ask(lesson, port, []), { name: 'FramingError', message: scheme.cut });
    });

    test('a client that never reads is not read from, costs little, and loses nothing', async (t) => {
      const [frame, lesson] = scheme.bulk(32 * 1024);
      const { open } = await start(t, lesson);
      const [client, receiver] = await open();
      const bytes = Buffer.concat(Array<Buffer>(512).fill(frame));
      client.end(bytes);
      const waiting = await heldBack(receiver);
      assert.ok((await readAll(client)).equals(bytes));
      assert.ok(waiting < MiB, `${waiting} bytes waited in the server`);
    });

    test('a client that resets is a line in the log, and the others are served', async (t) => {
      const { open, log, port } = await start(t, lesson);
      const [bad, receiver] = await open();
      const closed = closing(receiver);
      reset(bad);
      await closed;
      assert.deepEqual(log, ['connected', 'failed: read ECONNRESET', 'closed']);
      assert.deepEqual(await ask(lesson, port, ['still there?']), ['STILL THERE?']);
    });

    test('a client that has reset before it is accepted has no address, and does no harm', async (t) => {
      const { server, log } = await start(t, lesson);
      server.emit('connection', new Socket()); // as Node gives it then
      assert.deepEqual(log, ['unknown connected']);
    });

    test('a client that is idle for too long is dropped', async (t) => {
      const { open, log } = await start(t, lesson, { idleTimeout: 20 });
      const [client, receiver] = await open();
      const closed = closing(receiver);
      assert.equal((await readAll(client)).length, 0);
      await closed;
      assert.deepEqual(log, ['connected', 'idle for 0.02 s', 'closed']);
    });

    test('no more clients are served than may be', async (t) => {
      const { open, port } = await start(t, lesson, { maxConnections: 1 });
      const [first] = await open();
      const second = await dial(t, port);
      assert.equal((await readAll(second)).length, 0);
      first.end(encode('me'));
      assert.deepEqual(await readAll(first), encode('ME'));
    });

    test('the client says that the server ended before the input did', async (t) => {
      const server = createServer((socket) => socket.end(encode('bye')));
      const port = await listen(t, server);
      async function* never() {
        yield await new Promise<string>(() => {});
      }
      await assert.rejects(ask(lesson, port, never()), {
        message: 'the server ended before the input did',
      });
    });

    test('the client says that the server reset', async (t) => {
      const server = createServer((socket) => socket.once('data', () => reset(socket)));
      const port = await listen(t, server);
      await assert.rejects(ask(lesson, port, ['hello']), { code: 'ECONNRESET' });
    });

    test('the client says that its input failed', async (t) => {
      const { port } = await start(t, lesson);
      // biome-ignore lint/correctness/useYield: it fails before
      async function* unreadable() {
        throw new Error('cannot read');
      }
      await assert.rejects(ask(lesson, port, unreadable()), { message: 'cannot read' });
      await nextTurn(); // Node tells of a second, unhandled rejection before the next turn
    });
  });
}

/** Not `once`, which rejects at the 'error' before. */
function closing(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

function* pieces(bytes: Buffer, sizes: number[]): Generator<Buffer> {
  for (let at = 0, n = 0; at < bytes.length; n++) {
    const end = at + (sizes[n % sizes.length] as number);
    yield bytes.subarray(at, end);
    at = end;
  }
}

/** How many answers, in bytes, wait at most in a server until it reads nothing more for their sake. */
async function heldBack(receiver: Socket): Promise<number> {
  let most = 0;
  // No event says that Node has stopped to read: its streams just ask the kernel for nothing more.
  for (let still = 0; still < 100; ) {
    const before = receiver.bytesRead;
    await nextTurn();
    most = Math.max(most, receiver.writableLength);
    still = receiver.writableNeedDrain && receiver.bytesRead === before ? still + 1 : 0;
  }
  return most;
}

describe('what each scheme refuses', { concurrency: true, timeout: 20_000 }, () => {
  test('fixed length: a message that is too long, by its bytes and not its letters', async (t) => {
    const { port, log } = await start(t, fixed(8));
    assert.deepEqual(await ask(fixed(8), port, ['网络ab']), ['网络AB']);
    await assert.rejects(ask(fixed(8), port, ['网络网络']), {
      code: 'ERR_TOO_LONG',
      message: 'cannot send message: it has 12 bytes, the limit is 8',
    });
    assert.ok(!log.includes('message of length 12'));
  });

  test('fixed length: a message that ends with the padding; other white space stays', async (t) => {
    const { port } = await start(t, fixed(8));
    assert.deepEqual(await ask(fixed(8), port, ['  a b\t\n', '\u3000']), ['  A B\t\n', '\u3000']);
    await assert.rejects(ask(fixed(8), port, ['ends so ']), {
      message: 'cannot send message: it ends with a space, as the padding does',
    });
  });

  test('fixed length: an answer that no longer fits ends the conversation, not the server', async (t) => {
    const { port, log } = await start(t, fixed(8));
    await assert.rejects(ask(fixed(8), port, ['ŉŉŉŉ']), {
      message: 'the server ended after 0 of 1 answers',
    });
    assert.equal(log[2], 'failed: cannot send message: it has 12 bytes, the limit is 8');
    assert.deepEqual(await ask(fixed(8), port, ['ok']), ['OK']);
  });

  test('delimiter: a message with a delimiter inside is refused, and never split', async (t) => {
    const { port, log } = await start(t, delimiter);
    await assert.rejects(ask(delimiter, port, ['one\ntwo']), {
      code: 'ERR_DELIMITER_INSIDE',
      message: 'cannot send message: it has the delimiter in it, at byte 3',
    });
    assert.deepEqual(
      log.filter((line) => line.startsWith('message')),
      [],
    );
  });

  test('delimiter: a message over the limit', async (t) => {
    const { open, log } = await start(t, delimiter, { maxLength: 4 });
    const [client, receiver] = await open();
    const closed = closing(receiver);
    client.write('good\nendless');
    await closed;
    const failed = 'failed: cannot accept message: 7 bytes and no delimiter, the limit is 4';
    assert.deepEqual(log, ['connected', 'message of length 4', failed, 'closed']);
  });

  test('length prefix: a message over the limit, before any of it has come', async (t) => {
    const { open, log } = await start(t, lengthPrefix);
    const [client, receiver] = await open();
    const closed = closing(receiver);
    client.write(Buffer.concat([encodeLengthPrefix('good'), Buffer.from([0, 0x89, 0x54, 0x40])]));
    await closed;
    const failed =
      'failed: cannot accept message: its prefix says 9,000,000 bytes, the limit is 1,048,576';
    assert.deepEqual(log, ['connected', 'message of length 4', failed, 'closed']);
  });

  test('length prefix: the client has a limit too', async (t) => {
    const hostile = createServer((socket) => socket.end(Buffer.from('HTTP/1.1 400 Bad Request')));
    await assert.rejects(ask(lengthPrefix, await listen(t, hostile), []), {
      message: 'cannot accept message: its prefix says 1,213,486,160 bytes, the limit is 1,048,576',
    });
  });
});

describe('length prefix and Python', { concurrency: true, timeout: 20_000 }, () => {
  test('the bytes of the tutorial\u2019s fixed_client.py are two messages', async (t) => {
    const { open, log } = await start(t, lengthPrefix);
    const [client] = await open();
    // struct.pack('!I', len(msg)) + msg, for 'Hello, TCP!' and 'Python网络编程'
    client.end(
      Buffer.from(
        '0000000b48656c6c6f2c205443502100000012507974686f6ee7bd91e7bb9ce7bc96e7a88b',
        'hex',
      ),
    );
    await readAll(client);
    assert.deepEqual(log.slice(1, 3), ['message of length 11', 'message of length 18']);
  });

  test('the client sends such bytes, and says that the tutorial\u2019s server answers none of them', async (t) => {
    const received: Promise<Buffer>[] = [];
    const silent = createServer({ allowHalfOpen: true }, (socket) => {
      received.push(readAll(socket).finally(() => socket.end()));
    });
    const port = await listen(t, silent);
    await assert.rejects(ask(lengthPrefix, port, ['Hello, TCP!', '网']), {
      message: 'the server ended after 0 of 2 answers',
    });
    assert.equal(
      (await received[0])?.toString('hex'),
      '0000000b48656c6c6f2c205443502100000003e7bd91',
    );
  });
});

describe('sticky packets', { concurrency: true, timeout: 20_000 }, () => {
  for (const noDelay of [true, false]) {
    test(`two writes are read as one chunk, noDelay: ${noDelay}`, async () => {
      assert.deepEqual(await twoWrites(['Hello', 'World'], { noDelay }), [
        Buffer.from('HelloWorld'),
      ]);
    });
  }

  test('one write is read as several chunks, which cut characters in two', async () => {
    const chunks = await oneWrite('Python网络编程', 8);
    assert.deepEqual(chunks.map(String), ['Python\ufffd', '\ufffd络编\ufffd', '\ufffd\ufffd']);
    assert.equal(Buffer.concat(chunks).toString(), 'Python网络编程');
  });

  test('no data event has more than 64 KiB, however much was written at once', async (t) => {
    const server = createServer((socket) => socket.end(Buffer.alloc(MiB)));
    const client = await dial(t, await listen(t, server));
    let longest = 0;
    client.on('data', (chunk) => {
      longest = Math.max(longest, chunk.length);
    });
    await once(client, 'end');
    assert.ok(longest <= 64 * 1024, `${longest}`);
  });
});

describe('Nagle', { skip: notLinux, timeout: 20_000 }, () => {
  for (const [name, { lesson, encode }] of Object.entries(schemes)) {
    test(`${name}: the second of two answers does not wait for an ACK`, async (t) => {
      const { open } = await start(t, lesson);
      const [client] = await open();
      const [questions, answers] = [
        ['one', 'two'],
        ['ONE', 'TWO'],
      ].map((texts) => Buffer.concat(texts.map(encode))) as [Buffer, Buffer];
      const times: number[] = [];
      for (let round = 0; round < 5; round++) {
        const start = performance.now();
        client.write(questions);
        assert.deepEqual(await readBytes(client, answers.length), answers);
        times.push(performance.now() - start);
      }
      // A young connection has no such pause: without noDelay each round behind the first takes 40 ms.
      assert.ok(Math.min(...times.slice(1)) < 20, `${times} ms`);
    });
  }

  test('a prefix and its body in two writes cost 40 ms; noDelay, cork or one write do not', async () => {
    assert.ok((await measure('two writes', 11)) > 20);
    for (const way of Object.keys(ways) as (keyof typeof ways)[]) {
      if (way !== 'two writes') assert.ok((await measure(way, 11)) < 20, way);
    }
  });
});

describe('the programs', { concurrency: true, timeout: 120_000 }, () => {
  for (const [name, scheme] of Object.entries(schemes)) {
    const file = join(import.meta.dirname, scheme.file);

    testServer(file, async (t, port) => {
      const client = await dial(t, port);
      const length = name === 'fixed length' ? 1024 : 0;
      const frame = (text: string) => Buffer.from(scheme.encode(text)).toString();
      client.end(frame('hello').padEnd(length));
      assert.equal((await readAll(client)).toString(), frame('HELLO').padEnd(length));

      // Its own client: each argument is a message.
      const own = run(t, file, ['--port', String(port), 'client', 'Hello', '', 'two words']);
      assert.equal(await own.exit(), 0, own.stderr);
      assert.equal(own.stdout, 'HELLO\n\nTWO WORDS\n');
    });
  }

  const file = join(import.meta.dirname, 'length-prefix.ts');
  testUsage(file);

  test('a client sends each line of standard input as it comes, and Ctrl+C ends it', async (t) => {
    const { port } = await start(t, lengthPrefix);
    const client = run(t, file, ['--port', String(port), 'client']);
    for (const line of ['one', 'two']) {
      client.stdin.write(`${line}\n`);
      await client.printed(new RegExp(`^${line.toUpperCase()}$`, 'm'));
    }
    if (process.platform === 'win32') client.stdin.end();
    else client.child.kill('SIGINT');
    assert.equal(await client.exit(), 0, client.stderr);
  });

  test('a client says in one line what broke', async (t) => {
    const { port } = await start(t, lengthPrefix, { maxLength: 4 });
    const refused = run(t, file, ['--port', String(port), 'client', 'Hello']);
    assert.equal(await refused.exit(), 1);
    assert.match(refused.stderr, /^error: (the server ended after 0 of 1|the peer reset).+\n$/);
  });

  test('an argument that means nothing is told so', async (t) => {
    const program = run(t, file, ['Hello']);
    assert.equal(await program.exit(), 2);
    assert.match(program.stderr, /^error: unexpected argument "Hello"\nusage: /);
  });

  test('nagle.ts prints milliseconds, and that the chunk is one all the same', async (t) => {
    const program = run(t, join(import.meta.dirname, 'nagle.ts'), ['--rounds', '5']);
    assert.equal(await program.exit(), 0, program.stderr);
    assert.match(
      program.stdout,
      /^two writes +[\d.]+ ms\n[\s\S]*one write +[\d.]+ ms\n[\s\S]*one chunk: "HelloWorld"\n$/,
    );
  });
});

testReadme(import.meta.dirname);
