import assert from 'node:assert/strict';
import { execFile, spawn, spawnSync } from 'node:child_process';
import { createPrivateKey, KeyObject, webcrypto, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import fs, {
  chmodSync,
  closeSync,
  cpSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { createServer as createTcpServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { after, describe, type TestContext, test } from 'node:test';
import tls, {
  type ConnectionOptions,
  connect,
  createServer,
  rootCertificates,
  type TLSSocket,
  type TlsOptions,
} from 'node:tls';
import { promisify } from 'node:util';
import { BasicConstraintsExtension, Extension, X509CertificateGenerator } from '@peculiar/x509';
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
} from '@shared/testing';
import { tapTcp } from '@shared/wiretap';
import { createAuthority, createSelfSigned } from './authority.ts';
import { DIRECTORY, loadCertificates } from './certificates.ts';
import { connectTo, converse, readPem } from './client.ts';
import { explainTls, printable, reason } from './explain.ts';
import { FAILURES, type Outcome, provoke } from './failures.ts';
import { inspect, trustedCas } from './inspect.ts';
import { readRecords } from './records.ts';
import { createTlsEchoServer, logKeys, type TlsEchoServerOptions } from './server.ts';

/** What waits for ever here has failed. */
const together = { concurrency: true, timeout: 60_000 };
const SERVER = join(import.meta.dirname, 'server.ts');
const CLIENT = join(import.meta.dirname, 'client.ts');
const CERTIFICATES = join(import.meta.dirname, 'certificates.ts');
const INSPECT = join(import.meta.dirname, 'inspect.ts');
const MiB = 1024 * 1024;
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const FILES = ['ca.crt', 'client.crt', 'client.key', 'server.crt', 'server.key'];
const execute = promisify(execFile);
const windows = process.platform === 'win32' ? 'Windows has no such modes' : false;
const noSignals = windows && 'Windows has no Ctrl+C for another process';
const OLD = Number.parseFloat(process.versions.openssl) < 3.5;

const authority = await createAuthority('test CA');
const ca = authority.cert;
const other = await createAuthority('test CA');
const identity = await authority.issue({ name: 'localhost', names: ['localhost', '127.0.0.1'] });
/** The first half of a ClientHello. */
const HALF_HELLO = Buffer.from('16030100c8010000c40303', 'hex');

/** A server that listens, its log without ports, and the server's side of each connection. */
async function start(t: TestContext, options: Partial<TlsEchoServerOptions> = {}) {
  const log: string[] = [];
  const write = (line: string) => log.push(line.replace(/^127\.0\.0\.1:\d+/, 'CLIENT'));
  // Patient: all of these tests share a processor, and a handshake waits for its turn.
  const server = createTlsEchoServer({
    ...identity,
    handshakeTimeout: 60_000,
    log: write,
    ...options,
  });
  const port = await listen(t, server);
  const open = async (): Promise<[TLSSocket, TLSSocket]> => {
    const accepted = once(server, 'secureConnection');
    return [await secure(t, port), (await accepted)[0] as TLSSocket];
  };
  /** The next line of the log that has these words. */
  const logged = async (words: string) => {
    while (!log.some((line) => line.includes(words))) await once(server, 'tlsClientError');
    return log.find((line) => line.includes(words));
  };
  return { server, port, log, open, logged };
}

/** A client that is destroyed after the test, and whose errors are no crash. */
async function secure(t: TestContext, port: number): Promise<TLSSocket> {
  const socket = await connectTo({ host: '127.0.0.1', port, ca, timeout: 60_000 });
  t.after(() => socket.destroy());
  return socket.on('error', () => {});
}

/** What becomes of a client with such options: the code of its error, or the version it speaks. */
async function shakeHands(t: TestContext, port: number, options: ConnectionOptions) {
  const socket = connect({ host: '127.0.0.1', port, ca, ...options });
  t.after(() => socket.destroy());
  const [error] = await Promise.race([
    once(socket, 'secureConnect'),
    new Promise<[NodeJS.ErrnoException]>((resolve) => socket.once('error', (e) => resolve([e]))),
  ]);
  return (error as NodeJS.ErrnoException | undefined)?.code ?? socket.getProtocol();
}

/** The other side has ended, or torn the connection down. */
function gone(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once('end', resolve).once('close', () => resolve());
    if (socket.listenerCount('data') === 0) socket.resume();
  });
}

/** The server still has an answer for others. */
async function serves(t: TestContext, port: number) {
  const good = await secure(t, port);
  good.end('still there?');
  assert.equal((await readAll(good)).toString(), 'STILL THERE?');
}

/** How often the work asks for another mode of a file; none is changed. */
function callsOfChmod(t: TestContext, work: () => void): number {
  const { mock } = t.mock.method(fs, 'fchmodSync', () => {});
  syncBuiltinESMExports();
  work();
  mock.restore();
  syncBuiltinESMExports();
  return mock.callCount();
}

