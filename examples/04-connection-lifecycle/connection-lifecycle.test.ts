import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  dial,
  listen,
  noSilence,
  readAll,
  reset,
  run,
  testReadme,
  testServer,
  testUsage,
} from '@shared/testing';
import { findCodes, markdown, page } from './error-atlas.ts';
import { CODES } from './errors.ts';
import { canTell, type Endpoint, findEnd, readTable, until } from './kernel.ts';
import { provoke } from './provoke.ts';
import { type ExchangeOptions, exchange } from './safe-client.ts';
import { createStateServer, type StateServerOptions } from './server.ts';
import { openSilentServer } from './silent-server.ts';
import { lifecycle, report } from './states.ts';

const HOST = '127.0.0.1';
/** Side by side; whatever waits for something that never comes fails, instead of waiting on. */
const together = { concurrency: true, timeout: 60_000 };
const MiB = 1024 * 1024;
const file = (name: string) => join(import.meta.dirname, name);
const notLinux = canTell ? false : 'only Linux shows the states of TCP, in /proc/net/tcp';
/** The minor version of libuv 1.x, which is Node's hand in the sockets. */
const uv = Number(process.versions.uv?.split('.')[1]);
const notHere: Partial<Record<string, string | false>> = {
  ETIMEDOUT: noSilence,
  EPIPE: process.platform === 'win32' && 'Windows says ECONNABORTED or ECONNRESET instead',
};

