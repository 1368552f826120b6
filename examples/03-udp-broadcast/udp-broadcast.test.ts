import assert from 'node:assert/strict';
import { createSocket, type RemoteInfo, Socket } from 'node:dgram';
import { getEventListeners, once } from 'node:events';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { describe, type TestContext, test } from 'node:test';
import { bind, run, testReadme, testServer, testUsage } from '@shared/testing';
import { tapUdp } from '@shared/wiretap';
import { type RequestOptions, request, texts } from './client.ts';
import { bindTo, group, MAX_LENGTH, multicastInterface, sendDatagram } from './datagram.ts';
import { createReceiver, type ReceiverOptions } from './receiver.ts';
import { send } from './sender.ts';
import { createUdpServer, type UdpServerOptions } from './server.ts';
import { createSubscriber } from './subscriber.ts';

/** What waits for ever here has failed. */
const together = { concurrency: true, timeout: 60_000 };
const [SENDER, RECEIVER, SERVER, CLIENT, SUBSCRIBER] = [
  'sender.ts',
  'receiver.ts',
  'server.ts',
  'client.ts',
  'subscriber.ts',
].map((file) => join(import.meta.dirname, file)) as [string, string, string, string, string];

const LOOPBACK = '127.255.255.255';
const ENDED = { skip: process.platform === 'win32' ? 'Windows cannot send SIGTERM' : false };
const BROADCAST = {
  skip: process.platform === 'linux' ? false : 'only Linux is sure to broadcast on the loopback',
};
const CLOSED = {
  skip: process.platform === 'win32' ? 'Windows does not tell that a port is closed' : false,
};
const LARGE = {
  skip: process.platform === 'darwin' ? 'macOS sends no more than 9,216 bytes by default' : false,
};
/** Where a slow machine must not look like a lost datagram. */
const PATIENT = { timeout: 60_000 };
const NOON = new Date(2026, 0, 31, 12, 5, 9);

/** A plain socket on a port of its own, and what comes to it, one after the other. */
async function open(t: TestContext) {
  const socket = createSocket('udp4');
  const port = await bind(t, socket);
  return { socket, port, next: inTurn(socket) };
}

/** Gives the datagrams one by one, also those that come before they are asked for. */
function inTurn(socket: Socket): () => Promise<Buffer> {
  const arrived: Buffer[] = [];
  socket.on('message', (bytes) => arrived.push(bytes));
  return async () => {
    while (arrived.length === 0) await once(socket, 'message');
    return arrived.shift() as Buffer;
  };
}

/** A server that listens, its log, and a client that gets what comes to it. */
async function start(t: TestContext, options: UdpServerOptions = {}) {
  const log: string[] = [];
  const server = createUdpServer({ log: (line) => log.push(line), now: () => NOON, ...options });
  const port = await bind(t, server);
  const client = async () => {
    const { socket, next, port: own } = await open(t);
    const ask = (message: string | Uint8Array): Promise<Buffer> => {
      socket.send(message, port, '127.0.0.1');
      return next();
    };
    return { socket, port: own, next: async () => String(await next()), ask };
  };
  return { server, port, log, client };
}

/** A server that does with each datagram what the test wants. */
async function startFake(
  t: TestContext,
  answer: (text: string, client: RemoteInfo, server: Socket) => void,
) {
  const server = createSocket('udp4');
  const port = await bind(t, server);
  server.on('message', (bytes, client) => answer(String(bytes), client, server));
  return (message: string, options: Partial<RequestOptions> = {}) =>
    request(message, { host: '127.0.0.1', port, ...PATIENT, ...options });
}

/** A receiver on a port of its own, and what it hears. */
async function startReceiver(
  t: TestContext,
  {
    host = '0.0.0.0',
    port = 0,
    ...options
  }: ReceiverOptions & { host?: string; port?: number } = {},
) {
  const log: string[] = [];
  const socket = createReceiver({ log: (line) => log.push(line), ...options });
  t.after(() => socket.close());
  await bindTo(socket, { host, port });
  return { socket, port: socket.address().port, log, next: inTurn(socket) };
}

