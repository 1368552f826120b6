import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync, symlinkSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, connect, createServer, type Server, Socket } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe as group, type TestContext, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { dial, listen, readAll, readBytes, reset, run, testServer } from '@shared/testing';
import { describe, type Options, parse } from './options.ts';
import {
  explain,
  flag,
  formatAddress,
  host,
  integer,
  milliseconds,
  ProgramError,
  peerName,
  port,
  type ServeOptions,
  serve,
  text,
} from './program.ts';

const FIXTURES = join(import.meta.dirname, 'fixtures');
const SERVER = join(FIXTURES, 'server.ts');
const CASES = join(FIXTURES, 'cases.ts');

const windows = process.platform === 'win32';
const addresses = Object.values(networkInterfaces()).flat();
const noIPv6 = addresses.some((one) => one?.address === '::1') ? false : 'there is no ::1 here';
const noSignals = windows ? 'Windows cannot send a signal' : false;

group('options', () => {
  const options = {
    host: host(),
    port: port(8888),
    idleTimeout: integer(300, { min: 10 }, 'how long, in seconds'),
    wait: milliseconds(3000, 'how long'),
    offset: integer(0, { min: -5, max: 5 }, 'where'),
    userName: text('', 'a name'),
    dryRun: flag('do nothing'),
  };
  const defaults = parse(options, []).values;

  test('what is not given has its default', () => {
    assert.deepEqual(defaults, {
      host: '127.0.0.1',
      port: 8888,
      idleTimeout: 300,
      wait: 3000,
      offset: 0,
      userName: '',
      dryRun: false,
    });
  });

  const good: [string, Partial<typeof defaults>, string[]?][] = [
    ['--port 9000', { port: 9000 }],
    ['--port=9000', { port: 9000 }],
    ['--port 1 --port 2', { port: 2 }],
    ['--port 0', { port: 0 }],
    ['--port 65535', { port: 65_535 }],
    ['--idle-timeout 10', { idleTimeout: 10 }],
    ['--offset=-5', { offset: -5 }],
    ['--wait 2147483647', { wait: 2_147_483_647 }],
    ['--user-name=--port', { userName: '--port' }],
    ['--user-name -', { userName: '-' }],
    ['--user-name=', { userName: '' }],
    ['--dry-run', { dryRun: true }],
    ['one --port 1 two', { port: 1 }, ['one', 'two']],
    ['--dry-run one', { dryRun: true }, ['one']],
    ['--port 1 -- --port -x', { port: 1 }, ['--port', '-x']],
  ];
  for (const [line, values, args = []] of good) {
    test(`${line} is understood`, () => {
      assert.deepEqual(parse(options, line.split(' ')), {
        values: { ...defaults, ...values },
        args,
        help: false,
      });
    });
  }

  const bad: [string, string][] = [
    ['--port 65536', '--port must be a whole number from 0 to 65,535, not "65536"'],
    ['--port 1.5', '--port must be a whole number from 0 to 65,535, not "1.5"'],
    ['--port=-1', '--port must be a whole number from 0 to 65,535, not "-1"'],
    ['--port=', '--port must be a whole number from 0 to 65,535, not ""'],
    ['--port 0x50', '--port must be a whole number from 0 to 65,535, not "0x50"'],
    ['--wait 0', '--wait must be a whole number from 1 to 2,147,483,647, not "0"'],
    [
      '--wait 2147483648',
      '--wait must be a whole number from 1 to 2,147,483,647, not "2147483648"',
    ],
    ['--idle-timeout 9', '--idle-timeout must be a whole number from 10, not "9"'],
    [
      `--idle-timeout ${2 ** 53}`,
      '--idle-timeout must be a whole number from 10, not "9007199254740992"',
    ],
    ['--port', '--port needs a value'],
    ['--host --port 9000', '--host needs a value'],
    ['--host=', '--host must not be empty'],
    ['--dry-run=no', '--dry-run takes no value'],
    ['--idleTimeout 10', 'unknown option --idleTimeout'],
    ['--no-dry-run', 'unknown option --no-dry-run'],
    ['--constructor', 'unknown option --constructor'],
    ['-p 9000', 'unknown option -p'],
  ];
  for (const [line, message] of bad) {
    test(`${line} is told: ${message}`, () => {
      assert.throws(() => parse(options, line.split(' ')), { name: 'UsageError', message });
    });
  }

  test('--help and -h ask for help', () => {
    for (const option of ['--help', '-h']) assert.equal(parse(options, [option]).help, true);
    assert.equal(parse(options, ['--', '--help']).help, false);
  });

  test('describe() lists each option, with its default if it has one', () => {
    assert.equal(
      describe(options),
      `  --host HOST       the address (default 127.0.0.1)
  --port PORT       the port (default 8888)
  --idle-timeout N  how long, in seconds (default 300)
  --wait MS         how long, in milliseconds (default 3000)
  --offset N        where (default 0)
  --user-name TEXT  a name
  --dry-run         do nothing
  --help            show this and exit`,
    );
    assert.equal(describe({} satisfies Options), '  --help  show this and exit');
  });
});