/** What a descriptor of this process stands for; nothing if it has just been closed. */
function linkOf(descriptor: string): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`);
  } catch {
    return undefined;
  }
}

/** A folder that is gone after the test. */
function temporary(t: { after(clean: () => void): void }): string {
  const directory = mkdtempSync(join(tmpdir(), 'tls-server-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function contents(directory: string): Record<string, string> {
  const names = readdirSync(directory).sort();
  return Object.fromEntries(
    names.map((name) => [name, readFileSync(join(directory, name), 'utf8')]),
  );
}

const MADE = temporary({ after });
await loadCertificates(MADE);

/** A folder with the files as they are made, which is gone after the test. */
function filled(t: TestContext): string {
  const directory = temporary(t);
  cpSync(MADE, directory, { recursive: true });
  return directory;
}

/** Every file fits to every other. */
function assertGood(files: Record<string, string>) {
  assert.deepEqual(Object.keys(files), FILES);
  const { publicKey } = new X509Certificate(files['ca.crt'] ?? '');
  for (const name of ['server', 'client']) {
    const certificate = new X509Certificate(files[`${name}.crt`] ?? '');
    assert.ok(certificate.verify(publicKey), `${name}.crt is signed by ca.crt`);
    assert.ok(certificate.checkPrivateKey(createPrivateKey(files[`${name}.key`] ?? '')), name);
  }
}

describe('the authority', together, () => {
  test('makes certificates for 90 days and for the names, valid an hour ago already', async () => {
    const authority = await createAuthority('test CA');
    const names = ['localhost', '127.0.0.1', '::1'];
    const { cert } = await authority.issue({ name: 'localhost', names });
    for (const pem of [cert, authority.cert]) {
      const { validFrom, validTo } = new X509Certificate(pem);
      assert.ok(Math.abs(Date.now() - HOUR - Date.parse(validFrom)) < HOUR / 2, validFrom);
      assert.ok(Math.abs(Date.now() + 90 * DAY - Date.parse(validTo)) < HOUR / 2, validTo);
    }
    const certificate = new X509Certificate(cert);
    for (const host of ['localhost', 'other.example']) {
      assert.equal(certificate.checkHost(host), host === 'localhost' ? host : undefined);
    }
    for (const ip of ['127.0.0.1', '::1', '127.0.0.2']) {
      assert.equal(certificate.checkIP(ip), ip === '127.0.0.2' ? undefined : ip);
    }
    assert.equal(certificate.issuer, 'CN=test CA');
    assert.equal(certificate.ca, false);
    assert.equal(new X509Certificate(authority.cert).ca, true);
  });

  test('names the keys, as a strict check wants it, and marks what must be understood', async () => {
    const authority = await createAuthority('test CA');
    const { cert } = await authority.issue({ name: 'localhost' });
    for (const pem of [cert, authority.cert]) {
      const { raw } = new X509Certificate(pem);
      const has = (hex: string) => raw.includes(Buffer.from(hex, 'hex'));
      assert.ok(has('0603551d0e'), 'subjectKeyIdentifier');
      assert.ok(has('0603551d23'), 'authorityKeyIdentifier');
      assert.ok(has('0603551d130101ff'), 'basicConstraints, critical');
      assert.ok(has('0603551d0f0101ff'), 'keyUsage, critical');
    }
    const constraints = Buffer.from('0603551d130101ff040830060101ff020100', 'hex');
    assert.ok(new X509Certificate(authority.cert).raw.includes(constraints), 'CA:TRUE, pathlen:0');
    assert.ok(new X509Certificate(cert).checkIssued(new X509Certificate(authority.cert)));
  });
});

describe('the files', together, () => {
  test('are made, fit together, and stay as they are', async (t) => {
    const directory = join(temporary(t), 'not', 'there', 'yet');
    const made = await loadCertificates(directory);
    const files = contents(directory);
    assertGood(files);
    assert.deepEqual(await loadCertificates(directory), made);
    assert.deepEqual(contents(directory), files);
    assert.equal(files['server.key'], made.server.key);
  });

  test('are readable only by their owner, the keys, from the first moment', {
    skip: windows,
  }, async (t) => {
    const directory = join(temporary(t), 'new');
    const before = process.umask(0);
    t.after(() => process.umask(before));
    await loadCertificates(directory);
    assert.equal((statSync(directory).mode & 0o777).toString(8), '755');
    for (const file of FILES) {
      const mode = file.endsWith('.key') ? 0o600 : 0o644;
      assert.equal(
        (statSync(join(directory, file)).mode & 0o777).toString(8),
        mode.toString(8),
        file,
      );
    }
  });

  test('do not have the key of the CA', () => {
    const { 'ca.crt': ca = '', ...others } = contents(MADE);
    assert.doesNotMatch(ca, /PRIVATE/);
    for (const pem of Object.values(others).filter((text) => text.includes('PRIVATE'))) {
      assert.ok(!new X509Certificate(ca).checkPrivateKey(createPrivateKey(pem)));
    }
  });

  /** What is wrong with a folder of ours, and so is made anew. */
  const REASONS: Record<string, (directory: string) => Promise<void> | void> = {
    'are about to expire': async (directory) => {
      const authority = await createAuthority('net-by-example CA');
      const notAfter = new Date(Date.now() + 29 * DAY);
      writeFileSync(join(directory, 'ca.crt'), authority.cert);
      for (const name of ['server', 'client']) {
        const { cert, key } = await authority.issue({ name, notAfter });
        writeFileSync(join(directory, `${name}.crt`), cert);
        writeFileSync(join(directory, `${name}.key`), key);
      }
    },
    'have the key of another certificate': async (directory) => {
      const { key } = await createSelfSigned('localhost');
      writeFileSync(join(directory, 'server.key'), key);
    },
    'have another CA of the same name': async (directory) => {
      const { cert } = await createAuthority('net-by-example CA');
      writeFileSync(join(directory, 'ca.crt'), cert);
    },
    'are half there, as after a crash': (directory) => {
      for (const file of FILES.slice(1)) rmSync(join(directory, file));
    },
    'are damaged': (directory) => writeFileSync(join(directory, 'client.key'), 'nonsense'),
  };
  for (const [reason, spoil] of Object.entries(REASONS)) {
    test(`are made anew if they ${reason}`, async (t) => {
      const directory = filled(t);
      await spoil(directory);
      const spoilt = contents(directory);
      const { ca } = await loadCertificates(directory);
      assertGood(contents(directory));
      assert.notEqual(ca, spoilt['ca.crt']);
    });
  }

  test('are replaced as a whole: who reads the old ones gets all of them', {
    skip: windows,
  }, async (t) => {
    const directory = filled(t);
    const { server } = await loadCertificates(directory);
    const reader = openSync(join(directory, 'server.key'), 'r');
    t.after(() => closeSync(reader));
    writeFileSync(join(directory, 'client.key'), 'nonsense');
    await loadCertificates(directory);
    assert.equal(readFileSync(reader, 'utf8'), server.key);
  });

  test('of somebody else are left alone', async (t) => {
    const FOREIGN = {
      'server.crt': 'missing', // what the tutorial makes: no ca.crt beside it
      'ca.crt': 'not made by this example',
    };
    for (const [file, why] of Object.entries(FOREIGN)) {
      const directory = temporary(t);
      const { cert, key } = await createSelfSigned('localhost');
      writeFileSync(join(directory, file), cert);
      writeFileSync(join(directory, 'server.key'), key);
      const files = contents(directory);
      await assert.rejects(loadCertificates(directory), {
        message: `cannot use ${directory}: ca.crt is ${why}; move what is there away, or name another folder with --certs`,
      });
      assert.deepEqual(contents(directory), files);
    }
    const directory = filled(t);
    writeFileSync(join(directory, 'server.crt'), (await createSelfSigned('me')).cert);
    await assert.rejects(
      loadCertificates(directory),
      /: server\.crt is not made by this example; /,
    );
  });

  test('are the same for all who start at the same time', async (t) => {
    const directory = temporary(t);
    const loads = await Promise.all(Array.from({ length: 8 }, () => loadCertificates(directory)));
    for (const load of loads) assert.deepEqual(load, loads[0]);
    assertGood(contents(directory));
  });

  test('are found also if another program makes them while they are looked for', async (t) => {
    const directory = temporary(t);
    const { readFile } = fs.promises;
    let made = false;
    t.mock.method(fs.promises, 'readFile', async (path: string, encoding: 'utf8') => {
      if (made || !path.startsWith(directory)) return await readFile(path, encoding);
      made = true;
      cpSync(MADE, directory, { recursive: true });
      throw Object.assign(new Error('it was not there yet'), { code: 'ENOENT' });
    });
    const restore = () => {
      t.mock.restoreAll();
      syncBuiltinESMExports();
    };
    syncBuiltinESMExports();
    t.after(restore);
    assert.deepEqual(await loadCertificates(directory), await loadCertificates(MADE));
    assert.deepEqual(contents(directory), contents(MADE));
  });

  test('are made also where a crash has left its lock', async (t) => {
    const directory = temporary(t);
    const lock = join(directory, '.lock.key');
    writeFileSync(lock, '');
    const past = (Date.now() - 11_000) / 1000;
    utimesSync(lock, past, past);
    await loadCertificates(directory);
    assertGood(contents(directory));
  });
});

/** Why there is no such program here, or `false`. */
function no(program: string, ...args: string[]): string | false {
  return spawnSync(program, args).status === 0 ? false : `${program} is not installed here`;
}

const python = process.platform === 'win32' ? 'python' : 'python3';

describe('other programs accept them, with every check turned on', together, () => {
  /** A server with files as they are made, which answers once and ends. */
  const start = async (t: TestContext) => {
    const { server: identity } = await loadCertificates(MADE);
    const server = createTlsEchoServer(identity);
    server.on('secureConnection', (socket) => socket.once('data', () => socket.end()));
    return { port: String(await listen(t, server)), ca: join(MADE, 'ca.crt') };
  };

  test('openssl', { skip: no('openssl', 'version') }, async (t) => {
    const { port, ca } = await start(t);
    for (const name of ['server', 'client']) {
      const checks = ['-x509_strict', '-purpose', `ssl${name}`, '-CAfile', ca];
      const { stdout } = await execute('openssl', ['verify', ...checks, join(MADE, `${name}.crt`)]);
      assert.match(stdout, /: OK\s*$/);
    }
    const connect = ['s_client', '-connect', `localhost:${port}`, '-CAfile', ca];
    const strict = ['-x509_strict', '-verify_return_error', '-verify_hostname', 'localhost'];
    const client = execute('openssl', [...connect, ...strict, '-ign_eof']);
    client.child.stdin?.end('hello\n');
    const { stdout } = await client;
    assert.match(stdout, /^Verification: OK$/m);
    assert.match(stdout, /^HELLO$/m);
  });

  test('curl', { skip: no('curl', '--version') }, async (t) => {
    const { port, ca } = await start(t);
    for (const host of ['localhost', '127.0.0.1']) {
      const url = `https://${host}:${port}/`;
      const { stdout } = await execute('curl', ['-sS', '--cacert', ca, '--http0.9', url]);
      assert.match(stdout, /^GET \/ HTTP\/1\.1\r\nHOST: /);
    }
  });

  test("Python's ssl", { skip: no(python, '--version') }, async (t) => {
    const { port, ca } = await start(t);
    const code = `
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
context.verify_flags |= ssl.VERIFY_X509_STRICT
with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as raw:
    with context.wrap_socket(raw, server_hostname='localhost') as sock:
        sock.sendall('grüße'.encode())
        sys.stdout.buffer.write(sock.recv(1024))
`;
    const { stdout } = await execute(python, ['-c', code, port, ca]);
    assert.equal(stdout, 'GRÜSSE');
  });
});