// One at a time: the kernel may give the same free port to two sockets that both have reuseAddr.
describe('the sender and the receiver', { timeout: together.timeout }, () => {
  test('one broadcast datagram comes to every receiver on the port', BROADCAST, async (t) => {
    const first = await startReceiver(t);
    const second = await startReceiver(t, { port: first.port });
    await send('Hello, UDP Broadcast!', { host: LOOPBACK, port: first.port });
    assert.equal(String(await first.next()), 'Hello, UDP Broadcast!');
    assert.equal(String(await second.next()), 'Hello, UDP Broadcast!');
    assert.match(first.log[0] ?? '', /^127\.0\.0\.1:\d+ {2}21 bytes {2}'Hello, UDP Broadcast!'$/);
  });

  test('a receiver bound to 127.0.0.1 gets no broadcast', BROADCAST, async (t) => {
    const { port, next } = await startReceiver(t, { host: '127.0.0.1' });
    await send('for everybody', { host: LOOPBACK, port });
    await send('for one', { host: '127.0.0.1', port });
    assert.equal(String(await next()), 'for one');
  });

  test('a receiver bound to the broadcast address gets nothing else', BROADCAST, async (t) => {
    const { port, next } = await startReceiver(t, { host: LOOPBACK });
    await send('for one', { host: '127.0.0.1', port });
    await send('for everybody', { host: LOOPBACK, port });
    assert.equal(String(await next()), 'for everybody');
  });

  test('a socket that does not ask for it may not broadcast: EACCES, EBADF before bind', async (t) => {
    const socket = createSocket('udp4');
    assert.throws(() => socket.setBroadcast(true), { code: 'EBADF' });
    await bind(t, socket, '0.0.0.0');
    const to = { host: '255.255.255.255', port: 9999 };
    await assert.rejects(sendDatagram(socket, 'x', to), { code: 'EACCES' });
  });

  for (const ttl of [0, 1]) {
    test(`a datagram to a group comes to its members, TTL ${ttl}`, BROADCAST, async (t) => {
      const options = { group: `239.255.0.${3 + ttl}`, multicastInterface: '127.0.0.1' };
      const first = await startReceiver(t, options);
      const second = await startReceiver(t, { port: first.port, ...options });
      const { group: host, multicastInterface } = options;
      await send('Hello, group!', { host, port: first.port, ttl, multicastInterface });
      assert.equal(String(await first.next()), 'Hello, group!');
      assert.equal(String(await second.next()), 'Hello, group!');
    });
  }

  test('a receiver outside of the group does not get it', BROADCAST, async (t) => {
    const { port, next } = await startReceiver(t);
    await send('for the group', { host: '239.255.0.9', port, multicastInterface: '127.0.0.1' });
    await send('for one', { host: '127.0.0.1', port });
    assert.equal(String(await next()), 'for one');
  });

  test('a group that cannot be joined is an error that says where', async (t) => {
    const options = { group: '239.255.0.3', multicastInterface: '192.0.2.254' };
    await assert.rejects(startReceiver(t, options), {
      message:
        /^cannot join 239\.255\.0\.3 at 192\.0\.2\.254: \w+; name a network interface by its address with --multicast-interface$/,
    });
  });

  test('datagrams that are empty or not UTF-8 are shown, and controls do nothing', async (t) => {
    const { port, log, next } = await startReceiver(t);
    const long = `${'x'.repeat(80)}\ny`;
    for (const bytes of ['', [0x61, 0xff, 0xe7, 0xbd], '\u001b[2Jgone\u009b1m\n', long]) {
      await send(Buffer.from(bytes as string), { host: '127.0.0.1', port });
      await next();
    }
    assert.deepEqual(
      log.map((line) => line.replace(/^127\.0\.0\.1:\d+ {2}/, '')),
      [
        "0 bytes  ''",
        "4 bytes  'a\ufffd\ufffd'",
        "13 bytes  '\\x1B[2Jgone\\x9B1m\\n'",
        `82 bytes  '${'x'.repeat(80)}\\ny'`,
      ],
    );
  });

  test('a datagram of 65,507 bytes arrives whole', LARGE, async (t) => {
    const { port, next } = await startReceiver(t);
    const bytes = Buffer.alloc(MAX_LENGTH, 'x');
    await send(bytes, { host: '127.0.0.1', port });
    assert.ok((await next()).equals(bytes));
  });

  test('a message that is too long is an error that names both numbers', async () => {
    await assert.rejects(send(Buffer.alloc(65_508), { host: '127.0.0.1' }), {
      message: 'cannot send message: it has 65,508 bytes, one datagram takes at most 65,507',
    });
  });

  test('no network is an error that says what can be done', async () => {
    const socket = createSocket('udp4');
    socket.send = (...args: unknown[]) =>
      (args.at(-1) as (error: Error) => void)(
        Object.assign(new Error('send ENETUNREACH'), { code: 'ENETUNREACH' }),
      );
    await assert.rejects(sendDatagram(socket, 'x', { host: '255.255.255.255', port: 9999 }), {
      message:
        'cannot send to 255.255.255.255:9999: no network leads there; --host 127.255.255.255 reaches this machine',
    });
    socket.close();
  });

  test('a receiver outlives an error that comes later', async (t) => {
    const { socket, port, log, next } = await startReceiver(t);
    socket.emit('error', new Error('recvmsg ENOBUFS'));
    await send('still there?', { host: '127.0.0.1', port });
    assert.equal(String(await next()), 'still there?');
    assert.equal(log[0], 'failed: recvmsg ENOBUFS');
  });

  test('options: a group and an interface that are none are refused', () => {
    assert.throws(() => group('').parse('10.0.0.1', '--group'), {
      message: '--group must be from 224.0.0.0 to 239.255.255.255, not "10.0.0.1"',
    });
    assert.throws(() => multicastInterface().parse('lo', '--multicast-interface'), {
      message: '--multicast-interface must be an IPv4 address, not "lo"',
    });
    for (const address of ['224.0.0.1', '239.255.255.255']) {
      assert.equal(group('').parse(address, '--group'), address);
    }
  });
});

