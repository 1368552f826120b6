import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { WriteStream } from 'node:tty';
import { stripVTControlCharacters, styleText } from 'node:util';
import { type Entry, type Event, type FormatOptions, format, Recording } from './wiretap.ts';

function entry(event: Event, bytes?: string | number[], more: Partial<Entry> = {}): Entry {
  return {
    at: 0,
    event,
    from: 'client',
    to: 'server',
    connection: 1,
    ...(bytes !== undefined && { bytes: Buffer.from(bytes as string) }),
    ...more,
  };
}

const back = { from: 'server', to: 'client' };

function print(entries: Entry[], options: FormatOptions = {}): string {
  return format(entries, { color: false, ...options });
}

test('the conversation is one arrow a line, as in the lessons', () => {
  const recording = new Recording();
  recording.note('server', 'listening');
  recording.add({ ...entry('open') });
  recording.add({ ...entry('data', 'Hello, TCP!') });
  recording.add({ ...entry('data', 'HELLO, TCP!', back) });
  recording.add({ ...entry('fin') });
  recording.add({ ...entry('fin', undefined, back) });
  assert.equal(
    print(recording.entries),
    `
  server             listening
  client ──▶ server  11 bytes  "Hello, TCP!"
  server ──▶ client  11 bytes  "HELLO, TCP!"
  client ──▶ server  FIN
  server ──▶ client  FIN`.slice(1),
  );
});

test('a recording gives its entries away act by act', () => {
  const recording = new Recording();
  recording.note('server', 'listening');
  const [first, ...none] = recording.take();
  assert.deepEqual(none, []);
  const { at, ...note } = first as Entry;
  assert.deepEqual(note, {
    event: 'note',
    from: 'server',
    to: 'server',
    connection: 0,
    detail: 'listening',
  });
  recording.add({ event: 'fin', from: 'a', to: 'b', connection: 3 });
  assert.deepEqual(
    recording.entries.map(({ event }) => event),
    ['fin'],
  );
  assert.ok((recording.entries[0] as Entry).at >= at);
});

test('nothing recorded is nothing printed', () => {
  assert.equal(print([]), '');
});

test('every event has its words', () => {
  const events = [
    entry('open'),
    entry('refused', undefined, { detail: 'ECONNREFUSED' }),
    entry('rst', undefined, { from: 'network', to: 'both' }),
    entry('stall'),
    entry('datagram', 'a'),
    entry('lost', 'b'),
    entry('duplicate', ''),
    entry('reordered', [0]),
  ];
  assert.equal(
    print(events, { open: true }),
    `
  client ──▶ server  open
  client ──▶ server  refused: ECONNREFUSED
  network ──▶ both   RST
  client ──▶ server  stall
  client ──▶ server  1 byte  "a"
  client ──▶ server  1 byte  "b"  (lost)
  client ──▶ server  0 bytes  (duplicate)
  client ──▶ server  1 byte  00                       .  (reordered)`.slice(1),
  );
});

test('connections that are established are shown only if that is wanted', () => {
  assert.equal(print([entry('open'), entry('fin')]), '  client ──▶ server  FIN');
  assert.match(print([entry('open')], { open: true }), /open$/);
});

test('consecutive bytes in one direction are one arrow, unless chunks are wanted', () => {
  // The two halves of a character, which are not text alone.
  const euro = [entry('data', [0xe2]), entry('open'), entry('data', [0x82, 0xac])];
  assert.equal(print(euro), '  client ──▶ server  3 bytes  "€"');
  assert.equal(
    print(euro, { chunks: true }),
    '  client ──▶ server  1 byte  e2                       .\n  client ──▶ server  2 bytes  82 ac                    ..',
  );
});

test('bytes are not joined across a direction, a connection, a name, an event or a datagram', () => {
  const apart: [string, Entry[]][] = [
    ['direction', [entry('data', 'a'), entry('data', 'b', back)]],
    ['connection', [entry('data', 'a'), entry('data', 'b', { connection: 2 })]],
    ['sender', [entry('data', 'a'), entry('data', 'b', { from: 'other' })]],
    ['receiver', [entry('data', 'a'), entry('data', 'b', { to: 'other' })]],
    ['datagram', [entry('datagram', 'a'), entry('datagram', 'b')]],
    ['datagram behind bytes', [entry('data', 'a'), entry('datagram', 'b')]],
    ['bytes behind a datagram', [entry('datagram', 'a'), entry('data', 'b')]],
  ];
  for (const [name, entries] of apart) assert.equal(print(entries).split('\n').length, 2, name);
  assert.equal(print([entry('data', 'a'), entry('fin'), entry('data', 'b')]).split('\n').length, 3);
});

test('joining leaves the record as it is', () => {
  const entries = [entry('data', 'a'), entry('data', 'b')];
  const before = structuredClone(entries);
  print(entries);
  assert.deepEqual(structuredClone(entries), before);
});

test('ten thousand chunks are joined at once, not each to all before it', () => {
  const chunk = entry('data', 'x'.repeat(1_000));
  const begin = performance.now();
  assert.equal(
    print(Array.from({ length: 10_000 }, () => chunk)),
    `  client ──▶ server  10,000,000 bytes  "${'x'.repeat(44)}"…`,
  );
  assert.ok(performance.now() - begin < 2_000);
});

test('text is quoted, so that line ends, tabs, quotes and back-slashes are seen', () => {
  assert.equal(
    print([entry('data', 'a\r\n\t"b\\')]),
    String.raw`  client ──▶ server  7 bytes  "a\r\n\t\"b\\"`,
  );
});

