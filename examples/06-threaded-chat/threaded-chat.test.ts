import assert from 'node:assert/strict';
import { on, once } from 'node:events';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, type TestContext, test } from 'node:test';
import type { Worker } from 'node:worker_threads';
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
  until,
} from '@shared/testing';
import { chat } from './client.ts';
import { createLineServer, type LineServerOptions } from './line-server.ts';
import { type ChatServerOptions, createChatServer } from './server.ts';

/** What waits for ever here has failed. */
const together = { concurrency: true, timeout: 60_000 };
const SERVER = join(import.meta.dirname, 'server.ts');
const CLIENT = join(import.meta.dirname, 'client.ts');
const LINE_SERVER = join(import.meta.dirname, 'line-server.ts');
const KiB = 1024;
const MiB = 1024 * KiB;

/** A server that listens, its log, and all the threads that it starts. */
async function start(t: TestContext, options: ChatServerOptions = {}) {
  const log: string[] = [];
  const server = createChatServer({ log: (line) => log.push(line), ...options });
  const port = await listen(t, server);
  return { server, port, log, enter: (name: string) => enter(t, port, name) };
}

/** One who is in the room: what it reads, line by line. */
interface Guest {
  socket: Socket;
  say(text: string): void;
  /** The next line. */
  next(): Promise<string>;
  /** All lines until this one, and it. */
  until(line: string): Promise<string[]>;
}

function guest(socket: Socket): Guest {
  const lines = on(createInterface({ input: socket }), 'line', { close: ['close'] });
  const next = async () => {
    const { done, value } = await lines.next();
    if (done) throw new Error('the server has ended the conversation');
    return value[0] as string;
  };
  const until = async (wanted: string) => {
    const lines: string[] = [];
    do lines.push(await next());
    while (lines.at(-1) !== wanted);
    return lines;
  };
  return { socket, say: (text) => socket.write(`${text}\n`), next, until };
}

/** Comes in under this name; all lines up to its own notice are read. */
async function enter(t: TestContext, port: number, name: string): Promise<Guest> {
  const one = guest(await dial(t, port));
  assert.equal(await one.next(), '/nick NAME, /who, or exit');
  one.say(`/nick ${name}`);
  while (!/^\* guest\d+ is now /.test(await one.next()));
  return one;
}

