/**
 * The parts of the server from scratch, without a network: every cut, every byte, every alignment. And
 * cases after the Autobahn suite's, 1 to 7, 9 and 10, and some more, on plain sockets, at both servers.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { cuts, dial, listen, readAll, readBytes, sendPieces } from '@shared/testing';
import type { EchoServerOptions, Message } from './echo.ts';
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
import { unmask } from './masking.ts';
import { createReceiver } from './messages.ts';
import { clientClose, clientFrame, MASK, openingHandshake, serverFrames } from './raw-client.ts';
import { createEchoServer } from './server.ts';
import { checkUtf8 } from './utf8.ts';

const MiB = 1024 * 1024;

/** The cases' bytes come back as they went, and a slow machine has all the time that it needs. */
const ECHO: EchoServerOptions = { reply: (message) => message, closeTimeout: 2 ** 31 - 1 };

const hex = (bytes: string) => Buffer.from(bytes, 'hex');
const text = (payload: string | Buffer) => clientFrame(TEXT, payload);
const bytes = (payload: Buffer) => clientFrame(BINARY, payload);
const ping = (payload: string | Buffer = '') => clientFrame(PING, payload);
const pong = (payload = '') => clientFrame(PONG, payload);
const end = (payload: string | Buffer = '') => clientFrame(CONTINUATION, payload);
/** A fragment with more to come. */
const more = (opcode: number, payload: string | Buffer = '') =>
  clientFrame(opcode, payload, { fin: false });
const textMore = (payload: string | Buffer = '') => more(TEXT, payload);
const then = (payload: string | Buffer = '') => more(CONTINUATION, payload);
const BYE = clientClose(1000);

interface Case {
  name: string;
  frames: Buffer[];
  /** All that comes back: `text:hello`, `binary:` and `pong:` with hex, `close:1002`. */
  answers: string[];
  /** The same from ws, where that differs as the RFC permits; `null` if ws waits for more. */
  ws?: string[] | null;
}

/** A case that the client ends. */
function good(name: string, frames: Buffer[], answers: string[] = []): Case {
  return { name, frames: [...frames, BYE], answers: [...answers, 'close:1000'] };
}

/** A case that the server ends. What stands behind it must not be answered. */
function bad(name: string, code: number, frames: Buffer[], answers: string[] = []): Case {
  const behind = [text('behind'), ping(), BYE];
  return { name, frames: [...frames, ...behind], answers: [...answers, `close:${code}`] };
}

/** A case that the client's close ends by itself. */
function closes(name: string, frames: Buffer[], answer: string): Case {
  return { name, frames, answers: [answer] };
}

/** Whole bytes as a message in fragments. */
function fragments(whole: Buffer, size: number): Buffer[] {
  const count = Math.ceil(whole.length / size);
  return Array.from({ length: count }, (_, i) => {
    const piece = whole.subarray(i * size, (i + 1) * size);
    return clientFrame(i ? CONTINUATION : BINARY, piece, { fin: i === count - 1 });
  });
}

/** The first and the last character of each length, both sides of the surrogates, and a BOM. */
const VALID =
  '00 7f c280 dfbf e0a080 ed9fbf ee8080 efbfbd efbfbf f0908080 f48fbfbf efbbbf61 cebae1bdb9cf83cebccebb'.split(
    ' ',
  );
/** Continuations alone, overlong forms, surrogates, beyond U+10FFFF, never used, cut short. */
const INVALID =
  '80 bf 6180 c0 c0af c1bf e080af e09fbf f08080af f08fbfbf f8888080af fc8480808080af eda080 edbfbf edaf80edb080 f4908080 f5808080 fe ff ce e282 f09f8e c328 e28228 f09f8e28';

const RESERVED = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15];

