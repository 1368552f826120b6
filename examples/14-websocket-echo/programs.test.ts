/** The client and the programs, as processes too. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, type TestContext, test } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import { listen, run, testProgram, testReadme } from '@shared/testing';
import { WebSocket } from 'ws';
import { connectTo, converse } from './client.ts';
import { PROGRAM_OPTIONS } from './echo.ts';
import { BINARY, CLOSE, encodeFrame, TEXT } from './frames.ts';
import { createFromScratchServer } from './from-scratch.ts';
import { acceptHandshake } from './handshake.ts';
import { createEchoServer } from './server.ts';

const file = (name: string) => join(import.meta.dirname, name);
const noOpenssl =
  spawnSync('openssl', ['version']).status === 0 ? false : 'openssl is not installed here';

/** A server that speaks to each client as `answer` does, behind a good handshake if it is to. */
async function fakeServer(t: TestContext, answer: (socket: Socket, handshake: string) => void) {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (request) => {
      const [, key] = String(request).match(/Sec-WebSocket-Key: (.+)\r/) ?? [];
      const headers = { 'sec-websocket-key': key };
      answer(socket, acceptHandshake({ headers } as unknown as IncomingMessage));
    });
  });
  return `ws://127.0.0.1:${await listen(t, server)}/ws`;
}

describe('the client', { concurrency: true }, () => {
  /** Has a conversation: what it prints, or how it fails. */
  async function talk(url: string, ...messages: string[]): Promise<string> {
    const output = new PassThrough();
    await converse(await connectTo(url), messages, output);
    output.end();
    return await text(output);
  }

  test('sends each message when the one before is answered, then closes with 1000', async (t) => {
    const log: string[] = [];
    const server = createEchoServer({ log: (line) => log.push(line.replace(/^[\d.:]+ /, '')) });
    const url = `ws://127.0.0.1:${await listen(t, server)}`;
    assert.equal(await talk(url, 'one', '', '网络\n'), 'Echo: one\nEcho: \nEcho: 网络\n\n');
    assert.deepEqual(log, ['connected', 'closed: 1000 ""']);
  });

  test('shows what the server says at once, and bytes as hex', async (t) => {
    const url = await fakeServer(t, (socket, handshake) => {
      const greeting = [encodeFrame(TEXT, 'welcome'), encodeFrame(BINARY, Buffer.from('hi'))];
      socket.write(Buffer.concat([Buffer.from(handshake), ...greeting]));
      socket.once('data', () => socket.write(encodeFrame(CLOSE, Buffer.from([3, 232]))));
    });
    assert.equal(await talk(url), 'welcome\n2 bytes: 6869\n');
  });

  test('offers no compression', async (t) => {
    const server = createEchoServer();
    const upgraded = once(server, 'upgrade');
    await connectTo(`ws://127.0.0.1:${await listen(t, server)}`);
    const [request] = (await upgraded) as [IncomingMessage];
    assert.equal(request.headers['sec-websocket-extensions'], undefined);
  });

  test('stops reading while nobody reads its output', async (t) => {
    const url = await fakeServer(t, (socket, handshake) => {
      socket.write(handshake);
      socket.write(encodeFrame(TEXT, 'x'.repeat(100_000)));
    });
    const stop = new AbortController();
    const ws = await connectTo(url);
    const output = new PassThrough();
    const shown = once(ws, 'message');
    const conversation = converse(ws, new PassThrough(), output, { signal: stop.signal });
    await shown;
    assert.equal(ws.isPaused, true);
    output.resume();
    await once(output, 'drain');
    assert.equal(ws.isPaused, false);
    ws.terminate();
    await assert.rejects(conversation, {
      message: 'the server ended the conversation before the input did: 1006 without a close frame',
    });
  });

  test('says so when the server ends before the input does', async (t) => {
    const stop = new AbortController();
    const server = createFromScratchServer({ signal: stop.signal });
    const ws = await connectTo(`ws://127.0.0.1:${await listen(t, server)}`);
    const conversation = converse(ws, new PassThrough(), new PassThrough());
    stop.abort();
    await assert.rejects(conversation, {
      message:
        'the server ended the conversation before the input did: 1001 the server is stopping',
    });
  });

  test('says so when the server breaks the protocol', async (t) => {
    const url = await fakeServer(t, (socket, handshake) => {
      socket.write(handshake);
      socket.write(Buffer.from([0xc1, 0]));
    });
    await assert.rejects(talk(url, 'hello'), {
      message: 'the server broke the protocol: Invalid WebSocket frame: RSV1 must be clear',
    });
  });

  /** What the server does, and what the client says about it. */
  const FAILURES: [string, (socket: Socket) => void, string, number?][] = [
    [
      'refuses it',
      (socket) => socket.end('HTTP/1.1 403 Forbidden\r\n\r\n'),
      '403 Forbidden; the server lets in only pages of certain origins',
    ],
    [
      'is full',
      (socket) => socket.end('HTTP/1.1 503 x\r\n\r\n'),
      'the server refused: 503 Service Unavailable',
    ],
    [
      'has only pages',
      (socket) => socket.end('HTTP/1.1 200 OK\r\n\r\n'),
      '200 OK; that is HTTP, and no WebSocket',
    ],
    ['is an echo server', (socket) => socket.end('GET /ws'), 'the server does not speak HTTP'],
    ['hangs up', (socket) => socket.end(), 'the server hung up; does it speak WebSocket?'],
    [
      'answers another key',
      (socket) => socket.end(acceptHandshake({ headers: {} } as IncomingMessage)),
      'Invalid Sec-WebSocket-Accept header',
    ],
    ['says nothing', () => {}, 'no answer within 0.05 s', 50],
    ['never ends its headers', trickle, 'no answer within 0.05 s', 50],
  ];
  for (const [what, answer, why, timeout = 3000] of FAILURES) {
    test(`says so when the server ${what}`, async (t) => {
      const url = await fakeServer(t, answer);
      await assert.rejects(connectTo(url, { timeout }), {
        name: 'ProgramError',
        message: `cannot connect to ${url}: ${why}`,
      });
    });
  }

  test('says so when nobody listens', async (t) => {
    const server = createServer();
    const port = await listen(t, server);
    await once(server.close(), 'close');
    await assert.rejects(connectTo(`ws://127.0.0.1:${port}`), {
      message: `cannot connect to 127.0.0.1:${port}: connection refused; is the server running there?`,
    });
  });

  test('says so when the server does not speak TLS', async (t) => {
    const url = (await fakeServer(t, (socket) => socket.end('what?'))).replace('ws:', 'wss:');
    await assert.rejects(connectTo(url), {
      message: `cannot connect to ${url}: no TLS there; ws:// and not wss://?`,
    });
  });

  test('says so when the certificate cannot be trusted', { skip: noOpenssl }, async (t) => {
    const { stdout } = spawnSync('openssl', [
      ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=localhost'],
      ...['-keyout', '-', '-out', '-'],
    ]);
    const port = await listen(
      t,
      createTlsServer({ key: stdout, cert: stdout }).on('tlsClientError', () => {}),
    );
    const url = `wss://localhost:${port}/`;
    // Newer versions of Node have advice behind it.
    await assert.rejects(connectTo(url), {
      message:
        /^cannot connect to wss:.+: the certificate cannot be trusted: self-signed certificate/,
    });
  });

  test('gives up when it is told to, also while it connects', async (t) => {
    const stop = new AbortController();
    const waiting = connectTo(await fakeServer(t, () => {}), { signal: stop.signal });
    const server = createEchoServer();
    const ws = await connectTo(`ws://127.0.0.1:${await listen(t, server)}`);
    const { signal } = stop;
    const talking = converse(ws, new PassThrough(), new PassThrough(), { signal });
    stop.abort();
    await assert.rejects(waiting, { name: 'AbortError' });
    await assert.rejects(talking, { name: 'AbortError' });
  });
});