describe('the room', together, () => {
  test('passes what one says to all others, however the bytes arrive', async (t) => {
    const { server, enter } = await start(t, { rate: 1000, maxQueue: 1000 });
    const accepted = once(server, 'connection');
    const ann = await enter('Ann');
    const [receiver] = (await accepted) as [Socket];
    const ben = await enter('Ben');
    await ann.until(`* guest2 is now Ben`);
    for (const { name, pieces } of cuts('Grüße, 网络! 🎉\r\n')) {
      await sendPieces(ann.socket, receiver, pieces);
      assert.equal(await ben.next(), 'Ann: Grüße, 网络! 🎉', name);
    }
    ben.say('hello');
    assert.equal(await ann.next(), 'Ben: hello', 'and not what she said herself');
  });

  test('lets 8 clients chat at once, and refuses one more', async (t) => {
    const { port } = await start(t, { maxClients: 8 });
    const guests = await Promise.all(
      Array.from({ length: 8 }, async () => guest(await dial(t, port))),
    );
    // Its thread greets a client when it is in the room.
    for (const { next } of guests) assert.equal(await next(), '/nick NAME, /who, or exit');
    const refused = await dial(t, port);
    assert.equal(
      (await readAll(refused)).toString(),
      'error: the room is full: 8 clients; try again later\n',
    );
    for (const [n, { say }] of guests.entries()) say(`I am client ${n}`);
    for (const [n, { next }] of guests.entries()) {
      const heard = new Set<string>();
      while (heard.size < 7) {
        const said = (await next()).match(/^guest\d+: I am (client \d+)$/)?.[1];
        if (said !== undefined) heard.add(said);
      }
      assert.ok(!heard.has(`client ${n}`));
    }
  });

  test('tells who is here, and takes each name once', async (t) => {
    const { port, enter } = await start(t, { rate: 100 });
    const ann = await enter('Ann');
    const ben = await enter('Ben');
    await ann.until('* guest2 is now Ben');
    const bad = 'error: a name must be 1 to 20 letters, digits, _ or -';
    const answers: [string, string][] = [
      ['/nick Ann', 'error: the name Ann is taken'],
      ['/nick aNN', 'error: the name Ann is taken'],
      ['/nick ＡＮＮ', 'error: the name Ann is taken'],
      ['/nick', bad],
      ['/nick two words', bad],
      ['/nick A\u202enn', bad],
      ['/nick \u3164', bad],
      ['/nick Ann\uffa0', bad],
      ['/nick Error', 'error: the name Error is taken'],
      ['/nick here', 'error: the name here is taken'],
      [`/nick ${'x'.repeat(21)}`, bad],
      ['/quit', 'error: unknown command /quit'],
      ['/who', 'here: Ann, Ben'],
      ['/nick BEN', '* Ben is now BEN'],
      ['/nick 网络', '* BEN is now 网络'],
      ['/who', 'here: Ann, 网络'],
    ];
    for (const [line, answer] of answers) {
      ben.say(line);
      assert.equal(await ben.next(), answer, line);
    }
    assert.equal(await ann.next(), '* Ben is now BEN');
    const third = guest(await dial(t, port));
    await third.until('* guest3 joined');
    third.say('/nick ben');
    assert.equal(await third.next(), '* guest3 is now ben', 'a name that was given up is free');
  });

  test('gives the new name to all that is said behind /nick', async (t) => {
    const { port, enter } = await start(t);
    const ann = await enter('Ann');
    const ben = guest(await dial(t, port));
    ben.say('/nick Ben\nhello');
    const heard = await ann.until('Ben: hello');
    assert.deepEqual(heard, ['* guest2 joined', '* guest2 is now Ben', 'Ben: hello']);
  });

  test('never passes on what would do something to a terminal', async (t) => {
    const { enter } = await start(t);
    const ann = await enter('Ann');
    const ben = await enter('Ben');
    ann.say(
      '\x1b[2J\x07 \x9b31m \x7f \r! \u202eevil\u2066 \u200b \u2028 \ufeff \0\ttab 👩\u200d💻 e\u0301',
    );
    assert.equal(
      await ben.next(),
      'Ann: \ufffd[2J\ufffd \ufffd31m \ufffd \ufffd! \ufffdevil\ufffd \ufffd \ufffd \ufffd \ufffd tab 👩\u200d💻 e\u0301',
    );
    ann.socket.write(Buffer.from([0x9b, 0x33, 0x31, 0x6d, 0xe7, 0x0a])); // C1 as one byte
    assert.equal(await ben.next(), 'Ann: \ufffd31m\ufffd');
    ann.say('/\x1b[2J');
    assert.equal(await ann.until('error: unknown command /\ufffd[2J').then((all) => all.length), 3);
  });

  test('keeps two rooms of one process apart', async (t) => {
    const [one, two] = [await start(t), await start(t)];
    const ann = await one.enter('Ann');
    const ben = await two.enter('Ben');
    ann.say('hello');
    ann.say('exit');
    await ann.until('Goodbye!');
    ben.say('/who');
    assert.equal(await ben.next(), 'here: Ben');
  });
});