describe('the server', together, () => {
  test('answers ping and time, in any case, with a line feed or without', async (t) => {
    const { client } = await start(t);
    const { ask } = await client();
    for (const ping of ['ping', 'PING', 'Ping\n']) {
      assert.equal(String(await ask(ping)), 'PONG (12:05:09)');
    }
    assert.equal(String(await ask('time')), '服务器时间: 2026-01-31 12:05:09');
  });

  test('echoes everything else, byte for byte: text, nothing, bytes that are not UTF-8', async (t) => {
    const { client } = await start(t);
    const { ask } = await client();
    for (const bytes of ['ping pong', '你好\n', '', [0x61, 0xff, 0xe7, 0xbd]]) {
      const message = Buffer.from(bytes as string);
      assert.deepEqual(await ask(message), Buffer.concat([Buffer.from('收到: '), message]));
    }
  });

  test('says so if an echo would not fit into a datagram', LARGE, async (t) => {
    const { client } = await start(t);
    const { ask } = await client();
    assert.equal((await ask(Buffer.alloc(MAX_LENGTH - 8, 'x'))).length, MAX_LENGTH);
    for (const length of [MAX_LENGTH - 7, MAX_LENGTH]) {
      const answer = `消息太长: ${length} 字节，最多 65499 字节`;
      assert.equal(String(await ask(Buffer.alloc(length, 'x'))), answer);
    }
  });

  test('passes a broadcast on to every other client, and answers the sender', async (t) => {
    const { client } = await start(t);
    const [one, two, three] = [await client(), await client(), await client()];
    for (const { ask } of [one, two]) await ask('ping');
    assert.equal(String(await three.ask('BROADCAST')), '广播已发送');
    const heard = `广播消息: 来自 ('127.0.0.1', ${three.port})`;
    assert.equal(await one.next(), heard);
    assert.equal(await two.next(), heard);
    assert.equal(String(await one.ask('ping')), 'PONG (12:05:09)', 'once, and no more');
  });

  test('forgets a client that is silent for too long', async (t) => {
    let time = 0;
    const { client, log } = await start(t, { idleTimeout: 1000, now: () => new Date(time) });
    const [silent, talking, late] = [await client(), await client(), await client()];
    await silent.ask('ping');
    await talking.ask('ping');
    time = 1000;
    await talking.ask('ping');
    time = 1001;
    await late.ask('broadcast');
    assert.match(await talking.next(), /^广播消息/);
    assert.equal(String(await silent.ask('hello')), '收到: hello', 'no broadcast before it');
    const events = log.map((line) => line.replace('127.0.0.1:', ''));
    assert.deepEqual(events, [
      `${silent.port} is new`,
      `${talking.port} is new`,
      `${late.port} is new`,
      `${silent.port} forgotten`,
      `${silent.port} is new`,
    ]);
  });

  test('remembers no more clients than it may: the one silent for longest goes', async (t) => {
    const { client, log } = await start(t, { maxClients: 2 });
    const [one, two, three] = [await client(), await client(), await client()];
    for (const { ask } of [one, two, one]) await ask('ping');
    await three.ask('broadcast');
    assert.match(await one.next(), /^广播消息/);
    assert.deepEqual(log.slice(2), [
      `127.0.0.1:${three.port} is new`,
      `127.0.0.1:${two.port} forgotten`,
    ]);
  });

  test('no answer is more than 32 bytes longer than its request', async (t) => {
    const { client } = await start(t);
    const { ask } = await client();
    for (const message of ['', 'ping', 'time', 'broadcast', 'x', Buffer.alloc(9000, 0xff)]) {
      const more = (await ask(message)).length - message.length;
      assert.ok(more <= 32, `${more} bytes more`);
    }
  });

  test('does not answer an echo: two servers would answer each other for ever', async (t) => {
    const [one, two] = [await start(t), await start(t)];
    const got: string[] = [];
    two.server.on('message', (bytes) => got.push(String(bytes)));
    // As if the first server had said it: that is what a forged sender looks like.
    one.server.send('hello', two.port, '127.0.0.1');
    const [echo] = await once(one.server, 'message');
    assert.equal(String(echo), '收到: hello');
    await (await two.client()).ask('ping');
    assert.deepEqual(got, ['hello', 'ping']);
  });

  test('outlives a client that cannot be answered, source port 0, and an error', async (t) => {
    const { server, client, log } = await start(t);
    const forged = { address: '255.255.255.255', family: 'IPv4', port: 9, size: 4 };
    server.emit('message', Buffer.from('ping'), { ...forged, port: 0 });
    server.emit('message', Buffer.from('ping'), forged);
    server.emit('error', new Error('recvmsg ENOBUFS'));
    assert.equal(String(await (await client()).ask('ping')), 'PONG (12:05:09)');
    assert.deepEqual(log.slice(0, 3), [
      '255.255.255.255:9 is new',
      'failed: recvmsg ENOBUFS',
      'cannot answer: send EACCES 255.255.255.255:9',
    ]);
  });

  test('drops the answers that the network does not take', async (t) => {
    const { server, client } = await start(t, { maxWaiting: 10_000 });
    const { ask, socket } = await client();
    const waiting = t.mock.method(server, 'getSendQueueSize', () => 10_001);
    const arrived = once(server, 'message');
    socket.send('lost', server.address().port, '127.0.0.1');
    await arrived;
    waiting.mock.mockImplementation(() => 10_000);
    assert.equal(String(await ask('one')), '收到: one');
  });

  test('a port in use is the error of whoever binds', async (t) => {
    const { port } = await start(t);
    const log: string[] = [];
    const second = createUdpServer({ log: (line) => log.push(line) });
    await assert.rejects(bindTo(second, { host: '127.0.0.1', port }), { code: 'EADDRINUSE' });
    assert.deepEqual(log, []);
    second.close();
  });

  test('an unknown host is the error of whoever binds, and says what it was for', async () => {
    const server = createUdpServer();
    await assert.rejects(bindTo(server, { host: 'no-such-host.invalid', port: 9999 }), {
      syscall: 'bind',
      hostname: 'no-such-host.invalid',
      port: 9999,
    });
    server.close();
  });
});

