/**
 * A TCP server that answers all text in upper case.
 * The first example: start here, then read client.ts.
 */
import { createServer, type Server } from 'node:net';
import { host, peerName, port, program, serve } from '@shared/program';

export interface EchoServerOptions {
  /** How long a client may neither send nor read before it is dropped, in milliseconds. Default 5 minutes. */
  idleTimeout?: number;
  /** How many clients are served at once; one more is closed as soon as it connects. Default 10,000. */
  maxConnections?: number;
  /** Where a line about each client goes. Default: nowhere. */
  log?: (line: string) => void;
}

/** Builds the server; the caller lets it listen, and closes it. (Tutorials 000 §2.1, 004 §3.1) */
export function createEchoServer(options: EchoServerOptions = {}): Server {
  const { idleTimeout = 5 * 60_000, maxConnections = 10_000, log = () => {} } = options;

  // Without allowHalfOpen Node ends our half by itself once the client has ended its own. Here the
  // answers are all written by then; any that took longer would be lost.
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const client = peerName(socket);
    log(`${client} connected`);

    // Without a listener a single client that crashes (RST) would take the whole server with it.
    socket.on('error', (error) => log(`${client} failed: ${error.message}`));
    socket.on('close', () => log(`${client} closed`));

    // Chunks end anywhere, also inside a character: this keeps the first half until the second is
    // there. Bytes that are no UTF-8 at all become U+FFFD, the replacement character.
    socket.setEncoding('utf8');

    socket.on('data', (text: string) => {
      // A client that sends and never reads would fill our memory with its answers. While those
      // wait we do not read either, and TCP tells the client to stop.
      if (!socket.write(text.toUpperCase())) socket.pause();
    });
    socket.on('drain', () => socket.resume());

    // The client has said all: say what is left to say, then end our half too.
    socket.on('end', () => socket.end());

    // A client that vanished without a FIN (a cable pulled, a laptop closed) would stay for ever.
    socket.setTimeout(idleTimeout, () => {
      log(`${client} idle for ${idleTimeout / 1000} s`);
      socket.destroy();
    });
  });
  server.maxConnections = maxConnections;
  return server;
}

program(import.meta, {
  about: 'Answers all text that a client sends in upper case.',
  options: { host: host(), port: port(8888) },
  run: ({ host, port }, { signal }) =>
    serve(createEchoServer({ log: console.log }), { host, port, signal }),
});
