import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type Decoder,
  DelimiterDecoder,
  encodeDelimited,
  encodeFixedLength,
  encodeLengthPrefix,
  FixedLengthDecoder,
  LengthPrefixDecoder,
  readMessages,
} from './framing.ts';

/** The three schemes, so that whatever holds for a decoder is said once. */
const schemes = {
  'length prefix': {
    decoder: () => new LengthPrefixDecoder(),
    encode: (message: Uint8Array) => encodeLengthPrefix(message),
    messages: fc.array(fc.uint8Array({ maxLength: 5000 }), { maxLength: 20 }),
  },
  'one-byte delimiter': {
    decoder: () => new DelimiterDecoder(),
    encode: (message: Uint8Array) => encodeDelimited(message),
    messages: fc.array(bytesBut(0x0a), { maxLength: 20 }),
  },
  'three-byte delimiter': {
    decoder: () => new DelimiterDecoder({ delimiter: 'aab' }),
    encode: (message: Uint8Array) => encodeDelimited(message, 'aab'),
    // Full of beginnings of the delimiter that come to nothing.
    messages: fc.array(
      fc
        .array(fc.constantFrom('a', 'b', 'c'), { maxLength: 40 })
        .map((letters) => Buffer.from(letters.join('')))
        .filter(
          (message) =>
            Buffer.concat([message, Buffer.from('aab')]).indexOf('aab') === message.length,
        ),
      { maxLength: 20 },
    ),
  },
  'fixed length': {
    decoder: () => new FixedLengthDecoder({ length: 100 }),
    encode: (message: Uint8Array) => encodeFixedLength(message, 100),
    messages: fc.array(fc.uint8Array({ minLength: 100, maxLength: 100 }), { maxLength: 20 }),
  },
};

function bytesBut(unwanted: number): fc.Arbitrary<Uint8Array> {
  return fc
    .uint8Array({ maxLength: 5000 })
    .map((bytes) => bytes.map((byte) => (byte === unwanted ? 0 : byte)));
}

function cut(wire: Buffer, sizes: readonly number[]): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0, i = 0; at < wire.length; i++) {
    const end = at + (sizes[i % sizes.length] ?? wire.length);
    chunks.push(wire.subarray(at, end));
    at = end;
  }
  return chunks;
}

function decode(decoder: Decoder, chunks: Iterable<Uint8Array>): Buffer[] {
  const messages: Buffer[] = [];
  for (const chunk of chunks) messages.push(...decoder.push(chunk));
  decoder.end();
  return messages;
}

for (const [name, { decoder, encode, messages }] of Object.entries(schemes)) {
  test(`${name}: any messages, cut anywhere, are the same messages`, () => {
    const sizes = fc.array(
      fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 3000 })),
      { minLength: 1 },
    );
    fc.assert(
      fc.property(messages, sizes, (sent, sizes) => {
        const wire = Buffer.concat(sent.map(encode));
        assert.deepEqual(
          decode(decoder(), cut(wire, sizes)),
          sent.map((message) => Buffer.from(message)),
        );
      }),
    );
  });

  test(`${name}: whole, byte by byte, and split at every offset`, () => {
    const sent = ['Hello', 'Wörld!', 'a'].map((text) => encodeFixedLength(text, 100));
    const wire = Buffer.concat(sent.map(encode));
    assert.deepEqual(decode(decoder(), [wire]), sent);
    assert.deepEqual(decode(decoder(), cut(wire, [1])), sent);
    for (let at = 0; at <= wire.length; at++) {
      assert.deepEqual(decode(decoder(), [wire.subarray(0, at), wire.subarray(at)]), sent);
    }
  });

  test(`${name}: a stream that ends inside a message is an error, wherever it ends`, () => {
    const wire = encode(Buffer.alloc(100, 'x'));
    for (let end = 1; end < wire.length; end++) {
      assert.throws(() => decode(decoder(), cut(wire.subarray(0, end), [7])), {
        name: 'FramingError',
        code: 'ERR_UNEXPECTED_END',
      });
    }
  });

  test(`${name}: the messages before the end of the chunk can be read one at a time`, () => {
    const one = decoder();
    one.push(Buffer.concat([encode(Buffer.alloc(100, 'x')), encode(Buffer.alloc(100, 'y'))]));
    assert.equal(one.next().value?.toString(), 'x'.repeat(100));
    assert.throws(() => one.push(Buffer.from('z')), {
      message: 'cannot push a chunk: the messages of the one before are not all read',
    });
    assert.equal(one.next().value?.toString(), 'y'.repeat(100));
    assert.deepEqual(one.next(), { done: true, value: undefined });
  });
}

