import assert from 'node:assert/strict';
import { EventEmitter, getEventListeners, once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import {
  cuts,
  dial,
  listen,
  noSilence,
  readAll,
  readBytes,
  reset,
  run,
  sendPieces,
  silentPort,
  testReadme,
  testServer,
  testUsage,
  until,
} from '@shared/testing';
import { Bytes } from './bytes.ts';
import { converse } from './client.ts';
import { createLineServer } from './line-server.ts';
import { createOneShotServer, type OneShotServerOptions } from './one-shot-server.ts';
import { createUpperCaseServer } from './server.ts';
import { IncompleteReadError, LIMIT, LimitOverrunError, StreamReader } from './stream-reader.ts';
import { StreamWriter } from './stream-writer.ts';
import {
  type ClientConnected,
  openConnection,
  type ServerOptions,
  startServer,
} from './streams.ts';
import { Task, TaskGroup, timeout } from './tasks.ts';

const LINE_SERVER = join(import.meta.dirname, 'line-server.ts');
const CLIENT = join(import.meta.dirname, 'client.ts');
const MiB = 1024 * 1024;
/** More than the network takes for somebody who does not read. One for all: to fill it costs time. */
const LOTS = Buffer.alloc(16 * MiB, 'x');
const MUCH = LOTS.subarray(0, 8 * MiB);
/** What waits for ever here has failed. */
const together = { concurrency: true, timeout: 60_000 };
const notLinux = process.platform === 'linux' ? false : 'only Linux lists its sockets in /proc';
const noSignals = process.platform === 'win32' ? 'Windows cannot send SIGTERM' : false;

/** The limits in time that a test is not about: a machine that is busy must not run into them. */
const patient = { linger: 60_000, closeTimeout: 60_000, deadline: 60_000 };

/** A server that listens, its log, and the server's side of each connection. */
async function start<O extends ServerOptions>(
  t: TestContext,
  create: (options: O) => Server,
  options?: O,
) {
  const log: string[] = [];
  const write = (line: string) => log.push(line.replace(/^[\d.:]+/, 'CLIENT'));
  const server = create({ ...patient, log: write, ...options } as O);
  const port = await listen(t, server);
  const open = async (): Promise<[Socket, Socket]> => {
    const accepted = once(server, 'connection');
    return [await dial(t, port), (await accepted)[0] as Socket];
  };
  return { server, port, log, open };
}

/** The same for a handler. */
const serving = (t: TestContext, handler: ClientConnected, options: ServerOptions = {}) =>
  start(t, (all) => startServer(handler, all), options);

/** Makes connections: a reader and a writer at one end, and the plain socket of the other. */
async function pairs(
  t: TestContext,
  options: { limit?: number; linger?: number; closeTimeout?: number } = {},
) {
  const server = createServer({ allowHalfOpen: true, noDelay: true });
  const port = await listen(t, server);
  return async () => {
    const accepted = once(server, 'connection');
    const peer = await dial(t, port);
    const [socket] = (await accepted) as [Socket];
    const reader = new StreamReader(socket, options);
    return { peer, socket, reader, writer: new StreamWriter(socket, { ...patient, ...options }) };
  };
}

const pair = async (...args: Parameters<typeof pairs>) => (await pairs(...args))();

/** Sends the line until the other side ends. */
function flood(client: Socket, line: string): void {
  const send = () => {
    while (!client.readableEnded && client.write(line.repeat(10)));
  };
  client.on('drain', send);
  send();
}

/** Waits until it is cancelled. */
const forEver = (signal: AbortSignal) => once(new EventEmitter(), 'never', { signal });

/** Something that ends when it is told to. */
function gate() {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { open: () => open(), opened };
}

describe('the reader', together, () => {
  test('reads lines, however the bytes arrive; the last one needs no end', async (t) => {
    const open = await pairs(t);
    for (const { name, pieces } of cuts('ü\n\n🎉\nend')) {
      const { peer, socket, reader } = await open();
      const lines: string[] = [];
      const sent = sendPieces(peer, socket, pieces).then(() => peer.end());
      for await (const line of reader) lines.push(line.toString());
      await sent;
      assert.deepEqual(lines, ['ü\n', '\n', '🎉\n', 'end'], name);
      assert.ok(reader.atEof());
    }
  });

  test('reads by number and by separator, however the bytes arrive', async (t) => {
    const open = await pairs(t);
    for (const { name, pieces } of cuts('12345--a-b--rest')) {
      const { peer, socket, reader } = await open();
      const sent = sendPieces(peer, socket, pieces).then(() => peer.end());
      assert.equal(String(await reader.readexactly(4)), '1234', name);
      assert.equal(String(await reader.readuntil('--')), '5--', name);
      assert.equal(String(await reader.readuntil('--')), 'a-b--', name);
      assert.equal(String(await reader.readexactly(0)), '', name);
      let rest = '';
      while (!reader.atEof()) {
        const some = await reader.read(3);
        assert.ok(some.length <= 3);
        rest += some;
      }
      assert.equal(rest, 'rest', name);
      assert.equal(String(await reader.read(3)), '', name);
      await sent;
    }
  });

  test('read() takes what there is, and does not wait for more', async (t) => {
    const { peer, reader } = await pair(t);
    peer.write('ab');
    assert.equal(String(await reader.read(100)), 'ab');
    assert.equal(String(await reader.read(0)), '');
    assert.equal(reader.atEof(), false);
  });

  test('a stream that ends inside what is read: the error has what had arrived', async (t) => {
    const { peer, reader } = await pair(t);
    peer.end('abcde');
    await assert.rejects(reader.readexactly(10), (error) => {
      assert.ok(error instanceof IncompleteReadError);
      assert.equal(error.message, 'cannot read 10 bytes: the stream ended after 5 bytes');
      assert.equal(String(error.partial), 'abcde');
      assert.equal(error.expected, 10);
      return true;
    });
    await assert.rejects(reader.readuntil('\n'), {
      name: 'IncompleteReadError',
      expected: undefined,
      message: 'cannot read until "\\n": the stream ended after 0 bytes',
    });
  });

  test('a line may have as many bytes as the limit, and no more', async (t) => {
    const { peer, reader } = await pair(t);
    peer.write(`${'x'.repeat(LIMIT)}\n${'y'.repeat(LIMIT + 1)}\nnext\n`);
    assert.equal((await reader.readline()).length, LIMIT + 1);
    await assert.rejects(reader.readline(), (error) => {
      assert.ok(error instanceof LimitOverrunError);
      assert.equal(
        error.message,
        'cannot read until "\\n": it is not within the limit of 65,536 bytes',
      );
      return true;
    });
  });

  test('readline() goes on behind a line that was too long; readuntil() leaves it', async (t) => {
    const { peer, socket, reader } = await pair(t, { limit: 4 });
    await sendPieces(peer, socket, [Buffer.from('12345\nnext\n')]);
    for (const _ of [1, 2]) {
      await assert.rejects(reader.readuntil('\n'), { name: 'LimitOverrunError', consumed: 5 });
    }
    await assert.rejects(reader.readline(), { name: 'LimitOverrunError' });
    assert.equal(String(await reader.readline()), 'next\n');
  });

  test('does not let a line without an end grow', async (t) => {
    const { peer, reader } = await pair(t);
    peer.on('error', () => {}).write(Buffer.alloc(MiB, 'x'));
    await assert.rejects(reader.readline(), { name: 'LimitOverrunError' });
  });

  test('reads no further ahead than the limit allows, and loses nothing', async (t) => {
    const { peer, socket, reader } = await pair(t);
    peer.end(Buffer.alloc(2 * MiB, 'x'));
    // A reader that reads on comes to the end, which this one cannot before it is read.
    const end = once(socket, 'end').then(() => assert.fail('it has read everything'));
    await Promise.race([once(socket, 'pause'), end]);
    const ahead = socket.bytesRead;
    assert.ok(ahead <= 2 * LIMIT + 2 * 65_536, `${ahead} bytes were read ahead`);
    end.catch(() => {});
    let received = 0;
    while (!reader.atEof()) received += (await reader.read(MiB)).length;
    assert.equal(received, 2 * MiB);
  });

  test('a read that is cancelled loses nothing: the next one gets it', async (t) => {
    const { peer, socket, reader } = await pair(t);
    await sendPieces(peer, socket, [Buffer.from('hal')]);
    await assert.rejects(
      timeout(10, (signal) => reader.readline({ signal })),
      { name: 'TimeoutError', message: 'timed out after 0.01 s' },
    );
    peer.write('f\n');
    assert.equal(String(await reader.readline()), 'half\n');
  });

  test('a read that has all it needs is not cancelled', async (t) => {
    const { peer, reader } = await pair(t);
    peer.write('one\ntwo\n');
    await reader.readline();
    const signal = AbortSignal.abort();
    assert.equal(String(await reader.readline({ signal })), 'two\n');
    await assert.rejects(reader.readline({ signal }), { name: 'AbortError' });
  });

  test('a signal that lives long is not kept by the reads and drains that are done', async (t) => {
    const { peer, reader, writer } = await pair(t);
    const { signal } = new AbortController();
    const reading = reader.readline({ signal });
    peer.write('line\n');
    await reading;
    writer.write(MUCH);
    peer.resume();
    await writer.drain({ signal });
    assert.equal(getEventListeners(signal, 'abort').length, 0);
  });

  test('refuses two reads at once, and what cannot be read', async (t) => {
    const { peer, socket, reader } = await pair(t);
    const first = reader.read(1);
    await assert.rejects(reader.readline(), { message: 'cannot read: another read is waiting' });
    peer.write('a');
    assert.equal(String(await first), 'a');
    await assert.rejects(reader.read(-1), { message: 'cannot read -1 bytes' });
    await assert.rejects(reader.readexactly(1.5), { message: 'cannot read 1.5 bytes' });
    await assert.rejects(reader.readuntil(''), { message: 'the separator must not be empty' });
    const message = 'the limit must be over 0, not NaN';
    assert.throws(() => new StreamReader(socket, { limit: Number.NaN }), { message });
  });

  test('gives what had arrived before a reset, then the reset', async (t) => {
    const { peer, socket, reader } = await pair(t);
    await sendPieces(peer, socket, [Buffer.from('last words\n')]);
    reset(peer);
    await once(socket, 'close').catch(() => {});
    assert.equal(String(await reader.readline()), 'last words\n');
    await assert.rejects(reader.readline(), { code: 'ECONNRESET' });
  });

  test('a read that waits ends when this side closes', async (t) => {
    const { socket, reader } = await pair(t);
    const waiting = reader.readline();
    socket.destroy();
    await assert.rejects(waiting, { name: 'AbortError', message: 'the connection is closed' });
  });
});

describe('the bytes that wait', together, () => {
  test('single bytes are not copied again for each one', (t) => {
    const copy = t.mock.method(Buffer, 'allocUnsafeSlow');
    const bytes = new Bytes();
    const expected = Buffer.from(Array.from({ length: 8192 }, (_, n) => n & 0xff));
    for (const byte of expected) bytes.append(Buffer.from([byte]));
    assert.ok(copy.mock.callCount() <= 13, `${copy.mock.callCount()} blocks`);
    assert.ok(bytes.take(8192).equals(expected));
  });

  test('what was taken does not change when more comes', () => {
    const bytes = new Bytes();
    bytes.append(Buffer.from('ab'));
    bytes.append(Buffer.from('cdef'));
    const taken = bytes.take(5);
    bytes.append(Buffer.from('ghijkl'));
    bytes.append(Buffer.from('mnopqrstuvwxyz'));
    assert.equal(String(taken), 'abcde');
    assert.equal(String(bytes.take(bytes.length)), 'fghijklmnopqrstuvwxyz');
  });

  test('a queue that is empty keeps no memory', async () => {
    setFlagsFromString('--expose-gc');
    const gc = runInNewContext('gc') as () => void;
    const bytes = new Bytes();
    const held = (() => {
      const chunk = Buffer.allocUnsafeSlow(MiB);
      bytes.append(chunk);
      bytes.take(MiB);
      return new WeakRef(chunk.buffer);
    })();
    await nextTurn(); // a WeakRef that was made or read holds its target to the end of the turn
    gc();
    assert.equal(held.deref(), undefined);
    assert.equal(bytes.length, 0);
  });
});

describe('the writer', together, () => {
  test('drain() waits for a peer that does not read, and loses nothing', async (t) => {
    const { peer, socket, writer } = await pair(t);
    let most = 0;
    const write = async () => {
      for (let n = 0; n < 8 * 16; n++) {
        writer.write(LOTS.subarray(0, 64 * 1024));
        most = Math.max(most, socket.writableLength);
        await writer.drain();
      }
      writer.writeEof();
    };
    const written = write();
    assert.equal((await readAll(peer)).length, 8 * MiB);
    await written;
    assert.ok(most < MiB, `${most} bytes waited`);
  });

  test('drain() ends when the peer resets, when this side closes, and when it is cancelled', async (t) => {
    const open = await pairs(t);
    const stuck = async () => {
      const { peer, socket, writer } = await open();
      writer.write(LOTS);
      return { peer, socket, writer };
    };
    const [one, two, three] = [await stuck(), await stuck(), await stuck()];
    const first = one.writer.drain();
    reset(one.peer);
    await assert.rejects(first, { code: /^(ECONNRESET|EPIPE)$/ });
    const second = two.writer.drain();
    two.socket.destroy();
    await assert.rejects(second, { name: 'AbortError', message: 'the connection is closed' });
    await assert.rejects(two.writer.drain(), { message: 'the connection is closed' });
    await assert.rejects(
      timeout(10, (signal) => three.writer.drain({ signal })),
      { message: 'timed out after 0.01 s' },
    );
  });

  test('all that is written at once leaves as one', async (t) => {
    const { peer, socket, writer } = await pair(t);
    const one = t.mock.method(socket as Required<Socket>, '_write');
    const many = t.mock.method(socket as Required<Socket>, '_writev');
    const lines = Array.from({ length: 100 }, (_, n) => `line ${n}\n`);
    for (const line of lines.slice(0, 50)) {
      writer.write(line);
      await writer.drain();
    }
    writer.writelines(lines.slice(50));
    writer.writeEof();
    assert.equal(String(await readAll(peer)), lines.join(''));
    assert.deepEqual([one.mock.callCount(), many.mock.callCount()], [0, 1]);
  });

  test('writes nothing behind writeEof() or close(), and the reads go on', async (t) => {
    const { peer, reader, writer } = await pair(t);
    writer.write('all');
    writer.writeEof();
    assert.throws(() => writer.write('more'), { message: 'cannot write: writeEof() was called' });
    assert.equal(String(await readAll(peer)), 'all');
    peer.end('late');
    assert.equal(String(await reader.readexactly(4)), 'late');
    assert.equal(writer.isClosing(), false);
    writer.close();
    writer.close();
    assert.equal(writer.isClosing(), true);
    writer.write('nobody hears it');
    await writer.waitClosed();
  });

  test('close() sends all that is written, though the peer reads late and still sends', async (t) => {
    const { peer, socket, writer } = await pair(t);
    peer.write(Buffer.alloc(MiB));
    writer.write(MUCH);
    writer.close();
    assert.equal((await readAll(peer)).length, 8 * MiB);
    peer.end(Buffer.alloc(MiB));
    await writer.waitClosed();
    assert.equal(socket.bytesRead, 2 * MiB);
  });

  test('close() waits only so long for the peer to end its half', async (t) => {
    const { peer, writer } = await pair(t, { linger: 20 });
    writer.close();
    assert.equal((await readAll(peer)).length, 0);
    await writer.waitClosed();
  });

  test('close() ends in time, though the peer sends on and does not read', async (t) => {
    const open = await pairs(t, { closeTimeout: 50 });
    for (const data of ['', LOTS]) {
      const { peer, writer } = await open();
      peer.pause();
      const sending = setInterval(() => peer.write('x'), 5);
      t.after(() => clearInterval(sending));
      writer.write(data);
      writer.close();
      await writer.waitClosed();
      clearInterval(sending);
    }
  });

  test('abort() does not let half an answer look like a whole one', async (t) => {
    const { socket, writer } = await pair(t);
    const resets = t.mock.method(socket, 'resetAndDestroy');
    writer.write(LOTS);
    writer.abort();
    await writer.waitClosed();
    assert.equal(resets.mock.callCount(), 1);
  });

  test('waitClosed() rejects if the connection broke', async (t) => {
    const { peer, writer } = await pair(t);
    reset(peer);
    await assert.rejects(writer.waitClosed(), { code: 'ECONNRESET' });
    writer.close();
  });

  test('knows both ends, also when they are gone', async (t) => {
    const { peer, socket, writer } = await pair(t);
    const { localPort, remotePort } = peer;
    socket.destroy();
    await writer.waitClosed();
    assert.deepEqual(writer.getExtraInfo('peername'), ['127.0.0.1', localPort]);
    assert.deepEqual(writer.getExtraInfo('sockname'), ['127.0.0.1', remotePort]);
    assert.equal(writer.getExtraInfo('socket'), socket);
  });
});

describe('tasks', together, () => {
  test('a timeout gives the result, or the error that was thrown', async () => {
    assert.equal(await timeout(1000, async () => 'done'), 'done');
    await assert.rejects(
      timeout(1000, async () => assert.fail('broken')),
      { message: 'broken' },
    );
  });

  test('a timeout ends what Node waits for, too', async () => {
    await assert.rejects(
      timeout(10, (signal) => forEver(signal)),
      { name: 'TimeoutError', message: 'timed out after 0.01 s' },
    );
  });

  test('a timeout that was not needed leaves no timer', async () => {
    const done = await timeout(10, async (signal) => signal);
    await assert.rejects(timeout(20, (signal) => forEver(signal)));
    assert.equal(done.aborted, false);
  });

  test('a timeout that is longer than a timer can be does not end at once', async (t) => {
    const timer = t.mock.method(globalThis, 'setTimeout');
    assert.equal(await timeout(Number.POSITIVE_INFINITY, async () => 'done'), 'done');
    const times = timer.mock.calls.map(({ arguments: [, ms] }) => ms);
    assert.ok(times.includes(2 ** 31 - 1), `${times}`);
    assert.ok(!times.includes(Number.POSITIVE_INFINITY), `${times}`);
  });

  test('a task that is cancelled decides itself what it still does', async () => {
    const { open, opened } = gate();
    const task = new Task(async (signal) => {
      await opened;
      return signal.aborted ? 'kept its promise' : 'was not told';
    });
    task.cancel();
    open();
    assert.equal(await task.result, 'kept its promise');
  });

  test('in a group the first failure cancels the others, and is thrown', async () => {
    const group = new TaskGroup();
    let cancelled = false;
    group.createTask(async (signal) => {
      await forEver(signal).finally(() => {
        cancelled = signal.aborted;
      });
    });
    group.createTask(async () => {
      await nextTurn();
      throw new Error('the first');
    });
    await assert.rejects(group.wait(), { message: 'the first' });
    assert.ok(cancelled);
  });

  test('a group throws all failures, one that two tasks have met only once', async () => {
    const shared = new Error('the connection');
    const failing = (error: Error) => async () => {
      throw error;
    };
    const one = new TaskGroup();
    one.createTask(failing(shared));
    one.createTask(failing(shared));
    await assert.rejects(one.wait(), shared);
    const two = new TaskGroup();
    two.createTask(failing(shared));
    two.createTask(failing(new Error('the disk')));
    await assert.rejects(two.wait(), { name: 'AggregateError', message: '2 tasks failed' });
  });

  test('a group waits for the tasks of its tasks, and cancels those that come too late', async () => {
    const group = new TaskGroup();
    const done: string[] = [];
    group.createTask(async () => {
      await nextTurn();
      group.createTask(async (signal) => {
        await nextTurn();
        done.push(`inner ${signal.aborted}`);
      });
    });
    await group.wait();
    group.cancel();
    group.createTask(async (signal) => {
      await nextTurn();
      done.push(`late ${signal.aborted}`);
    });
    await group.wait();
    assert.deepEqual(done, ['inner false', 'late true']);
  });
});

describe('a server', together, () => {
  test('a handler that throws is logged, and closes only its own connection', async (t) => {
    const { open, log } = await serving(t, async (reader, writer) => {
      for await (const line of reader) {
        if (String(line) === 'boom\n') throw new Error('a bug');
        writer.write(line);
      }
    });
    const [[bad], [good]] = [await open(), await open()];
    bad.write('kept\nboom\n');
    assert.equal(String(await readAll(bad)), 'kept\n');
    good.end('still there?\n');
    assert.equal(String(await readAll(good)), 'still there?\n');
    assert.match(
      String(log[2]),
      /^CLIENT handler failed: Error: a bug\n +at .*async-streams\.test/,
    );
  });

  test('a handler that throws before it waits does no more harm', async (t) => {
    const { open, log } = await serving(t, () => {
      throw new TypeError('at once');
    });
    for (const _ of [1, 2]) assert.equal((await readAll((await open())[0])).length, 0);
    assert.match(String(log[1]), /^CLIENT handler failed: TypeError: at once\n/);
  });

  test('a handler that returns closes its connection, with all that it wrote', async (t) => {
    const { open } = await serving(t, (_, writer) => writer.write(MUCH));
    const [client] = await open();
    assert.equal((await readAll(client)).length, 8 * MiB);
  });

  test('a handler that waits for something else is cancelled when its client is gone', async (t) => {
    const cancelled = gate();
    const { open, log } = await serving(t, async (_, __, signal) => {
      await forEver(signal).finally(cancelled.open);
    });
    const [client, receiver] = await open();
    const closed = once(receiver, 'close').catch(() => {});
    reset(client);
    await closed;
    await cancelled.opened;
    await until(() => log.length === 3);
    assert.deepEqual(log, ['CLIENT connected', 'CLIENT failed: read ECONNRESET', 'CLIENT closed']);
  });

  test('outlives a client that resets: one line in the log, and the others are served', async (t) => {
    const { open, log } = await start(t, createLineServer);
    const [[bad, receiver], [good]] = [await open(), await open()];
    const closed = once(receiver, 'close').catch(() => {});
    reset(bad);
    await closed;
    good.end('still there?\n');
    assert.equal(String(await readAll(good)), 'STILL THERE?\n');
    assert.deepEqual(log.slice(2, 4), ['CLIENT failed: read ECONNRESET', 'CLIENT closed']);
  });

  test('drops a client that is idle for too long', async (t) => {
    const { open, log } = await start(t, createLineServer, { idleTimeout: 20 });
    const [client] = await open();
    assert.equal((await readAll(client)).length, 0);
    assert.equal(log[1], 'CLIENT dropped: idle for 0.02 s');
  });

  test('serves no more clients than it may', async (t) => {
    const { open, port } = await start(t, createLineServer, { maxConnections: 1 });
    const [first] = await open();
    assert.equal((await readAll(await dial(t, port))).length, 0);
    first.end('me\n');
    assert.equal(String(await readAll(first)), 'ME\n');
  });

  test('serves 20 clients at once', async (t) => {
    const { port } = await start(t, createLineServer);
    const clients = await Promise.all(Array.from({ length: 20 }, () => dial(t, port)));
    for (const [n, client] of clients.entries()) client.end(`client ${n}\n`);
    const answers = await Promise.all(clients.map(readAll));
    assert.deepEqual(
      answers.map(String),
      clients.map((_, n) => `CLIENT ${n}\n`),
    );
  });
});

describe('a server that is told to stop', together, () => {
  test('answers every line that had arrived, and none that had not', async (t) => {
    const stop = new AbortController();
    const { open: go, opened } = gate();
    const handler: ClientConnected = async (reader, writer) => {
      for await (const line of reader) {
        await opened; // the work on a line
        writer.write(String(line).toUpperCase());
        await writer.drain();
      }
    };
    const { server, open, log } = await serving(t, handler, { signal: stop.signal });
    const [client, receiver] = await open();
    await sendPieces(client, receiver, [Buffer.from('one\ntwo\nthree\nfo')]);
    const closed = [once(server, 'close'), once(receiver, 'close')];
    stop.abort();
    await sendPieces(client, receiver, [Buffer.from('ur\nfive\n')]);
    client.end();
    go();
    assert.equal(String(await readAll(client)), 'ONE\nTWO\nTHREE\n');
    await Promise.all(closed);
    assert.deepEqual(log, ['CLIENT connected', 'CLIENT closed']);
  });

  test('ends those who are silent at once, not at the deadline, and accepts nobody', async (t) => {
    const stop = new AbortController();
    const options = { signal: stop.signal, deadline: 60_000 };
    const { server, open, log, port } = await start(t, createLineServer, options);
    const clients = [(await open())[0], (await open())[0]];
    const closed = once(server, 'close');
    stop.abort();
    for (const client of clients) {
      assert.equal((await readAll(client)).length, 0);
      client.end();
    }
    await closed;
    assert.ok(!log.some((line) => line.includes('dropped')), log.join('\n'));
    await assert.rejects(openConnection('127.0.0.1', port), { code: 'ECONNREFUSED' });
    assert.equal(getEventListeners(stop.signal, 'abort').length, 0);
  });

  test('serves nobody if it was told before it listens', async (t) => {
    const server = startServer(() => assert.fail(), { signal: AbortSignal.abort() });
    t.after(() => server.close());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    assert.equal(server.listening, false);
  });

  test('does not listen for ever to a client that goes on sending, nor lose its answers', async (t) => {
    const stop = new AbortController();
    let answered = 0;
    const handler: ClientConnected = async (reader, writer) => {
      for await (const line of reader) {
        writer.write(line);
        await writer.drain();
        if (++answered === 100) stop.abort();
      }
    };
    const { server, open, log } = await serving(t, handler, { signal: stop.signal });
    const closed = once(server, 'close');
    const [client, receiver] = await open();
    const line = `${'x'.repeat(1023)}\n`;
    flood(client, line);
    const received = await readAll(client);
    client.end();
    await closed;
    assert.ok(received.equals(Buffer.from(line.repeat(answered))));
    // All was read to the client's FIN: a close before it would have been a reset.
    assert.equal(receiver.readableEnded, true);
    assert.ok(!log.some((line) => line.includes('dropped')), log.join('\n'));
  });

  test('a client that sends a line for each answer does not put off the end', async (t) => {
    const stop = new AbortController();
    let answered = 0;
    const handler: ClientConnected = async (reader, writer) => {
      for await (const line of reader) {
        writer.write(line);
        await nextTurn(); // the next one arrives
        if (++answered === 100) stop.abort();
      }
    };
    const { open } = await serving(t, handler, { signal: stop.signal });
    const [client] = await open();
    client.write('line\n'.repeat(10));
    client.on('data', (answers) => {
      if (answered < 1000) client.write(answers);
    });
    await once(client, 'end');
    client.end();
    assert.ok(answered < 150, `${answered} lines were answered`);
  });

  test('cuts off at the deadline who does not read, and what does not end', async (t) => {
    const stop = new AbortController();
    const [writing, ended] = [gate(), gate()];
    const endless: ClientConnected = async (reader, writer) => {
      const line = String(await reader.readline());
      if (line === '') return;
      if (line === 'deaf\n') await new Promise(() => {}); // hears no signal
      for (;;) {
        writer.write(LOTS);
        writing.open();
        await writer.drain().finally(ended.open);
      }
    };
    const options = { signal: stop.signal, deadline: 50 };
    const { server, open, log } = await serving(t, endless, options);
    const [[deaf, one], [unread, two], [gone, three]] = [await open(), await open(), await open()];
    gone.destroy();
    await once(three, 'close');
    unread.write('go\n');
    await Promise.all([writing.opened, sendPieces(deaf, one, [Buffer.from('deaf\n')])]);
    const closed = [server, one, two].map((emitter) => once(emitter, 'close'));
    stop.abort();
    await Promise.all([...closed, ended.opened]);
    assert.deepEqual(log.slice(3), [
      'CLIENT closed',
      'CLIENT dropped: not done within 0.05 s',
      'CLIENT dropped: not done within 0.05 s',
      'CLIENT closed',
      'CLIENT closed',
    ]);
  });

  test('leaves nothing open in the kernel either', { skip: notLinux }, async (t) => {
    const stop = new AbortController();
    const handler: ClientConnected = (_, writer) => writer.write(LOTS);
    const options = { signal: stop.signal, deadline: 20 };
    const { server, open, port } = await serving(t, handler, options);
    await open();
    const closed = once(server, 'close');
    stop.abort();
    await closed;
    const local = ` 0100007F:${port.toString(16).toUpperCase().padStart(4, '0')} `;
    const sockets = readFileSync('/proc/net/tcp', 'utf8').split('\n');
    const ours = sockets.filter((line) => line.split(/(?<=: \S+ )/)[0]?.includes(local));
    assert.deepEqual(ours, []);
  });
});

for (const [name, create] of Object.entries({ createUpperCaseServer, createLineServer })) {
  test(`${name}: costs little memory for a client that never reads, and loses nothing`, async (t) => {
    const { open } = await start(t, create);
    const [client, receiver] = await open();
    let waiting = 0;
    receiver.on('data', () => {
      waiting = Math.max(waiting, receiver.writableLength);
    });
    client.end(`${'x'.repeat(16_383)}\n`.repeat(640));
    // Until the server holds the client back; a server that does not reads to the end.
    await Promise.race([once(receiver, 'pause'), once(receiver, 'end')]);
    assert.equal((await readAll(client)).length, 10 * MiB);
    assert.ok(waiting < MiB, `${waiting} bytes waited in the server`);
  });
}

describe('the upper-case server', together, () => {
  test('answers in upper case, however the bytes arrive', async (t) => {
    const { open } = await start(t, createUpperCaseServer);
    const [client, receiver] = await open();
    for (const { name, pieces } of cuts('Grüße, 网络! 🎉')) {
      await sendPieces(client, receiver, pieces);
      const answer = Buffer.from('GRÜSSE, 网络! 🎉');
      assert.deepEqual(await readBytes(client, answer.length), answer, name);
    }
  });

  test('answers a character that lies across two reads', async (t) => {
    const { open } = await start(t, createUpperCaseServer);
    const [client] = await open();
    const text = `${'x'.repeat(99)}é${'网'.repeat(100_000)}`;
    client.end(text);
    assert.equal(String(await readAll(client)), text.toUpperCase());
  });

  test('replaces bytes that are not UTF-8, at the end of the stream too', async (t) => {
    const { open } = await start(t, createUpperCaseServer);
    const [client] = await open();
    client.end(Buffer.from([0x61, 0xff, 0x62, 0xe7, 0xbd]));
    assert.equal(String(await readAll(client)), 'A\ufffdB\ufffd');
  });

  test('answers each piece before the next one comes', async (t) => {
    const { open } = await start(t, createUpperCaseServer);
    const [client] = await open();
    for (const word of ['one', 'two']) {
      client.write(word);
      assert.equal(String(await readBytes(client, 3)), word.toUpperCase());
    }
  });

  test('a client that is silent, or does not read, runs out of time', async (t) => {
    const failures = new EventEmitter();
    const log = (line: string) => {
      if (line.includes('failed')) failures.emit('line', line.replace(/^\S+ /, ''));
    };
    const { open } = await start(t, createUpperCaseServer, { readTimeout: 20, log });
    for (const data of ['', LOTS]) {
      const failed = once(failures, 'line');
      const [client] = await open();
      client.write(data);
      assert.deepEqual(await failed, ['handler failed: timed out after 0.02 s']);
    }
  });
});

describe('the line server', together, () => {
  test('answers each line in upper case, however the bytes arrive', async (t) => {
    const { open } = await start(t, createLineServer);
    const [client, receiver] = await open();
    for (const { name, pieces } of cuts('Grüße\n\n网络 🎉\n')) {
      await sendPieces(client, receiver, pieces);
      const answer = Buffer.from('GRÜSSE\n\n网络 🎉\n');
      assert.deepEqual(await readBytes(client, answer.length), answer, name);
    }
  });

  test('keeps two clients apart, half a line of each', async (t) => {
    const { open } = await start(t, createLineServer);
    const [[one, first], [two, second]] = [await open(), await open()];
    await sendPieces(one, first, [Buffer.from('a')]);
    await sendPieces(two, second, [Buffer.from('b')]);
    one.end('1\n');
    two.end('2\n');
    assert.equal(String(await readAll(one)), 'A1\n');
    assert.equal(String(await readAll(two)), 'B2\n');
  });

  test('gives every answer to a client that has ended its half', async (t) => {
    const { open } = await start(t, createLineServer);
    const [client] = await open();
    client.end(`${'x'.repeat(1023)}\n`.repeat(1024));
    assert.ok((await readAll(client)).equals(Buffer.from(`${'X'.repeat(1023)}\n`.repeat(1024))));
  });

  test('does not answer a line that was cut off', async (t) => {
    const { open } = await start(t, createLineServer);
    const [client] = await open();
    client.end('whole\nhal');
    assert.equal(String(await readAll(client)), 'WHOLE\n');
  });

  test('refuses a line over 64 KiB, and says so to a client that is still sending', async (t) => {
    const { open, log } = await start(t, createLineServer);
    const [client, receiver] = await open();
    client.write(`first\n${'x'.repeat(LIMIT)}\n`);
    client.write(LOTS.subarray(0, 4 * MiB));
    const [first, second, error] = String(await readAll(client)).split('\n');
    assert.equal(first, 'FIRST');
    assert.equal(second, 'X'.repeat(LIMIT));
    assert.equal(error, 'error: cannot accept line: the limit is 65,536 bytes');
    const closed = once(receiver, 'close');
    client.end();
    await closed;
    assert.deepEqual(log, [
      'CLIENT connected',
      'CLIENT handler failed: cannot read until "\\n": it is not within the limit of 65,536 bytes',
      'CLIENT closed',
    ]);
  });
});

describe('the one-shot server', together, () => {
  test('answers what it has read, or always the same, and closes', async (t) => {
    const echo = await start(t, createOneShotServer);
    const fixed = await start<OneShotServerOptions>(t, createOneShotServer, {
      answer: 'Message received',
    });
    const [[one], [two], [three]] = [await echo.open(), await fixed.open(), await echo.open()];
    one.write('hello');
    two.write(Buffer.from([0xff]));
    three.write('x'.repeat(1000));
    assert.equal(String(await readAll(one)), 'hello');
    assert.equal(String(await readAll(two)), 'Message received');
    assert.equal(String(await readAll(three)), 'x'.repeat(100));
  });
});

describe('the client', together, () => {
  const open = (port: number) => openConnection('127.0.0.1', port, { timeout: 60_000 });
  const connected = async (t: TestContext, handler: ClientConnected) =>
    open((await serving(t, handler)).port);

  test('sends all its input and gets every answer, also those that come late', async (t) => {
    const { port } = await start(t, createUpperCaseServer);
    const output = new PassThrough();
    const answers = text(output);
    const connection = await open(port);
    await converse(connection, ['one ', 'two ', 'x'.repeat(MiB)], output);
    output.end();
    assert.equal(await answers, `ONE TWO ${'X'.repeat(MiB)}`);
  });

  test('a connection can send on to a server that has ended its half', async (t) => {
    const server = createServer({ allowHalfOpen: true }, (socket) => socket.end('all I say'));
    const port = await listen(t, server);
    const accepted = once(server, 'connection');
    const [reader, writer] = await open(port);
    const [receiver] = (await accepted) as [Socket];
    assert.equal(String(await reader.readline()), 'all I say');
    writer.write('heard to the end');
    writer.close();
    assert.equal(String(await readAll(receiver)), 'heard to the end');
  });

  test('says so when the server ends before the input does', async (t) => {
    const connection = await connected(t, () => {});
    await assert.rejects(converse(connection, new PassThrough(), new PassThrough()), {
      message: 'the server ended the conversation before the input did',
    });
    await connection[1].waitClosed();
  });

  test('takes no more from the server than its output takes', async (t) => {
    const connection = await connected(t, (_, writer) => writer.write(MUCH));
    const socket = connection[1].getExtraInfo('socket');
    const output = new PassThrough();
    const conversation = converse(connection, [], output);
    await Promise.race([once(socket, 'pause'), once(socket, 'end')]);
    assert.ok(output.readableLength + output.writableLength < MiB);
    output.resume();
    await conversation;
    assert.equal(socket.bytesRead, 8 * MiB);
  });

  test('takes no more from its input than the server takes', async (t) => {
    const connection = await connected(t, async (reader) => {
      while (!reader.atEof()) await reader.read(MiB);
    });
    const socket = connection[1].getExtraInfo('socket');
    let most = 0;
    async function* input() {
      for (let n = 0; n < 16; n++) {
        most = Math.max(most, socket.writableLength);
        yield LOTS.subarray(0, MiB);
      }
    }
    await converse(connection, input(), new PassThrough());
    assert.ok(most < 2 * MiB, `${most} bytes waited`);
  });

  test('says so when the server resets', async (t) => {
    const connection = await connected(t, async (reader, writer) => {
      await reader.read(1);
      reset(writer.getExtraInfo('socket'));
    });
    const input = new PassThrough();
    input.write('hello');
    await assert.rejects(converse(connection, input, new PassThrough()), { code: 'ECONNRESET' });
  });

  test('gives up on a server that does not answer', { skip: noSilence }, async (t) => {
    const port = await silentPort(t);
    await assert.rejects(openConnection('127.0.0.1', port, { timeout: 100 }), {
      name: 'TimeoutError',
      message: `cannot connect to 127.0.0.1:${port}: no answer within 0.1 s`,
    });
  });

  test('gives up when it is told to', async (t) => {
    const { port } = await start(t, createLineServer);
    const stop = new AbortController();
    const connection = await openConnection('127.0.0.1', port, { signal: stop.signal });
    const conversation = converse(connection, new PassThrough(), new PassThrough());
    stop.abort();
    await assert.rejects(conversation, { name: 'AbortError' });
    await assert.rejects(openConnection('127.0.0.1', port, { signal: stop.signal }), {
      name: 'AbortError',
    });
  });
});

describe('the programs', together, () => {
  testUsage(join(import.meta.dirname, 'one-shot-server.ts'));
  testServer(join(import.meta.dirname, 'server.ts'), async (t, port) => {
    const client = await dial(t, port);
    client.end('hello');
    assert.equal(String(await readAll(client)), 'HELLO');
  });

  test('SIGTERM cancels the conversations, and does not wait', { skip: noSignals }, async (t) => {
    const server = run(t, LINE_SERVER, ['--port', '0', '--deadline', '600000']);
    const client = await dial(t, await server.ready());
    client.write('one\nhal');
    assert.equal(String(await readBytes(client, 4)), 'ONE\n');
    const over = server.stop();
    assert.equal((await readAll(client)).length, 0);
    client.end();
    assert.equal(await over, 0);
    assert.match(server.stdout, /^listening on .+\n\S+ connected\n\S+ closed\n$/);
  });

  test('client.ts sends each line of standard input as it comes', async (t) => {
    const { port } = await start(t, createLineServer);
    const client = run(t, CLIENT, ['--port', String(port)]);
    for (const line of ['one', 'two']) {
      client.stdin.write(`${line}\n`);
      await client.printed(new RegExp(`^${line.toUpperCase()}$`, 'm'));
    }
    client.stdin.end();
    assert.equal(await client.exit(), 0, client.stderr);
  });
});

testReadme(import.meta.dirname);