describe('the kernel', { ...together, skip: notLinux }, () => {
  const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000001 00:00000000 00000000     0
   1: 0100007F:1F90 0200007F:D431 09 00004601:00000000 04:00000013 00000000     0
   2: 0200007F:D431 0100007F:1F90 06 00000000:00000000 03:0000176F 00000000     0
`;
  const server = { address: '127.0.0.1', port: 8080 };
  const client = { address: '127.0.0.2', port: 54321 };

  test('says of each end its state, and which timer runs for how long', () => {
    const ends = [findEnd(table, server), findEnd(table, server, client)];
    assert.deepEqual(ends, [
      { state: 'LISTEN', timer: 'none', seconds: 0 },
      { state: 'LAST_ACK', timer: 'probe', seconds: 1 },
    ]);
    const third = findEnd(table, client, server);
    assert.deepEqual(third, { state: 'TIME_WAIT', timer: 'time wait', seconds: 60 });
  });

  test('knows nothing of an end that is closed', () => {
    assert.equal(findEnd(table, client).state, 'CLOSED');
    assert.equal(findEnd('', server, client).state, 'CLOSED');
  });

  test('is asked again until it says what is wanted', async (t) => {
    const listener = createServer();
    const port = await listen(t, listener);
    const look = (text: string) => findEnd(text, { address: HOST, port }).state;
    assert.equal(look(readTable()), 'LISTEN');
    listener.close();
    const what = 'want the port to be free';
    assert.equal(await until(look, (state) => state === 'CLOSED', { what }), 'CLOSED');
    await assert.rejects(
      until(look, (state) => state === 'LISTEN', { what: 'want LISTEN', timeout: 0 }),
      { name: 'ProgramError', message: 'want LISTEN, the kernel says "CLOSED"' },
    );
    const signal = AbortSignal.abort();
    await assert.rejects(
      until(look, () => false, { what, signal }),
      { name: 'AbortError' },
    );
  });
});

// Not together: the sockets that are collected would be those of other tests too.
describe('the states', { timeout: together.timeout }, () => {
  test('of both ends are what the kernel says, step by step, and no byte is taken before', {
    skip: notLinux,
  }, async (t) => {
    const sockets: Record<string, Socket> = {};
    const collect = (message: unknown, name: string | symbol) => {
      sockets[String(name)] = (message as { socket: Socket }).socket;
    };
    for (const name of ['net.client.socket', 'net.server.socket']) {
      subscribe(name, collect);
      t.after(() => unsubscribe(name, collect));
    }
    const seen: string[][] = [];
    for await (const { did, client, server } of lifecycle()) {
      seen.push([client?.state ?? '', server?.state ?? '']);
      const reader = did.startsWith('client.end()') ? 'net.server.socket' : 'net.client.socket';
      if (did.includes('.end()')) assert.equal(sockets[reader]?.bytesRead, 0, did);
    }
    assert.deepEqual(seen, [
      ['SYN_SENT', 'LISTEN'],
      ['ESTABLISHED', 'ESTABLISHED'],
      ['FIN_WAIT_1', 'ESTABLISHED'],
      ['FIN_WAIT_2', 'CLOSE_WAIT'],
      ['FIN_WAIT_2', 'LAST_ACK'],
      ['TIME_WAIT', 'CLOSED'],
    ]);
  });

  test('cannot be shown everywhere, and the connection does not mind', async () => {
    const lines: string[] = [];
    for await (const line of report({ ask: false })) lines.push(line.trim());
    assert.deepEqual(lines, [
      "cannot show the kernel's states: only Linux has /proc/net/tcp",
      "'connect' here, 'connection' there",
      'client.end()',
      "the server reads on to 'end'",
      'server.end()',
      "the client reads on to 'end'",
    ]);
  });
});

test('leaving the states early leaves nothing open', { skip: notLinux }, async () => {
  const open = () => process.getActiveResourcesInfo().filter((name) => name.startsWith('TCP'));
  for await (const { did } of lifecycle()) if (did.startsWith("'connect' here")) break;
  // A handle counts until the end of the turn in which it is closed, which is behind the immediates.
  for (const _ of [1, 2]) await nextTurn();
  assert.deepEqual(open(), []);
});

test('a port with connections in TIME_WAIT can be listened on again', {
  skip: notLinux,
}, async (t) => {
  const first = createServer((socket) => socket.end()); // who ends first is in TIME_WAIT later
  const port = await listen(t, first);
  const client = await dial(t, port);
  const ends = [{ address: HOST, port }, addressOf(client)] as const;
  await once(client.resume(), 'end');
  client.end();
  await state(ends, 'TIME_WAIT');
  await once(first.close(), 'close');
  const second = createServer((socket) => socket.end('the second'));
  t.after(() => second.close());
  await once(second.listen(port, HOST), 'listening');
  assert.equal((await readAll(await dial(t, port))).toString(), 'the second');
});

/** Waits until the kernel says so. */
async function state([local, remote]: readonly [Endpoint, Endpoint], want: string): Promise<void> {
  const look = (table: string) => findEnd(table, local, remote).state;
  await until(look, (seen) => seen === want, { what: `want ${want}` });
}

function addressOf(socket: Socket, end: 'local' | 'remote' = 'local'): Endpoint {
  return { address: HOST, port: socket[`${end}Port`] as number };
}

describe('each error of the atlas', () => {
  for (const code of CODES) {
    test(`provokes ${code}`, { skip: notHere[code] ?? false }, async () => {
      const error = (await provoke(code)) as NodeJS.ErrnoException;
      if (!(error instanceof AggregateError)) return assert.equal(error.code, code);
      assert.equal(code, 'AggregateError');
      assert.equal(error.errors.length, 2);
      assert.equal(error.errors[1].code, 'ECONNREFUSED');
    });
  }
});

describe('the atlas', together, () => {
  test('has EPIPE from the kernel, not from Node', { skip: notHere.EPIPE ?? false }, async () => {
    // Node has one of its own: "This socket has been ended by the other party".
    assert.equal((await provoke('EPIPE')).message, 'write EPIPE');
  });

  test('gives up on an error that does not come', { skip: noSilence }, async () => {
    await assert.rejects(provoke('ETIMEDOUT', { timeout: 10 }), {
      name: 'ProgramError',
      message: 'no ETIMEDOUT within 0.01 s',
    });
  });

  test('stops when it is told to', async () => {
    const signal = AbortSignal.abort();
    await assert.rejects(provoke('ECONNREFUSED', { signal }), { name: 'AbortError' });
  });

  test('explains an error in both languages, without its port', () => {
    const error = new Error('connect ECONNREFUSED 127.0.0.1:54321');
    assert.equal(
      page('ECONNREFUSED', error),
      `ECONNREFUSED
  error  connect ECONNREFUSED 127.0.0.1:PORT
  how    connect to a port on which nobody listens
  means  the machine is there and answered SYN with RST: nobody listens
  do     start the server, check host and port, or try again a little later`,
    );
    assert.match(page('ECONNREFUSED', error, 'zh'), /^ {2}含义 {2}机器在，但端口没人监听/m);
  });

  test('finds an error as people write it, and says which there are', () => {
    assert.deepEqual(findCodes(['econnreset', 'AGGREGATEERROR']), ['ECONNRESET', 'AggregateError']);
    assert.deepEqual(findCodes([]), CODES);
    assert.throws(() => findCodes(['ECONRESET']), {
      name: 'UsageError',
      message: `unknown error ECONRESET; there are ${CODES.join(', ')}`,
    });
  });

  test('shows each error of an AggregateError, which has no message of its own', () => {
    const error = new AggregateError([new Error('one'), new Error('two')]);
    assert.match(
      page('AggregateError', error),
      /^AggregateError\n {2}error {2}one\n {2}error {2}two\n/,
    );
  });

  test('fits into a terminal', () => {
    for (const code of CODES) {
      for (const text of page(code, new Error()).split('\n')) assert.ok(text.length <= 80, text);
    }
  });

  test('is the table of both READMEs: npm run error-atlas -w 04-connection-lifecycle -- --markdown', () => {
    const read = (name: string) => readFileSync(file(name), 'utf8').replaceAll('\r\n', '\n');
    const table = (text: string) =>
      text.match(/^\|.*\n\| --- .*\n(\| `E[\s\S]*?)\n\n/m)?.[0].trim();
    assert.equal(table(read('README.md')), markdown('en'));
    assert.equal(table(read('README.zh-CN.md')), markdown('zh'));
  });
});