describe('the client', together, () => {
  test('gets the answer to its own request on a network that does everything wrong', async (t) => {
    const { port } = await start(t);
    const faults = { lose: 0.3, duplicate: 0.5, reorder: 0.3, seed: 1 };
    const tap = await tapUdp({ port, faults });
    t.after(() => tap.close());
    const texts = Array.from({ length: 50 }, (_, n) => `message ${n}`);
    const options = { host: '127.0.0.1', port: tap.port, timeout: 20, retries: 9 };
    const answers = await Promise.all(texts.map((text) => request(text, options)));
    assert.deepEqual(
      answers,
      texts.map((text) => `收到: ${text}`),
    );
    const events = new Set(tap.recording.entries.map(({ event }) => event));
    for (const event of ['lost', 'duplicate', 'reordered'] as const) assert.ok(events.has(event));
  });

  test('one request after the other, every datagram twice: no answer is taken for another', async (t) => {
    const { port, client } = await start(t);
    const tap = await tapUdp({ port, faults: { duplicate: 1 } });
    t.after(() => tap.close());
    const texts = ['one', 'two', 'three'];
    const answers: string[] = [];
    for (const text of texts)
      answers.push(await request(text, { host: '127.0.0.1', port: tap.port }));
    assert.deepEqual(answers, ['收到: one', '收到: two', '收到: three']);

    // The control: with one socket for all requests this network does spoil the answers.
    const { socket, next } = await client();
    const wrong: string[] = [];
    for (const text of texts) {
      socket.send(text, tap.port, '127.0.0.1');
      wrong.push(await next());
    }
    assert.deepEqual(wrong, ['收到: one', '收到: one', '收到: one']);
  });

  test('a late answer is not taken for the next request\u2019s', async (t) => {
    let late: RemoteInfo | undefined;
    const ask = await startFake(t, (text, client, server) => {
      if (late === undefined) late = client;
      else server.send('the answer to one', late.port, late.address);
      if (text === 'two') server.send('the answer to two', client.port, client.address);
    });
    await assert.rejects(ask('one', { timeout: 20, retries: 0 }), {
      message: /^no answer from 127\.0\.0\.1:\d+ within 0\.02 s \(1 attempt\)$/,
    });
    assert.equal(await ask('two'), 'the answer to two');
  });

  test('what another client broadcasts meanwhile is no answer', async (t) => {
    const ask = await startFake(t, (text, { port, address }, server) => {
      server.send("广播消息: 来自 ('127.0.0.1', 50000)", port, address);
      server.send(`收到: ${text}`, port, address);
    });
    assert.equal(await ask('hello'), '收到: hello');
  });

  test('what somebody else sends to its port is no answer', async (t) => {
    const stranger = createSocket('udp4');
    await bind(t, stranger);
    const ask = await startFake(t, (_, { port, address }, server) => {
      stranger.send('forged', port, address, () => server.send('true', port, address));
    });
    assert.equal(await ask('hello'), 'true');
  });

  test('a port where nobody listens is known at once', CLOSED, async (t) => {
    const { socket, port } = await open(t);
    socket.close();
    await assert.rejects(request('hello', { host: '127.0.0.1', port, timeout: 60_000 }), {
      message: `cannot reach 127.0.0.1:${port}: the port is closed (ICMP port unreachable); is the server running there?`,
    });
  });

  test('a message that is too long is an error that names both numbers', async (t) => {
    const { port } = await start(t);
    await assert.rejects(request('x'.repeat(70_000), { host: '127.0.0.1', port }), {
      message: 'cannot send message: it has 70,000 bytes, one datagram takes at most 65,507',
    });
  });

  test('sends nothing if it was told to give up before', async (t) => {
    const texts: string[] = [];
    const ask = await startFake(t, (text, { port, address }, server) => {
      texts.push(text);
      server.send(text, port, address);
    });
    await assert.rejects(ask('one', { signal: AbortSignal.abort() }), { name: 'AbortError' });
    await ask('two');
    assert.deepEqual(texts, ['two']);
  });

  test('asks for its arguments as one text, or for each line of its input', async () => {
    assert.deepEqual(texts(['hello', 'there'], new PassThrough()), ['hello there']);
    const lines: string[] = [];
    for await (const line of texts([], Readable.from('one\n\ntwo'))) lines.push(line);
    assert.deepEqual(lines, ['one', '', 'two']);
  });

  test('gives up when it is told to', async (t) => {
    const stop = new AbortController();
    const ask = await startFake(t, () => stop.abort());
    await assert.rejects(ask('hello', { signal: stop.signal, timeout: 60_000 }), {
      name: 'AbortError',
    });
  });
});