describe('the server', together, () => {
  test('answers in upper case, however the bytes arrive', async (t) => {
    const { open } = await start(t);
    const [client, receiver] = await open();
    for (const { name, pieces } of cuts('Grüße, 网络! 🎉\n')) {
      await sendPieces(client, receiver, pieces);
      const answer = Buffer.from('GRÜSSE, 网络! 🎉\n');
      assert.deepEqual(await readBytes(client, answer.length), answer, name);
    }
  });

  test('does not care how the network cuts the records', async (t) => {
    const { port } = await start(t);
    await using tap = await tapTcp({ port, faults: { split: 20 } });
    const client = await secure(t, tap.port);
    client.end('in pieces');
    assert.equal((await readAll(client)).toString(), 'IN PIECES');
  });

  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    test(`gives every answer to a client that has ended its half (${maxVersion})`, async (t) => {
      const { port } = await start(t);
      const settings = { host: '127.0.0.1', port, ca, maxVersion, allowHalfOpen: true };
      const client = connect(settings);
      t.after(() => client.destroy());
      client.end('x'.repeat(2 * MiB));
      assert.ok((await readAll(client)).equals(Buffer.alloc(2 * MiB, 'X')));
    });
  }

  test('keeps its half open for an answer that comes late', async (t) => {
    const { server, open } = await start(t);
    server.on('secureConnection', (socket) => {
      socket.removeAllListeners('end').on('end', () => setImmediate(() => socket.end('late')));
    });
    const [client] = await open();
    client.end();
    assert.equal((await readAll(client)).toString(), 'late');
  });

  test('costs little memory for a client that never reads, and loses nothing of it', async (t) => {
    const { open } = await start(t);
    const [client, receiver] = await open();
    let waiting = 0;
    receiver.on('data', () => {
      waiting = Math.max(waiting, receiver.writableLength);
    });
    client.end(Buffer.alloc(10 * MiB, 'x'));
    // Until the server holds the client back; a server that does not reads to the end.
    await Promise.race([once(receiver, 'pause'), once(receiver, 'end')]);
    let received = 0;
    for await (const chunk of client.iterator({ destroyOnReturn: false })) received += chunk.length;
    assert.equal(received, 10 * MiB);
    assert.ok(waiting < MiB, `${waiting} bytes waited in the server`);
  });

  test('counts answers, not bytes, for a client that never reads', async (t) => {
    const { open } = await start(t);
    const [client, receiver] = await open();
    let answers = 0;
    receiver.write = () => {
      answers++;
      return false; // as for a client that never reads
    };
    await sendPieces(client, receiver, Array(40).fill(Buffer.from('x')));
    assert.equal(answers, 33);
    assert.ok(receiver.isPaused());
    receiver.emit('drain');
    await sendPieces(client, receiver, Array(20).fill(Buffer.from('x')));
    assert.ok(!receiver.isPaused());
  });

  test('cannot tell a FIN that somebody has forged from an end', async (t) => {
    const { port } = await start(t);
    const towards = await dial(t, port);
    const relay = createTcpServer((socket) => {
      socket.on('error', () => {}).on('data', (bytes) => towards.write(bytes));
      towards.on('data', (bytes) => socket.write(bytes));
    });
    const client = await secure(t, await listen(t, relay));
    client.write('pay 100');
    assert.equal(String(await readBytes(client, 7)), 'PAY 100');
    towards.end(); // without a close_notify: the relay has no keys
    await once(client.resume(), 'end');
  });

  test('outlives a client that resets', async (t) => {
    const { server, port, log } = await start(t);
    await using tap = await tapTcp({ port, faults: { towards: 'server', reset: 20_000 } });
    const accepted = once(server, 'secureConnection');
    const client = await secure(t, tap.port);
    const [receiver] = (await accepted) as [TLSSocket];
    const closed = gone(receiver);
    client.write(Buffer.alloc(40_000, 'x'));
    await closed;
    assert.deepEqual(log.slice(1), ['CLIENT failed: read ECONNRESET', 'CLIENT closed']);
    await serves(t, port);
  });

  test('drops a client that is idle for too long', async (t) => {
    const { open, log } = await start(t, { idleTimeout: 20 });
    const [client] = await open();
    assert.equal((await readAll(client)).length, 0);
    assert.equal(log[1], 'CLIENT idle for 0.02 s');
  });

  test('serves no more clients than it may, and counts those in the handshake', async (t) => {
    const { server, port } = await start(t, { maxConnections: 1 });
    const accepted = once(server, 'connection');
    const first = await dial(t, port);
    await accepted;
    const second = await dial(t, port);
    assert.equal((await readAll(second)).length, 0);
    const over = once(server, 'tlsClientError');
    first.destroy();
    await over;
    await serves(t, port);
  });

  /** What a client does instead of a handshake, and what the log says of it. */
  const STRANGERS: Record<string, [(socket: Socket) => void, string]> = {
    'ends in the middle of it': [
      (socket) => socket.end(HALF_HELLO),
      'unknown failed in the handshake: socket hang up',
    ],
    'ends at once': [(socket) => socket.end(), 'unknown failed in the handshake: socket hang up'],
    'speaks HTTP': [
      (socket) => socket.write('GET / HTTP/1.1\r\n\r\n'),
      'CLIENT failed in the handshake: http request (ERR_SSL_HTTP_REQUEST)',
    ],
    'sends anything': [
      (socket) => socket.write(Buffer.alloc(200_000, 7)),
      'CLIENT failed in the handshake: wrong version number (ERR_SSL_WRONG_VERSION_NUMBER)',
    ],
  };
  for (const [name, [act, line]] of Object.entries(STRANGERS)) {
    test(`a client that ${name} costs a line, and the others are served`, async (t) => {
      const { port, log, logged } = await start(t);
      const stranger = await dial(t, port);
      const over = gone(stranger);
      act(stranger);
      await serves(t, port);
      assert.equal(await logged('in the handshake'), line);
      await over;
      assert.equal(log.filter((other) => other.includes('in the handshake')).length, 1);
    });
  }

  const SILENT: Record<string, (socket: Socket) => void> = {
    'says nothing': () => {},
    'stops in the middle of the ClientHello': (socket) => socket.write(HALF_HELLO),
  };
  for (const [name, act] of Object.entries(SILENT)) {
    test(`a client that ${name} costs a line in the end, and until then the others are served`, async (t) => {
      const patient = await start(t);
      act(await dial(t, patient.port));
      await serves(t, patient.port);
      assert.deepEqual(
        patient.log.filter((line) => line.includes('in the handshake')),
        [],
      );

      // A server of its own: who shakes hands while the time is short, and has no processor, would
      // run out of time as well.
      const { port, log, logged } = await start(t, { handshakeTimeout: 100 });
      const stranger = await dial(t, port);
      const over = gone(stranger);
      act(stranger);
      assert.equal(
        await logged('in the handshake'),
        'CLIENT failed in the handshake: TLS handshake timeout',
      );
      await over;
      assert.equal(log.length, 1);
    });
  }

  test('a client that resets in the middle of the handshake costs a line', async (t) => {
    const { port, logged } = await start(t);
    const stranger = await dial(t, port);
    stranger.write(HALF_HELLO, () => reset(stranger));
    assert.match((await logged('in the handshake')) ?? '', /(hang up|ECONNRESET)$/);
    await serves(t, port);
  });

  test('bytes that come one by one do not put off the handshake timeout', async (t) => {
    const { port, logged } = await start(t, { handshakeTimeout: 50 });
    const stranger = await dial(t, port);
    const over = gone(stranger);
    const timedOut = logged('in the handshake');
    // The header of a record of 16 KiB, and then as much of it as goes out in time.
    stranger.write(Buffer.from('1603014000010000', 'hex'));
    for (let n = 0; n < 10_000 && !stranger.readableEnded && !stranger.destroyed; n++) {
      await new Promise((written) => stranger.write('\0', written));
    }
    assert.equal(await timedOut, 'CLIENT failed in the handshake: TLS handshake timeout');
    await over;
  });

  test('speaks TLS 1.2 and 1.3, and nothing older, whatever Node is told', async (t) => {
    const { DEFAULT_MIN_VERSION } = tls;
    tls.DEFAULT_MIN_VERSION = 'TLSv1'; // as node --tls-min-v1.0 does
    const starting = start(t);
    tls.DEFAULT_MIN_VERSION = DEFAULT_MIN_VERSION;
    const { port, logged } = await starting;
    const any = { minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' } as const;
    assert.equal(await shakeHands(t, port, any), 'TLSv1.3');
    assert.equal(await shakeHands(t, port, { ...any, maxVersion: 'TLSv1.2' }), 'TLSv1.2');
    for (const maxVersion of ['TLSv1.1', 'TLSv1'] as const) {
      assert.equal(
        await shakeHands(t, port, { ...any, maxVersion }),
        'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION',
        maxVersion,
      );
    }
    assert.equal(
      await logged('in the handshake'),
      'CLIENT failed in the handshake: unsupported protocol (ERR_SSL_UNSUPPORTED_PROTOCOL)',
    );
  });

  test('takes no cipher without forward secrecy and authentication', async (t) => {
    const rsa = await start(t);
    const offer = (ciphers: string) =>
      shakeHands(t, rsa.port, { ciphers: `${ciphers}:@SECLEVEL=0`, maxVersion: 'TLSv1.2' });
    assert.equal(await offer('ECDHE-ECDSA-AES128-GCM-SHA256'), 'TLSv1.2');
    assert.equal(await offer('ECDHE-ECDSA-CHACHA20-POLY1305'), 'TLSv1.2');
    for (const weak of [
      'ECDHE-ECDSA-AES256-SHA',
      'ECDHE-ECDSA-AES128-SHA256',
      'AES128-GCM-SHA256',
      'NULL',
    ]) {
      assert.match(String(await offer(weak)), /ALERT_HANDSHAKE_FAILURE$/, weak);
    }
    assert.equal(
      await rsa.logged('in the handshake'),
      'CLIENT failed in the handshake: no shared cipher (ERR_SSL_NO_SHARED_CIPHER)',
    );
  });

  test('exchanges keys on elliptic curves alone', async (t) => {
    const { port, logged } = await start(t);
    const offer = (ecdhCurve: string) => shakeHands(t, port, { ecdhCurve });
    for (const curve of ['X25519', 'P-256', 'P-384']) assert.equal(await offer(curve), 'TLSv1.3');
    assert.match(String(await offer('ffdhe8192')), /ALERT_HANDSHAKE_FAILURE$/);
    assert.equal(
      await logged('in the handshake'),
      'CLIENT failed in the handshake: no suitable key share (ERR_SSL_NO_SUITABLE_KEY_SHARE)',
    );
  });

  test('prefers the key exchange that is safe from quantum computers', {
    skip: OLD && "this Node's OpenSSL is older than 3.5, and has none",
  }, async (t) => {
    const { port } = await start(t);
    assert.equal(await shakeHands(t, port, { ecdhCurve: 'X25519MLKEM768' }), 'TLSv1.3');
  });

  test('hangs up on a client that wants to renegotiate', async (t) => {
    const { port, log } = await start(t);
    const client = connect({ host: '127.0.0.1', port, ca, maxVersion: 'TLSv1.2' });
    t.after(() => client.destroy());
    await once(client, 'secureConnect');
    const outcome = await new Promise((resolve) => {
      client.on('error', () => resolve('refused')).on('close', () => resolve('refused'));
      client.renegotiate({}, (error) => resolve(error ? 'refused' : 'renegotiated'));
      client.resume();
    });
    assert.equal(outcome, 'refused');
    await serves(t, port);
    assert.equal(log[1], 'CLIENT failed: TLS session renegotiation disabled for this socket');
  });

  const { stdout: version } = spawnSync('openssl', ['version'], { encoding: 'utf8' });
  const canRekey = !windows && version?.startsWith('OpenSSL');
  test('hangs up on a client that asks for new keys all the time, if it says nothing between', {
    skip: canRekey ? false : 'there is no s_client here that can ask for new keys',
  }, async (t) => {
    const { server, port, log } = await start(t);
    const accepted = once(server, 'secureConnection');
    const client = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, '-tls1_3'], {
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    t.after(() => client.kill());
    client.stdin.on('error', () => {}); // the server has hung up
    const [receiver] = (await accepted) as [TLSSocket];
    const closed = once(receiver, 'close').then(() => 'hung up');
    const say = (line: string, event: string) => {
      const heard = once(receiver, event).then(() => 'served');
      client.stdin.write(`${line}\n`);
      return Promise.race([heard, closed]);
    };
    for (let n = 0; n < 40; n++) {
      await say('k', 'keylog'); // which s_client takes for a command
      assert.equal(await say('text', 'data'), 'served');
    }
    for (let n = 0; n < 32; n++) await say('k', 'keylog');
    assert.equal(await say('still there?', 'data'), 'hung up');
    receiver.emit('keylog', Buffer.of()); // as for what had been received before
    const lines = log.filter((line) => line.includes('keys'));
    assert.deepEqual(lines, ['CLIENT failed: it asks for new keys all the time']);
    await serves(t, port);
  });

  test('mutual: serves a client of its CA, by name', async (t) => {
    const { port, log } = await start(t, { clientCa: ca });
    const client = await authority.issue({ name: 'Ada', usage: 'client' });
    const socket = await connectTo({ host: 'localhost', port, ca, timeout: 60_000, ...client });
    const screen = new PassThrough();
    await converse(socket, ['hello'], screen);
    assert.equal(String(screen.read()), 'HELLO');
    assert.match(log[0] ?? '', /^CLIENT connected as "Ada": TLSv1\.3, TLS_/);
  });

  const expired = { notBefore: new Date(0), notAfter: new Date(1) };
  const REFUSED: Record<string, [() => object, string]> = {
    'no certificate': [
      () => ({}),
      'CLIENT failed in the handshake: peer did not return a certificate (ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE)',
    ],
    'one of another CA, of the same name even': [
      () => other.issue({ name: 'Ada', usage: 'client' }),
      'unknown failed in the handshake: its certificate: UNABLE_TO_VERIFY_LEAF_SIGNATURE',
    ],
    'one for servers': [
      () => authority.issue({ name: 'Ada' }),
      'unknown failed in the handshake: its certificate: INVALID_PURPOSE',
    ],
    'one that has expired': [
      () => authority.issue({ name: 'Ada', usage: 'client', ...expired }),
      'unknown failed in the handshake: its certificate: CERT_HAS_EXPIRED',
    ],
  };
  for (const [name, [certificate, line]] of Object.entries(REFUSED)) {
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      test(`mutual: refuses a client with ${name} (${maxVersion})`, async (t) => {
        const { server, port, log, logged } = await start(t, { clientCa: ca });
        server.on('secureConnection', () => log.push('served'));
        const shown = await certificate();
        const client = connect({ host: 'localhost', port, ca, maxVersion, ...shown });
        client.on('error', () => {}).write('hello');
        t.after(() => client.destroy());
        assert.equal((await readAll(client).catch(() => '')).length, 0);
        assert.equal(await logged('in the handshake'), line);
        assert.ok(!log.includes('served'));
      });
    }
  }

  test('writes keys for Wireshark, into a file that only its owner can read', {
    skip: windows,
  }, async (t) => {
    const file = join(temporary(t), 'keys.txt');
    writeFileSync(file, 'BEFORE\n');
    chmodSync(file, 0o644); // as one made by hand
    const { server, open } = await start(t);
    logKeys(server, file);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const [client] = await open();
    client.end('secret');
    await readAll(client);
    const [before, ...lines] = readFileSync(file, 'utf8').trimEnd().split('\n');
    assert.equal(before, 'BEFORE');
    for (const line of lines) assert.match(line, /^[A-Z_0-9]+ [0-9a-f]{64} [0-9a-f]{64,96}$/);
    const labels = lines.map((line) => line.split(' ')[0]);
    assert.ok(labels.includes('CLIENT_TRAFFIC_SECRET_0'), labels.join());
    const fresh = join(temporary(t), 'keys.txt');
    assert.equal(
      callsOfChmod(t, () => logKeys(server, fresh)),
      1,
    );
    assert.equal(statSync(fresh).mode & 0o777, 0o600, 'from its first moment');
  });

  const noLinux = process.platform === 'linux' ? false : 'only Linux has /dev/full and /proc';
  test('outlives a full disk under its keys', { skip: noLinux }, async (t) => {
    const { server, port } = await start(t);
    const calls = callsOfChmod(t, () => logKeys(server, '/dev/full'));
    assert.equal(calls, 0, 'a device belongs to everybody');
    await serves(t, port);
  });

  test('closes the file of the keys when it closes, and only once', {
    skip: noLinux,
  }, async (t) => {
    const { server } = await start(t);
    const file = join(temporary(t), 'keys.txt');
    logKeys(server, file);
    const isOpen = () => readdirSync('/proc/self/fd').some((fd) => linkOf(fd) === file);
    assert.ok(isOpen());
    for (const _ of [1, 2]) await once(server.close(), 'close');
    assert.ok(!isOpen());
  });
});