test('the option --origins takes only origins', () => {
  const { origins } = PROGRAM_OPTIONS;
  assert.equal(
    origins.parse('http://a.example,https://b.example:1', '--origins'),
    'http://a.example,https://b.example:1',
  );
  for (const wrong of ['b.example', 'http://a.example/', 'http://a.example/x', '*', 'null']) {
    assert.throws(() => origins.parse(`http://a.example,${wrong}`, '--origins'), {
      name: 'UsageError',
      message: `--origins takes origins like https://example.org, not "${wrong}"`,
    });
  }
});

/** Sends one byte of a header when the one before has gone. */
function trickle(socket: Socket): void {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nX: ');
  const more = () => !socket.destroyed && socket.write('x', () => setImmediate(more));
  more();
}

describe('the programs', { concurrency: true }, () => {
  for (const name of ['server.ts', 'from-scratch.ts']) {
    testProgram(file(name), async (_, port) => {
      const ws = await connectTo(`ws://127.0.0.1:${port}/ws`);
      const output = new PassThrough();
      await converse(ws, ['hello'], output);
      assert.equal(String(output.read()), 'Echo: hello\n');
    });
  }
  testProgram(file('client.ts'));

  test('from-scratch.ts --echo answers text as it came, and its other options reach the server', async (t) => {
    const options =
      '--port 0 --echo --max-payload 125 --max-clients 2 --heartbeat 300 --origins http://a.example,http://b.example';
    const server = run(t, file('from-scratch.ts'), options.split(' '));
    const url = `ws://127.0.0.1:${await server.ready()}`;
    const ws = await connectTo(url);
    ws.resume();
    await once(ws, 'ping');
    ws.send('hello');
    assert.equal(String((await once(ws, 'message'))[0]), 'hello');
    const page = new WebSocket(url, { origin: 'http://b.example' });
    t.after(() => page.terminate());
    await once(page, 'open');
    await assert.rejects(connectTo(url), /refused: 503/);
    ws.send('x'.repeat(126));
    assert.equal((await once(ws, 'close'))[0], 1009);
  });

  test('client.ts sends its arguments as one message, or each line of its input', async (t) => {
    const port = await listen(t, createEchoServer());
    const [words, lines] = [
      run(t, file('client.ts'), ['--port', String(port), 'Hello,', 'server!']),
      run(t, file('client.ts'), ['--url', `ws://127.0.0.1:${port}`]),
    ];
    for (const line of ['one', 'two']) {
      lines.stdin.write(`${line}\n`);
      await lines.printed(new RegExp(`^Echo: ${line}$`, 'm'));
    }
    lines.stdin.end();
    assert.equal(await words.exit(), 0, words.stderr);
    assert.equal(await lines.exit(), 0, lines.stderr);
    assert.equal(words.stdout, 'Echo: Hello, server!\n');
    assert.equal(lines.stdout, 'Echo: one\nEcho: two\n');
  });

  test('client.ts refuses an address that is none', async (t) => {
    const client = run(t, file('client.ts'), ['--url', 'http://localhost', 'hello']);
    assert.equal(await client.exit(), 2);
    assert.match(
      client.stderr,
      /^error: --url must be like wss:\/\/localhost:8443\/ws, not "http:\/\/localhost"\n/,
    );
  });
});

testReadme(import.meta.dirname);