group('explain()', () => {
  const system = (fields: object) => Object.assign(new Error('what Node says'), fields);
  const at = { address: '127.0.0.1', port: 80 };
  const listening = { syscall: 'listen', ...at };
  const connecting = { syscall: 'connect', ...at };
  const lookup = { syscall: 'getaddrinfo', hostname: 'no.such' };

  const sentences: [object, string][] = [
    [
      { code: 'EADDRINUSE', ...listening },
      'cannot listen on 127.0.0.1:80: the port is in use; stop the program that holds it, or choose another with --port',
    ],
    [
      { code: 'EADDRINUSE', ...listening, syscall: 'bind' },
      'cannot listen on 127.0.0.1:80: the port is in use; stop the program that holds it, or choose another with --port',
    ],
    [
      { code: 'EACCES', ...listening, address: '::1' },
      'cannot listen on [::1]:80: not permitted; choose a port from 1024 with --port',
    ],
    [
      { code: 'EADDRNOTAVAIL', ...listening },
      'cannot listen on 127.0.0.1:80: this machine has no such address; choose another with --host',
    ],
    [
      { code: 'ENOTFOUND', ...lookup, syscall: 'listen', port: 80 },
      'cannot listen on no.such:80: unknown host; check the name given with --host',
    ],
    [
      { code: 'EAI_AGAIN', ...lookup, syscall: 'listen', port: 80 },
      'cannot listen on no.such:80: the name cannot be looked up now; check the name given with --host',
    ],
    [{ code: 'EINVAL', ...listening }, 'cannot listen on 127.0.0.1:80: EINVAL'],
    [
      { code: 'ECONNREFUSED', ...connecting },
      'cannot connect to 127.0.0.1:80: connection refused; is the server running there?',
    ],
    [
      { code: 'ETIMEDOUT', ...connecting },
      'cannot connect to 127.0.0.1:80: no answer; is the address right, and does a firewall let it through?',
    ],
    [
      { code: 'ENETUNREACH', ...connecting },
      'cannot connect to 127.0.0.1:80: the network cannot be reached',
    ],
    [
      { code: 'EHOSTUNREACH', ...connecting },
      'cannot connect to 127.0.0.1:80: the host cannot be reached',
    ],
    [
      { code: 'EADDRNOTAVAIL', ...connecting },
      'cannot connect to 127.0.0.1:80: not an address that can be connected to',
    ],
    [{ code: 'ENOTFOUND', ...lookup }, 'cannot connect to no.such: unknown host; check the name'],
    [
      { code: 'EAI_AGAIN', ...lookup },
      'cannot connect to no.such: the name cannot be looked up now; check the name and the network',
    ],
    [
      { code: 'EMFILE', syscall: 'accept' },
      'cannot accept a connection: this process may open no more files; raise the limit with ulimit -n',
    ],
    [
      { code: 'ENFILE', syscall: 'accept' },
      'cannot accept a connection: this machine can open no more files',
    ],
    [{ code: 'ECONNRESET', syscall: 'read' }, 'the peer reset the connection (RST)'],
    [{ code: 'EPIPE', syscall: 'write' }, 'cannot write: the peer has closed the connection'],
    [{ code: 'ETIMEDOUT', syscall: 'read' }, 'the peer stopped answering'],
    // node:http's "socket hang up" is one of these, and it need not have been a RST.
    [{ code: 'ECONNRESET' }, 'what Node says'],
    [{ code: 'ENOENT', syscall: 'open' }, 'what Node says'],
    [{ name: 'FramingError', code: 'ERR_TOO_LONG' }, 'what Node says'],
    ...[
      'UND_ERR_CONNECT_TIMEOUT',
      'UND_ERR_SOCKET',
      'UND_ERR_RES_CONTENT_LENGTH_MISMATCH',
      'HPE_INVALID_HEADER_TOKEN',
      'ERR_TLS_CERT_ALTNAME_INVALID',
      'CERT_HAS_EXPIRED',
      'SELF_SIGNED_CERT_IN_CHAIN',
      'DEPTH_ZERO_SELF_SIGNED_CERT',
      'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
      'ERROR_IN_CERT_NOT_AFTER_FIELD',
      'PATH_LENGTH_EXCEEDED',
      'INVALID_PURPOSE',
      'UNSPECIFIED',
    ].map((code): [object, string] => [{ code }, 'what Node says']),
    [
      { code: 'ERR_SSL_WRONG_VERSION_NUMBER', reason: 'wrong version number' },
      'wrong version number',
    ],
  ];
  for (const [fields, sentence] of sentences) {
    test(`${JSON.stringify(fields)} is: ${sentence}`, () => {
      assert.equal(explain(system(fields)), sentence);
    });
  }

  test('a bug has no sentence, also beside a network condition', () => {
    const bugs = [
      new TypeError('x is not a function'),
      Object.assign(new RangeError('bad'), { code: 'ERR_OUT_OF_RANGE' }),
      Object.assign(new TypeError('bad'), { code: 'UND_ERR_INVALID_ARG' }),
      new AggregateError([system({ code: 'EPIPE', syscall: 'write' }), new TypeError('oops')]),
      new AggregateError([]),
      new TypeError('fetch failed', { cause: new TypeError('oops') }),
      'a string',
      undefined,
    ];
    assert.deepEqual(
      bugs.map(explain),
      bugs.map(() => undefined),
    );
  });

  test('a ProgramError says what it says', () => {
    assert.equal(explain(new ProgramError('cannot do this; try that')), 'cannot do this; try that');
  });

  test('a name of two addresses says it of both', { skip: noIPv6 }, async (t) => {
    const port = await closedPort(t);
    const socket = connect({
      host: 'two.example',
      port,
      lookup: (_name, _options, found) =>
        found(null, [
          { address: '::1', family: 6 },
          { address: '127.0.0.1', family: 4 },
        ]),
      autoSelectFamily: true,
      autoSelectFamilyAttemptTimeout: 60_000, // a busy machine may need more than the default
    });
    const error = await new Promise((resolve) => socket.on('error', resolve));
    assert.equal(
      explain(error),
      `cannot connect to [::1]:${port}: connection refused; is the server running there?` +
        ` / cannot connect to 127.0.0.1:${port}: connection refused; is the server running there?`,
    );
  });

  test('a fetch() that fails tells the true reason', async (t) => {
    const port = await closedPort(t);
    const error = await fetch(`http://127.0.0.1:${port}`).catch((error) => error);
    assert.equal(
      explain(error),
      `cannot connect to 127.0.0.1:${port}: connection refused; is the server running there?`,
    );
  });

  test('formatAddress() puts IPv6 into brackets', () => {
    assert.equal(formatAddress('127.0.0.1', 80), '127.0.0.1:80');
    assert.equal(formatAddress('localhost', 80), 'localhost:80');
    assert.equal(formatAddress('::1', 80), '[::1]:80');
  });

  test('peerName() is the other end, also of one that has reset before it was accepted', async (t) => {
    const socket = await dial(t, await listen(t, echo()));
    assert.equal(peerName(socket), `127.0.0.1:${socket.remotePort}`);
    assert.equal(peerName(new Socket()), 'unknown');
  });
});

