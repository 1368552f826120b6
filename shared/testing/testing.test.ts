import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { noBrowser, openPage } from './browser.ts';
import { fileOf } from './scripts.ts';
import {
  bind,
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
} from './testing.ts';

const FIXTURES = join(import.meta.dirname, 'fixtures');
const ECHO = join(FIXTURES, '07-echo');

/** Both ends of a connection. */
async function pair(t: TestContext, server = createServer({ allowHalfOpen: true })) {
  const port = await listen(t, server);
  const accepted = once(server, 'connection');
  const client = await dial(t, port);
  const [receiver] = (await accepted) as [Socket];
  receiver.on('error', () => {});
  return { client, receiver, port };
}

/** What stands after a test with this in it: its clean-up has been done. */
async function afterTest<T>(t: TestContext, body: (t: TestContext) => Promise<T>): Promise<T> {
  let result: T | undefined;
  await t.test('a test', async (t) => {
    result = await body(t);
  });
  return result as T;
}

describe('cuts()', () => {
  test('are whole, one byte at a time, and split at every offset', () => {
    assert.deepEqual(
      [...cuts('äb')].map(({ name, pieces }) => [
        name,
        pieces.map((piece) => piece.toString('hex')),
      ]),
      [
        ['whole', ['c3a462']],
        ['one byte at a time', ['c3', 'a4', '62']],
        ['split at byte 1', ['c3', 'a462']],
        ['split at byte 2', ['c3a4', '62']],
      ],
    );
  });

  test('of bytes are those of a text', () => {
    assert.deepEqual([...cuts(new Uint8Array([0x61, 0x62]))], [...cuts('ab')]);
  });
});

describe('sendPieces()', () => {
  test('each piece arrives as a chunk of its own', async (t) => {
    const { client, receiver } = await pair(t);
    const chunks: string[] = [];
    receiver.on('data', (chunk) => chunks.push(String(chunk)));
    const pieces = [...'one byte at a time'];
    await sendPieces(
      client,
      receiver,
      pieces.map((piece) => Buffer.from(piece)),
    );
    assert.deepEqual(chunks, pieces);
  });

  test('goes on after half a character, which a receiver with an encoding keeps', async (t) => {
    const { client, receiver } = await pair(t);
    const texts: string[] = [];
    receiver.setEncoding('utf8').on('data', (text) => texts.push(String(text)));
    await sendPieces(client, receiver, [Buffer.from([0xc3]), Buffer.from([0xa4])]);
    assert.deepEqual(texts, ['ä']);
  });

  test('does not wait for a receiver that is destroyed', async (t) => {
    const { client, receiver } = await pair(t);
    receiver.destroy();
    assert.equal(await sendPieces(client, receiver, [Buffer.from('lost')]), undefined);
  });

  test('does not wait for what a destroyed sender cannot send', async (t) => {
    const { client, receiver } = await pair(t);
    client.destroy();
    assert.equal(await sendPieces(client, receiver, [Buffer.from('not sent')]), undefined);
  });
});

describe('readBytes()', () => {
  test('reads exactly so many, however they come, and leaves the rest', async (t) => {
    for (const { name, pieces } of cuts('Hello, TCP!')) {
      const { client, receiver } = await pair(t);
      const five = readBytes(receiver, 5);
      await sendPieces(client, receiver, pieces);
      assert.equal((await five).toString(), 'Hello', name);
      assert.equal((await readBytes(receiver, 0)).length, 0, name);
      assert.equal((await readBytes(receiver, 6)).toString(), ', TCP!', name);
    }
  });

  test('reads more than a stream buffers by itself', async (t) => {
    const { client, receiver } = await pair(t);
    client.write(Buffer.alloc(1_000_000, 'x'));
    assert.ok((await readBytes(receiver, 1_000_000)).equals(Buffer.alloc(1_000_000, 'x')));
  });

  test('what comes after can be read to the end', async (t) => {
    const { client, receiver } = await pair(t);
    client.end('one two');
    assert.equal((await readBytes(receiver, 3)).toString(), 'one');
    assert.equal((await readAll(receiver)).toString(), ' two');
  });

  test('says how many had come when the peer ends', async (t) => {
    const { client, receiver } = await pair(t);
    client.end('abc');
    await assert.rejects(readBytes(receiver, 5), {
      message: 'the peer is gone after 3 of 5 bytes',
    });
    await assert.rejects(readBytes(receiver, 5), {
      message: 'the peer is gone after 0 of 5 bytes',
    });
  });

  test('says how many had come when the peer resets, and why', async (t) => {
    const { client, receiver } = await pair(t);
    const five = readBytes(receiver, 5);
    await sendPieces(client, receiver, [Buffer.from('abc')]);
    reset(client);
    await assert.rejects(five, (error: Error) => {
      assert.equal(error.message, 'the peer is gone after 3 of 5 bytes');
      assert.equal((error.cause as NodeJS.ErrnoException).code, 'ECONNRESET');
      return true;
    });
  });
});

