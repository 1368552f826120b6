/**
 * The upper-case echo of example 01 over TLS: encrypted, and proving who it is.
 * Read example 01 before; then client.ts, then failures.ts.
 */
import { appendFileSync, closeSync, fchmodSync, fstatSync, openSync } from 'node:fs';
import { createServer, type Server } from 'node:tls';
import { flag, host, peerName, port, program, serve, text } from '@shared/program';
import { DIRECTORY, loadCertificates } from './certificates.ts';
import { reason } from './explain.ts';

export interface TlsEchoServerOptions {
  /** The server's certificate, PEM. */
  cert: string;
  /** The private key that belongs to it, PEM. */
  key: string;
  /** The CA, PEM, whose clients are served; others are not (mutual TLS). Default: anybody is. */
  clientCa?: string;
  /** How long the handshake may take, in milliseconds. Default 10,000. */
  handshakeTimeout?: number;
  /** How long a client may neither send nor read before it is dropped, in milliseconds. Default 5 minutes. */
  idleTimeout?: number;
  /** How many clients are served at once, those in the handshake too; one more is closed as soon as it connects. Default 1,000. */
  maxConnections?: number;
  /** Where a line about each client goes. Default: nowhere. */
  log?: (line: string) => void;
}

/** TLS 1.3's own, and of TLS 1.2 only what has forward secrecy (ECDHE) and authenticates what it encrypts (GCM, ChaCha20-Poly1305). (RFC 9325 §4.2) */
const CIPHERS = [
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'TLS_AES_128_GCM_SHA256',
  ...['AES256-GCM-SHA384', 'CHACHA20-POLY1305', 'AES128-GCM-SHA256'].flatMap((cipher) => [
    `ECDHE-ECDSA-${cipher}`,
    `ECDHE-RSA-${cipher}`,
  ]),
].join(':');

/** Key exchange on elliptic curves alone: one with ffdhe8192 would cost us fifty times the work of X25519, and a client that asks for it nothing. (CVE-2002-20001) */
const GROUPS = [
  // Safe from the quantum computers to come as well; older OpenSSLs do not know the name.
  ...(Number.parseFloat(process.versions.openssl) >= 3.5 ? ['X25519MLKEM768'] : []),
  'X25519',
  'P-256',
  'P-384',
].join(':');

/** So many answers, each of a record of at most 16 KiB, may wait on top of Node's 16 KiB for a client that does not read. None at all would cost a third of the speed. */
const MAX_WAITING = 32;

/** So many new keys may come without any text between them; an answered KeyUpdate brings two. */
const MAX_NEW_KEYS = 32;

/** Builds the server; the caller lets it listen, and closes it. (Tutorials 000 §10.3, 004 §6.2) */
export function createTlsEchoServer(options: TlsEchoServerOptions): Server {
  const { cert, key, clientCa, handshakeTimeout = 10_000 } = options;
  const { idleTimeout = 5 * 60_000, maxConnections = 1_000, log = () => {} } = options;

  const server = createServer({
    cert,
    key,
    // Also Node's default, until somebody starts it with --tls-min-v1.0.
    minVersion: 'TLSv1.2',
    ciphers: CIPHERS,
    ecdhCurve: GROUPS,
    handshakeTimeout,
    ...(clientCa !== undefined && { requestCert: true, ca: clientCa }),
  });

  // Only now is there somebody to talk to: 'connection' comes before the handshake.
  server.on('secureConnection', (socket) => {
    const client = peerName(socket);
    const name =
      clientCa === undefined
        ? ''
        : ` as ${JSON.stringify(socket.getPeerCertificate().subject?.CN)}`;
    log(`${client} connected${name}: ${socket.getProtocol()}, ${socket.getCipher().standardName}`);

    // TLS 1.2 lets a client shake hands again and again on one connection: work for us, at its will.
    socket.disableRenegotiation();

    // And TLS 1.3 lets it ask for new keys again and again, without a word to us: each answer would
    // wait in memory until it is read. Of these Node tells only those who log the keys.
    let newKeys = 0;
    socket.on('keylog', () => {
      // Not `>`: of what is here already, more comes after the destroy().
      if (++newKeys !== MAX_NEW_KEYS) return;
      log(`${client} failed: it asks for new keys all the time`);
      socket.destroy();
    });

    // For answers that come when the client has ended its half. As an option of the server this
    // would hold for the handshake too, and keep those that have left in the middle of it.
    socket.allowHalfOpen = true;

    // From here on everything is as in example 01, and for the same reasons.
    socket.on('error', (error) => {
      log(`${client} failed: ${reason(error)}`);
      // Node only tells of a renegotiation, and goes through with it: the connection is ours to close.
      socket.destroy();
    });
    socket.on('close', () => log(`${client} closed`));
    socket.setEncoding('utf8');
    let waiting = 0;
    socket.on('data', (text: string) => {
      newKeys = 0;
      // Not as soon as write() returns false: while these are encrypted and sent, read the next.
      // And answers are counted, not bytes: one of a single byte takes many more in memory.
      if (!socket.write(text.toUpperCase()) && ++waiting > MAX_WAITING) socket.pause();
    });
    socket.on('drain', () => {
      waiting = 0;
      socket.resume();
    });
    socket.on('end', () => socket.end());
    socket.setTimeout(idleTimeout, () => {
      log(`${client} idle for ${idleTimeout / 1000} s`);
      socket.destroy();
    });
  });

  server.on('tlsClientError', (error, socket) => {
    // The error of a client whose certificate is refused is no more than "socket hang up".
    const why = socket.authorizationError
      ? `its certificate: ${socket.authorizationError}`
      : reason(error);
    log(`${peerName(socket)} failed in the handshake: ${why}`);
    // Node only tells of a handshake that takes too long. The connection is ours to close.
    socket.destroy();
  });
  server.maxConnections = maxConnections;
  return server;
}

/** Appends to a file what Wireshark needs to decrypt all that is said to the server. Whoever reads the file can do that too. */
export function logKeys(server: Server, file: string): void {
  const descriptor = openSync(file, 'a', 0o600);
  // The mode above counts only for a file that is not there yet.
  if (fstatSync(descriptor).isFile()) fchmodSync(descriptor, 0o600);
  server.on('keylog', (line) => {
    try {
      appendFileSync(descriptor, line);
    } catch {
      // A full disk costs the keys, not the server.
    }
  });
  // Once: a second close() has a 'close' as well, and the number then stands for another file.
  server.once('close', () => closeSync(descriptor));
}

program(import.meta, {
  about: 'Answers over TLS all text that a client sends in upper case.',
  options: {
    host: host(),
    port: port(8443),
    certs: text(DIRECTORY, 'the folder of the certificates'),
    mutual: flag('serve only clients that have a certificate of the CA'),
    keylog: text('', 'the file that gets the keys, for Wireshark'),
  },
  async run({ host, port, certs, mutual, keylog }, { signal }) {
    const { ca, server: identity } = await loadCertificates(certs);
    const server = createTlsEchoServer({
      ...identity,
      ...(mutual && { clientCa: ca }),
      log: console.log,
    });
    if (keylog !== '') logKeys(server, keylog);
    await serve(server, { host, port, signal });
  },
});
