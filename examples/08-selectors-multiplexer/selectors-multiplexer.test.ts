import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
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
import { createLineServer, type LineServerOptions } from './line-server.ts';
import { accept, type FileObject, isReadable, isWritable, recv, send } from './nonblocking.ts';
import { DefaultSelector, EVENT_READ, EVENT_WRITE } from './selectors.ts';
import { type Client, createMultiplexer, type MultiplexerOptions } from './server.ts';

/** What waits for ever here has failed. */
const together = { concurrency: true, timeout: 60_000 };
const BENCH = join(import.meta.dirname, 'selectors-multiplexer.bench.ts');
const LINE_SERVER = join(import.meta.dirname, 'line-server.ts');
const BOTH = EVENT_READ | EVENT_WRITE;
const KiB = 1024;
const MiB = 1024 * KiB;
const notLinux = process.platform === 'linux' ? false : 'elsewhere there may be no limit';

/** A server without a loop, and both ends of a connection to it; ours is accepted already. */
async function pair(t: TestContext): Promise<{ server: Server; client: Socket; conn: Socket }> {
  const server = createServer({ allowHalfOpen: true });
  assert.throws(() => accept(server), { name: 'BlockingIOError' });
  const port = await listen(t, server);
  const connection = once(server, 'connection');
  const client = await dial(t, port);
  await connection;
  return { server, client, conn: accept(server)[0] };
}

function selector<Data>(t: TestContext): DefaultSelector<Data> {
  const sel = new DefaultSelector<Data>();
  t.after(() => sel.close());
  return sel;
}

/** What is ready, without the keys. Nothing after 5 s: an event that was missed must not hang the test. */
async function ready(sel: DefaultSelector, timeout = 5): Promise<[FileObject, number][]> {
  return (await sel.select(timeout)).map(([{ fileobj }, mask]) => [fileobj, mask]);
}

/** Sends until no more is taken, and returns how many bytes were. */
async function fill(conn: Socket): Promise<number> {
  let sent = 0;
  while (isWritable(conn)) {
    sent += send(conn, Buffer.alloc(MiB));
    await nextTurn(); // in which Node hears what the kernel has taken
  }
  return sent;
}

/** So long nothing happens, or a FIN comes behind bytes that nobody has read: there is no event for either. */
async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await nextTurn();
}