describe('readAll()', () => {
  test('reads to the end, and leaves the other half open', async (t) => {
    const { client, receiver } = await pair(t);
    client.end('all of it');
    assert.equal((await readAll(receiver)).toString(), 'all of it');
    receiver.end('an answer');
    assert.equal((await readAll(client)).toString(), 'an answer');
  });

  test('rejects when the peer resets', async (t) => {
    const { client, receiver } = await pair(t);
    const all = readAll(receiver);
    await sendPieces(client, receiver, [Buffer.from('abc')]);
    reset(client);
    await assert.rejects(all, { code: 'ECONNRESET' });
  });
});

test('until() lets the event loop turn until the condition holds', async () => {
  let turns = 0;
  const turn = () => {
    if (++turns < 5) setImmediate(turn);
  };
  turn();
  await until(() => turns === 5);
  assert.equal(turns, 5);
});

describe('listen(), dial() and bind() clean up after the test', () => {
  test('the server is closed, with its connections', async (t) => {
    const server = createServer({ allowHalfOpen: true });
    const { client, receiver } = await afterTest(t, (t) => pair(t, server));
    assert.deepEqual([server.listening, receiver.destroyed, client.destroyed], [false, true, true]);
  });

  test('a server that the test has closed is, with the connections that it left', async (t) => {
    const { receiver } = await afterTest(t, async (t) => {
      const server: Server = createServer({ allowHalfOpen: true });
      const both = await pair(t, server);
      server.close();
      return both;
    });
    assert.equal(receiver.destroyed, true);
  });

  test('a dialled socket survives a reset: it shows in `errored`', async (t) => {
    const { client, receiver } = await pair(t);
    const closed = new Promise((resolve) => client.on('close', resolve));
    reset(receiver);
    await closed;
    assert.equal((client.errored as NodeJS.ErrnoException).code, 'ECONNRESET');
  });

  test('a dialled socket can send after the peer has ended its half', async (t) => {
    const { client, receiver } = await pair(t);
    receiver.end('all I say');
    assert.equal((await readAll(client)).toString(), 'all I say');
    client.end('heard');
    assert.equal((await readAll(receiver)).toString(), 'heard');
  });

  test('dial() rejects where nobody listens', async (t) => {
    const port = await afterTest(t, (t) => listen(t, createServer()));
    await assert.rejects(dial(t, port), { code: 'ECONNREFUSED' });
  });

  test('bind() gives the port of a datagram socket, and closes it once', async (t) => {
    const receiver = createSocket('udp4');
    await afterTest(t, async (t) => {
      const sender = createSocket('udp4');
      await bind(t, sender, '127.0.0.1');
      const port = await bind(t, receiver);
      const arrived = once(receiver, 'message');
      sender.send('ping', port, '127.0.0.1');
      assert.equal(String((await arrived)[0]), 'ping');
      sender.close(); // a test may do so
    });
    assert.throws(() => receiver.address(), { code: 'ERR_SOCKET_DGRAM_NOT_RUNNING' });
  });
});

describe('run()', { concurrency: 2, timeout: 60_000 }, () => {
  test('holds a conversation with a program, and tells how it ended', async (t) => {
    const program = run(t, join(FIXTURES, 'lines.ts'));
    program.stdin.write('one\n');
    assert.deepEqual([...(await program.printed(/^O(NE)\n/))], ['ONE\n', 'NE']);
    assert.equal((await program.printed(/ONE/))[0], 'ONE', 'also of what is there already');
    assert.equal((await program.complained(/\d+ char/))[0], '4 char');
    const never = program.printed(/never/);
    program.stdin.end();
    await assert.rejects(never, {
      message: 'lines.ts ended before stdout matched /never/:\nONE\n4 characters\n',
    });
    assert.equal(await program.exit(), 3);
    assert.equal((await program.printed(/ONE/))[0], 'ONE', 'also after the end');
  });

  test('waits for the output that comes after the exit', async (t) => {
    const program = run(t, join(FIXTURES, 'late.ts'));
    await once(program.child, 'exit');
    const last = program.printed(/the last word/);
    program.stdin.end();
    assert.equal((await last)[0], 'the last word');
    assert.equal(await program.exit(), 0);
  });

  test('a program need not read its input', async (t) => {
    const program = run(t, join(FIXTURES, 'environment.ts'));
    // Not once(), which would listen for the error that run() has to listen for.
    const closed = new Promise((resolve) => program.stdin.on('close', resolve));
    program.stdin.write(Buffer.alloc(10_000_000));
    assert.equal(await program.exit(), 0);
    await closed;
    assert.notEqual(program.child.stdin?.errored, null);
  });

  test('passes on neither colours nor the test runner of its own process', async (t) => {
    const before = { ...process.env };
    t.after(() => {
      process.env = before;
    });
    process.env = { ...before, FORCE_COLOR: '1', NODE_TEST_CONTEXT: 'child-v8', KEPT: 'yes' };
    const program = run(t, join(FIXTURES, 'environment.ts'));
    assert.equal(await program.exit(), 0);
    assert.deepEqual(JSON.parse(program.stdout), { NO_COLOR: '1', KEPT: 'yes' });
  });

  test('kills the program when the test ends', async (t) => {
    const { child } = await afterTest(t, async (t) => {
      const program = run(t, join(FIXTURES, 'lines.ts'));
      program.stdin.write('one\n');
      await program.printed(/ONE/);
      return program;
    });
    assert.equal(child.signalCode, 'SIGKILL');
  });
});