describe('one test at a time', { timeout: together.timeout }, () => {
  test('Python\u2019s <broadcast> is 255.255.255.255, and where it goes by default', async (t) => {
    const to: unknown[] = [];
    t.mock.method(Socket.prototype, 'send', (...args: unknown[]) => {
      to.push(args[2], args[1]);
      (args[3] as (error: null) => void)(null);
    });
    await send('x');
    assert.deepEqual(to, ['255.255.255.255', 9999]);
  });

  test('the sender tells the kernel how far a datagram to a group may go: one network by default', async (t) => {
    const ttls = t.mock.method(Socket.prototype, 'setMulticastTTL', () => 0);
    for (const ttl of [{}, { ttl: 0 }]) await send('x', { host: '127.0.0.1', ...ttl });
    assert.deepEqual(
      ttls.mock.calls.map((call) => call.arguments),
      [[1], [0]],
    );
  });

  test('a closed port that shows when the client sends again is told in the same words', async (t) => {
    const { port } = await open(t);
    t.mock.method(Socket.prototype, 'send', (_: unknown, sent: (error: Error) => void) =>
      sent(Object.assign(new Error('send ECONNREFUSED'), { code: 'ECONNREFUSED' })),
    );
    await assert.rejects(request('hello', { host: '127.0.0.1', port }), {
      message: `cannot reach 127.0.0.1:${port}: the port is closed (ICMP port unreachable); is the server running there?`,
    });
  });

  test('the client asks again after one second, then two, then four', async (t) => {
    const { port } = await open(t);
    const sends = t.mock.method(Socket.prototype, 'send');
    const waits: unknown[] = [];
    const real = setTimeout;
    t.mock.method(globalThis, 'setTimeout', (then: (n: number) => void, ms: number, n: number) => {
      waits.push(ms);
      return real(() => then(n), 0);
    });
    await assert.rejects(request('hello', { host: '127.0.0.1', port }), {
      message: / within 7 s \(3 attempts\)$/,
    });
    assert.deepEqual(waits, [1000, 2000, 4000]);
    assert.equal(sends.mock.callCount(), 3);
  });

  test('the client leaves nothing behind when it has its answer: no attempt, no listener', async (t) => {
    const texts: string[] = [];
    const ask = await startFake(t, (text, { port, address }, server) => {
      texts.push(text);
      server.send(text, port, address);
    });
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const { signal } = new AbortController();
    await ask('one', { signal });
    t.mock.timers.tick(60_000);
    await ask('two');
    assert.deepEqual(texts, ['one', 'two']);
    assert.deepEqual(getEventListeners(signal, 'abort'), []);
  });

  test('the client keeps the port of a finished request, for so many requests and no more', async (t) => {
    const ports: number[] = [];
    const ask = await startFake(t, (text, { port, address }, server) => {
      ports.push(port);
      server.send(text, port, address);
    });
    const closed = t.mock.method(Socket.prototype, 'close');
    for (let n = 0; n < 40; n++) await ask('hello');
    assert.ok(closed.mock.callCount() >= 8, 'those of the oldest are free again');
    const before = closed.mock.callCount();
    await ask('hello');
    assert.equal(closed.mock.callCount(), before + 1);
    assert.equal(new Set(ports.slice(-32)).size, 32);
    closed.mock.restore();
    const other = createSocket('udp4');
    await assert.rejects(bindTo(other, { host: '0.0.0.0', port: ports.at(-1) as number }), {
      code: 'EADDRINUSE',
    });
    other.close();
  });
});