describe('whoever leaves', together, () => {
  test('is announced once, with exit, FIN or RST', async (t) => {
    const { enter, log } = await start(t);
    const ann = await enter('Ann');
    const leaving: [string, (one: Guest) => void, string][] = [
      ['Exit', ({ say }) => say('exit'), 'left'],
      ['Fin', ({ socket }) => socket.end(), 'left'],
      ['Half', ({ socket }) => socket.end('no line'), 'left'],
      ['Both', ({ socket }) => socket.end(' EXIT \nexit\n'), 'left'],
      ['Rst', ({ socket }) => reset(socket), 'left: the connection broke'],
    ];
    for (const [name, leave, how] of leaving) {
      const one = await enter(name);
      leave(one);
      await ann.until(`* ${name} ${how}`);
      if (how === 'left') {
        assert.equal(await one.next(), 'Goodbye!');
        one.socket.end();
      }
    }
    ann.say('/who');
    assert.equal(await ann.next(), 'here: Ann', 'nothing more about them');
    for (const [name] of leaving) {
      const notices = log.filter(
        (line) => line.startsWith(`* ${name} `) && !line.includes(' now '),
      );
      assert.equal(notices.length, 1, notices.join());
    }
    // Their threads have heard the notices too, behind their own end.
    assert.ok(!log.some((line) => line.startsWith('a thread failed')), log.join());
  });

  test('without a word for too long is told so, and announced once', async (t) => {
    const { server, port, log } = await start(t);
    const accepted = once(server, 'connection');
    const ann = guest(await dial(t, port));
    const [receiver] = (await accepted) as [Socket];
    await ann.until('* guest1 joined');
    assert.equal(receiver.timeout, 15 * 60_000);
    // As Node does when that is over; no mocked clock moves the timers of its sockets.
    receiver.emit('timeout');
    const closed = once(receiver, 'close'); // not at once, since we do not end our half
    assert.equal(await ann.next(), 'error: you were idle for too long');
    await closed;
    assert.deepEqual(log, ['* guest1 joined', '* guest1 left: idle for too long']);
    // Its thread has heard that notice too, behind our last word, and has it for the client.
    assert.equal(receiver.errored, null);
  });

  test('but never ends its own half is cut off', async (t) => {
    const { server, enter } = await start(t);
    const accepted = once(server, 'connection');
    const ann = await enter('Ann');
    const [receiver] = (await accepted) as [Socket];
    const closed = once(receiver, 'close');
    ann.say('exit');
    await ann.until('Goodbye!');
    await closed; // although the client has not said FIN
    assert.equal(ann.socket.writableEnded, false);
  });

  test('by a line that is too long is told so', async (t) => {
    const { enter } = await start(t);
    const ann = await enter('Ann');
    const ben = await enter('Ben');
    ben.say('x'.repeat(1024));
    await ann.until(`Ben: ${'x'.repeat(1024)}`);
    const why = 'cannot accept message: 1,025 bytes and no delimiter, the limit is 1,024';
    ben.socket.write('x'.repeat(1025));
    assert.equal(await ben.next(), `error: you were dropped: ${why}`);
    assert.equal(await ann.next(), `* Ben was dropped: ${why}`);
  });

  test('by sending too fast is dropped; a little too fast only waits', async (t) => {
    const { enter } = await start(t, { rate: 5, maxQueue: 20 });
    const ann = await enter('Ann');
    const ben = await enter('Ben');
    await ann.until('* guest2 is now Ben');
    const began = performance.now();
    ben.say(Array.from({ length: 11 }, (_, n) => `line ${n}`).join('\n'));
    assert.equal((await ann.until('Ben: line 10')).length, 11);
    // Five at once, the other six in more than a second.
    assert.ok(performance.now() - began > 1000);
    ben.socket.write('more\n'.repeat(10_000));
    await ann.until('* Ben was dropped: sends too fast');
    assert.equal(await ben.next(), 'error: you were dropped: sends too fast');
  });

  test('by not reading is dropped, and the others miss nothing', async (t) => {
    const limits = { rate: 1e6, maxLength: 64 * KiB };
    const { server, port, enter } = await start(t, limits);
    const ann = await enter('Ann');
    const ben = await enter('Ben');
    await ann.until('* guest2 is now Ben');
    const accepted = once(server, 'connection');
    const deaf = await dial(t, port);
    const [receiver] = (await accepted) as [Socket];
    const closed = once(receiver, 'close');
    await ben.until('* guest3 joined');
    const line = 'x'.repeat(60 * KiB);
    const dropped = '* guest3 was dropped: does not read';
    let lines = 0;
    for (let heard = ''; heard !== dropped; lines++) {
      assert.ok(lines < 1000, 'nobody was dropped');
      ann.say(line);
      // Every line, and whole; the notice comes in between.
      heard = await ben.next();
      if (heard === dropped) assert.equal(await ben.next(), `Ann: ${line}`);
      else assert.equal(heard, `Ann: ${line}`);
      assert.ok(receiver.writableLength <= 2 * MiB);
    }
    await ann.until(dropped);
    await closed;
    deaf.destroy();
  });
});