// By itself: the clock is a mock, but for the idle timeout, which Node has inside of it.
test('the safe client has a timeout for the whole, which a server that drips does not set back', {
  timeout: together.timeout,
}, async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const server = createServer({ allowHalfOpen: true });
  const port = await listen(t, server);
  const accepted = once(server, 'connection');
  let client: Socket | undefined;
  const note = (message: unknown) => {
    client = (message as { socket: Socket }).socket;
  };
  subscribe('net.client.socket', note);
  t.after(() => unsubscribe('net.client.socket', note));
  const answer = exchange('Test', { host: HOST, port, connectTimeout: 500, totalTimeout: 5000 });
  assert.ok(client);
  const [peer] = (await accepted) as [Socket];
  peer.on('error', () => {});
  await once(peer, 'data'); // the client is connected, and has no time limit for that any more
  for (let second = 1; second <= 5; second++) {
    const dripped = once(client, 'data');
    peer.write('.');
    await dripped;
    t.mock.timers.tick(1000);
  }
  await assert.rejects(
    answer,
    connectError(`gave up on 127.0.0.1:${port}: not finished within 5 s`),
  );
});

describe('the safe client', together, () => {
  /** On a slow machine too, only that limit counts which a test is about. */
  const patient = { connectTimeout: 50_000, idleTimeout: 50_000, totalTimeout: 50_000 };
  /** A server that does this with each client, and the options to reach it. */
  async function start(t: TestContext, talk: (socket: Socket) => void): Promise<ExchangeOptions> {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => {});
      talk(socket);
    });
    return { host: HOST, port: await listen(t, server), ...patient };
  }

  test('gets every answer, also one that comes after its own end', async (t) => {
    const server = await start(t, (socket) => {
      readAll(socket).then((bytes) => socket.end(`you said ${bytes}`));
    });
    assert.equal((await exchange('Test', server)).toString(), 'you said Test');
  });

  test('says all to a server that has ended its half already', async (t) => {
    let peer: Socket | undefined;
    const server = await start(t, (socket) => {
      peer = socket;
      socket.end('all I say', () => socket.resume());
    });
    assert.equal((await exchange(Buffer.alloc(32 * MiB), server)).toString(), 'all I say');
    // What is still missing has been given to the kernel, which takes some megabytes.
    assert.ok((peer?.bytesRead ?? 0) > 16 * MiB, `${peer?.bytesRead} bytes heard`);
  });

  test('has a timeout for connecting', { skip: noSilence }, async () => {
    await using silent = await openSilentServer();
    await assert.rejects(
      exchange('Test', { host: HOST, port: silent.port, connectTimeout: 50 }),
      connectError(`cannot connect to 127.0.0.1:${silent.port}: no answer within 0.05 s`),
    );
  });

  test('has a timeout for silence', async (t) => {
    const server = await start(t, (socket) => socket.write('and then nothing'));
    await assert.rejects(
      exchange('Test', { ...server, idleTimeout: 50 }),
      connectError(`gave up on 127.0.0.1:${server.port}: silent for 0.05 s`),
    );
  });

  test('has a limit for the answer', async (t) => {
    const server = await start(t, (socket) => socket.end(Buffer.alloc(2 * MiB)));
    await assert.rejects(
      exchange('Test', server),
      connectError(`gave up on 127.0.0.1:${server.port}: its answer is over 1,048,576 bytes`),
    );
  });

  test('says so when the server resets', async (t) => {
    const server = await start(t, (socket) => socket.once('data', () => reset(socket)));
    await assert.rejects(exchange('Test', server), { code: 'ECONNRESET' });
  });

  test('a RST right behind bytes is the end to libuv before 1.52, and an error to a later one', {
    skip: notLinux,
  }, async (t) => {
    const server = await start(t, (socket) => {
      socket.once('data', () => {
        const ends = [addressOf(socket, 'remote'), addressOf(socket)] as const;
        socket.write('half an answ');
        reset(socket);
        // Not in a later turn: both must be there before Node looks.
        while (findEnd(readTable(), ...ends).state !== 'CLOSED');
      });
    });
    const answer = exchange('Test', server);
    if (uv < 52) assert.equal((await answer).toString(), 'half an answ');
    else await assert.rejects(answer, { code: 'ECONNRESET' });
  });

  test('gives up when it is told to', async (t) => {
    const stop = new AbortController();
    const server = await start(t, () => stop.abort());
    await assert.rejects(exchange('Test', { ...server, signal: stop.signal }), {
      name: 'AbortError',
    });
  });
});