describe('the subscriber\u2019s clock', { timeout: together.timeout }, () => {
  test('says ping every 15 seconds, until it is closed', async (t) => {
    const { server, port } = await start(t);
    t.mock.timers.enable({ apis: ['setInterval'] });
    const subscriber = createSubscriber({ heard: () => {} });
    subscriber.connect(port, '127.0.0.1');
    await once(server, 'message');
    t.mock.timers.tick(15_000);
    await once(server, 'message');
    subscriber.close();
    await once(subscriber, 'close');
    t.mock.timers.tick(15_000); // a closed socket throws if it is used
  });
});

describe('the subscriber', together, () => {
  test('hears what other clients broadcast, and says ping again and again', async (t) => {
    const { server, port, client } = await start(t);
    const heard: string[] = [];
    const subscriber = createSubscriber({ interval: 10, heard: (text) => heard.push(text) });
    t.after(() => subscriber.close());
    subscriber.connect(port, '127.0.0.1');
    for (let n = 0; n < 3; n++) {
      const [bytes] = await once(server, 'message');
      assert.equal(String(bytes), 'ping');
    }
    const other = await client();
    await other.ask('broadcast');
    while (heard.length === 0) await once(subscriber, 'message');
    assert.deepEqual(heard, [`广播消息: 来自 ('127.0.0.1', ${other.port})`]);
  });

  test('outlives a server that is away for a while', CLOSED, async (t) => {
    const { server, port } = await start(t);
    const log: string[] = [];
    const subscriber = createSubscriber({
      interval: 10,
      heard: () => {},
      log: (line) => log.push(line),
    });
    t.after(() => subscriber.close());
    subscriber.connect(port, '127.0.0.1');
    await once(subscriber, 'message');
    server.close();
    await once(subscriber, 'error');
    assert.equal(log[0], 'failed: recvmsg ECONNREFUSED; trying again');
    const again = createUdpServer();
    t.after(() => again.close());
    await bindTo(again, { host: '127.0.0.1', port });
    await once(again, 'message');
  });
});