/** Runs `body`, and returns the threads that it has started. Not at the same time as other tests. */
async function threadsOf(body: () => Promise<unknown>): Promise<Worker[]> {
  const threads: Worker[] = [];
  const add = (worker: Worker) => threads.push(worker);
  process.on('worker', add);
  await body();
  process.off('worker', add);
  return threads;
}

describe('the threads', { timeout: together.timeout }, () => {
  test('are one for each client, and end with it and with the server', async (t) => {
    const { server, enter, log } = await start(t);
    const sockets: Socket[] = [];
    server.on('connection', (socket) => sockets.push(socket));
    let guests: Guest[] = [];
    const threads = await threadsOf(async () => {
      guests = [await enter('Ann'), await enter('Ben')];
    });
    assert.equal(threads.length, 2);
    const [first, second] = threads.map((thread) => once(thread, 'exit'));
    guests[0]?.socket.end();
    await guests[0]?.until('Goodbye!');
    await first;
    const closed = once(server.close(), 'close');
    for (const socket of sockets) socket.destroy(); // as serve() does at the end of its patience
    await Promise.all([closed, second]);
    assert.equal(log.at(-1), '* Ben left');
    // Nothing is left that would keep the process, not even for a second.
    assert.ok(!process.getActiveResourcesInfo().includes('Timeout'));
  });

  test('that crash take their client with them, and nobody else', async (t) => {
    const { enter, log } = await start(t);
    const ann = await enter('Ann');
    let ben: Guest | undefined;
    const [thread] = await threadsOf(async () => {
      ben = await enter('Ben');
    });
    await ann.until('* guest2 is now Ben');
    await thread?.terminate();
    assert.equal(await ann.next(), '* Ben left: its thread crashed');
    assert.equal(await ben?.next(), 'error: your thread has crashed');
    const cid = await enter('Cid');
    cid.say('/who');
    assert.equal(await cid.next(), 'here: Ann, Cid');
    assert.equal(log.filter((line) => line.startsWith('* Ben left')).length, 1);
  });

  const bugs: [string, string, string][] = [
    ['throws', "throw new Error('a bug')", 'a bug'],
    ['loads nothing of ours, and says so,', 'throw new Error(process.execArgv.join())', ''],
    [
      'wants all the memory',
      'const all = []; for (;;) all.push(new Array(1e5).fill({}));',
      'Worker terminated due to reaching memory limit: JS heap out of memory',
    ],
  ];
  for (const [name, code, message] of bugs) {
    test(`one that ${name} is a line in the log`, async (t) => {
      const { port, log } = await start(t, { code });
      const client = await dial(t, port);
      assert.equal((await readAll(client)).toString(), 'error: your thread has crashed\n');
      assert.deepEqual(log, [`a thread failed: ${message}`]);
    });
  }

  test('one that never comes back is ended when its client is idle for too long', async (t) => {
    const { port } = await start(t, { code: 'for (;;);', idleTimeout: 50 });
    const started = once(process, 'worker');
    const client = await dial(t, port);
    const [thread] = (await started) as [Worker];
    const ended = once(thread, 'exit');
    assert.equal((await readAll(client)).toString(), 'error: you were idle for too long\n');
    client.end();
    await ended;
  });

  test('make room for another client when they end', async (t) => {
    const { port, enter } = await start(t, { maxClients: 1 });
    let ann: Guest | undefined;
    const [thread] = await threadsOf(async () => {
      ann = await enter('Ann');
    });
    const refused = await dial(t, port);
    assert.equal(
      (await readAll(refused)).toString(),
      'error: the room is full: 1 clients; try again later\n',
    );
    const ended = once(thread as Worker, 'exit');
    ann?.socket.destroy();
    await ended;
    await enter('Ben');
  });
});