test('the errors name the numbers', () => {
  const wire = encodeLengthPrefix('Hello, TCP!');
  const ends: [Decoder, Buffer, string][] = [
    [
      new LengthPrefixDecoder(),
      wire.subarray(0, 2),
      'the stream ended inside a length prefix: 2 of 4 bytes had arrived',
    ],
    [
      new LengthPrefixDecoder(),
      wire.subarray(0, 4),
      'the stream ended inside a message: 0 of 11 bytes had arrived',
    ],
    [
      new LengthPrefixDecoder(),
      wire.subarray(0, 7),
      'the stream ended inside a message: 3 of 11 bytes had arrived',
    ],
    [
      new DelimiterDecoder(),
      Buffer.from('a\nbc'),
      'the stream ended inside a message: 2 bytes had arrived, and no delimiter',
    ],
    [
      new FixedLengthDecoder({ length: 8 }),
      Buffer.from('abc'),
      'the stream ended inside a message: 3 of 8 bytes had arrived',
    ],
  ];
  for (const [decoder, bytes, message] of ends) {
    assert.throws(() => decode(decoder, [bytes]), { code: 'ERR_UNEXPECTED_END', message });
  }
  assert.throws(() => encodeFixedLength('too long', 4), {
    code: 'ERR_TOO_LONG',
    message: 'cannot send message: it has 8 bytes, the limit is 4',
  });
  assert.throws(() => encodeDelimited('one\ntwo'), {
    code: 'ERR_DELIMITER_INSIDE',
    message: 'cannot send message: it has the delimiter in it, at byte 3',
  });
  assert.throws(() => encodeDelimited('xa', 'aa'), {
    message: 'cannot send message: it has the delimiter in it, at byte 1',
  });
  assert.throws(() => new FixedLengthDecoder({ length: 0 }), RangeError);
  assert.throws(() => new DelimiterDecoder({ delimiter: '' }), RangeError);
});

test('a message over the limit is an error, after the good ones before it, and stays one', () => {
  const decoder = new LengthPrefixDecoder({ maxLength: 4 });
  const message = 'cannot accept message: its prefix says 9,000,000 bytes, the limit is 4';
  decoder.push(Buffer.concat([encodeLengthPrefix('good'), Buffer.from([0, 0x89, 0x54, 0x40])]));
  assert.equal(decoder.next().value?.toString(), 'good');
  assert.throws(() => decoder.next(), { name: 'FramingError', code: 'ERR_TOO_LONG', message });
  decoder.push(Buffer.from('more'));
  assert.throws(() => decoder.next(), { message });
});

test('a message of exactly the limit is none, with its delimiter in pieces too', () => {
  const decoder = new DelimiterDecoder({ delimiter: '\r\n', maxLength: 4 });
  assert.deepEqual(
    decode(
      decoder,
      ['go', 'od\r', '\n'].map((text) => Buffer.from(text)),
    ),
    [Buffer.from('good')],
  );
  assert.throws(
    () =>
      decode(new DelimiterDecoder({ delimiter: '\r\n', maxLength: 4 }), [Buffer.from('goods\r\n')]),
    {
      code: 'ERR_TOO_LONG',
      message: 'cannot accept message: 5 bytes, the limit is 4',
    },
  );
  assert.throws(
    () =>
      decode(
        new DelimiterDecoder({ delimiter: '\r\n', maxLength: 4 }),
        cut(Buffer.from('endless'), [1]),
      ),
    {
      code: 'ERR_TOO_LONG',
      message: 'cannot accept message: 5 bytes and no delimiter, the limit is 4',
    },
  );
  const full = decode(new LengthPrefixDecoder({ maxLength: 4 }), [encodeLengthPrefix('good')]);
  assert.deepEqual(full, [Buffer.from('good')]);
});

test('a hostile length allocates nothing, and single bytes cost little more than a byte each', () => {
  const before = process.memoryUsage();
  const decoders = Array.from(
    { length: 1000 },
    () => new LengthPrefixDecoder({ maxLength: 2 ** 32 }),
  );
  for (const decoder of decoders) expectNone(decoder, Buffer.from([0xff, 0xff, 0xff, 0xff]));
  assert.ok(process.memoryUsage().arrayBuffers - before.arrayBuffers < 200_000);
  const trickle = new LengthPrefixDecoder({ maxLength: 2 ** 32 });
  expectNone(trickle, Buffer.from([0xff, 0xff, 0xff, 0xff]));
  const byte = Buffer.from('x');
  for (let i = 0; i < 1_000_000; i++) expectNone(trickle, byte);
  const after = process.memoryUsage();
  assert.ok(
    after.arrayBuffers - before.arrayBuffers < 4_000_000,
    `${after.arrayBuffers - before.arrayBuffers} bytes`,
  );
});

function expectNone(decoder: Decoder, chunk: Buffer): void {
  for (const message of decoder.push(chunk)) assert.fail(`a message: ${message}`);
}

test('readMessages yields the messages of any byte source, and its errors', async () => {
  const wire = [
    encodeLengthPrefix('one'),
    encodeLengthPrefix(''),
    encodeLengthPrefix('three').subarray(0, 6),
  ];
  const seen: string[] = [];
  await assert.rejects(
    async () => {
      for await (const message of readMessages(wire, new LengthPrefixDecoder()))
        seen.push(message.toString());
    },
    { message: 'the stream ended inside a message: 2 of 5 bytes had arrived' },
  );
  assert.deepEqual(seen, ['one', '']);
});

test('a plain Uint8Array is as good as a Buffer', () => {
  const wire = new Uint8Array([9, 0, 0, 0, 2, 104, 105]).subarray(1);
  assert.deepEqual(decode(new LengthPrefixDecoder(), [wire]), [Buffer.from('hi')]);
});

test('a length prefix is struct.pack("!I"): 4 bytes, big-endian', () => {
  assert.equal(encodeLengthPrefix('Hello, TCP!').toString('hex'), '0000000b48656c6c6f2c2054435021');
  assert.equal(encodeLengthPrefix('').toString('hex'), '00000000');
  assert.equal(encodeFixedLength('hi', 4).toString('hex'), '68692020');
});
