import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer as createTcpServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, type TestContext, test } from 'node:test';
import tls, { type ConnectionOptions, connect, createServer, type TLSSocket } from 'node:tls';
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
import { createAuthority } from './authority.ts';
import { DIRECTORY } from './certificates.ts';
import { connectTo, converse, readPem } from './client.ts';
import { explainTls, printable } from './explain.ts';
import { FAILURES, type Outcome, provoke } from './failures.ts';
import { inspect } from './inspect.ts';
import { readRecords } from './records.ts';
import { createTlsEchoServer, logKeys, type TlsEchoServerOptions } from './server.ts';

const SERVER = join(import.meta.dirname, 'server.ts');
const CLIENT = join(import.meta.dirname, 'client.ts');
const CERTIFICATES = join(import.meta.dirname, 'certificates.ts');
const INSPECT = join(import.meta.dirname, 'inspect.ts');
const MiB = 1024 * 1024;
const windows = process.platform === 'win32' ? 'Windows has no such modes' : false;

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

describe('the server', { concurrency: true, timeout: 60_000 }, () => {
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

  test('outlives a client that resets', async (t) => {
    const { server, port, log } = await start(t);
    await using tap = await tapTcp({ port, faults: { towards: 'server', reset: 20_000 } });
    const accepted = once(server, 'secureConnection');
    const client = await secure(t, tap.port);
    const [receiver] = (await accepted) as [TLSSocket];
    const closed = gone(receiver);
    client.write(Buffer.alloc(40_000, 'x'));
    await closed;
    assert.equal(log[1], 'CLIENT failed: read ECONNRESET');
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
      'a client failed in the handshake: socket hang up',
    ],
    'ends at once': [(socket) => socket.end(), 'a client failed in the handshake: socket hang up'],
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
      'a client failed in the handshake: its certificate: UNABLE_TO_VERIFY_LEAF_SIGNATURE',
    ],
    'one for servers': [
      () => authority.issue({ name: 'Ada' }),
      'a client failed in the handshake: its certificate: INVALID_PURPOSE',
    ],
    'one that has expired': [
      () => authority.issue({ name: 'Ada', usage: 'client', ...expired }),
      'a client failed in the handshake: its certificate: CERT_HAS_EXPIRED',
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
    writeFileSync(file, '');
    chmodSync(file, 0o644); // as one made by hand
    const { server, open } = await start(t);
    logKeys(server, file);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const [client] = await open();
    client.end('secret');
    await readAll(client);
    const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
    for (const line of lines) assert.match(line, /^[A-Z_0-9]+ [0-9a-f]{64} [0-9a-f]{64,96}$/);
    const labels = lines.map((line) => line.split(' ')[0]);
    assert.ok(labels.includes('CLIENT_TRAFFIC_SECRET_0'), labels.join());
    const fresh = join(temporary(t), 'keys.txt');
    logKeys(server, fresh);
    assert.equal(statSync(fresh).mode & 0o777, 0o600);
  });

  const noFull = process.platform === 'linux' ? false : 'only Linux has /dev/full';
  test('outlives a full disk under its keys', { skip: noFull }, async (t) => {
    const { server, port } = await start(t);
    const { mode } = statSync('/dev/full');
    logKeys(server, '/dev/full');
    assert.equal(statSync('/dev/full').mode, mode);
    await serves(t, port);
  });
});

/** A folder that is gone after the test. */
function temporary(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'tls-server-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

describe('the client', { concurrency: true }, () => {
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
          'a client failed in the handshake: its certificate: UNABLE_TO_VERIFY_LEAF_SIGNATURE',
        ],
      },
    };
    for (const name of FAILURES) assert.deepEqual(await provoke(name), expected[name], name);
    assert.deepEqual(FAILURES, Object.keys(expected));
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

describe('inspect', { concurrency: true }, () => {
  test('prints version, cipher, names, dates, and that it is verified', async (t) => {
    const { port } = await start(t);
    const lines = Object.fromEntries(await inspect({ host: 'localhost', port, ca: [ca] }));
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
    assert.match(exchange ?? '', /X25519|a group that this Node has no name for/);
    assert.match(valid ?? '', new RegExp(`^.* to ${day(90 * 24 * 3600_000)}, (89|90) days left$`));
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

  test('lets no name command the terminal', () => {
    assert.equal(printable('a\u001b[2J\nb'), 'a\ufffd[2J\ufffdb');
    assert.equal(printable('x'.repeat(10_000)), `${'x'.repeat(200)}…`);
    const cert = { subjectaltname: 'DNS:\u001b[2J' };
    const error = { name: '', message: '', code: 'ERR_TLS_CERT_ALTNAME_INVALID', host: 'h', cert };
    assert.ok(!explainTls(error)?.includes('\u001b'));
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
    '1603010002010016030300010214030300010117030300031111111503030000',
    'hex',
  );
  const all = [...readRecords(hello)];
  assert.deepEqual(
    all.map(({ type, length }) => `${type} ${length}`),
    ['ClientHello 2', 'ServerHello 1', 'ChangeCipherSpec 1', 'encrypted 3'],
  );
  for (let end = 0; end <= hello.length; end++) {
    const found = [...readRecords(hello.subarray(0, end))];
    assert.deepEqual(found, all.slice(0, found.length));
  }
});

describe('the programs', { concurrency: true }, () => {
  testUsage(INSPECT);
  testServer(SERVER, async (t, port) => {
    const trusted = readFileSync(join(DIRECTORY, 'ca.crt'), 'utf8');
    const client = await connectTo({ host: '127.0.0.1', port, ca: trusted, timeout: 60_000 });
    t.after(() => client.destroy());
    client.end('hello');
    assert.equal((await readAll(client)).toString(), 'HELLO');
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

    await t.test('client.ts without --mutual says what the server wants', async (t) => {
      const client = run(t, CLIENT, ['--port', port, ...certs, 'hello']);
      assert.equal(await client.exit(), 1);
      assert.equal(
        client.stderr,
        'error: the server ended the conversation: it wants a client certificate, and got none (ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED)\n',
      );
    });
  });
});

testReadme(import.meta.dirname);