describe('the line server', together, () => {
  const open = async (t: TestContext, options: LineServerOptions = {}) => {
    const server = createLineServer(options);
    const port = await listen(t, server);
    const accepted = once(server, 'connection');
    return { port, client: await dial(t, port), receiver: (await accepted)[0] as Socket };
  };

  test('answers each line in upper case, however the bytes arrive', async (t) => {
    const { client, receiver } = await open(t);
    for (const { name, pieces } of cuts('straße 网络 🎉\n\nhi\n')) {
      await sendPieces(client, receiver, pieces);
      const answer = 'STRASSE 网络 🎉\n\nHI\n';
      assert.equal((await readBytes(client, Buffer.byteLength(answer))).toString(), answer, name);
    }
    client.end('half');
    assert.equal((await readAll(client)).length, 0, 'half a line is not answered');
  });

  test('gives every answer to a client that has ended its half, and then ends its own', async (t) => {
    const { client } = await open(t);
    client.end(`${'x'.repeat(1023)}\n`.repeat(3 * KiB));
    const answer = await readAll(client);
    assert.ok(answer.equals(Buffer.from(`${'X'.repeat(1023)}\n`.repeat(3 * KiB))));
  });

  test('costs little memory for a client that never reads, and loses nothing of it', async (t) => {
    const { port, client, receiver } = await open(t);
    const total = 4 * MiB;
    receiver.cork(); // as if the kernel took no more
    client.end(Buffer.from(`${'x'.repeat(64 * KiB - 1)}\n`.repeat(total / 64 / KiB)));
    await until(() => receiver.writableLength > 0);
    const other = await dial(t, port);
    for (let n = 0; n < 100; n++) {
      other.write('still there?\n');
      assert.equal((await readBytes(other, 13)).toString(), 'STILL THERE?\n');
    }
    assert.ok(receiver.bytesRead < MiB, `the server has read ${receiver.bytesRead} bytes`);
    assert.ok(receiver.writableLength < MiB, `${receiver.writableLength} bytes wait`);
    receiver.uncork();
    assert.equal((await readAll(client)).length, total);
  });

  test('refuses a line that is too long', async (t) => {
    const { client } = await open(t);
    client.write(`hi\n${'x'.repeat(64 * KiB)}`);
    client.write('x');
    assert.equal(
      (await readAll(client)).toString(),
      'HI\nerror: cannot accept message: 65,537 bytes and no delimiter, the limit is 65,536\n',
    );
  });

  test('refuses clients over its limit, and drops those that are idle', async (t) => {
    const { port, client, receiver } = await open(t, { maxClients: 1 });
    const second = await dial(t, port);
    assert.equal((await readAll(second)).toString(), 'error: the server is full\n');
    assert.equal(receiver.timeout, 5 * 60_000);
    receiver.emit('timeout');
    assert.equal((await readAll(client)).length, 0);
  });
});

describe('the programs', { ...together, timeout: 120_000 }, () => {
  testUsage(SERVER);
  testServer(SERVER, async (t, port) => {
    const ann = await enter(t, port, 'Ann');
    const ben = await enter(t, port, 'Ben');
    ann.say('hello');
    assert.equal(await ben.next(), 'Ann: hello');
  });

  test('line-server.ts answers on the port that it says', async (t) => {
    const client = await dial(t, await run(t, LINE_SERVER, ['--port', '0']).ready());
    client.end('hello\n');
    assert.equal((await readAll(client)).toString(), 'HELLO\n');
  });

  test('client.ts talks to the room, and ends when it has said exit', async (t) => {
    const { port, enter } = await start(t);
    const ann = await enter('Ann');
    const client = run(t, CLIENT, ['--port', String(port)]);
    client.stdin.write('/nick Ben\nhello\n');
    assert.equal((await ann.until('Ben: hello')).length, 3);
    ann.say('hi');
    await client.printed(/^Ann: hi$/m);
    client.stdin.write('exit\n');
    assert.equal(await client.exit(), 0, client.stderr);
    assert.match(client.stdout, /^Goodbye!\n$/m);
  });

  test('the client hears to the end when its own input has ended', async (t) => {
    const { port } = await start(t);
    const output = new PassThrough();
    const heard = text(output);
    const input = new PassThrough();
    input.end('/nick Ann\n/who\n');
    await chat({ host: '127.0.0.1', port }, input, output);
    output.end();
    assert.match(await heard, /^here: Ann\nGoodbye!\n$/m);
  });
});

testReadme(import.meta.dirname);