describe('fileOf()', () => {
  const good: [string, string, string[]][] = [
    ['npm start 07', 'demo.ts', []],
    ['npm start -w 07-echo', 'demo.ts', []],
    ['npm start 07 server', 'server.ts', []],
    ['npm start 07 say-words -- a b', 'words.ts', ['a', 'b']],
    ['npm start 07 -- a', 'demo.ts', ['a']],
    ['npm run server -w 07-echo', 'server.ts', []],
    [`npm run say-words -w 07-echo -- "a b" '' 'c "d"' e`, 'words.ts', ['a b', '', 'c "d"', 'e']],
  ];
  for (const [command, file, args] of good) {
    test(`${command} is ${file} ${JSON.stringify(args)}`, () => {
      assert.deepEqual(fileOf(command, ECHO), { file: join(ECHO, file), args });
    });
  }

  const want =
    'want `npm start 07 [script] [-- args]` or `npm run script -w 07-echo [-- args]`, not ';
  const bad: [string, string][] = [
    ['npm start 08', `${want}\`npm start 08\``],
    ['npm start 07 --port 9', `${want}\`npm start 07 --port 9\``],
    ['npm run server -w 07', `${want}\`npm run server -w 07\``],
    ['npm server -w 07-echo', `${want}\`npm server -w 07-echo\``],
    ['curl localhost', `${want}\`curl localhost\``],
    ['npm start 07 words', '07-echo has no script "words", only start, server, say-words, odd'],
    ['npm start 07 odd', 'want `node --import tsx FILE.ts` as script "odd", not `node server.js`'],
  ];
  for (const [command, message] of bad) {
    test(`${command}: ${message}`, () => {
      assert.throws(() => fileOf(command, ECHO), { message });
    });
  }
});

describe('of a program and a README that keep their word', { timeout: 60_000 }, () => {
  testUsage(join(ECHO, 'server.ts'));
  testServer(join(ECHO, 'server.ts'), async (t, port) => {
    const client = await dial(t, port);
    client.end('hello');
    assert.equal((await readAll(client)).toString(), 'hello');
  });
  testReadme(ECHO);
});

test('of those that do not, each lie is told', { timeout: 60_000 }, async (t) => {
  const liar = run(t, join(FIXTURES, '08-liar', 'liar.ts'));
  assert.equal(await liar.exit(), 1, liar.stderr);
  for (const told of [
    /\+ +'goodbye\\n'\n\s+- +'hello, world\\n'/, // what is printed, and what the README shows
    /console blocks that begin with `\$ command`\s+0 !== 1/,
    /`npm start -w 08-liar` runs it/, // it does not
    /a port in use is one line on stderr and exit 1[\s\S]+0 !== 1/,
    ...(process.platform === 'win32' ? [] : [/SIGTERM stops it with exit 0[\s\S]+3 !== 0/]),
  ]) {
    assert.match(liar.stdout, told);
  }
});

test('opens a page in a real browser, and closes it', { skip: noBrowser }, async (t) => {
  const page = await afterTest(t, async (t) => {
    const page = await openPage(t);
    await page.setContent('<p>Grüße, 网络!');
    assert.equal(await page.textContent('p'), 'Grüße, 网络!');
    return page;
  });
  assert.equal(page.context().browser()?.isConnected(), false);
});

test('a silent port lets nobody in', { skip: noSilence }, async (t) => {
  const port = await silentPort(t);
  const client = connect({ port, host: '127.0.0.1', timeout: 50 });
  t.after(() => client.destroy());
  const events = ['connect', 'error', 'timeout'].map((name) => once(client, name).then(() => name));
  assert.equal(await Promise.race(events), 'timeout');
});