/** A server whose certificate nobody has wished for: no subject, and an extension that nobody knows. */
async function startOdd(t: TestContext, spoil = (raw: Buffer) => raw) {
  const { key, raw } = await makeOdd({ name: 'ECDSA', namedCurve: 'P-256' });
  const cert = toPem(spoil(raw));
  return { port: await listen(t, createServer({ cert, key })), cert };
}

async function makeOdd(algorithm: webcrypto.EcKeyGenParams | webcrypto.RsaHashedKeyGenParams) {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const { rawData } = await X509CertificateGenerator.createSelfSigned({
    keys,
    signingAlgorithm: { name: algorithm.name, hash: 'SHA-256' },
    notBefore: new Date('2026-01-01'),
    notAfter: new Date('2099-01-01'),
    extensions: [new Extension('1.2.3.4', true, Buffer.from('0500', 'hex'))],
  });
  const key = KeyObject.from(keys.privateKey).export({ type: 'pkcs8', format: 'pem' });
  return { raw: Buffer.from(rawData), key };
}

function toPem(raw: Buffer): string {
  const label = 'CERTIFICATE-----';
  return `-----BEGIN ${label}\n${raw.toString('base64')}\n-----END ${label}\n`;
}

/** A server's certificate, and that of the authority above it, which an unknown one has signed. */
async function makeChain() {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
  const [above, keys] = [
    await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']),
    await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']),
  ];
  const sign = async (subject: string, issuer: string, publicKey: webcrypto.CryptoKey) => {
    const { rawData } = await X509CertificateGenerator.create({
      subject,
      issuer,
      publicKey,
      signingKey: above.privateKey,
      signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
      extensions: [new BasicConstraintsExtension(subject !== 'CN=localhost')],
    });
    return toPem(Buffer.from(rawData));
  };
  const intermediate = await sign('CN=between', 'CN=somebody', above.publicKey);
  const cert = (await sign('CN=localhost', 'CN=between', keys.publicKey)) + intermediate;
  const key = KeyObject.from(keys.privateKey).export({ type: 'pkcs8', format: 'pem' });
  return { cert, key, intermediate };
}

