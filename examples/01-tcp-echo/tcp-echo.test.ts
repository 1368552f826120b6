import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, type TestContext, test } from 'node:test';
import { explain } from '@shared/program';
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
} from '@shared/testing';
import { connectTo, converse } from './client.ts';
import { createEchoServer, type EchoServerOptions } from './server.ts';

const SERVER = join(import.meta.dirname, 'server.ts');
const CLIENT = join(import.meta.dirname, 'client.ts');
const MiB = 1024 * 1024;

/** A server that listens, its log, and the server's side of each connection. */
async function start(t: TestContext, options: EchoServerOptions = {}) {
  const log: string[] = [];
  const server = createEchoServer({ log: (line) => log.push(line), ...options });
  const port = await listen(t, server);
  const open = async (): Promise<[Socket, Socket]> => {
    const accepted = once(server, 'connection');
    return [await dial(t, port), (await accepted)[0] as Socket];
  };
  return { server, port, log, open };
}

describe('the server', { concurrency: true, timeout: 20_000 }, () => {
  test('answers in upper case, however the bytes arrive', async (t) => {
    const { open } = await start(t);
    for (const { name, pieces } of cuts('Grüße, 网络! 🎉\n')) {
      const [client, receiver] = await open();
      await sendPieces(client, receiver, pieces);
      client.end();
      assert.equal((await readAll(client)).toString(), 'GRÜSSE, 网络! 🎉\n', name);
    }
  });

  test('answers each piece before the next one comes', async (t) => {
    const { open } = await start(t);
    const [client] = await open();
    for (const word of ['one', 'two', 'three']) {
      client.write(word);
      assert.equal((await readBytes(client, word.length)).toString(), word.toUpperCase());
    }
  });

  test('keeps two clients apart, half a character of each', async (t) => {
    const { open } = await start(t);
    const [[one, first], [two, second]] = [await open(), await open()];
    const [ä, ö] = [Buffer.from('ä'), Buffer.from('ö')];
    await sendPieces(one, first, [ä.subarray(0, 1)]);
    await sendPieces(two, second, [ö.subarray(0, 1)]);
    one.end(ä.subarray(1));
    two.end(ö.subarray(1));
    assert.equal((await readAll(one)).toString(), 'Ä');
    assert.equal((await readAll(two)).toString(), 'Ö');
  });

  test('replaces bytes that are not UTF-8, at the end of the stream too', async (t) => {
    const { open } = await start(t);
    const [client] = await open();
    client.end(Buffer.from([0x61, 0xff, 0x62, 0xe7, 0xbd]));
    assert.equal((await readAll(client)).toString(), 'A\ufffdB\ufffd');
  });

  test('gives every answer to a client that has ended its half', async (t) => {
    const { open } = await start(t);
    const [client, receiver] = await open();
    assert.ok(receiver.allowHalfOpen, 'the server itself says when its half ends');
    client.end('x'.repeat(5 * MiB));
    const answer = await readAll(client);
    assert.ok(answer.equals(Buffer.alloc(5 * MiB, 'X')));
  });

  test('a late answer needs allowHalfOpen', async (t) => {
    for (const allowHalfOpen of [true, false]) {
      const server = createServer({ allowHalfOpen }, (socket) => {
        socket.on('error', () => {}).resume();
        socket.on('end', () => setImmediate(() => socket.end('late')));
      });
      const client = await dial(t, await listen(t, server));
      client.end();
      assert.equal(String(await readAll(client)), allowHalfOpen ? 'late' : '');
    }
  });

  test('costs little memory for a client that never reads', async (t) => {
    const { open } = await start(t);
    const [client, receiver] = await open();
    let waiting = 0;
    receiver.on('data', () => {
      waiting = Math.max(waiting, receiver.writableLength);
    });
    client.end(Buffer.alloc(16 * MiB, 'x'));
    // Until the server holds the client back; a server that does not reads to the end.
    await Promise.race([once(receiver, 'pause'), once(receiver, 'end')]);
    let received = 0;
    for await (const chunk of client.iterator({ destroyOnReturn: false })) received += chunk.length;
    assert.equal(received, 16 * MiB);
    assert.ok(waiting < MiB, `${waiting} bytes waited in the server`);
  });

  test('outlives a client that resets', async (t) => {
    const { open, log } = await start(t);
    const [good] = await open();
    const [bad, receiver] = await open();
    const client = `127.0.0.1:${bad.localPort}`;
    const closed = new Promise((resolve) => receiver.once('close', resolve));
    reset(bad);
    await closed;
    good.end('still there?');
    assert.equal((await readAll(good)).toString(), 'STILL THERE?');
    assert.deepEqual(log.slice(1, 4), [
      `${client} connected`,
      `${client} failed: read ECONNRESET`,
      `${client} closed`,
    ]);
  });

  test('outlives a client that has reset before it is accepted', async (t) => {
    const { server, log } = await start(t);
    server.emit('connection', new Socket()); // as Node gives it then: without an address
    assert.deepEqual(log, ['unknown connected']);
  });

  test('drops a client that is idle for too long', async (t) => {
    const { open, log } = await start(t, { idleTimeout: 20 });
    const [client] = await open();
    assert.equal((await readAll(client)).length, 0);
    assert.match(log[1] ?? '', / idle for 0.02 s$/);
  });

  test('serves no more clients than it may', async (t) => {
    const { open, port } = await start(t, { maxConnections: 1 });
    const [first] = await open();
    const second = await dial(t, port);
    assert.equal((await readAll(second)).length, 0);
    first.end('me');
    assert.equal((await readAll(first)).toString(), 'ME');
  });

  test('serves 200 clients at once', async (t) => {
    const { port } = await start(t);
    const clients = await Promise.all(Array.from({ length: 200 }, () => dial(t, port)));
    for (const [n, client] of clients.entries()) client.end(`client ${n}`);
    const answers = await Promise.all(clients.map(readAll));
    assert.deepEqual(
      answers.map(String),
      clients.map((_, n) => `CLIENT ${n}`),
    );
  });
});