describe('the selector', together, () => {
  test('gives the key that was registered, and forgets it', async (t) => {
    const { conn } = await pair(t);
    const sel = selector<string>(t);
    const key = sel.register(conn, EVENT_READ, 'mine');
    assert.deepEqual(key, { fileobj: conn, events: EVENT_READ, data: 'mine' });
    assert.equal(sel.getKey(conn), key);
    assert.deepEqual([...(sel.getMap() ?? [])], [[conn, key]]);
    assert.equal(sel.modify(conn, EVENT_READ, 'mine'), key);
    const changed = sel.modify(conn, BOTH, 'yours');
    assert.deepEqual(changed, { fileobj: conn, events: BOTH, data: 'yours' });
    assert.equal(sel.modify(conn, BOTH).data, null);
    assert.equal(sel.unregister(conn).events, BOTH);
    assert.equal(sel.getMap()?.size, 0);
  });

  test('refuses what Python refuses', async (t) => {
    const { conn } = await pair(t);
    const sel = selector(t);
    const unknown = (what: string) => ({
      name: 'KeyError',
      message: `cannot ${what}: it is not registered`,
    });
    assert.throws(() => sel.modify(conn, EVENT_READ), unknown('modify'));
    assert.throws(() => sel.modify(conn, 0), unknown('modify'));
    assert.throws(() => sel.unregister(conn), unknown('unregister'));
    assert.throws(() => sel.getKey(conn), unknown('get the key'));
    const invalid = (what: string, events: number) => ({
      name: 'ValueError',
      message: `cannot ${what}: events must be EVENT_READ, EVENT_WRITE or both, not ${events}`,
    });
    for (const events of [0, 4, 5]) {
      assert.throws(() => sel.register(conn, events), invalid('register', events));
    }
    sel.register(conn, EVENT_READ);
    assert.throws(() => sel.modify(conn, 4), invalid('modify', 4));
    assert.equal(sel.getKey(conn).events, EVENT_READ);
    assert.throws(() => sel.register(conn, EVENT_READ), {
      name: 'KeyError',
      message: 'cannot register: it is registered already',
    });
    sel.close();
    sel.close();
    assert.equal(sel.getMap(), null);
    assert.throws(() => sel.unregister(conn), unknown('unregister'));
    assert.throws(() => sel.getKey(conn), {
      message: 'cannot get the key: the selector is closed',
    });
    assert.throws(() => sel.register(conn, EVENT_READ), {
      message: 'cannot register: the selector is closed',
    });
    await assert.rejects(sel.select(), { message: 'cannot select: the selector is closed' });
  });

  test('reports a socket until all of its bytes are taken, and at its end', async (t) => {
    const { client, conn } = await pair(t);
    const sel = selector(t);
    sel.register(conn, EVENT_READ);
    client.write('hello');
    assert.deepEqual(await ready(sel), [[conn, EVENT_READ]]);
    assert.deepEqual(await ready(sel), [[conn, EVENT_READ]]);
    assert.equal(recv(conn, 2).toString(), 'he');
    assert.deepEqual(await ready(sel), [[conn, EVENT_READ]]);
    assert.equal(recv(conn, 1024).toString(), 'llo');
    assert.deepEqual(await ready(sel, 0), []);
    client.end();
    assert.deepEqual(await ready(sel), [[conn, EVENT_READ]]);
    assert.deepEqual(await ready(sel), [[conn, EVENT_READ]]);
    assert.equal(recv(conn, 1024).length, 0);
  });

  test('sees the end behind bytes that are taken to the last one', async (t) => {
    const { client, conn } = await pair(t);
    const sel = selector(t);
    sel.register(conn, EVENT_READ);
    client.end('hello');
    await until(() => conn.readableLength === 5);
    await turns(10);
    assert.equal(recv(conn, 5).toString(), 'hello');
    await turns(10);
    assert.deepEqual(await ready(sel, 0), [[conn, EVENT_READ]]);
    assert.equal(recv(conn, 5).length, 0);
  });

  test('reports a server while a connection waits', async (t) => {
    const server = createServer();
    const sel = selector(t);
    sel.register(server, BOTH);
    const port = await listen(t, server);
    assert.deepEqual(await ready(sel, 0), []);
    const clients = [await dial(t, port), await dial(t, port)];
    for (const client of clients) {
      assert.deepEqual(await ready(sel), [[server, EVENT_READ]]);
      const [, addr] = accept(server);
      assert.deepEqual(addr, ['127.0.0.1', client.localPort]);
    }
    assert.deepEqual(await ready(sel, 0), []);
    assert.throws(() => accept(server), { message: 'cannot accept: no connection waits' });
  });

  test('reports room to send, unless the reader is slow', async (t) => {
    const { client, conn } = await pair(t);
    const sel = selector(t);
    sel.register(conn, BOTH);
    assert.deepEqual(await ready(sel), [[conn, EVENT_WRITE]]);
    const sent = await fill(conn);
    assert.deepEqual(await ready(sel, 0), []);
    assert.throws(() => send(conn, Buffer.alloc(1)), { message: 'cannot send: no room' });
    await readBytes(client, sent);
    assert.deepEqual(await ready(sel), [[conn, EVENT_WRITE]]);
  });

  test('reports what was ready before it was asked', async (t) => {
    const { conn } = await pair(t);
    const sel = selector(t);
    sel.register(conn, EVENT_WRITE);
    assert.deepEqual(await ready(sel, 0), [[conn, EVENT_WRITE]]);
    sel.modify(conn, EVENT_READ);
    assert.deepEqual(await ready(sel, 0), []);
    sel.modify(conn, BOTH);
    assert.deepEqual(await ready(sel, 0), [[conn, EVENT_WRITE]]);
  });

  test('reports a reset as ready for all that is waited for, and recv and send throw it', async (t) => {
    for (const events of [EVENT_READ, EVENT_WRITE, BOTH]) {
      const { client, conn } = await pair(t);
      const sel = selector(t);
      sel.register(conn, events);
      await fill(conn);
      client.write('last words');
      await until(() => conn.bytesRead === 10);
      const closed = once(conn, 'close').catch(() => {});
      reset(client);
      await closed;
      assert.deepEqual(await ready(sel), [[conn, events]]);
      assert.equal(recv(conn, 1024).toString(), 'last words');
      assert.throws(() => recv(conn, 1024), { code: 'ECONNRESET' });
      assert.throws(() => send(conn, Buffer.from('x')), { code: 'ECONNRESET' });
    }
  });

  test('reports a socket that was closed here', async (t) => {
    const { conn } = await pair(t);
    const sel = selector(t);
    sel.register(conn, EVENT_READ);
    conn.destroy();
    assert.deepEqual(await ready(sel), [[conn, EVENT_READ]]);
    const closed = (what: string) => ({
      code: 'EBADF',
      message: `cannot ${what}: the socket is closed`,
    });
    assert.throws(() => recv(conn, 1024), closed('receive'));
    assert.throws(() => send(conn, Buffer.from('x')), closed('send'));
  });

  test('waits for a client to be connected, and reports that nobody listens', async (t) => {
    const server = createServer();
    const port = await listen(t, server);
    const sel = selector(t);
    const socket = connect(port, '127.0.0.1');
    t.after(() => socket.destroy());
    assert.equal(isWritable(socket), false);
    sel.register(socket, EVENT_WRITE);
    assert.deepEqual(await ready(sel), [[socket, EVENT_WRITE]]);
    assert.equal(socket.connecting, false);
    sel.unregister(socket);
    socket.destroy();
    await once(server.close(), 'close');

    const refused = connect(port, '127.0.0.1');
    sel.register(refused, BOTH);
    assert.deepEqual(await ready(sel), [[refused, BOTH]]);
    assert.throws(() => send(refused, Buffer.from('x')), { code: 'ECONNREFUSED' });
  });

  test('hears of other sockets while one is always ready', async (t) => {
    const { server, client, conn } = await pair(t);
    const sel = selector(t);
    sel.register(conn, BOTH);
    sel.register(server, EVENT_READ);
    client.write('hello');
    for (let round = 0; round < 10_000; round++) {
      if ((await ready(sel)).some(([, mask]) => mask & EVENT_READ)) return;
    }
    assert.fail('the event loop has had no turn');
  });

  test('waits no longer than it may, but as long as that', async (t) => {
    const { server, client, conn } = await pair(t);
    const sel = selector(t);
    sel.register(conn, EVENT_READ);
    assert.deepEqual(await ready(sel, 0), []);
    assert.deepEqual(await ready(sel, -1), []);
    const long = ready(sel, 10 ** 9);
    const start = performance.now();
    assert.deepEqual(await ready(sel, 0.02), []);
    assert.ok(performance.now() - start > 19);
    client.write('hello');
    assert.deepEqual(await long, [[conn, EVENT_READ]]);
    assert.equal(server.listening, true);
  });

  test('ends its waiting when it is closed', async (t) => {
    const { conn } = await pair(t);
    const waiting = (() => {
      using sel = new DefaultSelector();
      sel.register(conn, EVENT_READ);
      return sel.select();
    })();
    assert.deepEqual(await waiting, []);
    assert.equal(conn.destroyed, false);
  });

  test('takes no interest in a socket that is unregistered while it closes', async (t) => {
    const { client, conn } = await pair(t);
    const sel = selector(t);
    const closed = new Promise<void>((resolve) =>
      conn.on('close', () => {
        sel.unregister(conn);
        resolve();
      }),
    );
    sel.register(conn, EVENT_WRITE);
    reset(client);
    await closed;
    assert.deepEqual(await ready(sel, 0), []);
  });

  test('leaves a plain socket behind', async (t) => {
    const { client, conn } = await pair(t);
    const sel = selector(t);
    sel.register(conn, EVENT_READ);
    sel.unregister(conn);
    client.end('hello');
    assert.equal((await readAll(conn)).toString(), 'hello');
  });
});

