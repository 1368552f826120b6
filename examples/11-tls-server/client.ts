/**
 * The client side: as in example 01, but it talks to nobody who does not prove to be the one.
 * Read server.ts before.
 */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { isIP, type SocketConstructorOpts } from 'node:net';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import {
  flag,
  formatAddress,
  host,
  milliseconds,
  ProgramError,
  port,
  program,
  text,
} from '@shared/program';
import { DIRECTORY } from './certificates.ts';
import { explainTls } from './explain.ts';

export interface ConnectOptions {
  /** Whom to connect to. The server's certificate must be for this name or address. */
  host: string;
  port: number;
  /** The CA, PEM, that must have signed it. No other is trusted, the public ones neither. */
  ca: string;
  /** The client's own certificate and key, PEM, for a server that wants one. Default: none. */
  cert?: string;
  key?: string;
  /** How long connecting and the handshake may take together, in milliseconds. Default 3,000. */
  timeout?: number;
  /** Gives up when it is aborted. Default: never. */
  signal?: AbortSignal;
}

/** Connects and verifies, or rejects with a sentence. (Tutorial 004 §6.1) */
export async function connectTo(options: ConnectOptions): Promise<TLSSocket> {
  const { host, timeout = 3000, ...rest } = options;
  const settings: ConnectionOptions & SocketConstructorOpts = {
    ...rest,
    host,
    // Which name is meant, for a server that has several (SNI). Addresses are not allowed there.
    servername: isIP(host) ? '' : host,
    // The default, but NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment would turn it off.
    rejectUnauthorized: true,
    minVersion: 'TLSv1.2',
    allowHalfOpen: true,
  };
  const socket = connect(settings);
  await handshake(socket, timeout, `cannot connect to ${formatAddress(host, options.port)}`);
  return socket;
}

/** Waits until both have shaken hands, at most so many milliseconds. Rejects with a sentence that begins with `what`. */
export async function handshake(socket: TLSSocket, timeout: number, what: string): Promise<void> {
  const timer = setTimeout(() => {
    socket.destroy(new ProgramError(`${what}: no TLS handshake within ${timeout / 1000} s`));
  }, timeout);
  try {
    // Not 'connect': that is TCP's, when nobody has proved anything yet.
    await once(socket, 'secureConnect');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ECONNRESET') {
      throw new ProgramError(
        `${what}: it hung up in the middle of the handshake; does it speak TLS?`,
      );
    }
    const known = explained(error, what);
    // OpenSSL has more reasons to refuse a certificate than explain.ts has sentences.
    throw socket.authorizationError && known === error
      ? new ProgramError(`${what}: its certificate is refused: ${message} (${code})`, {
          cause: error,
        })
      : known;
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Sends all of `input`, then ends our half, while all answers go to `output`, until the server ends
 * its half. Rejects if the connection breaks, if the server ends before the input does, or without
 * an answer.
 */
export async function converse(
  socket: TLSSocket,
  input: AsyncIterable<string | Uint8Array> | Iterable<string>,
  output: Writable,
): Promise<void> {
  const ended = new AbortController();
  const received = pipeline(socket, output, { end: false }).then(() => ended.abort());
  const sent = pipeline(input, socket, { signal: ended.signal }).catch((error) => {
    if (!ended.signal.aborted) throw error;
    throw new ProgramError(socket.bytesRead > 0 ? TOO_SOON : NO_ANSWER);
  });
  try {
    await Promise.all([received, sent]);
  } catch (error) {
    throw explained(error, 'the server ended the conversation');
  }
  if (socket.bytesRead === 0 && socket.bytesWritten > 0) throw new ProgramError(NO_ANSWER);
}

const TOO_SOON = 'the server ended the conversation before the input did';
/** In TLS 1.3 we are done before the server has seen our certificate. Some, as Node, then just end. */
const NO_ANSWER =
  'the server ended the conversation without an answer; if it wants a client certificate, it has refused ours';

/** The error with a sentence if it is one of TLS; the error itself is its cause. */
function explained(error: unknown, what: string): unknown {
  const why = error instanceof Error ? explainTls(error) : undefined;
  return why === undefined ? error : new ProgramError(`${what}: ${why}`, { cause: error });
}

/** A file that the server has made, or a hint. */
export async function readPem(directory: string, file: string): Promise<string> {
  const path = join(directory, file);
  return await readFile(path, 'utf8').catch((error) => {
    if (error.code !== 'ENOENT') throw error;
    throw new ProgramError(`cannot read ${path}: no such file; the server makes it when it starts`);
  });
}

program(import.meta, {
  about: 'Sends its arguments, or standard input if there are none, and prints the answers.',
  args: '[TEXT...]',
  options: {
    host: host('localhost'),
    port: port(8443),
    certs: text(DIRECTORY, 'the folder of the certificates; its ca.crt is trusted'),
    mutual: flag("show the server that folder's client certificate"),
    timeout: milliseconds(3000, 'how long connecting may take'),
  },
  async run({ host, port, certs, mutual, timeout }, { args, signal }) {
    const socket = await connectTo({
      host,
      port,
      ca: await readPem(certs, 'ca.crt'),
      ...(mutual && {
        cert: await readPem(certs, 'client.crt'),
        key: await readPem(certs, 'client.key'),
      }),
      timeout,
      signal,
    });
    await converse(
      socket,
      args.length > 0 ? [`${args.join(' ')}\n`] : process.stdin,
      process.stdout,
    );
  },
});