/** What the program says behind `error: `. */
const failure = (attempt: Promise<unknown>) => attempt.then(() => 'no error', explain);

describe('the client', { concurrency: true, timeout: 20_000 }, () => {
  test('sends all its input and gets every answer, also those that come late', async (t) => {
    const { port } = await start(t);
    const socket = await connectTo({ host: '127.0.0.1', port });
    const output = new PassThrough();
    const answers = text(output);
    assert.equal(socket.timeout, 0, 'connected, it waits as long as it takes');
    assert.equal(socket.listenerCount('timeout'), 0, 'and leaves timeouts to the caller');
    await converse(socket, ['one ', 'two ', 'x'.repeat(MiB)], output);
    output.end();
    assert.equal(await answers, `ONE TWO ${'X'.repeat(MiB)}`);
  });

  test('sends on to a server that has ended its half already', async (t) => {
    const server = createServer({ allowHalfOpen: true }, (socket) => socket.end('all I say'));
    const port = await listen(t, server);
    const accepted = once(server, 'connection');
    const socket = await connectTo({ host: '127.0.0.1', port });
    const [receiver] = (await accepted) as [Socket];
    await once(socket.resume(), 'end');
    socket.end('heard to the end');
    assert.equal(await text(receiver), 'heard to the end');
  });

  test('sends the rest of its input when the server ends before', async (t) => {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
    const port = await listen(t, server);
    const accepted = once(server, 'connection');
    const socket = await connectTo({ host: '127.0.0.1', port });
    const [receiver] = (await accepted) as [Socket];
    // Until the kernel takes no more: the rest waits in the client then.
    while (socket.writableLength === 0) socket.write('x'.repeat(10_000));
    const conversation = converse(socket, ['the rest'], new PassThrough().resume());
    receiver.end('all I say');
    await once(socket, 'end');
    assert.ok((await text(receiver)).endsWith('the rest'));
    await conversation;
  });

  test('says so when the server ends before the input does', async (t) => {
    const server = createServer((socket) => socket.end('bye'));
    const socket = await connectTo({ host: '127.0.0.1', port: await listen(t, server) });
    const conversation = converse(socket, new PassThrough(), new PassThrough().resume());
    assert.equal(
      await failure(conversation),
      'the server ended the conversation before the input did',
    );
  });

  test('says so when the server resets', async (t) => {
    const server = createServer((socket) => socket.once('data', () => reset(socket)));
    const socket = await connectTo({ host: '127.0.0.1', port: await listen(t, server) });
    const [input, output] = [new PassThrough(), new PassThrough()];
    input.write('hello');
    const conversation = converse(socket, input, output.resume());
    assert.equal(await failure(conversation), 'the peer reset the connection (RST)');
    assert.ok(output.writable, 'the output is left to its owner');
  });

  test('says so when the host does not exist', async () => {
    assert.match(
      String(await failure(connectTo({ host: 'no-such-host.invalid', port: 8888 }))),
      /^cannot connect to no-such-host\.invalid: (unknown host|the name cannot be looked up now); /,
    );
  });

  test('gives up on a server that does not answer', { skip: noSilence }, async (t) => {
    const port = await silentPort(t);
    assert.equal(
      await failure(connectTo({ host: '127.0.0.1', port, timeout: 100 })),
      `cannot connect to 127.0.0.1:${port}: no answer within 0.1 s`,
    );
  });

  test('gives up when it is told to', async (t) => {
    const port = await listen(t, createServer());
    const stop = new AbortController();
    const socket = await connectTo({ host: '127.0.0.1', port, signal: stop.signal });
    const conversation = converse(socket, new PassThrough(), new PassThrough());
    stop.abort();
    await assert.rejects(conversation, { name: 'AbortError' });
  });
});

describe('the programs', { concurrency: true, timeout: 120_000 }, () => {
  testUsage(SERVER);
  testServer(SERVER, async (t, port) => {
    const client = await dial(t, port);
    client.end('hello');
    assert.equal((await readAll(client)).toString(), 'HELLO');
  });

  test('client.ts sends its arguments', async (t) => {
    const { port } = await start(t);
    const client = run(t, CLIENT, ['--port', String(port), 'Hello,', 'TCP!']);
    assert.equal(await client.exit(), 0, client.stderr);
    assert.equal(client.stdout, 'HELLO, TCP!\n');
  });

  test('client.ts sends each line of standard input as it comes', async (t) => {
    const { port } = await start(t);
    const client = run(t, CLIENT, ['--port', String(port)]);
    for (const line of ['one', 'two']) {
      client.stdin.write(`${line}\n`);
      await client.printed(new RegExp(`^${line.toUpperCase()}$`, 'm'));
    }
    client.stdin.end();
    assert.equal(await client.exit(), 0, client.stderr);
  });

  test('client.ts says in one line that nobody listens', async (t) => {
    const server = createServer();
    const port = await listen(t, server);
    await once(server.close(), 'close');
    const client = run(t, CLIENT, ['--port', String(port), 'hello']);
    assert.equal(await client.exit(), 1);
    assert.equal(
      client.stderr,
      `error: cannot connect to 127.0.0.1:${port}: connection refused; is the server running there?\n`,
    );
  });
});

testReadme(import.meta.dirname);
