import assert from 'node:assert/strict';
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { describe, type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { bind, until } from '@shared/testing';
import { MAX_CLIENTS } from './udp.ts';
import {
  type Entry,
  format,
  Recording,
  tapUdp,
  type UdpFaults,
  type UdpTapOptions,
} from './wiretap.ts';

/** A UDP socket, and what it has got so far. */
async function peer(t: TestContext) {
  const socket = createSocket('udp4');
  const got: string[] = [];
  socket.on('message', (bytes) => got.push(String(bytes)));
  return { socket, port: await bind(t, socket), got };
}

/** A server that answers in capitals unless it is to be silent, and a tap in front of it. */
async function stand(t: TestContext, options: Partial<UdpTapOptions> & { silent?: boolean } = {}) {
  const { silent = false, ...rest } = options;
  const server = await peer(t);
  const senders: RemoteInfo[] = [];
  server.socket.on('message', (bytes, sender) => {
    senders.push(sender);
    if (!silent) server.socket.send(String(bytes).toUpperCase(), sender.port, sender.address);
  });
  const tap = await tapUdp({ port: server.port, ...rest });
  t.after(() => tap.close());
  return { server, senders, tap, entries: tap.recording.entries, client: await peer(t) };
}

function story(entries: readonly Entry[]): string[] {
  return entries.map(({ event, from, to, bytes }) => `${from}>${to} ${event} ${bytes}`);
}

/** The bytes with which this happened, in order. */
function texts(entries: readonly Entry[], event: string, to = 'server'): string[] {
  return entries
    .filter((entry) => entry.event === event && entry.to === to)
    .map(({ bytes }) => String(bytes));
}

const HUNDRED = Array.from({ length: 100 }, (_, n) => `${n}`);

function send(socket: Socket, port: number, messages: readonly string[]): void {
  for (const message of messages) socket.send(message, port, '127.0.0.1');
}

describe('a UDP tap', { concurrency: true, timeout: 60_000 }, () => {
  test('records who sent what to whom and when, as plain data', async (t) => {
    const { tap, client, entries } = await stand(t);
    client.socket.send('hello', tap.port, '127.0.0.1');
    await until(() => client.got.length === 1);
    assert.deepEqual(client.got, ['HELLO']);
    const entry = (from: string, to: string, text: string) => ({
      event: 'datagram',
      from,
      to,
      connection: 1,
      bytes: Buffer.from(text),
    });
    assert.deepEqual(
      entries.map(({ at, ...rest }) => rest),
      [entry('client', 'server', 'hello'), entry('server', 'client', 'HELLO')],
    );
    const [first, second] = entries.map(({ at }) => at) as [number, number];
    assert.ok(0 < first && first <= second && second < 60_000);
    assert.equal(
      format(entries, { color: false }),
      '  client ──▶ server  5 bytes  "hello"\n  server ──▶ client  5 bytes  "HELLO"',
    );
  });

  test('passes every datagram on as one: empty, binary, large, many in order', async (t) => {
    const { tap, client, server, entries } = await stand(t, { silent: true });
    const seen: Buffer[] = [];
    server.socket.on('message', (bytes) => seen.push(bytes));
    const sent = [Buffer.alloc(0), Buffer.from([0, 255, 10]), Buffer.alloc(8_000, 'x')];
    for (const bytes of [...sent, ...HUNDRED.map((text) => Buffer.from(text))]) {
      client.socket.send(bytes, tap.port, '127.0.0.1');
    }
    await until(() => seen.length === 103);
    assert.deepEqual(seen.slice(0, 3), sent);
    assert.deepEqual(seen.slice(3).map(String), HUNDRED);
    assert.deepEqual(
      entries.map(({ bytes }) => bytes),
      seen,
    );
  });

  test('keeps two clients apart, and lets each have its own name', async (t) => {
    const {
      tap,
      client: one,
      senders,
      entries,
    } = await stand(t, {
      client: (n) => `client ${n}`,
      server: 'echo',
    });
    const two = await peer(t);
    for (const [client, text, answers] of [
      [one, 'a', 1],
      [two, 'b', 1],
      [one, 'c', 2],
    ] as const) {
      client.socket.send(text, tap.port, '127.0.0.1');
      await until(() => client.got.length === answers);
    }
    assert.deepEqual([one.got, two.got], [['A', 'C'], ['B']]);
    assert.deepEqual(story(entries), [
      'client 1>echo datagram a',
      'echo>client 1 datagram A',
      'client 2>echo datagram b',
      'echo>client 2 datagram B',
      'client 1>echo datagram c',
      'echo>client 1 datagram C',
    ]);
    const ports = senders.map(({ port }) => port);
    assert.equal(ports[0], ports[2]);
    assert.notEqual(ports[0], ports[1]);
  });

  test('shares a recording with another tap', async (t) => {
    const recording = new Recording();
    const inner = await stand(t, { recording, client: 'proxy' });
    const outer = await tapUdp({ port: inner.tap.port, recording, server: 'proxy' });
    t.after(() => outer.close());
    inner.client.socket.send('x', outer.port, '127.0.0.1');
    await until(() => inner.client.got.length === 1);
    assert.deepEqual(story(recording.entries), [
      'client>proxy datagram x',
      'proxy>server datagram x',
      'server>proxy datagram X',
      'proxy>client datagram X',
    ]);
  });

  test('passes nothing on to a client but what comes from the server', async (t) => {
    const { tap, client, server, senders } = await stand(t, { silent: true });
    client.socket.send('hello', tap.port, '127.0.0.1');
    await until(() => senders.length === 1);
    const { port } = senders[0] as RemoteInfo;
    const stranger = await peer(t);
    await new Promise((sent) => stranger.socket.send('fake', port, '127.0.0.1', sent));
    server.socket.send('real', port, '127.0.0.1');
    await until(() => client.got.length > 0);
    assert.deepEqual(client.got, ['real']);
  });

  test('goes on where a server, or a client, is not there', async (t) => {
    const { tap, client, server, senders, entries } = await stand(t, { silent: true });
    const gone = await peer(t);
    gone.socket.send('bye', tap.port, '127.0.0.1');
    await until(() => senders.length === 1);
    await new Promise<void>((closed) => gone.socket.close(closed));
    for (const text of ['1', '2']) {
      server.socket.send(text, senders[0]?.port as number, '127.0.0.1');
      await until(() => texts(entries, 'datagram', 'client').includes(text));
    }
    await new Promise<void>((closed) => server.socket.close(closed));
    for (const text of ['3', '4']) {
      client.socket.send(text, tap.port, '127.0.0.1');
      await until(() => texts(entries, 'datagram').includes(text));
    }
  });

  test('closes with clients under way, and frees the port', async (t) => {
    const { tap, client, entries } = await stand(t);
    client.socket.send('hello', tap.port, '127.0.0.1');
    await until(() => client.got.length === 1);
    await Promise.all([tap.close(), tap.close()]);
    await tap.close();
    const next = createSocket('udp4').bind(tap.port, '127.0.0.1');
    t.after(() => next.close());
    await once(next, 'listening');
    assert.equal(entries.length, 2);
  });

  test('is closed by `await using`', async (t) => {
    let port = 0;
    {
      await using tap = await tapUdp({ port: 9 });
      port = tap.port;
    }
    const next = createSocket('udp4').bind(port, '127.0.0.1');
    t.after(() => next.close());
    await once(next, 'listening');
  });

  test('forgets the client that was silent for longest, when there are too many', async (t) => {
    const { tap, client: busy, entries } = await stand(t, { silent: true });
    const silent = await peer(t);
    const from = async (socket: Socket) => {
      const count = entries.length;
      socket.send('x', tap.port, '127.0.0.1');
      await until(() => entries.length > count);
      return entries.at(-1)?.connection as number;
    };
    assert.equal(await from(busy.socket), 1);
    assert.equal(await from(silent.socket), 2);
    assert.equal(await from(busy.socket), 1);
    for (let connection = 2; connection <= MAX_CLIENTS; ) {
      const passing = createSocket('udp4');
      connection = await from(passing);
      passing.close();
    }
    assert.equal(await from(busy.socket), 1);
    assert.equal(await from(silent.socket), MAX_CLIENTS + 2);
    const open = process.getActiveResourcesInfo().filter((name) => name === 'UDPWrap').length;
    // Besides: the tap's own, and those of the other tests.
    assert.ok(open < MAX_CLIENTS + 50, `${open} sockets are open`);
  });
});

describe('a spoilt UDP network', { timeout: 60_000 }, () => {
  /** What becomes of a hundred datagrams and their answers, without the times. */
  async function exchange(t: TestContext, faults: UdpFaults, connection = 1) {
    const { tap, client, entries, server } = await stand(t, { faults, silent: true });
    for (let other = 1; other < connection; other++) {
      const { socket } = await peer(t);
      await new Promise((sent) => socket.send('not mine', tap.port, '127.0.0.1', sent));
    }
    // Whatever becomes of one more, it brings the hundredth along that waits for a next one.
    send(client.socket, tap.port, [...HUNDRED, 'not mine']);
    const hundred = () => entries.filter(({ bytes }) => String(bytes) !== 'not mine');
    await until(() => new Set(hundred().map(({ bytes }) => String(bytes))).size === 100);
    assert.ok(hundred().every((entry) => entry.connection === connection));
    const arrived = hundred().filter(({ event }) => event !== 'lost');
    const got = () => server.got.filter((text) => text !== 'not mine');
    await until(() => got().length === arrived.length);
    assert.deepEqual(
      got(),
      arrived.map(({ bytes }) => String(bytes)),
    );
    return hundred().map(({ at, connection, ...entry }) => entry) as Entry[];
  }

  test('does the same every time for a seed, and something else for another', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const all: UdpFaults[] = [
      { lose: 0.3 },
      { duplicate: 0.3 },
      { reorder: 0.3 },
      { lose: 0.3, duplicate: 0.3, reorder: 0.3 },
    ];
    for (const faults of all) {
      const first = await exchange(t, faults);
      assert.deepEqual(await exchange(t, { ...faults, seed: 1 }), first);
      assert.notDeepEqual(await exchange(t, { ...faults, seed: 2 }), first);
      assert.notDeepEqual(await exchange(t, faults, 2), first);
      assert.notDeepEqual(await exchange(t, {}), first);
    }
  });

  test('hits the same datagrams with one fault, whatever the others do', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const lossy = await exchange(t, { lose: 0.3 });
    const worse = await exchange(t, { lose: 0.3, duplicate: 0.5, reorder: 0.4 });
    assert.deepEqual(texts(worse, 'lost'), texts(lossy, 'lost'));
    const doubling = await exchange(t, { duplicate: 0.3 });
    const lost = new Set(texts(lossy, 'lost'));
    assert.deepEqual(
      texts(await exchange(t, { lose: 0.3, duplicate: 0.3 }), 'duplicate'),
      texts(doubling, 'duplicate').filter((text) => !lost.has(text)),
    );
  });

  test('lose: the share that is wanted vanishes', async (t) => {
    assert.equal(texts(await exchange(t, { lose: 1 }), 'lost').length, 100);
    const some = texts(await exchange(t, { lose: 0.3 }), 'lost').length;
    assert.ok(some > 15 && some < 45, `${some} of 100 are lost`);
    assert.equal(texts(await exchange(t, { lose: 0 }), 'lost').length, 0);
  });

  test('duplicate: arrives twice, one right behind the other', async (t) => {
    const all = await exchange(t, { duplicate: 1 });
    assert.deepEqual(
      all.map(({ event, bytes }) => `${event} ${bytes}`),
      HUNDRED.flatMap((text) => [`datagram ${text}`, `duplicate ${text}`]),
    );
  });

  test('reorder: arrives behind the next one', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const all = await exchange(t, { reorder: 1 });
    const expected: string[] = [];
    for (let n = 0; n < 100; n += 2) expected.push(`datagram ${n + 1}`, `reordered ${n}`);
    assert.deepEqual(
      all.map(({ event, bytes }) => `${event} ${bytes}`),
      expected,
    );
  });

  test('reorder: arrives after 50 ms where there is no next one', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const { tap, client, server, entries } = await stand(t, {
      faults: { reorder: 1 },
      silent: true,
    });
    const other = await peer(t);
    /** When the tap has passed these two on, it has got what was sent before. */
    const settle = async () => {
      const count = entries.length + 2;
      send(other.socket, tap.port, ['x', 'y']);
      await until(() => entries.length === count);
    };
    send(client.socket, tap.port, ['a']);
    await settle();
    t.mock.timers.tick(30);
    send(client.socket, tap.port, ['b', 'c']);
    await until(() => entries.length === 4);
    await settle();
    t.mock.timers.tick(49);
    assert.deepEqual(texts(entries, 'reordered'), ['x', 'a', 'x']);
    t.mock.timers.tick(1);
    assert.deepEqual(texts(entries, 'reordered'), ['x', 'a', 'x', 'c']);
    await until(() => server.got.length === 7);
    assert.equal(server.got.at(-1), 'c');
    t.mock.timers.tick(1_000);
    assert.equal(entries.length, 7);
  });

  test('spoils one direction only, if that is wanted', async (t) => {
    const { tap, client, entries } = await stand(t, { faults: { lose: 1, towards: 'client' } });
    send(client.socket, tap.port, ['a']);
    await until(() => entries.length === 2);
    assert.deepEqual(story(entries), ['client>server datagram a', 'server>client lost A']);
    const up = await stand(t, { faults: { duplicate: 1, towards: 'server' } });
    send(up.client.socket, up.tap.port, ['a']);
    await until(() => up.client.got.length === 2);
    assert.deepEqual(
      up.entries.map(({ event }) => event),
      ['datagram', 'duplicate', 'datagram', 'datagram'],
    );
  });

  test('delay: arrives so much later, in order', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const { tap, client, server, entries } = await stand(t, {
      faults: { delay: 20 },
      silent: true,
    });
    const plain = await stand(t, { silent: true });
    send(client.socket, tap.port, HUNDRED);
    // By when another tap has passed on what was sent later, this one has got all.
    send(plain.client.socket, plain.tap.port, HUNDRED);
    await until(() => plain.server.got.length === 100);
    t.mock.timers.tick(19);
    assert.deepEqual(entries, []);
    t.mock.timers.tick(1);
    await until(() => server.got.length === 100);
    assert.deepEqual(server.got, HUNDRED);
  });

  test('delay: no more than a thousand datagrams are under way', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const { tap, client, entries } = await stand(t, { faults: { delay: 20 }, silent: true });
    while (entries.length === 0) {
      send(client.socket, tap.port, ['x']);
      await nextTurn();
    }
    assert.deepEqual(new Set(story(entries)), new Set(['client>server lost x']));
    t.mock.timers.tick(20);
    assert.equal(texts(entries, 'datagram').length, 1_000);
    const lost = texts(entries, 'lost').length;
    send(client.socket, tap.port, ['there is room again']);
    await nextTurn();
    await until(() => {
      t.mock.timers.tick(20);
      return texts(entries, 'datagram').at(-1) === 'there is room again';
    });
    assert.equal(texts(entries, 'lost').length, lost);
  });

  test('closes with datagrams under way, which are lost without a word', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const { tap, client, entries } = await stand(t, { faults: { reorder: 1 }, silent: true });
    send(client.socket, tap.port, ['a', 'b', 'c']);
    const other = await peer(t);
    send(other.socket, tap.port, ['x', 'y']);
    await until(() => entries.length === 4);
    await tap.close();
    t.mock.timers.tick(50);
    assert.equal(entries.length, 4);
  });

  test('no timer keeps the process alive when the tap is closed', async (t) => {
    const timers = () =>
      process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
    const before = timers();
    for (const faults of [{ delay: 60_000 }, { reorder: 1 }]) {
      const { tap, client } = await stand(t, { faults });
      const plain = await stand(t);
      send(client.socket, tap.port, ['a']);
      send(plain.client.socket, plain.tap.port, ['a']);
      await until(() => plain.client.got.length === 1);
      await tap.close();
    }
    assert.equal(timers(), before);
  });
});
