/** The parts of the server from scratch, without a network: every cut, every byte, every alignment. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { cuts } from '@shared/testing';
import type { Message } from './echo.ts';
import { BINARY, CLOSE, CONTINUATION, encodeFrame, PING, ProtocolError, TEXT } from './frames.ts';
import { unmask } from './masking.ts';
import { createReceiver } from './messages.ts';
import { clientClose, clientFrame, MASK } from './raw-client.ts';
import { checkUtf8 } from './utf8.ts';

const MiB = 1024 * 1024;

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
      clientFrame(BINARY, Buffer.alloc(300, 7)),
      clientFrame(TEXT),
      clientClose(1000, 'bye'),
    ]);
    const expected = [
      [PING, 'are you there?'],
      'Grüße, 网络! 🎉',
      Buffer.alloc(300, 7),
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

  /** Pushes the pieces: how many were good, and whether the end may be there. */
  function check(pieces: Buffer[]): [number, boolean] {
    let rest: Buffer | undefined = Buffer.alloc(0);
    for (const [i, piece] of pieces.entries()) {
      rest = checkUtf8(rest, piece);
      if (rest === undefined) return [i, false];
    }
    return [pieces.length, rest.length === 0];
  }

  test('is refused with the first byte that nothing can make good, and not before', () => {
    const sequences = [...EDGES].flatMap((a) =>
      [...EDGES].flatMap((b) => [...EDGES].map((c) => [a, b, c, 0x80, 0x41])),
    );
    for (const sequence of sequences) {
      const bytes = Buffer.from(sequence);
      const wrong = sequence.findIndex(
        (_, i) => !possible.test(bytes.toString('latin1', 0, i + 1)),
      );
      const good = wrong < 0 ? sequence.length : wrong;
      const single = sequence.map((_, i) => bytes.subarray(i, i + 1));
      const text = bytes.toString('latin1');
      assert.deepEqual(check(single), [good, complete.test(text)], bytes.toString('hex'));
      assert.equal(check([bytes])[0], possible.test(text) ? 1 : 0, bytes.toString('hex'));
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
      ['c180', 'a reserved bit is set'],
      ['8380', 'opcode 3 is reserved'],
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
