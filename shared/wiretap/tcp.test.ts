import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { cuts, dial, listen, readAll, readBytes, reset, sendPieces, until } from '@shared/testing';
import {
  type Entry,
  format,
  Recording,
  type TapOptions,
  type TcpFaults,
  tapTcp,
} from './wiretap.ts';

const MIB = 1024 * 1024;

/** A tap with a server behind it. `dial` gives both ends of a connection that goes through. */
async function stand(t: TestContext, options: Partial<TapOptions> = {}) {
  const server = createServer({ allowHalfOpen: true, noDelay: true });
  const port = await listen(t, server);
  const tap = await tapTcp({ port, ...options });
  t.after(() => tap.close());
  const { entries } = tap.recording;
  let connections = 0;
  const open = async () => {
    const connection = ++connections;
    const accepted = once(server, 'connection') as Promise<[Socket]>;
    const near = await dial(t, tap.port);
    const [far] = await accepted;
    far.on('error', () => {});
    await until(() => entries.some((e) => e.event === 'open' && e.connection === connection));
    return [near, far] as const;
  };
  return { tap, entries, dial: open };
}

/** The same with one connection. */
async function talk(t: TestContext, options: Partial<TapOptions> = {}) {
  const { dial, ...rest } = await stand(t, options);
  const [client, server] = await dial();
  return { ...rest, client, server };
}

/** What happened, one string an entry. */
function story(entries: readonly Entry[]): string[] {
  return entries.map(({ event, from, to, bytes, detail }) =>
    [`${from}>${to}`, event, bytes?.toString(), detail].filter((part) => part).join(' '),
  );
}

function sizes(entries: readonly Entry[], to: string): number[] {
  return entries
    .filter((entry) => entry.event === 'data' && entry.to === to)
    .map(({ bytes }) => bytes?.length ?? 0);
}

function sent(entries: readonly Entry[], to: string): Buffer {
  return Buffer.concat(
    entries.filter((entry) => entry.to === to).map(({ bytes }) => bytes ?? Buffer.alloc(0)),
  );
}

/** Bytes that repeat nowhere near, so that nothing can be swapped unseen. */
function pattern(length: number): Buffer {
  return Buffer.from(Uint32Array.from({ length: length / 4 }, (_, i) => i * 2654435761).buffer);
}

/** The error with which a connection closes. */
async function failure(socket: Socket): Promise<string | undefined> {
  if (!socket.closed) await once(socket, 'close').catch(() => until(() => socket.closed));
  return (socket.errored as NodeJS.ErrnoException | null)?.code;
}

/** Waits until `value` has not changed during fifty conversations on another connection. */
async function settled(t: TestContext, value: () => number): Promise<number> {
  const port = await listen(
    t,
    createServer((socket) => socket.pipe(socket)),
  );
  const other = await dial(t, port);
  for (let before = Number.NaN; before !== value(); ) {
    before = value();
    for (let i = 0; i < 50; i++) {
      other.write('?');
      await readBytes(other, 1);
    }
  }
  return value();
}