function connectError(message: string) {
  return { name: 'ProgramError', message };
}

describe('the server', together, () => {
  async function start(t: TestContext, options: StateServerOptions = {}) {
    const lines: string[] = [];
    const log = (line: string) => lines.push(line.replace(/^[\d.:]+/, 'CLIENT'));
    const server = createStateServer({ log, ...options });
    return { server, port: await listen(t, server), lines };
  }
  /** The lines where the kernel does not tell. */
  const told = (lines: string[]) =>
    canTell ? lines : lines.map((line) => line.replace(/: .+/, ''));

  test('shows the states of a client that ends first, and is gone after its answer', async (t) => {
    const { server, port, lines } = await start(t);
    const accepted = once(server, 'connection');
    const client = await dial(t, port);
    const [peer] = (await accepted) as [Socket];
    client.end('Hello Server');
    const closed = once(peer, 'close');
    assert.equal((await readAll(client)).toString(), 'goodbye, after 12 bytes\n');
    await closed;
    assert.deepEqual(
      lines,
      told([
        "CLIENT 'connection': ESTABLISHED",
        "CLIENT 'end': CLOSE_WAIT",
        "CLIENT 'close': CLOSED",
      ]),
    );
  });

  test('drops an idle client, and is then the one that waits for its FIN', async (t) => {
    const { server, port, lines } = await start(t, { idleTimeout: 20 });
    const accepted = once(server, 'connection');
    await dial(t, port);
    const [peer] = (await accepted) as [Socket];
    await once(peer, 'close');
    assert.equal(lines[1], 'CLIENT idle for 0.02 s');
    assert.match(lines[2] ?? '', canTell ? /^CLIENT 'close': FIN_WAIT_[12]$/ : /^CLIENT 'close'$/);
  });

  test('outlives a client that resets, and serves the others', async (t) => {
    const { server, port, lines } = await start(t);
    const accepted = once(server, 'connection');
    const client = await dial(t, port);
    const [peer] = (await accepted) as [Socket];
    const closed = once(peer, 'close').catch(() => {});
    reset(client);
    await closed;
    assert.equal(lines[1], 'CLIENT failed: read ECONNRESET');
    const other = await dial(t, port);
    other.end('still there?');
    assert.equal((await readAll(other)).toString(), 'goodbye, after 12 bytes\n');
  });

  test('is blocked by nobody who is silent, and serves no more clients than it may', async (t) => {
    const { port } = await start(t, { maxConnections: 2 });
    await dial(t, port);
    const second = await dial(t, port);
    const third = await dial(t, port);
    assert.equal((await readAll(third)).length, 0);
    second.end('me');
    assert.equal((await readAll(second)).toString(), 'goodbye, after 2 bytes\n');
  });
});

describe('the programs', { ...together, timeout: 120_000 }, () => {
  testUsage(file('states.ts'));
  testServer(file('server.ts'), async (t, port) => {
    const client = await dial(t, port);
    client.end('hello');
    assert.equal((await readAll(client)).toString(), 'goodbye, after 5 bytes\n');
  });

  test('error-atlas.ts runs those that are named', async (t) => {
    const atlas = run(t, file('error-atlas.ts'), ['--lang', 'zh', 'econnreset', 'EADDRINUSE']);
    assert.equal(await atlas.exit(), 0, atlas.stderr);
    const pages = [
      page('ECONNRESET', new Error('read ECONNRESET'), 'zh'),
      page('EADDRINUSE', new Error('listen EADDRINUSE: address already in use 127.0.0.1:1'), 'zh'),
    ];
    assert.equal(atlas.stdout, `${pages.join('\n')}\n`);
  });

  test('safe-client.ts says "Test", and is over as soon as the answer is there', async (t) => {
    const port = await listen(t, createStateServer());
    const client = run(t, file('safe-client.ts'), [
      '--port',
      `${port}`,
      '--total-timeout',
      '60000',
    ]);
    assert.equal(await client.exit(), 0, client.stderr);
    assert.equal(client.stdout, 'goodbye, after 4 bytes\n');
  });

  test('safe-client.ts says in one line what took too long', async (t) => {
    const port = await listen(t, createServer());
    const client = run(t, file('safe-client.ts'), ['--port', `${port}`, '--idle-timeout', '20']);
    assert.equal(await client.exit(), 1);
    assert.equal(client.stderr, `error: gave up on 127.0.0.1:${port}: silent for 0.02 s\n`);
  });
});

if (canTell) testReadme(import.meta.dirname);
else test('README: what it shows is what its commands print', { skip: notLinux }, () => {});