/** A port of 127.0.0.1 at which nobody listens. */
async function closedPort(t: TestContext): Promise<number> {
  const server = createServer();
  const port = await listen(t, server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const USAGE = `usage: npm run cases -w fixtures -- [options] CASE [WORD...]`;
const OPTIONS = `  --host HOST       the address (default 127.0.0.1)
  --port PORT       the port (default 9000)
  --user-name TEXT  a name
  --dry-run         do nothing
  --help            show this and exit
`;

group('program()', { concurrency: 2, timeout: 60_000 }, () => {
  test('runs with its options and arguments', async (t) => {
    const program = run(t, CASES, ['show', '--user-name', 'Ada', 'a word', '--', '--port']);
    assert.equal(await program.exit(), 0, program.stderr);
    assert.deepEqual(JSON.parse(program.stdout), {
      host: '127.0.0.1',
      port: 9000,
      userName: 'Ada',
      dryRun: false,
      args: ['show', 'a word', '--port'],
    });
  });

  test('--help explains on stdout, and exits with 0', async (t) => {
    const program = run(t, CASES, ['--help']);
    assert.equal(await program.exit(), 0);
    assert.equal(program.stdout, `${USAGE}\n\nDoes what its first argument says.\n\n${OPTIONS}`);
    assert.equal(program.stderr, '');
  });

  test('a value that cannot be is told on stderr with the usage, and exits with 2', async (t) => {
    const program = run(t, CASES, ['show', '--port', '70000']);
    assert.equal(await program.exit(), 2);
    assert.equal(
      program.stderr,
      `error: --port must be a whole number from 0 to 65,535, not "70000"\n${USAGE}\n${OPTIONS}`,
    );
    assert.equal(program.stdout, '');
  });

  test('an argument to a program that takes none is told, and exits with 2', async (t) => {
    const program = run(t, SERVER, ['8000']);
    assert.equal(await program.exit(), 2);
    assert.match(program.stderr, /^error: unexpected argument "8000"\nusage: /);
  });

  test('run() may find that something is missing: usage and exit 2', async (t) => {
    const program = run(t, CASES, ['usage']);
    assert.equal(await program.exit(), 2);
    assert.equal(program.stderr, `error: a word is missing\n${USAGE}\n${OPTIONS}`);
  });

  test('a ProgramError is one line and exit 1, although a server is open still', async (t) => {
    const program = run(t, CASES, ['condition']);
    assert.equal(await program.exit(), 1);
    assert.equal(program.stderr, 'error: cannot do this; try that\n');
  });

  test('a bug keeps its stack trace, and exits with 1', async (t) => {
    const program = run(t, CASES, ['bug']);
    assert.equal(await program.exit(), 1);
    assert.match(program.stderr, /^TypeError: .*\n {4}at .*cases\.ts:\d+:\d+/);
  });

  test('Ctrl+C ends what waits for the signal, with exit 0', { skip: noSignals }, async (t) => {
    const program = run(t, CASES, ['abort']);
    await program.printed(/^waiting$/m);
    program.child.kill('SIGINT');
    assert.equal(await program.exit(), 0);
    assert.equal(program.stderr, '');
  });

  test('Ctrl+C ends a look-up that does not, with exit 0', { skip: noSignals }, async (t) => {
    const program = run(t, CASES, ['look up']);
    await program.printed(/^looking up$/m);
    program.child.kill('SIGINT');
    assert.equal(await program.exit(), 0);
    assert.equal(program.stdout, 'looking up\n');
    assert.equal(program.stderr, '');
  });

  for (const [stream, words] of [
    ['stdout', 'chatter'],
    ['stderr', 'grumble'],
  ] as const) {
    test(`ends quietly with 0 when the reader of ${stream} goes away`, async (t) => {
      const program = run(t, CASES, [words]);
      await (stream === 'stdout' ? program.printed(/x\n/) : program.complained(/x\n/));
      program.child[stream]?.destroy();
      assert.equal(await program.exit(), 0, program.stderr);
      assert.equal(stream === 'stdout' ? program.stderr : program.stdout, '');
    });
  }

  const noFull = process.platform === 'linux' ? false : 'only Linux has /dev/full';
  test('a disk that is full is one line and exit 1', { skip: noFull }, async (t) => {
    const full = openSync('/dev/full', 'w');
    const child = spawn(process.execPath, ['--import', 'tsx', CASES, 'show'], {
      cwd: FIXTURES,
      stdio: ['ignore', full, 'pipe'],
    });
    t.after(() => child.kill('SIGKILL'));
    let said = '';
    child.stderr?.setEncoding('utf8').on('data', (text) => {
      said += text;
    });
    const code = await new Promise((resolve) => child.on('close', resolve));
    assert.equal(said, 'error: ENOSPC: no space left on device, write\n');
    assert.equal(code, 1);
  });

  test('does nothing when it is imported, whatever the command line says', async () => {
    const url = JSON.stringify(pathToFileURL(CASES));
    const code = `import(${url}).then(() => console.log('imported'))`;
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--import', 'tsx', '--eval', code, 'show'],
      { cwd: FIXTURES },
    );
    assert.equal(stdout, 'imported\n');
  });

  test('runs from a path with spaces and umlauts', async (t) => {
    const folder = join(await temporary(t), 'a path, später');
    await mkdir(folder);
    const file = join(folder, 'my server.mts');
    const url = JSON.stringify(pathToFileURL(join(import.meta.dirname, 'program.ts')));
    await writeFile(
      file,
      `import { program } from ${url};
      program(import.meta, { about: '', options: {}, run: () => console.log('running') });`,
    );
    const program = run(t, file);
    assert.equal(await program.exit(), 0, program.stderr);
    assert.equal(program.stdout, 'running\n');
  });

  const noLinks = windows ? 'Windows keeps symbolic links for administrators' : false;
  test('runs through a symbolic link', { skip: noLinks }, async (t) => {
    const link = join(await temporary(t), 'link.ts');
    symlinkSync(CASES, link);
    const program = run(t, link, ['show']);
    assert.equal(await program.exit(), 0, program.stderr);
    assert.match(program.stdout, /"args":\["show"\]/);
  });
});

async function temporary(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'program-'));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