describe('a TCP tap', { concurrency: true, timeout: 60_000 }, () => {
  test('records who did what, to whom and when, as plain data', async (t) => {
    const { client, server, entries } = await talk(t);
    client.write('hello');
    await readBytes(server, 5);
    server.end('HELLO!');
    assert.equal(String(await readAll(client)), 'HELLO!');
    client.end();
    await readAll(server);
    const towards = (event: string, from: string, to: string, bytes?: string) => ({
      event,
      from,
      to,
      connection: 1,
      ...(bytes && { bytes: Buffer.from(bytes) }),
    });
    assert.deepEqual(
      entries.map(({ at, ...entry }) => entry),
      [
        towards('open', 'client', 'server'),
        towards('data', 'client', 'server', 'hello'),
        towards('data', 'server', 'client', 'HELLO!'),
        towards('fin', 'server', 'client'),
        towards('fin', 'client', 'server'),
      ],
    );
    const times = entries.map(({ at }) => at);
    assert.deepEqual(
      times,
      times.toSorted((a, b) => a - b),
    );
    assert.ok(times.every((at) => at > 0 && at < 60_000));
    assert.equal(
      format(entries, { color: false }),
      [
        '  client ──▶ server  5 bytes  "hello"',
        '  server ──▶ client  6 bytes  "HELLO!"',
        '  server ──▶ client  FIN',
        '  client ──▶ server  FIN',
      ].join('\n'),
    );
  });

  test('numbers connections, and lets each client have its own name', async (t) => {
    const { dial, entries } = await stand(t, { client: (n) => `client ${n}`, server: 'echo' });
    const [one, oneThere] = await dial();
    const [two, twoThere] = await dial();
    two.write('two');
    assert.equal(String(await readBytes(twoThere, 3)), 'two');
    one.write('one');
    assert.equal(String(await readBytes(oneThere, 3)), 'one');
    twoThere.write('2');
    assert.equal(String(await readBytes(two, 1)), '2');
    assert.deepEqual(story(entries), [
      'client 1>echo open',
      'client 2>echo open',
      'client 2>echo data two',
      'client 1>echo data one',
      'echo>client 2 data 2',
    ]);
    assert.deepEqual(
      entries.map(({ connection }) => connection),
      [1, 2, 2, 1, 2],
    );
  });

  test('makes a recording of its own where it is given none, and shares one that it is given', async (t) => {
    const recording = new Recording();
    const inner = await stand(t, { recording, client: 'proxy' });
    const outer = await tapTcp({ port: inner.tap.port, recording, server: 'proxy' });
    t.after(() => outer.close());
    const client = await dial(t, outer.port);
    client.end('hi');
    await until(() => recording.entries.length === 6);
    assert.equal(outer.recording, recording);
    // The outer tap passes on before the inner one does.
    assert.deepEqual(story(recording.entries), [
      'client>proxy open',
      'proxy>server open',
      'client>proxy data hi',
      ...(story(recording.entries)[3] === 'client>proxy fin'
        ? ['client>proxy fin', 'proxy>server data hi']
        : ['proxy>server data hi', 'client>proxy fin']),
      'proxy>server fin',
    ]);
  });

  test('passes every chunk on as it is, however the bytes are cut', async (t) => {
    const { dial, entries } = await stand(t);
    for (const { name, pieces } of cuts('a€\0\n')) {
      for (const way of ['up', 'down']) {
        entries.splice(0);
        const ends = await dial();
        const [sender, receiver] = way === 'up' ? ends : ends.toReversed();
        const chunks: Buffer[] = [];
        receiver?.on('data', (chunk: Buffer) => chunks.push(chunk));
        await sendPieces(sender as Socket, receiver as Socket, pieces);
        assert.deepEqual(chunks, pieces, name);
        assert.deepEqual(
          entries.slice(1).map(({ bytes }) => bytes),
          pieces,
          name,
        );
      }
    }
  });

  test('passes megabytes on in both directions at once, intact and in order', async (t) => {
    const { client, server, entries } = await talk(t);
    const up = pattern(4 * MIB);
    const down = up.toReversed();
    for (let at = 0, length = 1; at < up.length; at += length, length = (length * 7) % 65_521) {
      client.write(up.subarray(at, at + length));
      server.write(down.subarray(at, at + length));
    }
    client.end();
    server.end();
    const [atServer, atClient] = await Promise.all([readAll(server), readAll(client)]);
    assert.ok(atServer.equals(up));
    assert.ok(atClient.equals(down));
    assert.ok(sent(entries, 'server').equals(up));
    assert.ok(sent(entries, 'client').equals(down));
  });

  for (const [first, second] of [
    ['client', 'server'],
    ['server', 'client'],
  ] as const) {
    test(`lets the ${second} go on when the ${first} has ended`, async (t) => {
      const { entries, ...ends } = await talk(t);
      const [ending, late] = [ends[first], ends[second]];
      ending.end('question');
      assert.equal(String(await readAll(late)), 'question');
      for (const part of ['late', 'later']) {
        late.write(part);
        assert.equal(String(await readBytes(ending, part.length)), part);
      }
      late.end();
      assert.equal(String(await readAll(ending)), '');
      await settled(t, () => entries.length);
      assert.deepEqual(story(entries), [
        'client>server open',
        `${first}>${second} data question`,
        `${first}>${second} fin`,
        `${second}>${first} data late`,
        `${second}>${first} data later`,
        `${second}>${first} fin`,
      ]);
    });

    test(`passes a reset by the ${first} on`, async (t) => {
      const { entries, ...ends } = await talk(t);
      const [resetting, other] = [ends[first], ends[second]];
      resetting.write('last words');
      await readBytes(other, 10);
      reset(resetting);
      other.resume();
      assert.equal(await failure(other), 'ECONNRESET');
      assert.deepEqual(story(entries), [
        'client>server open',
        `${first}>${second} data last words`,
        `${first}>${second} rst`,
      ]);
    });

    test(`passes a reset on by which the ${first}, having ended, answers what it gets`, async (t) => {
      const { entries, ...ends } = await talk(t);
      const [resetting, other] = [ends[first], ends[second]];
      resetting.end();
      await readAll(other);
      reset(resetting);
      await once(resetting, 'close');
      other.write('too late');
      await until(() => entries.length === 4);
      // It has read to the end, so the next write is what tells it.
      await until(() => !other.write('?') && other.destroyed);
      assert.match(String(await failure(other)), /^(ECONNRESET|EPIPE)$/);
      assert.deepEqual(story(entries), [
        'client>server open',
        `${first}>${second} fin`,
        `${second}>${first} data too late`,
        `${first}>${second} rst`,
      ]);
    });
  }

  test('passes a reset on that comes before there is a connection to the server', async (t) => {
    const server = createServer();
    const tap = await tapTcp({ port: await listen(t, server) });
    t.after(() => tap.close());
    const accepted = once(server, 'connection') as Promise<[Socket]>;
    reset(await dial(t, tap.port));
    const [far] = await accepted;
    far.on('error', () => {}).resume();
    assert.equal(await failure(far), 'ECONNRESET');
    assert.deepEqual(story(tap.recording.entries), ['client>server open', 'client>server rst']);
  });

  test('passes a reset on that comes together with bytes', async (t) => {
    const { client, server, entries } = await talk(t);
    client.write('last words');
    reset(client);
    assert.equal(String(await readBytes(server, 10)), 'last words');
    server.resume();
    assert.equal(await failure(server), 'ECONNRESET');
    assert.deepEqual(story(entries).slice(1), [
      'client>server data last words',
      'client>server rst',
    ]);
  });

  test('records one reset where both sides reset at once', async (t) => {
    const { client, server, entries, tap } = await talk(t);
    reset(client);
    reset(server);
    await until(() => entries.length > 1);
    await settled(t, () => entries.length);
    await tap.close();
    assert.match(story(entries).slice(1).join(), /^(client>server|server>client) rst$/);
  });

  test('passes a FIN on to a server whose own bytes nobody reads', async (t) => {
    const { client, server } = await talk(t);
    for (let i = 0; i < 64; i++) server.write(Buffer.alloc(MIB));
    await settled(t, () => server.writableLength);
    client.end();
    assert.equal(String(await readAll(server)), '');
    assert.notEqual(server.writableLength, 0);
  });

  test('passes a reset on to a server that does not read', async (t) => {
    const { client, server } = await talk(t);
    for (let i = 0; i < 64; i++) client.write(Buffer.alloc(MIB));
    const left = await settled(t, () => client.writableLength);
    assert.notEqual(left, 0);
    reset(client);
    await once(client, 'close');
    // It does not read, so a write is what tells it.
    await until(() => !server.write('?') && server.destroyed);
    assert.match(String(await failure(server)), /^(ECONNRESET|EPIPE)$/);
  });

  test('records a server that is not there, and resets the client', async (t) => {
    const gone = createServer();
    const port = await listen(t, gone);
    await new Promise((closed) => gone.close(closed));
    const tap = await tapTcp({ port });
    t.after(() => tap.close());
    const client = await dial(t, tap.port);
    client.resume();
    assert.equal(await failure(client), 'ECONNRESET');
    assert.deepEqual(story(tap.recording.entries), ['client>server refused ECONNREFUSED']);
  });

  for (const faults of [{}, { glue: 1e12, delay: 1 }]) {
    test(`lets a client that never reads hold the server back, with ${JSON.stringify(faults)}`, async (t) => {
      const { client, server } = await talk(t, { faults });
      const chunk = Buffer.alloc(MIB, 'x');
      let goesOn = true;
      for (let i = 0; i < 64; i++) goesOn = server.write(chunk);
      assert.equal(goesOn, false);
      const left = await settled(t, () => server.writableLength);
      // What is not left lies with the tap and in the kernel's buffers of four sockets.
      assert.ok(left > 32 * MIB, `only ${left} bytes are left`);
      client.resume();
      await until(() => server.writableLength < left);
    });
  }

  test('closes with conversations under way: both sides are cut off, the port is free', async (t) => {
    const { dial, tap, entries } = await stand(t);
    const [client, server] = await dial();
    client.write('hello');
    await readBytes(server, 5);
    client.resume();
    server.resume();
    const gone = Promise.all([once(client, 'end'), once(server, 'end')]);
    await Promise.all([tap.close(), tap.close()]);
    await gone;
    await tap.close();
    const [error] = await once(connect(tap.port, '127.0.0.1'), 'error');
    assert.equal(error.code, 'ECONNREFUSED');
    await settled(t, () => entries.length);
    assert.deepEqual(story(entries), ['client>server open', 'client>server data hello']);
  });

  test('is closed by `await using`', async (t) => {
    const port = await listen(t, createServer());
    let own = 0;
    {
      await using tap = await tapTcp({ port });
      own = tap.port;
      await dial(t, own);
    }
    const [error] = await once(connect(own, '127.0.0.1'), 'error');
    assert.equal(error.code, 'ECONNREFUSED');
  });
});