describe('the calls that never wait', together, () => {
  test('recv says that nothing is there', async (t) => {
    const { conn } = await pair(t);
    const blocked = { name: 'BlockingIOError', code: 'EAGAIN' };
    assert.throws(() => recv(conn, 1024), {
      ...blocked,
      message: 'cannot receive: nothing has arrived',
    });
  });

  test('send takes what there is room for, and says how much', async (t) => {
    const { client, conn } = await pair(t);
    const data = Buffer.from(Array.from({ length: 300 * KiB }, (_, n) => n % 251));
    const received = readBytes(client, data.length);
    let rest = data;
    while (rest.length > 0) {
      const sent = send(conn, rest);
      assert.ok(sent > 0 && sent <= conn.writableHighWaterMark);
      assert.ok(conn.writableLength <= conn.writableHighWaterMark);
      rest = rest.subarray(sent);
      while (!isWritable(conn)) await once(conn, 'drain');
    }
    assert.ok((await received).equals(data));
    conn.end();
    assert.throws(() => send(conn, data), {
      code: 'EPIPE',
      message: 'cannot send: this side has ended',
    });
  });

  test('accept knows where a client came from that has reset since', async (t) => {
    const { server, gone, conn } = await waiting(t);
    const { localPort } = gone;
    const failed = new Promise<unknown>((resolve) => {
      conn.on('error', () => resolve(accept(server)));
    });
    reset(gone);
    assert.deepEqual(await failed, [conn, ['127.0.0.1', localPort]]);
  });

  test('accept is not offered a client that has gone', async (t) => {
    const { server, gone, conn } = await waiting(t);
    const closed = new Promise((resolve) => conn.on('close', resolve));
    assert.equal(isReadable(server), true);
    reset(gone);
    await closed;
    assert.equal(isReadable(server), false);
    assert.throws(() => accept(server), { name: 'BlockingIOError' });
  });
});