const CASES: Case[] = [
  ...[
    [0, 125, 126, 127, 128],
    [65_535, 65_536],
  ].flatMap((sizes) => [
    good(
      `1.1 texts of ${sizes}`,
      sizes.map((size) => text('*'.repeat(size))),
      sizes.map((size) => `text:${'*'.repeat(size)}`),
    ),
    good(
      `1.2 bytes: ${sizes}`,
      sizes.map((size) => bytes(Buffer.alloc(size, 254))),
      sizes.map((size) => `binary:${'fe'.repeat(size)}`),
    ),
  ]),

  good('2.1 a ping', [ping()], ['pong:']),
  good('2.3 a ping with bytes', [ping(hex('00fffefdfcfb00ff'))], ['pong:00fffefdfcfb00ff']),
  good('2.4 a ping of 125', [ping(Buffer.alloc(125, 254))], [`pong:${'fe'.repeat(125)}`]),
  bad('2.5 a ping of 126', 1002, [ping(Buffer.alloc(126))]),
  good('2.7 a pong that nobody asked for', [pong()]),
  good('2.9 the same, and a ping', [pong('unasked'), ping(hex('01'))], ['pong:01']),
  good(
    '2.10 100 pings',
    Array.from({ length: 100 }, () => ping('p')),
    Array.from({ length: 100 }, () => 'pong:70'),
  ),

  ...[TEXT, BINARY, CLOSE, PING, PONG, TEXT, BINARY].map((opcode, i) => {
    const frame = clientFrame(opcode, '', { rsv: i + 1 });
    return bad(`3 reserved bits ${i + 1}`, 1002, [text('a'), frame], ['text:a']);
  }),
  bad('3 the same in a continuation', 1002, [textMore('a'), clientFrame(0, 'b', { rsv: 4 })]),
  ...RESERVED.map((opcode) =>
    bad(`4 opcode ${opcode}`, 1002, [text('a'), clientFrame(opcode, 'x')], ['text:a']),
  ),

  bad('5.1 a ping in fragments', 1002, [more(PING, 'a'), end('b')]),
  bad('5.2 a pong in fragments', 1002, [more(PONG, 'a'), end('b')]),
  bad('5 a close in fragments', 1002, [more(CLOSE), end()]),
  good('5.3 two fragments', [textMore('one '), end('two')], ['text:one two']),
  good('5 three', [more(BINARY, hex('01')), then(hex('02')), end(hex('03'))], ['binary:010203']),
  good('5 only empty ones', [textMore(), then(), end()], ['text:']),
  good('5 an empty first one', [textMore(), end('all')], ['text:all']),
  good('5 an empty last one', [textMore('all'), end()], ['text:all']),
  good('5.6 a ping overtakes', [textMore('a'), ping('p'), end('b')], ['pong:70', 'text:ab']),
  good(
    '5.19 five, and two pings',
    [textMore('1'), then('2'), ping(hex('01')), then('3'), then('4'), ping(hex('02')), end('5')],
    ['pong:01', 'pong:02', 'text:12345'],
  ),
  bad('5.9 nothing to continue', 1002, [end('a'), text('b')]),
  bad('5.12 the same, with more to come', 1002, [then('a'), text('b')]),
  bad('5.15 continued behind the end', 1002, [textMore('a'), end('b'), then('c')], ['text:ab']),
  bad('5.18 a text inside of a text', 1002, [textMore('a'), text('b')]),
  bad('5 bytes inside of a text', 1002, [textMore('a'), bytes(hex('62'))]),

  good(
    '6 UTF-8',
    VALID.map((c) => text(hex(c))),
    VALID.map((c) => `text:${hex(c)}`),
  ),
  good(
    '6.2 one byte a fragment',
    ['f0', '9f', '8e', '89'].map((c, i) => more(i ? 0 : TEXT, hex(c))).concat(end()),
    ['text:🎉'],
  ),
  ...INVALID.split(' ').map((c) => bad(`6 not UTF-8: ${c}`, 1007, [text(hex(c))])),
  bad('6 the same across fragments', 1007, [textMore(hex('ed')), end(hex('a080'))]),
  bad('6 half a character at the end', 1007, [textMore(hex('f09f')), end(hex('8e'))]),
  good('6 bytes need not be UTF-8', [bytes(hex('ff80'))], ['binary:ff80']),
  // No frame ends here, and no more comes: the server must not wait for it.
  ...['f490', 'f4908080'].map((c) => ({
    name: `6.4.3 not UTF-8 in the middle of a frame: ${c}`,
    frames: [
      text(Buffer.concat([hex(`cebae1bdb9cf83cebcceb5${c}`), Buffer.alloc(6)])).subarray(0, -6),
    ],
    answers: ['close:1007'],
    ws: null,
  })),
  {
    name: '6.4.1 the same in the middle of a message',
    frames: [textMore(hex('cebae1bdb9cf83cebcceb5')), then(hex('f490'))],
    answers: ['close:1007'],
    ws: null,
  },

  closes('7.1 a close without a code', [clientFrame(CLOSE)], 'close:'),
  closes('7.1.2 two closes', [BYE, clientClose(1001)], 'close:1000'),
  closes('7.1.3 more behind the close', [BYE, ping(), text('x'), hex('ff')], 'close:1000'),
  closes('7.1.5 a close between two fragments', [textMore('a'), BYE, end('b')], 'close:1000'),
  {
    name: '7.1.6 256 KiB, a close, and a ping',
    frames: [text('*'.repeat(262_144)), BYE, ping()],
    answers: [`text:${'*'.repeat(262_144)}`, 'close:1000'],
  },
  closes('7.3.4 a reason', [clientClose(1000, 'bye 👋')], 'close:1000 bye 👋'),
  closes('7.3.5 123 bytes', [clientClose(1000, 'x'.repeat(123))], `close:1000 ${'x'.repeat(123)}`),
  bad('7.3.2 a close of one byte', 1002, [clientFrame(CLOSE, 'x')]),
  bad('7.3.6 a close of 126', 1002, [clientClose(1000, 'x'.repeat(124))]),
  bad('7.5.1 a reason that is not UTF-8', 1007, [clientClose(1000, hex('ceba80'))]),
  bad('7.5 half a character as reason', 1007, [clientClose(1000, hex('ce'))]),
  ...'1000 1001 1002 1003 1007 1008 1009 1010 1011 1012 1013 1014 3000 3999 4000 4999'
    .split(' ')
    .map((code) => closes(`7.7 code ${code}`, [clientClose(Number(code))], `close:${code}`)),
  ...'0 999 1004 1005 1006 1015 1016 1100 2000 2999 5000 65535'
    .split(' ')
    .map((code) => bad(`7.9 code ${code}`, 1002, [clientClose(Number(code))])),

  good('9.1 text of 1 MiB', [text('x'.repeat(MiB))], [`text:${'x'.repeat(MiB)}`]),
  good('9.4 1 MiB, by 4096', fragments(Buffer.alloc(MiB, 7), 4096), [`binary:${'07'.repeat(MiB)}`]),
  // More than ws takes by default.
  good('9.3 by 1', fragments(Buffer.alloc(17_000, 7), 1), [`binary:${'07'.repeat(17_000)}`]),
  bad('9 one byte more', 1009, [bytes(Buffer.alloc(MiB + 1))]),
  bad('9 one byte more, in a fragment', 1009, [more(BINARY, Buffer.alloc(MiB)), end('x')]),
  good('10.1 by 1,300', fragments(Buffer.alloc(65_536, 7), 1300), [
    `binary:${'07'.repeat(65_536)}`,
  ]),

  bad('no mask', 1002, [clientFrame(TEXT, 'a', { mask: null })]),
  good('a mask of zeros', [clientFrame(TEXT, 'a', { mask: Buffer.alloc(4) })], ['text:a']),
  bad('a length of 2^53', 1009, [hex('82ff002000000000000000000000')]),
  {
    ...bad('the highest bit of a length', 1002, [hex('82ff800000000000000100000000')]),
    ws: ['close:1009'],
  },
  {
    ...bad('a length of 3 bytes where 1 would do', 1002, [
      clientFrame(TEXT, 'a', { lengthSize: 3 }),
    ]),
    ws: ['text:a', 'text:behind', 'pong:', 'close:1000'],
  },
  {
    ...bad('the same, 9 and 3', 1002, [clientFrame(BINARY, Buffer.alloc(126), { lengthSize: 9 })]),
    ws: [`binary:${'00'.repeat(126)}`, 'text:behind', 'pong:', 'close:1000'],
  },
];

