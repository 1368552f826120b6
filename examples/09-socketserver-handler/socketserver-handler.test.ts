import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { EventEmitter, once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { describe, type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { promisify } from 'node:util';
import {
  bind,
  cuts,
  dial,
  readAll,
  readBytes,
  reset,
  run,
  sendPieces,
  testReadme,
  testServer,
  testUsage,
} from '@shared/testing';
import { LineHandler } from './line-server.ts';
import { RequestReader } from './request-reader.ts';
import { MyTCPHandler, strip, upper } from './server.ts';
import * as socketserver from './socketserver.ts';
import {
  BaseRequestHandler,
  DatagramRequestHandler,
  StreamRequestHandler,
  TCPServer,
  ThreadingTCPServer,
  ThreadingUDPServer,
  ThreadingUnixStreamServer,
  UDPServer,
  UnixStreamServer,
} from './socketserver.ts';

const MiB = 1024 * 1024;
/** More than the network takes for a client that does not read. */
const LOTS = Buffer.alloc(16 * MiB);
const noSignals = process.platform === 'win32' ? 'Windows cannot send SIGTERM' : false;
/** What waits for ever here has failed. */
const together = { concurrency: true, timeout: 60_000 };

/** What the handlers of a test say, so that it can wait for it. */
class Steps extends EventEmitter {
  readonly all: string[] = [];
  note(step: string): void {
    this.all.push(step);
    this.emit(step);
  }
}

/** Keeps the errors of a server instead of printing them. */
function collectErrors(server: TCPServer | UDPServer): unknown[] {
  const errors: unknown[] = [];
  server.handleError = (_request: unknown, _address: unknown, error: unknown) => {
    errors.push(error);
  };
  return errors;
}

/** Lets it serve until the end of the test. */
async function start<S extends TCPServer | UDPServer>(t: TestContext, server: S) {
  const errors = collectErrors(server);
  const open = new Set<Socket>();
  (server as TCPServer).socket.on('connection', (socket: Socket) => open.add(socket));
  await server.activated;
  const serving = server.serveForever();
  t.after(async () => {
    const stopped = server.shutdown();
    for (const socket of open) socket.destroy();
    await Promise.allSettled([stopped, serving]);
    await server.serverClose();
  });
  return { server, errors, serving, port: server.serverAddress[1] };
}

const anywhere = ['127.0.0.1', 0] as const;

/** Answers a line in upper case when the test lets it. */
function slowly() {
  const steps = new Steps();
  class Slow extends StreamRequestHandler {
    override async handle() {
      steps.note('handle');
      await this.wfile.write((await this.rfile.readline()).toString().toUpperCase());
      steps.note('answered');
    }
  }
  return { Slow, steps };
}

describe('a handler', together, () => {
  test('is one object for each request, whose three methods are called in order', async (t) => {
    const steps: string[] = [];
    const seen = new Set<unknown>();
    class Handler extends BaseRequestHandler {
      override async setup() {
        seen.add(this);
        await null;
        steps.push('setup');
      }
      override async handle() {
        await null;
        steps.push('handle');
        this.request.write(`${this.clientAddress} ${this.server === server}`);
      }
      override async finish() {
        await null;
        steps.push('finish');
      }
    }
    const { server, port } = await start(t, new TCPServer(anywhere, Handler));
    for (let n = 0; n < 2; n++) {
      const client = await dial(t, port);
      const answer = `127.0.0.1,${client.localPort} true`;
      assert.equal((await readAll(client)).toString(), answer);
      client.end();
    }
    assert.deepEqual(steps, ['setup', 'handle', 'finish', 'setup', 'handle', 'finish']);
    assert.equal(seen.size, 2);
  });

  for (const Server of [TCPServer, ThreadingTCPServer]) {
    test(`that throws does not end a ${Server.name}, and finish runs`, async (t) => {
      const steps: string[] = [];
      class Handler extends BaseRequestHandler {
        override handle() {
          throw new Error('handle failed');
        }
        override finish() {
          steps.push('finish');
        }
      }
      const { port, errors } = await start(t, new Server(anywhere, Handler));
      for (let n = 0; n < 3; n++) {
        const client = await dial(t, port);
        assert.equal((await readAll(client)).length, 0);
        client.end();
      }
      assert.deepEqual(steps, ['finish', 'finish', 'finish']);
      assert.deepEqual(errors.map(String), Array(3).fill('Error: handle failed'));
    });
  }

  test('whose error makes handleError throw, too, does not end a ThreadingTCPServer', async (t) => {
    const printed = t.mock.method(console, 'error', () => {});
    const { Slow } = slowly();
    const { server, port } = await start(t, new ThreadingTCPServer(anywhere, Slow));
    server.handleError = () => {
      throw new Error('handleError failed');
    };
    server.finishRequest = () => {
      Reflect.deleteProperty(server, 'finishRequest');
      throw new Error('the first one fails');
    };
    assert.equal((await readAll(await dial(t, port))).length, 0);
    const client = await dial(t, port);
    client.end('hello\n');
    assert.equal((await readAll(client)).toString(), 'HELLO\n');
    assert.equal(printed.mock.callCount(), 1);
    assert.equal(String(printed.mock.calls[0]?.arguments), 'Error: handleError failed');
  });

  test('whose setup throws is not finished', async (t) => {
    class Handler extends BaseRequestHandler {
      override setup() {
        throw new Error('setup failed');
      }
      override finish() {
        throw new Error('finish has run');
      }
    }
    const { port, errors } = await start(t, new TCPServer(anywhere, Handler));
    assert.equal((await readAll(await dial(t, port))).length, 0);
    assert.deepEqual(errors.map(String), ['Error: setup failed']);
  });

  test('is told that its client has vanished, and the next client is served', async (t) => {
    const { Slow, steps } = slowly();
    const { port, errors } = await start(t, new TCPServer(anywhere, Slow));
    const handling = once(steps, 'handle');
    const bad = await dial(t, port);
    await handling;
    reset(bad);
    const good = await dial(t, port);
    good.end('hello\n');
    assert.equal((await readAll(good)).toString(), 'HELLO\n');
    assert.deepEqual(errors.map(String), ['Error: read ECONNRESET']);
  });

  test('that does not read survives a client that resets', async (t) => {
    const steps = new Steps();
    class Handler extends BaseRequestHandler {
      override async handle() {
        this.request.resume();
        steps.note('handle');
        await new Promise((resolve) => this.request.once('close', resolve));
      }
    }
    const { port, errors } = await start(t, new TCPServer(anywhere, Handler));
    for (let n = 0; n < 2; n++) {
      const handling = once(steps, 'handle');
      const client = await dial(t, port);
      await handling;
      reset(client);
    }
    assert.deepEqual(errors, []);
  });

  test('gives up on a client that says nothing for too long', async (t) => {
    class Handler extends StreamRequestHandler {
      override timeout = 20;
      override async handle() {
        await this.rfile.readline();
      }
    }
    const { port, errors } = await start(t, new TCPServer(anywhere, Handler));
    assert.equal((await readAll(await dial(t, port))).length, 0);
    assert.deepEqual(errors.map(String), ['TimeoutError: cannot read: timed out']);
  });

  test('waits for a client that does not read, but not for ever', async (t) => {
    let written = 0;
    class Handler extends StreamRequestHandler {
      override timeout = 50;
      override async handle() {
        for (; written < 256 * MiB; written += MiB) await this.wfile.write(LOTS.subarray(0, MiB));
      }
    }
    const { server, port, errors } = await start(t, new ThreadingTCPServer(anywhere, Handler));
    const over = new Promise<void>((resolve) => {
      server.shutdownRequest = (request) => {
        request.destroy();
        resolve();
      };
    });
    const client = await dial(t, port);
    client.pause();
    await over;
    assert.ok(written < 64 * MiB, `${written} bytes were written to nobody`);
    assert.deepEqual(errors.map(String), ['TimeoutError: cannot write: timed out']);
  });

  test('cannot write to a client that is gone, or that goes while it waits', async (t) => {
    for (const late of [true, false]) {
      const steps = new Steps();
      class Handler extends StreamRequestHandler {
        override async handle() {
          const gone = new Promise((resolve) => this.request.once('close', resolve));
          const writing = late ? gone.then(() => this.wfile.write('x')) : this.wfile.write(LOTS);
          steps.note('handle');
          await writing;
        }
      }
      const { server, port, errors } = await start(t, new TCPServer(anywhere, Handler));
      const handling = once(steps, 'handle');
      const client = await dial(t, port);
      await handling;
      reset(client);
      await server.shutdown(); // waits for the handler
      assert.equal(errors.length, 1);
      assert.match(String((errors[0] as NodeJS.ErrnoException).code), /^(ECONNRESET|EPIPE)$/);
    }
  });

  test('gets all that it has sent through to a client that reads late', async (t) => {
    class Handler extends StreamRequestHandler {
      override async handle() {
        const listeners = () =>
          this.request.listenerCount('drain') + this.request.listenerCount('close');
        const before = listeners();
        for (let n = 0; n < 8; n++) await this.wfile.write(Buffer.alloc(MiB, 'x'));
        assert.equal(listeners(), before);
      }
    }
    const { port, errors } = await start(t, new TCPServer(anywhere, Handler));
    const client = await dial(t, port);
    client.end();
    assert.equal((await readAll(client)).length, 8 * MiB);
    assert.deepEqual(errors, []);
  });

  test('leaves bytes unread, and the client has its answer nevertheless', async (t) => {
    class Handler extends StreamRequestHandler {
      override async handle() {
        await this.rfile.read1(1);
        await this.wfile.write('enough');
      }
    }
    const { port } = await start(t, new TCPServer(anywhere, Handler));
    const client = await dial(t, port);
    client.write(LOTS.subarray(0, 8 * MiB));
    assert.equal((await readAll(client)).toString(), 'enough');
    client.end();
    await once(client, 'close');
    assert.equal(client.errored, null);
  });

  test('answers a client that has ended its half', async (t) => {
    class Handler extends StreamRequestHandler {
      override async handle() {
        let count = 0;
        for await (const _ of this.rfile) count++;
        await nextTurn(); // late: the client's end has been seen
        await this.wfile.write(`${count} lines`);
      }
    }
    const { port, errors } = await start(t, new TCPServer(anywhere, Handler));
    const client = await dial(t, port);
    client.end('one\ntwo\n');
    assert.equal((await readAll(client)).toString(), '2 lines');
    assert.deepEqual(errors, []);
  });

  test('sends small writes at once if it disables Nagle', async (t) => {
    const calls: unknown[] = [];
    class Handler extends StreamRequestHandler {
      override disableNagleAlgorithm = true;
      override setup() {
        this.request.setNoDelay = (...args) => {
          calls.push(args);
          return this.request;
        };
        super.setup();
      }
    }
    const { port } = await start(t, new TCPServer(anywhere, Handler));
    await readAll(await dial(t, port));
    assert.deepEqual(calls, [[]]);
  });
});

describe('rfile', together, () => {
  test('reads lines however the bytes arrive', async (t) => {
    const { port, server } = await start(t, new ThreadingTCPServer(anywhere, LineHandler));
    const accepted = once(server.socket, 'connection');
    const client = await dial(t, port);
    const [receiver] = await accepted;
    const all = [...cuts('Grüße\n\n网络 🎉\n')];
    for (const { pieces } of all) await sendPieces(client, receiver, pieces);
    client.end();
    const expected = 'GRÜSSE\n\n网络 🎉\n'.repeat(all.length);
    assert.equal((await readAll(client)).toString(), expected);
  });

  test('reads as Python does: readline(limit), read(n), and what is left', async () => {
    const reader = new RequestReader(
      Readable.from(['on', 'e\ntwo', ' three\nfour', '\nfive'].map((text) => Buffer.from(text))),
    );
    const rest: string[] = [];
    assert.equal((await reader.readline()).toString(), 'one\n');
    assert.equal((await reader.readline(5)).toString(), 'two t');
    assert.equal((await reader.read(7)).toString(), 'hree\nfo');
    assert.equal((await reader.read1(1)).toString(), 'u');
    for await (const line of reader) rest.push(line.toString());
    assert.deepEqual(rest, ['r\n', 'five']);
    for (const end of [reader.readline(), reader.read(9), reader.read1(9)]) {
      assert.equal((await end).length, 0);
    }
  });

  test('holds back a client that sends faster than it is read', async (t) => {
    const steps = new Steps();
    class Handler extends StreamRequestHandler {
      override async handle() {
        await this.rfile.read1(1);
        steps.note('handle');
        await once(steps, 'go on');
      }
    }
    const { server, port } = await start(t, new TCPServer(anywhere, Handler));
    const [accepted, handling] = [once(server.socket, 'connection'), once(steps, 'handle')];
    const client = await dial(t, port);
    const [receiver] = (await accepted) as [Socket];
    client.write(LOTS);
    await handling;
    // Turns of the event loop in which a server that goes on reading would have read all.
    for (let turn = 0; turn < 500; turn++) await nextTurn();
    steps.note('go on');
    assert.ok(receiver.bytesRead < MiB, `${receiver.bytesRead} bytes were read ahead`);
  });

  test('neither copies nor searches a long line anew for each of its bytes', async (t) => {
    const allocate = t.mock.method(Buffer, 'allocUnsafe');
    let searched = 0;
    const { indexOf } = Buffer.prototype;
    t.mock.method(Buffer.prototype, 'indexOf', function (this: Buffer, byte: number, from: number) {
      searched += this.length - from;
      return indexOf.call(this, byte, from);
    });
    const bytes = Array.from({ length: 5_000 }, () => Buffer.from('x'));
    const reader = new RequestReader(Readable.from(bytes));
    assert.equal((await reader.readline()).toString(), 'x'.repeat(5_000));
    const copies = allocate.mock.calls.filter(({ arguments: [size] }) => size > 1000);
    assert.ok(copies.length < 100, `${copies.length} copies`);
    assert.ok(searched < 50_000, `${searched} bytes were looked at`);
  });
});

describe('a TCPServer', together, () => {
  test('handles one request after another, a ThreadingTCPServer all at once', async (t) => {
    for (const [Server, expected] of [
      [TCPServer, ['handle', 'answered', 'handle', 'answered']],
      [ThreadingTCPServer, ['handle', 'handle', 'answered', 'answered']],
    ] as const) {
      const { Slow, steps } = slowly();
      const { port, server } = await start(t, new Server(anywhere, Slow));
      const accepted = once(server.socket, 'connection');
      const one = await dial(t, port);
      await accepted;
      const both = once(server.socket, 'connection');
      const two = await dial(t, port);
      await both;
      two.end('two\n');
      if (Server === ThreadingTCPServer) await readAll(two);
      one.end('one\n');
      assert.equal((await readAll(one)).toString(), 'ONE\n');
      if (Server === TCPServer) assert.equal((await readAll(two)).toString(), 'TWO\n');
      assert.deepEqual(steps.all, expected, Server.name);
    }
  });

  test('denies those for whom there is no place in the queue', async (t) => {
    class Server extends TCPServer {
      override requestQueueSize = 2;
    }
    const { Slow } = slowly();
    const { port } = await start(t, new Server(anywhere, Slow));
    const clients: Socket[] = [];
    for (let n = 0; n < 3; n++) clients.push(await dial(t, port));
    // The reset may come before it knows that it is connected.
    const last = connect({ port, host: '127.0.0.1' });
    await assert.rejects(once(last.resume(), 'close'), { code: 'ECONNRESET' });
    for (const client of clients) {
      client.end('hello\n');
      assert.equal((await readAll(client)).toString(), 'HELLO\n');
    }
  });

  test('hangs up on those that verifyRequest refuses, also by an error', async (t) => {
    const verdicts = [false, new Error('cannot tell'), true];
    class Server extends TCPServer {
      override verifyRequest() {
        const verdict = verdicts.shift();
        if (verdict instanceof Error) throw verdict;
        return verdict === true;
      }
    }
    const { Slow, steps } = slowly();
    const { port, errors } = await start(t, new Server(anywhere, Slow));
    for (let n = 0; n < 2; n++) {
      const client = await dial(t, port);
      assert.equal((await readAll(client)).length, 0);
    }
    assert.deepEqual(steps.all, []);
    assert.deepEqual(errors.map(String), ['Error: cannot tell']);
    const client = await dial(t, port);
    client.end('hello\n');
    assert.equal((await readAll(client)).toString(), 'HELLO\n');
  });

  test('passes over a getRequest that fails as a network does; a bug in it ends the server', async (t) => {
    const { Slow } = slowly();
    const { server, port, serving } = await start(t, new TCPServer(anywhere, Slow));
    const failing = (error: Error) => {
      server.getRequest = () => {
        Reflect.deleteProperty(server, 'getRequest');
        server.getRequest()?.[0].destroy();
        throw error;
      };
    };
    failing(Object.assign(new Error(), { code: 'ECONNRESET', syscall: 'accept' }));
    assert.equal((await readAll(await dial(t, port))).length, 0);
    const good = await dial(t, port);
    good.end('hello\n');
    assert.equal((await readAll(good)).toString(), 'HELLO\n');
    failing(new TypeError('a bug'));
    const ended = assert.rejects(serving, { message: 'a bug' });
    await dial(t, port);
    await ended;
  });

  test('closes what the client does not close in time, or does not read, though it sends', async (t) => {
    for (const [settings, answer] of [
      [{ closeTimeout: 20 }, 'short'],
      [{ sendTimeout: 300, closeTimeout: 60_000 }, LOTS],
    ] as const) {
      class Handler extends BaseRequestHandler {
        override handle() {
          this.request.write(answer);
        }
      }
      const made = Object.assign(new TCPServer(anywhere, Handler), settings as object);
      const { server, port } = await start(t, made);
      const closed = new Promise<void>((resolve) => {
        server.closeRequest = (request) => resolve(void request.destroy());
      });
      const client = await dial(t, port);
      client.pause();
      const sending = setInterval(() => client.write('x'), 5);
      t.after(() => clearInterval(sending));
      await closed;
      clearInterval(sending);
    }
  });

  test('goes on after an error of its socket, and so does a UDPServer', async (t) => {
    const { Slow } = slowly();
    const { server, port } = await start(t, new TCPServer(anywhere, Slow));
    const { server: udp } = await start(t, new UDPServer(anywhere, DatagramRequestHandler));
    udp.socket.emit('error', new Error('ECONNREFUSED'));
    server.socket.emit('error', new Error('EMFILE'));
    const client = await dial(t, port);
    client.end('hello\n');
    assert.equal((await readAll(client)).toString(), 'HELLO\n');
  });

  test('cannot serve twice at once', async (t) => {
    const { Slow, steps } = slowly();
    const { server, port } = await start(t, new TCPServer(anywhere, Slow));
    const already = { message: 'cannot serve: this server is serving already' };
    await assert.rejects(server.handleRequest(), already);
    const handling = once(steps, 'handle');
    const client = await dial(t, port);
    await handling;
    await assert.rejects(server.serveForever(), already);
    const stopped = server.shutdown().then(() => steps.note('shutdown'));
    client.end('hello\n');
    await stopped;
    assert.deepEqual(steps.all, ['handle', 'answered', 'shutdown']);
  });

  test('can listen again at once where a server has just closed its connections', async (t) => {
    const { Slow } = slowly();
    let address: socketserver.Address = anywhere;
    for (let n = 0; n < 2; n++) {
      await using server = new TCPServer(address, Slow);
      await server.activated;
      address = server.serverAddress;
      const handled = server.handleRequest();
      const client = await dial(t, address[1]);
      client.write('hello\n');
      await readAll(client); // the server's FIN is first: it is its side that has to wait (TIME_WAIT)
      client.end();
      await handled;
    }
  });

  test('rejects what Python raises: a port in use', async (t) => {
    const { server } = await start(t, new TCPServer(anywhere, BaseRequestHandler));
    const second = new TCPServer(server.serverAddress, BaseRequestHandler);
    // Nobody waits for it yet: that must not end the process as an unhandled rejection.
    await once(second.socket, 'error');
    await nextTurn(); // before which Node would end the process
    const stopped = second.shutdown();
    await assert.rejects(second.serveForever(), { code: 'EADDRINUSE' });
    await stopped;
    await second.serverClose();
  });

  test('that is closed before it is bound does not listen later', async (t) => {
    const server = new TCPServer(anywhere, BaseRequestHandler);
    t.after(() => server.socket.close());
    await server.serverClose();
    await server.activated;
    assert.equal(server.socket.listening, false);
  });

  test('handles one request with handleRequest, or none in time', async (t) => {
    let timeouts = 0;
    class Server extends TCPServer {
      override timeout = 10;
      override handleTimeout() {
        timeouts++;
      }
    }
    const { Slow } = slowly();
    await using server = new Server(anywhere, Slow);
    await server.handleRequest();
    assert.equal(timeouts, 1);
    const accepted = once(server.socket, 'connection');
    const client = await dial(t, server.serverAddress[1]);
    await accepted;
    client.end('hello\n');
    await server.handleRequest();
    assert.equal((await readAll(client)).toString(), 'HELLO\n');
    assert.equal(timeouts, 1);
  });

  test('prints what handleError gets in one line, a bug with its stack', async (t) => {
    const printed: unknown[][] = [];
    t.mock.method(console, 'error', (...line: unknown[]) => printed.push(line));
    const server = new TCPServer(anywhere, BaseRequestHandler, false);
    const bug = new Error('a bug');
    const vanished = Object.assign(new Error(), { code: 'ECONNRESET', syscall: 'read' });
    server.handleError({} as Socket, ['127.0.0.1', 9], bug);
    server.handleError({} as Socket, ['127.0.0.1', 9], vanished);
    const line = '-'.repeat(40);
    const title = 'Exception occurred during processing of request from 127.0.0.1:9';
    assert.deepEqual(printed.flat(), [
      ...[line, title, bug, line],
      ...[line, title, 'the peer reset the connection (RST)', line],
    ]);
  });
});

describe('shutdown', together, () => {
  test('waits for the request at hand, and leaves the next one in the queue', async (t) => {
    const { Slow, steps } = slowly();
    const { port, server, serving } = await start(t, new TCPServer(anywhere, Slow));
    const handling = once(steps, 'handle');
    const one = await dial(t, port);
    await handling;
    const accepted = once(server.socket, 'connection');
    const two = await dial(t, port);
    await accepted;
    two.write('two\n');
    const stopped = server.shutdown().then(() => steps.note('shutdown'));
    one.end('one\n');
    assert.equal((await readAll(one)).toString(), 'ONE\n');
    await Promise.all([stopped, serving]);
    assert.deepEqual(steps.all, ['handle', 'answered', 'shutdown']);
    // As in Python: those who still wait are reset when the server is closed.
    await server.serverClose();
    await once(two.resume(), 'close').catch(() => {});
    assert.equal((two.errored as NodeJS.ErrnoException).code, 'ECONNRESET');
  });

  test('does not wait for threads: serverClose does, unless it is told not to', async (t) => {
    for (const setting of [{}, { daemonThreads: true }, { blockOnClose: false }] as object[]) {
      const { Slow, steps } = slowly();
      const made = Object.assign(new ThreadingTCPServer(anywhere, Slow), setting);
      const { port, server } = await start(t, made);
      const handling = once(steps, 'handle');
      const client = await dial(t, port);
      await handling;
      await server.shutdown();
      const closed = server.serverClose().then(() => steps.note('closed'));
      if (Object.keys(setting).length > 0) await closed;
      client.end('hello\n');
      assert.equal((await readAll(client)).toString(), 'HELLO\n');
      await closed;
      const order =
        Object.keys(setting).length > 0 ? ['closed', 'answered'] : ['answered', 'closed'];
      assert.deepEqual(steps.all, ['handle', ...order], JSON.stringify(setting));
    }
  });

  test('before serveForever waits for it, and lets it return at once; later it does not wait', async () => {
    await using server = new TCPServer(anywhere, BaseRequestHandler);
    const steps: string[] = [];
    const stopped = server.shutdown().then(() => steps.push('shutdown'));
    await server.activated;
    steps.push('activated');
    await server.serveForever();
    await stopped;
    assert.deepEqual(steps, ['activated', 'shutdown']);
    await server.shutdown();
    await server.serveForever(); // returns at once, which is Python's surprise, too
  });

  test('may be called by a handler that does not wait for it', async (t) => {
    class Handler extends BaseRequestHandler {
      override handle() {
        void this.server.shutdown();
      }
    }
    const { port, serving } = await start(t, new TCPServer(anywhere, Handler));
    await readAll(await dial(t, port));
    await serving;
  });

  test('does not wait for the next poll, which is for serviceActions', async () => {
    let actions = 0;
    const acted = new EventEmitter();
    class Server extends TCPServer {
      override serviceActions() {
        if (++actions === 3) acted.emit('third');
      }
    }
    await using server = new Server(anywhere, BaseRequestHandler);
    const third = once(acted, 'third');
    const polling = server.serveForever(5);
    await third;
    await server.shutdown();
    await polling;
    const serving = server.serveForever(2 ** 30);
    await nextTurn(); // now it waits: it does not tell, and comes to it without any I/O
    await server.shutdown();
    await serving;
  });
});

describe('a UDPServer', together, () => {
  class Upper extends DatagramRequestHandler {
    override async handle() {
      for await (const line of this.rfile) await this.wfile.write(line.toString().toUpperCase());
    }
  }

  async function ask(t: TestContext, port: number, text: string): Promise<string> {
    const client = createSocket('udp4');
    await bind(t, client);
    const answer = once(client, 'message');
    client.send(text, port, '127.0.0.1');
    return String((await answer)[0]);
  }

  for (const Server of [UDPServer, ThreadingUDPServer]) {
    test(`answers each datagram with one: ${Server.name}`, async (t) => {
      const { port, errors } = await start(t, new Server(anywhere, Upper));
      assert.equal(await ask(t, port, 'hello\n网络 ß'), 'HELLO\n网络 SS');
      assert.equal(await ask(t, port, ''), '');
      assert.deepEqual(errors, []);
    });
  }

  test('sends what was written before an error, and goes on', async (t) => {
    class Handler extends DatagramRequestHandler {
      override async handle() {
        await this.wfile.write(`so far ${this.socket === server.socket}`);
        throw new Error('no further');
      }
    }
    const { server, port, errors } = await start(t, new UDPServer(anywhere, Handler));
    for (let n = 0; n < 2; n++) assert.equal(await ask(t, port, 'hello'), 'so far true');
    assert.deepEqual(errors.map(String), Array(2).fill('Error: no further'));
  });

  test('says that an answer does not fit into a datagram, and goes on', async (t) => {
    class Handler extends DatagramRequestHandler {
      override async handle() {
        await this.wfile.write('x'.repeat(this.packet.toString() === 'much' ? 70_000 : 1));
      }
    }
    const { server, port, errors } = await start(t, new UDPServer(anywhere, Handler));
    const failed = new Promise((resolve) => {
      server.handleError = (_request, _address, error) => resolve(errors.push(error));
    });
    const client = createSocket('udp4');
    await bind(t, client);
    client.send('much', port, '127.0.0.1');
    await failed;
    assert.equal((errors[0] as NodeJS.ErrnoException).code, 'EMSGSIZE');
    assert.equal(await ask(t, port, 'little'), 'x');
  });

  test('cuts off what is over maxPacketSize, and keeps none of it', async (t) => {
    let whole: unknown;
    class Handler extends DatagramRequestHandler {
      override async handle() {
        const kept = this.packet.buffer === whole;
        await this.wfile.write(`${this.packet.length} bytes, the others kept: ${kept}`);
      }
    }
    const { server, port } = await start(t, new UDPServer(anywhere, Handler));
    server.socket.on('message', (data) => {
      whole = data.buffer;
    });
    assert.equal(await ask(t, port, 'x'.repeat(9000)), '8192 bytes, the others kept: false');
  });

  test('shares its address with another one only if both allow it', async (t) => {
    class Sharing extends UDPServer {
      override allowReuseAddress = true;
    }
    for (const Server of [UDPServer, Sharing]) {
      const { server } = await start(t, new Server(anywhere, Upper));
      await using second = new Server(server.serverAddress, Upper);
      if (Server === Sharing) await second.activated;
      else await assert.rejects(second.activated, { code: 'EADDRINUSE' });
    }
  });

  test('drops datagrams that find no place, and starts no more threads than it may', async (t) => {
    const handled: string[] = [];
    let [running, most] = [0, 0];
    const steps = new Steps();
    const opened = once(steps, 'open');
    class Handler extends BaseRequestHandler<socketserver.Datagram> {
      override async handle() {
        most = Math.max(most, ++running);
        await opened;
        running--;
        if (handled.push(String(this.request[0])) === 4) steps.note('four');
      }
    }
    const made = new ThreadingUDPServer(anywhere, Handler);
    Object.assign(made, { maxThreads: 2, requestQueueSize: 1 });
    const { server, port } = await start(t, made);
    const client = createSocket('udp4');
    await bind(t, client);
    const arrived = new Promise<void>((resolve) => {
      let count = 0;
      server.socket.on('message', () => ++count === 6 && resolve());
    });
    for (let n = 0; n < 6; n++) client.send(`${n}`, port, '127.0.0.1');
    await arrived;
    const four = once(steps, 'four');
    steps.note('open');
    await four;
    // Two were handled, one waited for a thread, one in the queue: two are lost.
    assert.deepEqual(handled, ['0', '1', '2', '3']);
    assert.equal(most, 2);
    assert.equal(server.getRequest(), undefined);
  });

  test('is closed twice without an error', async () => {
    const server = new UDPServer(anywhere, Upper);
    await server.serverClose();
    await server.serverClose();
  });
});

describe('a server at a path', together, () => {
  for (const Server of [UnixStreamServer, ThreadingUnixStreamServer]) {
    test(`answers, and takes the path away at its end: ${Server.name}`, async (t) => {
      const folder = mkdtempSync(join(tmpdir(), 'socketserver-'));
      t.after(() => rmSync(folder, { recursive: true }));
      const windows = process.platform === 'win32';
      const path = windows
        ? `\\\\.\\pipe\\${folder.replaceAll('\\', '-')}`
        : join(folder, 'socket');
      class Handler extends StreamRequestHandler {
        override async handle() {
          const line = (await this.rfile.readline()).toString();
          await this.wfile.write(`${JSON.stringify(this.clientAddress)} ${line.toUpperCase()}`);
        }
      }
      const { server, errors } = await start(t, new Server(path, Handler));
      assert.deepEqual(server.serverAddress, [path, 0]);
      const client = connect({ path, allowHalfOpen: true });
      t.after(() => client.destroy());
      client.end('hello\n');
      assert.equal((await readAll(client)).toString(), '["",0] HELLO\n');
      assert.deepEqual(errors, []);
      await server.serverClose();
      assert.equal(existsSync(path), false);
    });
  }
});

/** Wraps every hook of a server and of a handler so that it writes down its name. */
const TRACE = `
import socketserver, socket, sys, threading
SERVER = 'get_request verify_request process_request finish_request handle_error shutdown_request close_request server_bind server_activate server_close'.split()
log = []
done = threading.Event()
def traced(Class, names):
    def hook(name):
        real = getattr(Class, name)
        def call(self, *args):
            log.append(name)
            try:
                return None if name == 'handle_error' else real(self, *args)
            finally:
                if name == 'close_request': done.set()
        return call
    return type(Class.__name__, (Class,), {name: hook(name) for name in names})
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        line = self.rfile.readline()
        if line == b'crash\\n': raise ValueError
        self.wfile.write(line.upper())
Server = traced(socketserver.TCPServer, SERVER)
with Server(('127.0.0.1', 0), traced(Handler, ['setup', 'handle', 'finish'])) as server:
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    for line in [b'hello\\n', b'crash\\n']:
        done.clear()
        with socket.create_connection(server.server_address) as client:
            client.sendall(line)
            client.recv(100)
        done.wait()
    server.shutdown()
print(' '.join(log))
for C in map(lambda name: getattr(socketserver, name), socketserver.__all__):
    print(C.__name__, *[name for name in dir(C) if name[0] != '_'])
`;

const camelCase = (text: string) => text.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());
let asked: Promise<string[][] | undefined> | undefined;

/** The hooks that Python's own module calls, then each of its classes with its names; undefined where there is no Python. */
async function askPython(): Promise<string[][] | undefined> {
  for (const name of ['python3', 'python']) {
    try {
      const { stdout } = await promisify(execFile)(name, ['-c', TRACE]);
      const lines = camelCase(stdout).trim().split(/\r?\n/);
      return lines.map((line) => line.split(' '));
    } catch (error) {
      // 9009: what stands for Python on a Windows that has none.
      if (!['ENOENT', 9009].includes((error as { code: string | number }).code)) throw error;
    }
  }
  return undefined;
}

describe("Python's own socketserver", together, () => {
  const python = async (t: TestContext) => {
    asked ??= askPython();
    return (await asked) ?? void t.skip('there is no Python here to compare with');
  };

  test('calls the same hooks in the same order', async (t) => {
    const answer = await python(t);
    if (answer === undefined) return;
    const log: string[] = [];
    const done = new EventEmitter();
    class Handler extends StreamRequestHandler {
      override async handle() {
        const line = (await this.rfile.readline()).toString();
        if (line === 'crash\n') throw new Error('told to');
        await this.wfile.write(line.toUpperCase());
      }
    }
    const trace = (prototype: object, names: string[]) => {
      for (const name of names) {
        const real = (prototype as Record<string, (...args: unknown[]) => unknown>)[name];
        Object.defineProperty(prototype, name, {
          value(...args: unknown[]) {
            log.push(name);
            if (name === 'closeRequest') done.emit('closed');
            return name === 'handleError' ? undefined : real?.apply(this, args);
          },
        });
      }
    };
    class Server extends TCPServer {}
    const [, hooks = ''] = TRACE.match(/'(get_.*)'/) ?? [];
    trace(Server.prototype, camelCase(hooks).split(' '));
    trace(Handler.prototype, ['setup', 'handle', 'finish']);
    {
      await using server = new Server(anywhere, Handler);
      await server.activated;
      const serving = server.serveForever();
      for (const line of ['hello\n', 'crash\n']) {
        const closed = once(done, 'closed');
        const client = await dial(t, server.serverAddress[1]);
        client.write(line);
        await readAll(client);
        client.end();
        await closed;
      }
      await server.shutdown();
      await serving;
    }
    assert.deepEqual(log, answer[0]);
  });

  test('has no class, hook or setting that is not here by the same name', async (t) => {
    const answer = await python(t);
    if (answer === undefined) return;
    // What Node does by itself, or cannot do.
    const left = [
      'addressFamily',
      'socketType',
      'allowReusePort',
      'rbufsize',
      'wbufsize',
      'fileno',
    ];
    const leftClasses = /Fork|UnixDatagram/;
    const server = (Server: typeof TCPServer) => new Server(anywhere, BaseRequestHandler, false);
    const missing: string[] = [];
    let count = 0;
    for (const [name = '', ...members] of answer.slice(1)) {
      if (leftClasses.test(name)) continue;
      const Class = (socketserver as Record<string, unknown>)[name];
      if (Class === undefined) missing.push(name);
      const own =
        name === 'ThreadingMixIn'
          ? server(ThreadingTCPServer)
          : name.endsWith('Handler')
            ? new (Class as typeof BaseRequestHandler)({} as Socket, anywhere, server(TCPServer))
            : server(Class as typeof TCPServer);
      const lacking = members.filter((member) => !left.includes(member) && !(member in own));
      missing.push(...lacking.map((member) => `${name}.${member}`));
      count += members.length;
    }
    assert.deepEqual(missing, []);
    assert.ok(count > 150, `${count} names`);
  });
});

describe('the programs', together, () => {
  test("strip and upper are those of Python's bytes", () => {
    const bytes = Buffer.from(' \t\v\u00a0aZé网\f\r\n');
    assert.equal(upper(strip(bytes)).toString(), '\u00a0AZé网');
    assert.equal(strip(Buffer.from(' \n')).length, 0);
    const half = Buffer.from('网').subarray(0, 2);
    assert.deepEqual(upper(half), half);
  });

  testServer(join(import.meta.dirname, 'server.ts'), async (t, port) => {
    const silent = await dial(t, port);
    const client = await dial(t, port);
    client.write('  hello, é \r\n');
    assert.equal((await readAll(client)).toString(), 'HELLO, é');
    silent.destroy();
  });

  test('server.ts shows what a client sends without obeying it', async (t) => {
    const shown = t.mock.method(console, 'log', () => {});
    const { port } = await start(t, new TCPServer(anywhere, MyTCPHandler));
    const client = await dial(t, port);
    client.write('\u001b[2J\u009b2J');
    await readAll(client);
    const lines = shown.mock.calls.map((call) => call.arguments[0]);
    assert.deepEqual(lines, ['[+] connection from 127.0.0.1', "[*] received: '\\x1B[2J\\x9B2J'"]);
  });

  testUsage(join(import.meta.dirname, 'line-server.ts'));
  test('line-server.ts answers lines until SIGTERM', { skip: noSignals }, async (t) => {
    const program = run(t, join(import.meta.dirname, 'line-server.ts'), ['--port', '0']);
    const client = await dial(t, await program.ready());
    client.write('one\n');
    assert.equal((await readBytes(client, 4)).toString(), 'ONE\n');
    client.end('zwei: ß\nhalf a li');
    assert.equal((await readAll(client)).toString(), 'ZWEI: SS\n');
    assert.equal(await program.stop(), 0, program.stderr);
    assert.equal(program.stderr, '');
  });

  test('the line server takes lines of 64 KiB, and refuses longer ones', async (t) => {
    const { port, errors } = await start(t, new ThreadingTCPServer(anywhere, LineHandler));
    const client = await dial(t, port);
    client.write(`${'x'.repeat(65_536)}\n`);
    client.write('y'.repeat(200_000));
    assert.equal(
      (await readAll(client)).toString(),
      `${'X'.repeat(65_536)}\nerror: cannot accept line: the limit is 65,536 bytes\n`,
    );
    assert.deepEqual(errors, []);
  });

  test('the line server serves 50 clients at once, two of them badly behaved', async (t) => {
    const { port } = await start(t, new ThreadingTCPServer(anywhere, LineHandler));
    const clients = await Promise.all(Array.from({ length: 50 }, () => dial(t, port)));
    const [bad, silent, ...good] = clients as [Socket, Socket, ...Socket[]];
    reset(bad);
    silent.write('half');
    for (const [n, client] of good.entries()) client.end(`client ${n}\n`);
    const answers = await Promise.all(good.map(readAll));
    assert.deepEqual(
      answers.map(String),
      good.map((_, n) => `CLIENT ${n}\n`),
    );
  });
});

testReadme(import.meta.dirname);