/** A client that nobody has accepted yet, and the socket that `accept` would give. */
async function waiting(t: TestContext): Promise<{ server: Server; gone: Socket; conn: Socket }> {
  const { server, client } = await pair(t);
  const connection = once(server, 'connection');
  const gone = await dial(t, client.remotePort as number);
  const [conn] = (await connection) as [Socket];
  return { server, gone, conn };
}

/** Counts how often the loop waits. */
class CountingSelector extends DefaultSelector<Client> {
  selects = 0;

  override select(timeout: number | null = null) {
    this.selects++;
    return super.select(timeout);
  }
}

/** A server that listens, its log without the clients' addresses, and both ends of each connection. */
async function start(t: TestContext, options: MultiplexerOptions = {}, create = createMultiplexer) {
  const log: string[] = [];
  const sel = new CountingSelector();
  const server = create({
    selector: sel,
    log: (line) => log.push(line.replace(/^127\.0\.0\.1:\d+ /, '')),
    ...options,
  });
  const port = await listen(t, server);
  const open = async (): Promise<[Socket, Socket]> => {
    const accepted = once(server, 'connection');
    return [await dial(t, port), (await accepted)[0] as Socket];
  };
  return { server, port, log, open, sel };
}

/** Until a client that does not read has filled all there is, or the server has read all it sent. */
async function stuck(sel: DefaultSelector<Client>, conn: Socket): Promise<void> {
  const full = () => sel.getKey(conn).events === EVENT_WRITE && !isWritable(conn);
  await until(() => sel.getMap()?.has(conn) === true);
  await until(() => full() || conn.readableEnded);
}