describe('the client', together, () => {
  test('verifies, and says in a sentence what is wrong', async () => {
    const TLS = 'the server ended the conversation';
    const expected: Record<string, Outcome> = {
      'unknown-ca': {
        code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
        client: 'its certificate is signed by a CA that is not trusted here',
        server: [],
      },
      'self-signed': {
        code: 'DEPTH_ZERO_SELF_SIGNED_CERT',
        client: 'its certificate is signed by itself: nobody vouches for it',
        server: [],
      },
      'wrong-name': {
        code: 'ERR_TLS_CERT_ALTNAME_INVALID',
        client: 'its certificate is for DNS:other.example, not for localhost',
        server: [],
      },
      expired: { code: 'CERT_HAS_EXPIRED', client: 'its certificate has expired', server: [] },
      'not-yet-valid': {
        code: 'CERT_NOT_YET_VALID',
        client: 'its certificate is not valid yet; is the clock right?',
        server: [],
      },
      'old-protocol': {
        code: 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION',
        client: 'it speaks neither TLS 1.2 nor 1.3',
        server: [],
      },
      'no-client-certificate': {
        code: 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED',
        client: `${TLS}: it wants a client certificate, and got none`,
        server: [
          'failed in the handshake: peer did not return a certificate (ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE)',
        ],
      },
      'wrong-client-certificate': {
        client: `${TLS} without an answer; if it wants a client certificate, it has refused ours`,
        server: [
          'unknown failed in the handshake: its certificate: UNABLE_TO_VERIFY_LEAF_SIGNATURE',
        ],
      },
    };
    for (const name of FAILURES) assert.deepEqual(await provoke(name), expected[name], name);
    assert.deepEqual(FAILURES, Object.keys(expected));
  });

  test('tells the reasons for which a certificate is refused', async (t) => {
    const { intermediate, ...chain } = await makeChain();
    const theirs = await other.issue({ name: 'localhost' });
    const { raw } = new X509Certificate(identity.cert);
    raw.writeUInt8(raw.readUInt8(raw.length - 1) ^ 1, raw.length - 1); // the end of the signature
    const unknown = 'its certificate is signed by a CA that is not trusted here';
    const cases: [string, string, TlsOptions, string?][] = [
      ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', unknown, chain],
      ['UNABLE_TO_GET_ISSUER_CERT', unknown, chain, intermediate],
      ['SELF_SIGNED_CERT_IN_CHAIN', unknown, { ...theirs, cert: theirs.cert + other.cert }],
      [
        'CERT_SIGNATURE_FAILURE',
        'its certificate is not signed by the CA that it names',
        { ...identity, cert: toPem(raw) },
      ],
      [
        'INVALID_PURPOSE',
        'its certificate is for another purpose',
        await authority.issue({ name: 'localhost', usage: 'client' }),
      ],
    ];
    for (const [code, sentence, options, trusted = ca] of cases) {
      const port = await listen(t, createServer(options));
      await assert.rejects(connectTo({ host: 'localhost', port, ca: trusted, timeout: 60_000 }), {
        message: `cannot connect to localhost:${port}: ${sentence} (${code})`,
      });
    }
  });

  test('tells the reasons for which a server ends the handshake', async (t) => {
    const alert = (number: number) => Buffer.of(21, 3, 3, 0, 2, 2, number);
    const hello = Buffer.from(`160301002a020000260301${'00'.repeat(32)}00c00900`, 'hex');
    const REFUSED = `ERR_SSL_${OLD ? 'SSLV3' : 'SSL/TLS'}_ALERT_HANDSHAKE_FAILURE`;
    const cases: [Buffer, string][] = [
      [
        alert(40),
        `it refuses the handshake: no cipher in common, or it wants a certificate (${REFUSED})`,
      ],
      [
        alert(48),
        'it does not trust the CA of the client certificate (ERR_SSL_TLSV1_ALERT_UNKNOWN_CA)',
      ],
      // One without a sentence of its own, and a ServerHello of TLS 1.0.
      [
        alert(80),
        'the handshake failed: tlsv1 alert internal error (ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR)',
      ],
      [hello, 'it speaks neither TLS 1.2 nor 1.3 (ERR_SSL_UNSUPPORTED_PROTOCOL)'],
    ];
    for (const [answer, sentence] of cases) {
      const server = createTcpServer((socket) => socket.on('error', () => {}).write(answer));
      const port = await listen(t, server);
      await assert.rejects(connectTo({ host: '127.0.0.1', port, ca, timeout: 60_000 }), {
        message: `cannot connect to 127.0.0.1:${port}: ${sentence}`,
      });
    }
  });

  test('says in words of OpenSSL what it has no sentence for', async (t) => {
    const { port, cert } = await startOdd(t);
    await assert.rejects(connectTo({ host: '127.0.0.1', port, ca: cert, timeout: 60_000 }), {
      name: 'ProgramError',
      message: `cannot connect to 127.0.0.1:${port}: its certificate is refused: unhandled critical extension (UNSPECIFIED)`,
    });
  });

  test('verifies also if the environment tells Node not to', async (t) => {
    const { port } = await start(t, await other.issue({ name: 'localhost' }));
    const emit = t.mock.method(process, 'emitWarning', () => {}); // Node's own, about the variable
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
    const socket = connectTo({ host: 'localhost', port, ca, timeout: 60_000 });
    delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    await assert.rejects(socket, /is not trusted here \(UNABLE_TO_VERIFY_LEAF_SIGNATURE\)$/);
    emit.mock.restore();
  });

  test('speaks to nothing older than TLS 1.2, whatever Node is told', async (t) => {
    const old = {
      minVersion: 'TLSv1',
      maxVersion: 'TLSv1.1',
      ciphers: 'DEFAULT@SECLEVEL=0',
    } as const;
    const port = await listen(t, createServer({ ...identity, ...old }));
    const { DEFAULT_MIN_VERSION, DEFAULT_CIPHERS } = tls;
    Object.assign(tls, { DEFAULT_MIN_VERSION: 'TLSv1', DEFAULT_CIPHERS: 'DEFAULT@SECLEVEL=0' });
    const socket = connectTo({ host: 'localhost', port, ca, timeout: 60_000 });
    Object.assign(tls, { DEFAULT_MIN_VERSION, DEFAULT_CIPHERS });
    await assert.rejects(
      socket,
      /: it speaks neither TLS 1\.2 nor 1\.3 \(ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION\)$/,
    );
  });

  test('says which host it means, and only if that is a name', async (t) => {
    const { server, port } = await start(t);
    for (const [host, name] of [
      ['localhost', 'localhost'],
      ['127.0.0.1', false],
    ] as const) {
      const accepted = once(server, 'secureConnection');
      const socket = await connectTo({ host, port, ca, timeout: 60_000 });
      t.after(() => socket.destroy());
      assert.equal(((await accepted)[0] as TLSSocket).servername, name);
    }
  });

  const NOT_TLS = 'what answers there does not speak TLS';
  const ANSWERS: Record<string, [(socket: Socket) => void, string]> = {
    'a web server': [
      (socket) => socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')),
      `${NOT_TLS} (ERR_SSL_WRONG_VERSION_NUMBER)`,
    ],
    'a mail server': [
      (socket) => socket.write('220 ready\r\n'),
      `${NOT_TLS} (ERR_SSL_WRONG_VERSION_NUMBER)`,
    ],
    'example 01': [(socket) => socket.pipe(socket), `${NOT_TLS} (ERR_SSL_UNEXPECTED_MESSAGE)`],
    'one that hangs up': [
      (socket) => socket.resume().end(),
      'it hung up in the middle of the handshake; does it speak TLS?',
    ],
    'one that resets': [
      (socket) => socket.once('data', () => reset(socket)),
      'it hung up in the middle of the handshake; does it speak TLS?',
    ],
    'one that is silent': [(socket) => socket.resume(), 'no TLS handshake within 0.1 s'],
  };
  for (const [name, [act, sentence]] of Object.entries(ANSWERS)) {
    test(`tells ${name} from a TLS server`, async (t) => {
      const port = await listen(
        t,
        createTcpServer((socket) => act(socket.on('error', () => {}))),
      );
      const timeout = sentence.startsWith('no TLS') ? 100 : 10_000;
      await assert.rejects(connectTo({ host: '127.0.0.1', port, ca, timeout }), {
        message: `cannot connect to 127.0.0.1:${port}: ${sentence}`,
      });
    });
  }

  test('sends all its input and gets every answer, also those that come late', async (t) => {
    const { port } = await start(t);
    const socket = await secure(t, port);
    const output = new PassThrough();
    const answers = text(output);
    await converse(socket, ['one ', 'two ', 'x'.repeat(MiB)], output);
    output.end();
    assert.equal(await answers, `ONE TWO ${'X'.repeat(MiB)}`);
  });

  test('sends on to a server that has ended its half already', async (t) => {
    const settings = { ...identity, allowHalfOpen: true };
    const server = createServer(settings, (socket) => socket.end('all I say'));
    const port = await listen(t, server);
    const accepted = once(server, 'secureConnection');
    const socket = await secure(t, port);
    const [receiver] = (await accepted) as [TLSSocket];
    await once(socket.resume(), 'end');
    setImmediate(() => socket.end('heard to the end'));
    assert.equal(await text(receiver), 'heard to the end');
  });

  test('says so when the server ends before the input does', async (t) => {
    const port = await listen(
      t,
      createServer(identity, (socket) => socket.end('bye')),
    );
    const socket = await secure(t, port);
    await assert.rejects(converse(socket, new PassThrough(), new PassThrough().resume()), {
      message: 'the server ended the conversation before the input did',
    });
  });

  test('says so when the server ends without an answer', async (t) => {
    const port = await listen(
      t,
      createServer(identity, (socket) => socket.end()),
    );
    for (const input of [['hello'], new PassThrough()]) {
      const socket = await secure(t, port);
      await assert.rejects(converse(socket, input, new PassThrough().resume()), {
        message:
          'the server ended the conversation without an answer; if it wants a client certificate, it has refused ours',
      });
    }
  });

  test('is content without an answer if it has asked nothing', async (t) => {
    const { port } = await start(t);
    await converse(await secure(t, port), [], new PassThrough());
  });

  test('gives up when it is told to', async (t) => {
    const { port } = await start(t);
    const stop = new AbortController();
    const { signal } = stop;
    const socket = await connectTo({ host: 'localhost', port, ca, timeout: 60_000, signal });
    const conversation = converse(socket, new PassThrough(), new PassThrough());
    stop.abort();
    await assert.rejects(conversation, { name: 'AbortError' });
  });
});