describe('the programs', { ...together, timeout: 120_000 }, () => {
  testUsage(SERVER);
  testServer(SERVER, async (_, port) => {
    const answer = await request('ping', { host: '127.0.0.1', port, ...PATIENT });
    assert.match(answer, /^PONG \(\d\d:\d\d:\d\d\)$/);
  });

  test('sender.ts says hello to receiver.ts, and SIGTERM ends it', BROADCAST, async (t) => {
    const receiver = run(t, RECEIVER, ['--port', '0']);
    const port = String(await receiver.ready());
    const sender = run(t, SENDER, ['--host', LOOPBACK, '--port', port]);
    assert.equal(await sender.exit(), 0, sender.stderr);
    assert.equal(sender.stdout, `sent 21 bytes to ${LOOPBACK}:${port}\n`);
    await receiver.printed(/^127\.0\.0\.1:\d+ {2}21 bytes {2}'Hello, UDP Broadcast!'$/m);
    assert.equal(await receiver.stop(), 0, receiver.stderr);
  });

  test('client.ts prints the answer to each line, and says in one line that nobody is there', async (t) => {
    const { server, port } = await start(t);
    const client = run(t, CLIENT, ['--port', String(port), '--timeout', '60000']);
    client.stdin.write('ping\n');
    await client.printed(/^PONG \(12:05:09\)$/m);
    client.stdin.write('你好\n');
    await client.printed(/^收到: 你好$/m);
    server.close();
    client.stdin.end(CLOSED.skip ? '' : 'still there?\n');
    assert.equal(await client.exit(), CLOSED.skip ? 0 : 1);
    const error = `error: cannot reach 127.0.0.1:${port}: the port is closed (ICMP port unreachable); is the server running there?\n`;
    assert.equal(client.stderr, CLOSED.skip ? '' : error);
  });

  test('subscriber.ts shows broadcasts, and SIGTERM ends it', ENDED, async (t) => {
    const { port, client } = await start(t);
    const subscriber = run(t, SUBSCRIBER, ['--port', String(port)]);
    await subscriber.printed(new RegExp(`^subscribed to 127.0.0.1:${port}$`, 'm'));
    const other = await client();
    await other.ask('broadcast');
    await subscriber.printed(new RegExp(`^广播消息: 来自 \\('127.0.0.1', ${other.port}\\)$`, 'm'));
    assert.equal(await subscriber.stop(), 0, subscriber.stderr);
  });
});

// Elsewhere the demo says that its broadcast was not heard.
if (!BROADCAST.skip) testReadme(import.meta.dirname);