describe('the server', together, () => {
  test('sends back what it gets, however the bytes arrive', async (t) => {
    const { open } = await start(t);
    const [client, conn] = await open();
    const all = [...cuts(Buffer.from([0, 0xff, 0x0a, 0xe7, 0xbd, 0x91, 0x80, 0]))];
    for (const { pieces } of all) await sendPieces(client, conn, pieces);
    client.end();
    assert.deepEqual(await readAll(client), Buffer.concat(all.flatMap(({ pieces }) => pieces)));
  });

  test('answers each piece before the next one comes, and each client its own', async (t) => {
    const { open } = await start(t);
    const clients = [(await open())[0], (await open())[0]];
    for (const word of ['one', 'two', 'three']) {
      for (const [n, client] of clients.entries()) client.write(`${n}${word}`);
      for (const [n, client] of clients.entries()) {
        assert.equal((await readBytes(client, word.length + 1)).toString(), `${n}${word}`);
      }
    }
  });

  test('gives every answer to a client that has ended its half, and then ends its own', async (t) => {
    const { open, log } = await start(t);
    const [client, conn] = await open();
    const closed = once(conn, 'close');
    client.end(Buffer.alloc(2 * MiB, 'x'));
    assert.ok((await readAll(client)).equals(Buffer.alloc(2 * MiB, 'x')));
    await closed;
    assert.deepEqual(log, ['connected', 'closed']);
  });

  test('does nothing while nothing happens: select() does not even return', async (t) => {
    const { open, sel } = await start(t);
    const [client] = await open();
    client.write('hello');
    await readBytes(client, 5);
    await turns(10);
    const { selects } = sel;
    await turns(100);
    assert.equal(sel.selects, selects);
  });

  test('does nothing either while answers wait for a client that has said all', async (t) => {
    const answer = Buffer.alloc(16 * MiB);
    const { open, sel } = await start(t, {
      maxPending: Infinity,
      createProtocol: () => (received) => (received.length > 0 ? [answer] : []),
    });
    const [client, conn] = await open();
    client.end('hello');
    await once(conn, 'end');
    await until(() => !isWritable(conn));
    await turns(10);
    const { selects } = sel;
    await turns(100);
    assert.equal(sel.selects, selects);
    assert.equal((await readAll(client)).length, 16 * MiB);
  });

  test('costs little memory for a client that never reads, and loses nothing of it', async (t) => {
    const { open, sel } = await start(t);
    const [client, conn] = await open();
    const [other] = await open();
    client.end(Buffer.alloc(16 * MiB, 'x'));
    await stuck(sel, conn);
    await turns(100);
    const outb = sel.getKey(conn).data?.outb.length ?? 0;
    const held = conn.readableLength + outb + conn.writableLength;
    assert.ok(held < MiB, `${held} bytes wait in the server`);
    other.end('served meanwhile');
    assert.equal((await readAll(other)).toString(), 'served meanwhile');
    assert.equal((await readAll(client)).length, 16 * MiB);
  });

  test('outlives a client that resets: a line in the log, and the others are served', async (t) => {
    const { open, log, sel } = await start(t);
    const [bad, conn] = await open();
    const [good] = await open();
    const closed = once(conn, 'close').catch(() => {});
    reset(bad);
    await closed;
    good.write('still there?');
    assert.equal((await readBytes(good, 12)).toString(), 'still there?');
    assert.deepEqual(log, ['connected', 'connected', 'failed: read ECONNRESET', 'closed']);
    assert.equal(sel.getMap()?.size, 2); // the server itself and the good one
  });

  test('outlives a client that resets with its answers unread', async (t) => {
    const { open, log, sel } = await start(t);
    const [bad, conn] = await open();
    bad.end(Buffer.alloc(16 * MiB, 'x'));
    await stuck(sel, conn);
    const closed = once(conn, 'close').catch(() => {});
    reset(bad);
    await closed;
    const [good] = await open();
    good.end('still there?');
    assert.equal((await readAll(good)).toString(), 'still there?');
    assert.match(log[1] ?? '', /^failed: (read|write) (ECONNRESET|EPIPE)$/);
  });

  test('outlives a protocol that fails, and does not tell the client why', async (t) => {
    const createProtocol = () => (received: Buffer) => {
      if (received.toString() === 'fail') throw new Error('a secret');
      return [received];
    };
    const { open, log } = await start(t, { createProtocol });
    const [bad, conn] = await open();
    const [good] = await open();
    const closed = new Promise((resolve) => conn.on('close', resolve));
    bad.write('fail');
    assert.equal((await readAll(bad)).length, 0);
    await closed;
    good.end('still there?');
    assert.equal((await readAll(good)).toString(), 'still there?');
    assert.deepEqual(log.slice(2, 4), ['failed: a secret', 'closed']);
  });

  test('ends its loop when it is closed', async (t) => {
    const { server, open, sel } = await start(t);
    const [client] = await open();
    const closed = once(server.close(), 'close');
    client.end('the last words');
    assert.equal((await readAll(client)).toString(), 'the last words');
    await closed;
    assert.equal(sel.getMap(), null);
  });

  test('drops a client that is idle for too long', async (t) => {
    const { open, log } = await start(t, { idleTimeout: 20 });
    const [client, conn] = await open();
    const closed = new Promise((resolve) => conn.on('close', resolve));
    assert.equal((await readAll(client)).length, 0);
    await closed;
    assert.deepEqual(log, ['connected', 'failed: idle for 0.02 s', 'closed']);
  });

  test('serves no more clients than it may', async (t) => {
    const { open, port } = await start(t, { maxConnections: 1 });
    const [first] = await open();
    const second = await dial(t, port);
    assert.equal((await readAll(second)).length, 0);
    first.end('me');
    assert.equal((await readAll(first)).toString(), 'me');
  });

  test('serves 100 clients at once', async (t) => {
    const { port, sel } = await start(t);
    const clients = await Promise.all(Array.from({ length: 100 }, () => dial(t, port)));
    await until(() => sel.getMap()?.size === clients.length + 1);
    for (const [n, client] of clients.entries()) client.end(`client ${n}`);
    const answers = await Promise.all(clients.map(readAll));
    assert.deepEqual(
      answers.map(String),
      clients.map((_, n) => `client ${n}`),
    );
  });
});