test('the client says where the CA file should be', async (t) => {
  const folder = temporary(t);
  await assert.rejects(readPem(folder, 'ca.crt'), {
    name: 'ProgramError',
    message: `cannot read ${join(folder, 'ca.crt')}: no such file; the server makes it when it starts`,
  });
});

describe('inspect', together, () => {
  test('prints version, cipher, names, dates, and that it is verified', async (t) => {
    const { server, port } = await start(t);
    const closed = once(server, 'connection').then(([socket]) => once(socket, 'close'));
    const lines = Object.fromEntries(await inspect({ host: 'localhost', port, ca: [ca] }));
    await closed; // it has seen what it wanted, and keeps no connection
    const day = (offset: number) => new Date(Date.now() + offset).toISOString().slice(0, 10);
    const { 'key exchange': exchange, valid, ...rest } = lines;
    assert.deepEqual(rest, {
      version: 'TLSv1.3',
      cipher: 'TLS_AES_256_GCM_SHA384',
      ALPN: 'none',
      subject: 'CN=localhost',
      names: 'DNS:localhost, IP Address:127.0.0.1',
      issuer: 'CN=test CA',
      verified: 'yes',
    });
    const GROUPS = /^(X25519, 253 bits|X25519MLKEM768|a group that this Node has no name for)$/;
    assert.match(exchange ?? '', GROUPS);
    assert.match(valid ?? '', new RegExp(`^.* to ${day(90 * 24 * 3600_000)}, 89 days left$`));
  });

  test('says what is wrong with a server, and prints the rest all the same', async (t) => {
    const options = { name: 'a', names: ['other.example'], notBefore: new Date('2019-01-01') };
    const past = await authority.issue({ ...options, notAfter: new Date('2020-01-01') });
    const { port } = await start(t, past);
    const now = Date.parse('2020-01-11');
    const lines = Object.fromEntries(await inspect({ host: 'localhost', port, ca: [ca], now }));
    assert.equal(lines.valid, '2019-01-01 to 2020-01-01, -10 days left');
    assert.equal(lines.verified, 'no: its certificate has expired (CERT_HAS_EXPIRED)');
    assert.equal(lines.names, 'DNS:other.example');
  });

  test('names the wrong name', async (t) => {
    const { port } = await start(t, await authority.issue({ name: 'other.example' }));
    const lines = Object.fromEntries(await inspect({ host: 'localhost', port, ca: [ca] }));
    assert.equal(
      lines.verified,
      'no: its certificate is for DNS:other.example, not for localhost (ERR_TLS_CERT_ALTNAME_INVALID)',
    );
    const error = {
      name: '',
      message: '',
      code: 'ERR_TLS_CERT_ALTNAME_INVALID',
      host: 'h',
      cert: {},
    };
    assert.equal(
      explainTls(error),
      `its certificate is for no name at all, not for h (${error.code})`,
    );
  });

  test('prints the protocol that the server chooses, and names it, but no address', async (t) => {
    const names: string[] = [];
    const SNICallback: TlsOptions['SNICallback'] = (name, done) => {
      names.push(name);
      done(null);
    };
    for (const [host, protocol] of [
      ['127.0.0.1', 'h2'],
      ['localhost', 'http/1.1'],
    ] as const) {
      const server = createServer({ ...identity, ALPNProtocols: [protocol], SNICallback });
      const port = await listen(t, server);
      const lines = Object.fromEntries(await inspect({ host, port, ca: [ca] }));
      assert.equal(lines.ALPN, protocol);
      assert.equal(lines.verified, 'yes');
    }
    assert.deepEqual(names, ['localhost']);
  });

  test('trusts the public CAs, and our own where it has been made', (t) => {
    const folder = temporary(t);
    assert.deepEqual(trustedCas(folder), rootCertificates);
    writeFileSync(join(folder, 'ca.crt'), ca);
    assert.deepEqual(trustedCas(folder), [...rootCertificates, ca]);
  });

  test('shows a certificate without a subject, and dates that are none', async (t) => {
    const { port } = await startOdd(t, (raw) => {
      raw.write('269932', raw.indexOf('260101')); // month 99, day 32
      return raw;
    });
    const lines = Object.fromEntries(await inspect({ host: '127.0.0.1', port }));
    assert.equal(lines.subject, 'none');
    assert.equal(lines.issuer, 'none');
    assert.match(lines.valid ?? '', /^Bad time value to 2099-01-01, \d+ days left$/);
    assert.equal(lines.names, 'none');
    assert.equal(lines.verified, 'no: ERROR_IN_CERT_NOT_BEFORE_FIELD');
  });

  test('tells forward secrecy from none', async (t) => {
    const rsa = { modulusLength: 1024, publicExponent: Buffer.of(1, 0, 1), hash: 'SHA-256' };
    const { raw, key } = await makeOdd({ name: 'RSASSA-PKCS1-v1_5', ...rsa });
    const exchange = async (cipher: string) => {
      const ciphers = `${cipher}:@SECLEVEL=0`;
      const settings = { cert: toPem(raw), key, ciphers, dhparam: 'auto' };
      const port = await listen(t, createServer({ ...settings, maxVersion: 'TLSv1.2' }));
      return Object.fromEntries(await inspect({ host: '127.0.0.1', port }))['key exchange'];
    };
    assert.equal(await exchange('AES128-SHA'), 'RSA, no forward secrecy');
    assert.equal(await exchange('DHE-RSA-AES128-SHA'), 'DH, 1024 bits');
  });

  test('works for a server of 2006 too', async (t) => {
    const old = {
      minVersion: 'TLSv1',
      maxVersion: 'TLSv1.1',
      ciphers: 'DEFAULT@SECLEVEL=0',
    } as const;
    const port = await listen(t, createServer({ ...identity, ...old }));
    const lines = Object.fromEntries(await inspect({ host: 'localhost', port, ca: [ca] }));
    assert.equal(lines.version, 'TLSv1.1');
  });

  test('lets no name command the terminal', async (t) => {
    // U+202E would show what follows it from right to left.
    const { port } = await start(
      t,
      await authority.issue({ name: 'a\u202eb', names: ['localhost'] }),
    );
    const lines = Object.fromEntries(await inspect({ host: 'localhost', port, ca: [ca] }));
    assert.equal(lines.subject, 'CN=a\ufffdb');
    assert.equal(printable('a\u001b[2J\nb'), 'a\ufffd[2J\ufffdb');
    assert.equal(printable('x'.repeat(10_000)), `${'x'.repeat(200)}…`);
    const cert = { subjectaltname: 'DNS:\u001b[2J' };
    const error = { name: '', message: '', code: 'ERR_TLS_CERT_ALTNAME_INVALID', host: 'h', cert };
    assert.ok(!explainTls(error)?.includes('\u001b'));
    // OpenSSL's messages end with a line break, where it has no reason beside them.
    assert.equal(
      reason(new Error('error:0A000000:SSL routines::\n')),
      'error:0A000000:SSL routines::',
    );
  });

  test('says that there is no TLS', async (t) => {
    const port = await listen(
      t,
      createTcpServer((socket) => socket.on('error', () => {}).write('220 ready\r\n')),
    );
    await assert.rejects(inspect({ host: '127.0.0.1', port }), {
      message: `cannot inspect 127.0.0.1:${port}: what answers there does not speak TLS (ERR_SSL_WRONG_VERSION_NUMBER)`,
    });
  });

  test('gives up on a server that is silent', async (t) => {
    const port = await listen(
      t,
      createTcpServer((socket) => socket.resume()),
    );
    await assert.rejects(inspect({ host: '127.0.0.1', port, timeout: 100 }), {
      message: `cannot inspect 127.0.0.1:${port}: no TLS handshake within 0.1 s`,
    });
  });
});