describe('a spoilt TCP network', { concurrency: true, timeout: 60_000 }, () => {
  const question = pattern(400);

  /** A client asks, a server answers when it has read all that comes. The record, without the times. */
  async function exchange(t: TestContext, faults: TcpFaults, pieces = [question]) {
    const { client, server, entries } = await talk(t, { faults });
    const answer = readAll(server).then(
      (bytes) => server.end(bytes),
      () => {},
    );
    client.resume();
    const over = faults.stall === undefined ? failure(client) : undefined;
    await sendPieces(client, server, pieces.slice(0, -1));
    client.end(pieces.at(-1) as Buffer);
    if (over === undefined) await until(() => entries.some(({ event }) => event === 'stall'));
    else await Promise.all([over, answer]);
    return entries.map(({ at, ...entry }) => entry) as Entry[];
  }

  const all: TcpFaults[] = [
    { split: 30 },
    { glue: 30 },
    { delay: 10 },
    { bandwidth: 4_000 },
    { stall: 30 },
    { reset: 30 },
    { split: 30, delay: 2, reset: 333, towards: 'server' },
  ];
  for (const faults of all) {
    test(`does the same every time, with ${JSON.stringify(faults)}`, async (t) => {
      const first = await exchange(t, { ...faults, seed: 7 });
      assert.deepEqual(await exchange(t, { ...faults, seed: 7 }), first);
      // A delay alone shows in the times only.
      if (faults.delay !== 10) assert.notDeepEqual(first, await exchange(t, {}));
      const length = Math.min(faults.stall ?? 400, faults.reset ?? 400);
      assert.deepEqual(sent(first, 'server'), question.subarray(0, length));
    });
  }

  test('does something else with another seed, on another connection, in the other direction', async (t) => {
    const one = await exchange(t, { split: 30 });
    assert.deepEqual(one, await exchange(t, { split: 30, seed: 1 }));
    const other = await exchange(t, { split: 30, seed: 2 });
    assert.notDeepEqual(sizes(one, 'server'), sizes(other, 'server'));
    assert.notDeepEqual(sizes(one, 'server'), sizes(one, 'client'));
    const { dial, entries } = await stand(t, { faults: { split: 30 } });
    await dial();
    const [client, server] = await dial();
    client.end(question);
    await readAll(server);
    assert.notDeepEqual(sizes(one, 'server'), sizes(entries, 'server'));
  });

  test('spoils one direction only, if that is wanted', async (t) => {
    const up = await exchange(t, { split: 30, towards: 'server' });
    const down = await exchange(t, { split: 30, towards: 'client' });
    assert.deepEqual(sizes(down, 'server'), [400]);
    assert.ok(sizes(up, 'server').length > 1);
    assert.ok(sizes(down, 'client').length > 1);
    // What comes back has been read before, in as many chunks, but is one write.
    assert.deepEqual(sizes(up, 'client'), [400]);
  });

  test('split: pieces have 1 to so many bytes, and a receiver sees each as a chunk', async (t) => {
    const { client, server, entries } = await talk(t, { faults: { split: 5 } });
    const seen: number[] = [];
    server.on('data', (chunk: Buffer) => seen.push(chunk.length));
    client.end(question);
    await once(server, 'end');
    assert.deepEqual(seen, sizes(entries, 'server'));
    assert.deepEqual([...new Set(seen.slice(0, -1))].toSorted(), [1, 2, 3, 4, 5]);
  });

  test('split: cuts at the same places, however the bytes arrive', async (t) => {
    const places = (entries: readonly Entry[]) => {
      let at = 0;
      return new Set(
        sizes(entries, 'server').map((length) => {
          at += length;
          return at;
        }),
      );
    };
    const whole = places(await exchange(t, { split: 30 }));
    // Not one of the places anyway.
    const middle = [...Array(400).keys()].find((at) => at > 200 && !whole.has(at));
    const halves = [question.subarray(0, middle), question.subarray(middle)];
    assert.deepEqual(places(await exchange(t, { split: 30 }, halves)), new Set([...whole, middle]));
  });

  test('glue: a huge size holds no more than 1 MiB', async (t) => {
    const { client, server, entries } = await talk(t, { faults: { glue: 1e12 } });
    const bytes = pattern(3 * MIB);
    client.write(bytes);
    assert.ok((await readBytes(server, bytes.length)).equals(bytes));
    assert.ok(Math.max(...sizes(entries, 'server')) <= MIB);
  });

  test('glue: a reset comes behind what is held', async (t) => {
    const { client, server, entries, tap } = await talk(t, { faults: { glue: 100 } });
    client.write('held');
    await until(() => client.writableLength === 0);
    reset(client);
    server.resume();
    assert.equal(await failure(server), 'ECONNRESET');
    assert.equal(tap.recording.entries, entries);
    assert.deepEqual(story(entries).slice(1), ['client>server data held', 'client>server rst']);
  });

  test('delay: everything comes late, and in order', async (t) => {
    const { client, server, entries } = await talk(t, { faults: { delay: 30 } });
    const opened = entries[0]?.at as number;
    server.end();
    client.resume();
    const pieces = [...Array(100).keys()].map((n) => Buffer.from(`${n} `));
    for (const piece of pieces) {
      client.write(piece);
      await nextTurn();
    }
    reset(client);
    const chunks: Buffer[] = [];
    server.on('data', (chunk: Buffer) => chunks.push(chunk));
    assert.equal(await failure(server), 'ECONNRESET');
    assert.deepEqual(Buffer.concat(chunks), Buffer.concat(pieces));
    const late = entries.slice(1);
    assert.ok(late.every(({ at }) => at - opened > 28));
    assert.equal(story(late).at(-1), 'client>server rst');
    assert.ok(story(late).includes('server>client fin'));
  });

  test('bandwidth: no more than so many bytes a second, in small pieces', async (t) => {
    const bandwidth = 40_000;
    const entries: Entry[] = [];
    const { client, server, tap } = await talk(t, { faults: { bandwidth, towards: 'server' } });
    client.end(Buffer.alloc(6_000));
    await readAll(server);
    entries.push(...tap.recording.entries.filter(({ event }) => event === 'data'));
    assert.deepEqual(sizes(entries, 'server'), [2_000, 2_000, 2_000]);
    const start = entries[0]?.at as number;
    const end = tap.recording.entries.at(-1) as Entry;
    assert.equal(end.event, 'fin');
    // 2 ms: a timer may fire early by a fraction of a millisecond.
    assert.ok(end.at - start > (6_000 / bandwidth) * 1000 - 2);
  });

  test('bandwidth: even the slowest brings a byte at a time', async (t) => {
    const { client, server, entries } = await talk(t, { faults: { bandwidth: 19 } });
    client.write('ab');
    assert.equal(String(await readBytes(server, 2)), 'ab');
    assert.deepEqual(sizes(entries, 'server'), [1, 1]);
  });

  test('stall: nothing passes behind so many bytes, while the other direction goes on', async (t) => {
    const { client, server, entries } = await talk(t, { faults: { stall: 5, towards: 'server' } });
    client.write('hello');
    client.end(' world');
    server.write('are you there?');
    assert.equal(String(await readBytes(client, 14)), 'are you there?');
    assert.equal(String(await readBytes(server, 5)), 'hello');
    reset(client);
    await once(client, 'close');
    await settled(t, () => entries.length);
    assert.deepEqual([server.bytesRead, server.readableEnded, server.closed], [5, false, false]);
    assert.deepEqual(story(entries).toSorted(), [
      'client>server data hello',
      'client>server open',
      'client>server stall',
      'server>client data are you there?',
    ]);
  });

  for (const act of ['end', 'reset']) {
    test(`stall: behind exactly so many bytes not even the ${act} passes`, async (t) => {
      const { client, server, entries } = await talk(t, { faults: { stall: 5 } });
      client.write('hello');
      await readBytes(server, 5);
      if (act === 'end') client.end();
      else reset(client);
      await until(() => entries.length === 3);
      await settled(t, () => entries.length);
      assert.deepEqual(story(entries).slice(1), [
        'client>server data hello',
        'client>server stall',
      ]);
      assert.deepEqual([server.readableEnded, server.closed], [false, false]);
    });
  }

  test('reset: both sides are reset, behind exactly so many bytes', async (t) => {
    const { client, server, entries } = await talk(t, { faults: { reset: 5 } });
    const chunks: Buffer[] = [];
    server.on('data', (chunk: Buffer) => chunks.push(chunk));
    client.resume();
    client.write('hello world');
    assert.equal(await failure(server), 'ECONNRESET');
    assert.equal(await failure(client), 'ECONNRESET');
    assert.equal(String(Buffer.concat(chunks)), 'hello');
    assert.deepEqual(story(entries).slice(1), ['client>server data hello', 'network>both rst']);
  });

  test('reset: what was under way behind so many bytes is thrown away', async (t) => {
    const { client, server, entries } = await talk(t, { faults: { reset: 5, delay: 5, glue: 2 } });
    client.write('hello world');
    server.resume();
    assert.equal(await failure(server), 'ECONNRESET');
    assert.equal(String(sent(entries, 'server')), 'hello');
    const events = entries.filter(({ event }) => event !== 'data');
    assert.deepEqual(story(events), ['client>server open', 'network>both rst']);
  });

  test('reset: behind no bytes at all, the connection is reset when it stands', async (t) => {
    const { client, server, entries } = await talk(t, { faults: { reset: 0 } });
    client.resume();
    server.resume();
    assert.equal(await failure(server), 'ECONNRESET');
    assert.equal(await failure(client), 'ECONNRESET');
    assert.deepEqual(story(entries).slice(1), ['network>both rst']);
  });
});