group('serve()', { timeout: 60_000 }, () => {
  testServer(SERVER, async (t, port) => {
    const client = await dial(t, port);
    client.end('hello');
    assert.equal((await readAll(client)).toString(), 'hello');
  });

  test('prints the address that it got, IPv6 in brackets, with the scheme', {
    skip: noIPv6,
  }, async (t) => {
    const { port, printed } = await serving(t, echo(), { host: '::1', scheme: 'echo://' });
    assert.deepEqual(printed, [`listening on echo://[::1]:${port}`]);
  });

  test('rejects for a host that does not exist, with a sentence that names the port', async () => {
    const { signal } = new AbortController();
    const error = await serve(echo(), { host: 'no-such-host.invalid', port: 9000, signal }).catch(
      (error) => error,
    );
    assert.match(
      explain(error) ?? '',
      // The second where there is no network to ask.
      /^cannot listen on no-such-host\.invalid:9000: (unknown host|the name cannot be looked up now); check the name given with --host$/,
    );
  });

  test('once stopped lets a conversation finish, and nobody else in', async (t) => {
    const { port, stop, complained, done } = await serving(t, echo(), { grace: 600_000 });
    const client = await dial(t, port);
    await exchange(client, 'before');
    stop();
    await assert.rejects(dial(t, port), { code: 'ECONNREFUSED' });
    assert.deepEqual(complained, [
      'stopping: waiting up to 600 s for 1 open connection, Ctrl+C to stop now',
    ]);
    client.end('after');
    assert.equal((await readAll(client)).toString(), 'after');
    await done;
  });

  test('once stopped cuts off a conversation that goes on for too long', async (t) => {
    const { port, stop, complained, done } = await serving(t, echo(), { grace: 1 });
    const clients = [await dial(t, port), await dial(t, port)];
    for (const client of clients) await exchange(client, 'hello');
    stop();
    await done;
    assert.deepEqual(complained, [
      'stopping: waiting up to 0.001 s for 2 open connections, Ctrl+C to stop now',
    ]);
  });

  test('does not wait for a client that is gone', async (t) => {
    const server = echo();
    const { port, stop, complained, done } = await serving(t, server, { grace: 600_000 });
    const accepted = once(server, 'connection');
    const gone = await dial(t, port);
    await exchange(gone, 'hello');
    const [socket] = await accepted;
    const closed = new Promise((resolve) => socket.once('close', resolve));
    reset(gone);
    await closed;
    stop();
    await done;
    assert.deepEqual(complained, []);
  });

  test('does not wait for an idle connection of node:http', async (t) => {
    const server = createHttpServer((_request, response) => response.end('hello'));
    const { port, stop, complained, done } = await serving(t, server, { grace: 600_000 });
    const response = await fetch(`http://127.0.0.1:${port}`);
    assert.equal(response.headers.get('connection'), 'keep-alive');
    assert.equal(await response.text(), 'hello');
    stop();
    await done;
    assert.deepEqual(complained, []);
  });

  test('outlives an error of the listening socket, and says so', async (t) => {
    const server = echo();
    const { port, complained } = await serving(t, server);
    server.emit('error', Object.assign(new Error(), { code: 'EMFILE', syscall: 'accept' }));
    assert.deepEqual(complained, [
      'error: cannot accept a connection: this process may open no more files; raise the limit with ulimit -n',
    ]);
    await exchange(await dial(t, port), 'still there?');
  });

  test('returns when something else closes the server', async (t) => {
    const server = echo();
    const { done } = await serving(t, server);
    server.close();
    await done;
  });

  test('the second Ctrl+C ends it at once with 130', { skip: noSignals }, async (t) => {
    const server = run(t, SERVER, ['--port', '0', '--grace', '600000']);
    const client = await dial(t, await server.ready());
    await exchange(client, 'hello');
    server.child.kill('SIGINT');
    await server.complained(/^stopping: /);
    await exchange(client, 'a second goes by');
    server.child.kill('SIGINT');
    assert.equal(await server.exit(), 130);
  });

  test('a Ctrl+C that npm passes on a second time is still the first', {
    skip: noSignals,
  }, async (t) => {
    const server = run(t, SERVER, ['--port', '0', '--grace', '600000']);
    const client = await dial(t, await server.ready());
    await exchange(client, 'hello');
    server.child.kill('SIGINT');
    await server.complained(/^stopping: /);
    server.child.kill('SIGINT');
    client.end('bye');
    assert.equal((await readAll(client)).toString(), 'bye');
    assert.equal(await server.exit(), 0);
  });
});

/** Sends back what it receives. */
function echo(): Server {
  return createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    socket.pipe(socket);
  });
}

/** Lets `serve()` run in this process: what it prints, the port, what stops it, and when it is done. */
async function serving(t: TestContext, server: Server, options: Partial<ServeOptions> = {}) {
  const printed: string[] = [];
  const complained: string[] = [];
  const ready = new Promise<void>((resolve) => {
    t.mock.method(console, 'log', (line: string) => resolve(void printed.push(line)));
  });
  t.mock.method(console, 'error', (line: string) => complained.push(line));
  const stop = new AbortController();
  const done = serve(server, { host: '127.0.0.1', port: 0, signal: stop.signal, ...options });
  t.after(() => stop.abort());
  await ready;
  const { port } = server.address() as AddressInfo;
  return { port, printed, complained, done, stop: () => stop.abort() };
}

/** Sends some words and waits until they come back. */
async function exchange(client: Socket, words: string): Promise<void> {
  client.write(words);
  assert.equal((await readBytes(client, words.length)).toString(), words);
}