const KINDS: Record<number, string> = { [BINARY]: 'binary', [PONG]: 'pong' };

/** A server's frames as the cases name them. With what words it complains is its own affair. */
function name(bytes: Buffer): string[] {
  return serverFrames(bytes).map(({ fin, opcode, payload }) => {
    assert.ok(fin, 'the servers send no fragments');
    if (opcode === TEXT) return `text:${payload}`;
    if (opcode !== CLOSE) return `${KINDS[opcode]}:${payload.toString('hex')}`;
    if (payload.length === 0) return 'close:';
    const code = payload.readUInt16BE();
    const reason = [1002, 1007, 1009].includes(code) ? '' : payload.toString('utf8', 2);
    return `close:${code} ${reason}`.trimEnd();
  });
}

/** Sends each piece as a chunk of its own, and reads until the server ends: it has to be the first. */
async function exchange(t: TestContext, server: Server, port: number, pieces: Buffer[]) {
  const accepted = once(server, 'connection');
  const socket = await dial(t, port);
  const [receiver] = (await accepted) as [Socket];
  socket.write(openingHandshake());
  await readBytes(socket, 129); // the answer, the same every time
  const answers = readAll(socket);
  if (pieces.length === 1) socket.write(pieces[0] as Buffer);
  else await sendPieces(socket, receiver, pieces);
  const all = await answers;
  socket.end();
  return name(all);
}