test('records: those that are whole, wherever the bytes end', () => {
  const hello = Buffer.from(
    '16030100020100160303000102140303000101170303000311111115030300001603030002040018030300017f',
    'hex',
  );
  // Where each of them ends. An empty one is whole as well.
  const ends: Record<number, string> = {
    7: 'ClientHello 2',
    13: 'ServerHello 1',
    19: 'ChangeCipherSpec 1',
    27: 'encrypted 3',
    32: 'Alert 0',
    39: 'Handshake 2',
    45: 'type 24 1',
  };
  const whole: string[] = [];
  for (let end = 0; end <= hello.length; end++) {
    whole.push(...(end in ends ? [String(ends[end])] : []));
    const found = [...readRecords(hello.subarray(0, end))];
    assert.deepEqual(
      found.map(({ type, length }) => `${type} ${length}`),
      whole,
    );
  }
});

describe('the programs', { ...together, timeout: 120_000 }, () => {
  testUsage(INSPECT);
  testServer(SERVER, async (t, port) => {
    const trusted = readFileSync(join(DIRECTORY, 'ca.crt'), 'utf8');
    const client = await connectTo({ host: '127.0.0.1', port, ca: trusted, timeout: 60_000 });
    t.after(() => client.destroy());
    client.end('hello');
    assert.equal((await readAll(client)).toString(), 'HELLO');
  });

  test('inspect.ts wants a host, and a port that can be', async (t) => {
    const REFUSED: [string[], string][] = [
      [[], 'want HOST and perhaps PORT'],
      [['localhost', '8443', 'more'], 'want HOST and perhaps PORT'],
      [['localhost', '65536'], 'PORT must be a whole number from 0 to 65,535, not "65536"'],
    ];
    const programs = REFUSED.map(([args]) => run(t, INSPECT, args));
    for (const [at, program] of programs.entries()) {
      assert.equal(await program.exit(), 2, program.stderr);
      assert.equal(program.stderr.split('\n')[0], `error: ${REFUSED[at]?.[1]}`);
    }
  });

  test('Ctrl+C ends client.ts and inspect.ts in the middle of a handshake, and so does time', {
    skip: noSignals,
  }, async (t) => {
    const server = createTcpServer((socket) => socket.on('error', () => {}));
    const port = await listen(t, server);
    const COMMANDS: [string, string[], string][] = [
      [CLIENT, ['--host', '127.0.0.1', '--port', String(port), '--certs', MADE], 'connect to'],
      [INSPECT, ['127.0.0.1', String(port)], 'inspect'],
    ];
    for (const [file, args, task] of COMMANDS) {
      const connected = once(server, 'connection');
      const program = run(t, file, args);
      const [socket] = (await connected) as [Socket];
      await once(socket, 'data'); // its ClientHello
      program.child.kill('SIGINT');
      assert.equal(await program.exit(), 0, program.stderr);
      assert.equal(program.stderr, '');

      const hasty = run(t, file, ['--timeout', '1', ...args]);
      assert.equal(await hasty.exit(), 1, hasty.stdout);
      const sentence = `cannot ${task} 127.0.0.1:${port}: no TLS handshake within 0.001 s`;
      assert.equal(hasty.stderr, `error: ${sentence}\n`);
    }
  });

  test('the programs share a folder', async (t) => {
    const folder = join(temporary(t), 'made', 'here');
    const certs = ['--certs', folder];
    const keylog = join(temporary(t), 'keys.txt');
    const server = run(t, SERVER, ['--port', '0', ...certs, '--mutual', '--keylog', keylog]);
    const maker = run(t, CERTIFICATES, certs);
    const port = String(await server.ready());

    await t.test('server.ts and certificates.ts, which start together, make it once', async () => {
      assert.equal(await maker.exit(), 0, maker.stderr);
      const { fingerprint256 } = new X509Certificate(readFileSync(join(folder, 'ca.crt')));
      const [first = '', second] = maker.stdout.split('\n');
      assert.match(first, /^CN=net-by-example CA, signed by CN=net-by-example CA, until /);
      assert.equal(second, `  SHA-256 ${fingerprint256}`);
    });

    await t.test('client.ts --mutual talks line by line, and the keys are logged', async (t) => {
      const client = run(t, CLIENT, ['--port', port, ...certs, '--mutual']);
      for (const line of ['one', 'two']) {
        client.stdin.write(`${line}\n`);
        await client.printed(new RegExp(`^${line.toUpperCase()}$`, 'm'));
      }
      client.stdin.end();
      assert.equal(await client.exit(), 0, client.stderr);
      await server.printed(/ connected as "client": TLSv1\.3/);
      assert.match(readFileSync(keylog, 'utf8'), /^CLIENT_TRAFFIC_SECRET_0 /m);
    });

    await t.test('inspect.ts trusts the CA of the folder', async (t) => {
      const program = run(t, INSPECT, [...certs, 'localhost', port]);
      assert.equal(await program.exit(), 0, program.stderr);
      assert.match(program.stdout, /^verified {6}yes$/m);
    });
  });
});

testReadme(import.meta.dirname);
