/**
 * Cases after the Autobahn suite's, 1 to 7, 9 and 10, and some more: what a client sends, and all
 * that has to come back from a server that echoes. The tests try both servers with them. Read
 * raw-client.ts before.
 */
import { BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT } from './frames.ts';
import { clientClose, clientFrame } from './raw-client.ts';

const MiB = 1024 * 1024;

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

export interface Case {
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

export const RESERVED = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15];

export const CASES: Case[] = [
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
  // Four times what ws takes by default, and one more than it takes here.
  good('9.3 65,536 by 1', fragments(Buffer.alloc(65_536, 7), 1), [`binary:${'07'.repeat(65_536)}`]),
  {
    ...good('9.3 65,537 by 1', fragments(Buffer.alloc(65_537, 7), 1), [
      `binary:${'07'.repeat(65_537)}`,
    ]),
    ws: ['close:1008'],
  },
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
