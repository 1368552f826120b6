/**
 * A server for both handshakes: takes what a client says, answers when it has ended its half, and
 * logs the TCP state of its own end at each step. Read states.ts before.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { host, milliseconds, peerName, port, program, serve } from '@shared/program';
import { canTell, findEnd, readTable } from './kernel.ts';

export interface StateServerOptions {
  /** How long the server thinks when a client has ended its half, in milliseconds. Default 0. */
  answerAfter?: number;
  /** How long a client may neither send nor read before it is dropped, in milliseconds. Default 1 minute. */
  idleTimeout?: number;
  /** How many clients are served at once; one more is closed as soon as it connects. Default 100. */
  maxConnections?: number;
  /** Where a line about each step goes. Default: nowhere. */
  log?: (line: string) => void;
}

/** Builds the server; the caller lets it listen, and closes it. (Tutorial 000 §5.17.6 and §5.18.5) */
export function createStateServer(options: StateServerOptions = {}): Server {
  const { answerAfter = 0, idleTimeout = 60_000, maxConnections = 100, log = () => {} } = options;

  // Without allowHalfOpen Node ends our half as soon as the client has ended its own, and the answer
  // that we are still thinking about can no longer be sent.
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const client = peerName(socket);
    const state = watch(socket);
    socket.on('error', (error) => log(`${client} failed: ${error.message}`));
    socket.on('close', () => log(`${client} 'close'${state()}`));
    log(`${client} 'connection'${state()}`);

    socket.resume(); // the bytes are counted, not kept
    socket.on('end', () => {
      log(`${client} 'end'${state()}`);
      const answer = () => socket.end(`goodbye, after ${socket.bytesRead} bytes\n`);
      // Until then we are in CLOSE_WAIT, and the client is in FIN_WAIT_2.
      setTimeout(answer, answerAfter).unref();
    });

    // A client that vanished without a FIN stays ESTABLISHED for ever.
    socket.setTimeout(idleTimeout, () => {
      log(`${client} idle for ${idleTimeout / 1000} s`);
      socket.destroy();
    });
  });
  server.maxConnections = maxConnections;
  return server;
}

/** What the kernel says about this end, as far as it can: `: ESTABLISHED`. */
function watch({ localAddress, localPort, remoteAddress, remotePort, remoteFamily }: Socket) {
  const local = { address: localAddress ?? '', port: localPort ?? 0 };
  // Afterwards the socket has forgotten it.
  const remote = { address: remoteAddress ?? '', port: remotePort ?? 0 };
  if (!canTell || remoteFamily !== 'IPv4') return () => '';
  return () => `: ${findEnd(readTable(), local, remote).state}`;
}

program(import.meta, {
  about: 'Answers when a client has ended its half, and logs the TCP state at each step.',
  options: {
    host: host(),
    port: port(8080),
    answerAfter: milliseconds(0, 'how long to think before an answer', { min: 0, max: 60_000 }),
  },
  run: ({ host, port, answerAfter }, { signal }) =>
    serve(createStateServer({ answerAfter, log: console.log }), { host, port, signal }),
});