const SERVERS: [string, (options: EchoServerOptions) => Server][] = [
  ['on ws', createEchoServer],
  ['from scratch', createFromScratchServer],
];

/** A receiver, and what has come out of it. */
function receiver(maxPayload = MiB) {
  const out: (Message | [number, string])[] = [];
  const push = createReceiver(maxPayload, {
    message: (message) => out.push(message),
    control: (opcode, payload) => out.push([opcode, payload.toString()]),
  });
  return { out, push };
}

describe('messages', { concurrency: true }, () => {
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
    push(clientFrame(BINARY, Buffer.alloc(MiB)).subarray(0, 15));
    assert.deepEqual(
      mock.calls.map((call) => call.arguments[0]),
      [4096],
    );
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

describe('UTF-8', { concurrency: true }, () => {
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

describe('masks', { concurrency: true }, () => {
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

describe('frames', { concurrency: true }, () => {
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

test('the server from scratch takes all cases the same, whole and one byte at a time', () => {
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

for (const [which, create] of SERVERS) {
  describe(`the server ${which}`, { concurrency: true }, () => {
    test('answers all cases of the conformance suite', async (t) => {
      const server = create(ECHO);
      const port = await listen(t, server);
      for (const { name, frames, answers, ws = answers } of CASES) {
        const expected = which === 'on ws' ? ws : answers;
        if (expected === null) continue;
        assert.deepEqual(await exchange(t, server, port, [Buffer.concat(frames)]), expected, name);
      }
    });
  });
}

test('the server from scratch answers typical ones also one byte at a time', async (t) => {
  const server = createFromScratchServer(ECHO);
  const port = await listen(t, server);
  const cases = CASES.filter(({ name }) => TYPICAL.includes(name));
  assert.equal(cases.length, TYPICAL.length);
  for (const { name, frames, answers } of cases) {
    const pieces = [...Buffer.concat(frames)].map((byte) => Buffer.from([byte]));
    assert.deepEqual(await exchange(t, server, port, pieces), answers, name);
  }
});