test('bytes are counted, not characters; emoji made of several are text', () => {
  assert.equal(
    print([entry('data', '你好 👨‍👩‍👧')]),
    '  client ──▶ server  25 bytes  "你好 👨‍👩‍👧"',
  );
});

test('long text is cut behind 44 characters, and never inside one', () => {
  assert.equal(
    print([entry('data', '👍'.repeat(44))]),
    `  client ──▶ server  176 bytes  "${'👍'.repeat(44)}"`,
  );
  assert.equal(
    print([entry('data', '👍'.repeat(45))]),
    `  client ──▶ server  180 bytes  "${'👍'.repeat(44)}"…`,
  );
});

test('bytes that are not text are hex beside text, eight a row, at most eight rows', () => {
  const bytes = Array.from({ length: 20 }, (_, n) => n + 0x18);
  assert.equal(
    print([entry('data', bytes), entry('fin')]),
    `
  client ──▶ server  20 bytes  18 19 1a 1b 1c 1d 1e 1f  ........
                               20 21 22 23 24 25 26 27   !"#$%&'
                               28 29 2a 2b              ()*+
  client ──▶ server  FIN`.slice(1),
  );
  const full = print([entry('data', Array(64).fill(0))]).split('\n');
  const over = print([entry('data', Array(65).fill(0))]).split('\n');
  assert.deepEqual([full.length, full.includes('…')], [8, false]);
  assert.deepEqual([over.length, over.at(-1)?.trim()], [9, '…']);
});

test('UTF-8 that is broken is hex, and so is what only looks like text', () => {
  const not = {
    'cut short': [0xe2, 0x82],
    'an escape': [0x1b, 0x5b],
    'a byte order mark': [0xef, 0xbb, 0xbf],
  };
  for (const [name, bytes] of Object.entries(not)) {
    const hex = bytes.map((byte) => byte.toString(16)).join(' ');
    assert.ok(print([entry('data', bytes)]).includes(`  ${hex} `), name);
  }
});

test('no control character reaches the terminal, from bytes, names or notes', () => {
  const evil = Array.from({ length: 0xa1 }, (_, code) => String.fromCodePoint(code))
    .filter((character) => /\p{Cc}/u.test(character))
    .concat('\u202e', '\u2066', '\u200b', '\ufeff', '\u{e0041}');
  assert.equal(evil.length, 32 + 33 + 5);
  const recording = new Recording();
  for (const character of evil) {
    recording.note(`ser${character}ver`, `listen${character}ing`);
    recording.add(entry('data', character, { from: `a${character}`, to: `b${character}` }));
    recording.add(entry('lost', character));
    recording.add(entry('refused', undefined, { detail: character }));
  }
  for (const chunks of [true, false]) {
    const text = print(recording.entries, { chunks });
    assert.doesNotMatch(text.replaceAll('\n', ''), /\p{C}/u);
    // No line that begins as a character of somebody's likes.
    for (const line of text.split('\n')) assert.match(line, /^ {2}(ser|a\\|client)/);
  }
  assert.match(print(recording.entries.slice(-1)), /refused: \\u\{e0041\}$/);
});

describe('colours', () => {
  const conversation = [
    entry('note', undefined, { from: 'server', to: 'server', detail: 'listening' }),
    entry('data', 'a'),
    entry('data', 'b', back),
    entry('rst'),
    entry('refused'),
    entry('lost', 'c'),
    entry('stall'),
  ];
  const paint = (color: 'cyan' | 'magenta' | 'red', text: string) =>
    styleText(color, text, { validateStream: false });

  test('one for whoever speaks first, one for the other, red for trouble, none for a note', () => {
    const there = 'client ──▶ server';
    assert.deepEqual(format(conversation, { color: true }).split('\n'), [
      '  server             listening',
      `  ${paint('cyan', there)}  1 byte  "a"`,
      `  ${paint('magenta', 'server ──▶ client')}  1 byte  "b"`,
      `  ${paint('red', there)}  RST`,
      `  ${paint('red', there)}  refused`,
      `  ${paint('red', there)}  1 byte  "c"  (lost)`,
      `  ${paint('red', there)}  stall`,
    ]);
  });

  test('change nothing but the colour', () => {
    assert.equal(
      stripVTControlCharacters(format(conversation, { color: true })),
      print(conversation),
    );
  });

  /** What is printed to a standard output like this, with these variables. */
  function printTo(t: TestContext, isTTY: boolean, variables: NodeJS.ProcessEnv): string {
    const { stdout, env } = process;
    const before = Object.getOwnPropertyDescriptors(stdout);
    t.after(() => {
      process.env = env;
      for (const name of ['isTTY', 'hasColors', 'getColorDepth'] as const) {
        delete (stdout as Partial<WriteStream>)[name];
        if (before[name] !== undefined) Object.defineProperty(stdout, name, before[name]);
      }
    });
    process.env = variables;
    const { hasColors, getColorDepth } = WriteStream.prototype;
    for (const [name, value] of Object.entries({ isTTY, hasColors, getColorDepth })) {
      Object.defineProperty(stdout, name, { value, configurable: true });
    }
    return format(conversation);
  }

  const colourful = { TERM: 'xterm-256color', COLORTERM: 'truecolor' };
  test('are there in a terminal', (t) => {
    assert.equal(printTo(t, true, colourful), format(conversation, { color: true }));
  });
  test('are not there if NO_COLOR is set', (t) => {
    assert.equal(printTo(t, true, { ...colourful, NO_COLOR: '1' }), print(conversation));
  });
  test('are not there in a file or a pipe', (t) => {
    assert.equal(printTo(t, false, colourful), print(conversation));
  });
});