/** Alone, since the clock is everybody's. */
test('glue: bytes are held until there are enough, or none come for 50 ms', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { client, server, entries } = await talk(t, { faults: { glue: 10, towards: 'server' } });
  /** The answer comes back when the tap has taken what was sent before. */
  const write = async (text: string) => {
    client.write(text);
    await settled(t, () => entries.length);
  };
  for (const text of ['abc', 'def', 'ghij', 'klm']) await write(text);
  assert.deepEqual(story(entries).slice(1), ['client>server data abcdefghij']);
  t.mock.timers.tick(49);
  await write('n');
  t.mock.timers.tick(49);
  await settled(t, () => entries.length);
  assert.equal(entries.length, 2);
  t.mock.timers.tick(1);
  assert.equal(String(await readBytes(server, 14)), 'abcdefghijklmn');
  await write('o'.repeat(21));
  client.end();
  await readAll(server);
  assert.deepEqual(story(entries).slice(2), [
    'client>server data klmn',
    'client>server data oooooooooo',
    'client>server data oooooooooo',
    'client>server data o',
    'client>server fin',
  ]);
});

/** Alone, since it measures. */
test('adds no delay of its own to small writes', async (t) => {
  const { client, server } = await talk(t);
  const begin = performance.now();
  for (let i = 0; i < 40; i++) {
    client.write('a');
    await readBytes(server, 1);
    client.write('b');
    client.write('c');
    await readBytes(server, 2);
    server.write('d');
    await readBytes(client, 1);
    server.write('e');
    server.write('f');
    await readBytes(client, 2);
  }
  // With Nagle's algorithm each round waits for a delayed acknowledgement, 40 ms and more.
  assert.ok(performance.now() - begin < 40 * 20);
});