describe('the line server', together, () => {
  const startLines = (t: TestContext, options: LineServerOptions = {}) =>
    start(t, options, createLineServer);

  test('answers each line in upper case, however the bytes arrive', async (t) => {
    const { open } = await startLines(t);
    const [client, conn] = await open();
    const all = [...cuts('Grüße\n\n网络 🎉\r\n')];
    for (const { pieces } of all) await sendPieces(client, conn, pieces);
    client.end();
    const expected = 'GRÜSSE\n\n网络 🎉\r\n'.repeat(all.length);
    assert.equal((await readAll(client)).toString(), expected);
  });

  test('answers 30,000 lines that come at once, and not the one that never ends', async (t) => {
    const { open } = await startLines(t);
    const [client] = await open();
    client.end(`${'hi\n'.repeat(30_000)}unfinished`);
    assert.equal((await readAll(client)).toString(), 'HI\n'.repeat(30_000));
  });

  test('keeps the halves of two clients apart', async (t) => {
    const { open } = await startLines(t);
    const [[one, first], [two, second]] = [await open(), await open()];
    await sendPieces(one, first, [Buffer.from('fir')]);
    await sendPieces(two, second, [Buffer.from('sec')]);
    one.end('st\n');
    two.end('ond\n');
    assert.equal((await readAll(one)).toString(), 'FIRST\n');
    assert.equal((await readAll(two)).toString(), 'SECOND\n');
  });

  test('takes a line of 64 KiB, and refuses a longer one after the lines before it', async (t) => {
    const { open } = await startLines(t);
    const [client] = await open();
    client.write(`one\n${'x'.repeat(64 * KiB)}\n${'y'.repeat(64 * KiB + 1)}`);
    assert.equal(
      (await readAll(client)).toString(),
      `ONE\n${'X'.repeat(64 * KiB)}\nerror: cannot accept message: 65,537 bytes and no delimiter, the limit is 65,536\n`,
    );
  });

  test('lets a client hear the refusal that is still sending', async (t) => {
    const { open } = await startLines(t, { maxLength: 10, linger: 10_000 });
    const [client] = await open();
    const closed = once(client, 'close'); // rejects if the client is reset
    client.end(Buffer.alloc(16 * MiB, 'x'));
    assert.match((await readAll(client)).toString(), /^error: cannot accept message: .+ is 10\n$/);
    await closed;
  });

  test('cuts off a client that goes on after its refusal', async (t) => {
    const { open } = await startLines(t, { maxLength: 10, linger: 20 });
    const [client, conn] = await open();
    client.write('x'.repeat(11));
    const closed = once(conn, 'close');
    assert.match((await readAll(client)).toString(), /^error: cannot accept message: /);
    await closed;
  });
});