/** Alone, since the clock is everybody's. */
test('reset: happens even while a FIN is on the way', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  // With this seed "hi" is one piece, behind which the reset comes, and "x" is one, behind which
  // the FIN comes: both in the same turn of the event loop.
  const faults = { seed: 1, delay: 1, split: 2, reset: 2 };
  const { client, server, entries } = await talk(t, { faults });
  server.end('x');
  await settled(t, () => entries.length);
  client.write('hi');
  await settled(t, () => entries.length);
  t.mock.timers.tick(1);
  client.resume();
  // It has read the FIN, so a write is what tells it.
  await until(() => !client.write('?') && client.destroyed);
  assert.match(String(await failure(client)), /^(ECONNRESET|EPIPE)$/);
  assert.deepEqual(story(entries).slice(1), [
    'server>client data x',
    'client>server data hi',
    'server>client fin',
    'network>both rst',
  ]);
});

/** Alone, since it counts. */
test('nothing goes on when the tap is closed', async (t) => {
  const waiting = () =>
    process.getActiveResourcesInfo().filter((name) => /Timeout|Immediate/.test(name)).length;
  const before = waiting();
  for (const faults of [{ delay: 60_000 }, { glue: 1e6 }, { bandwidth: 0.01 }, { split: 1 }]) {
    const { client, entries, tap } = await talk(t, { faults });
    client.write(pattern(64 * 1024));
    const count = entries.length;
    await settled(t, () => Math.min(entries.length, count + 1));
    await tap.close();
    // An immediate that was under way counts until it has run.
    for (let turn = 0; turn < 3; turn++) await nextTurn();
    assert.equal(waiting(), before, JSON.stringify(faults));
  }
});