describe("the tutorial's programs, line by line", together, () => {
  test('002 §1.2: callbacks as data', async (t) => {
    type Callback = (fileobj: FileObject, mask: number) => void;
    const sel = selector<Callback>(t);

    function acceptOne(sock: FileObject) {
      const [conn] = accept(sock as Server);
      sel.register(conn, EVENT_READ, read);
    }

    function read(fileobj: FileObject) {
      const conn = fileobj as Socket;
      const data = recv(conn, 1024);
      if (data.length > 0) send(conn, data);
      else {
        sel.unregister(conn);
        conn.destroySoon();
      }
    }

    const sock = createServer({ allowHalfOpen: true });
    const port = await listen(t, sock);
    sel.register(sock, EVENT_READ, acceptOne);
    const loop = (async () => {
      while (sel.getMap() !== null) {
        const events = await sel.select();
        for (const [key, mask] of events) key.data?.(key.fileobj, mask);
      }
    })();

    const client = await dial(t, port);
    client.end('x'.repeat(3000));
    assert.equal((await readAll(client)).toString(), 'x'.repeat(3000));
    sel.close();
    await loop;
  });

  test('004 §5.2: buffers as data, and no rest while a client is connected', async (t) => {
    const sel = selector<{ addr: string; outb: Buffer }>(t);
    let selects = 0;

    function acceptWrapper(sock: Server) {
      const [conn, addr] = accept(sock);
      const data = { addr: addr.join(), outb: Buffer.alloc(0) };
      const events = EVENT_READ | EVENT_WRITE;
      sel.register(conn, events, data);
    }

    const sock = createServer({ allowHalfOpen: true });
    const port = await listen(t, sock);
    sel.register(sock, EVENT_READ, null);
    const loop = (async () => {
      while (sel.getMap() !== null) {
        const events = await sel.select(null);
        selects++;
        for (const [{ fileobj, data }, mask] of events) {
          if (data === null) {
            acceptWrapper(fileobj as Server);
            continue;
          }
          const conn = fileobj as Socket;
          if (mask & EVENT_READ) {
            const received = recv(conn, 1024);
            if (received.length > 0) data.outb = Buffer.concat([data.outb, received]);
            else {
              sel.unregister(conn);
              conn.destroySoon();
              continue;
            }
          }
          if (mask & EVENT_WRITE && data.outb.length > 0) {
            const sent = send(conn, data.outb);
            data.outb = data.outb.subarray(sent);
          }
        }
      }
    })();

    const client = await dial(t, port);
    client.write('hello');
    assert.equal((await readBytes(client, 5)).toString(), 'hello');
    const before = selects;
    await turns(100);
    assert.ok(selects - before > 90, `select() returned ${selects - before} times in 100 turns`);
    client.end();
    assert.equal((await readAll(client)).length, 0);
    await turns(10);
    const after = selects;
    await turns(100);
    assert.equal(selects, after);
    sel.close();
    await loop;
  });
});

describe('the programs', { ...together, timeout: 120_000 }, () => {
  testUsage(join(import.meta.dirname, 'server.ts'));
  testServer(join(import.meta.dirname, 'server.ts'), async (t, port) => {
    const client = await dial(t, port);
    client.end('hello');
    assert.equal((await readAll(client)).toString(), 'hello');
  });

  test('line-server.ts answers on the port that it says', async (t) => {
    const client = await dial(t, await run(t, LINE_SERVER, ['--port', '0']).ready());
    client.end('hello\n');
    assert.equal((await readAll(client)).toString(), 'HELLO\n');
  });

  test('the bench says how many files it may open', { skip: notLinux }, async (t) => {
    const bench = run(t, BENCH, ['1000000000']);
    assert.equal(await bench.exit(), 1);
    assert.match(
      bench.stderr,
      /^error: cannot hold 1,000,000,000 connections: a process may open [\d,]+ files, 1,000,000,100 are needed; raise the limit with ulimit -n, or hold fewer: npm run bench -w 08-selectors-multiplexer -- \d+\n$/,
    );
  });
});

testReadme(import.meta.dirname);
