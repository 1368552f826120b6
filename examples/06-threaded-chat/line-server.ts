/**
 * The service that all of Part 2 offers: each line comes back in upper case. Here every connection
 * has a thread of its own, as in the tutorial. Read thread.ts before.
 *
 *     h  e  l  l  o 0a | 0a | h  i 0a   →   H  E  L  L  O 0a | 0a | H  I 0a
 */
import { createServer, type Server } from 'node:net';
import { host, integer, port, program, serve } from '@shared/program';
import { bundle, hangUp, startThread } from './thread.ts';

export interface LineServerOptions {
  /** How many clients, and so threads, there may be; one more is told so and closed. Default 200. */
  maxClients?: number;
  /** How long a client may neither send nor read before it is dropped, in milliseconds. Default 5 minutes. */
  idleTimeout?: number;
  /** The longest line to accept, in bytes; a longer one is refused. Default 64 KiB. */
  maxLength?: number;
  /** Where a line about each thread that fails goes. Default: nowhere. */
  log?: (line: string) => void;
}

/** Builds the server; the caller lets it listen, and closes it. (Tutorial 004 §3.1) */
export function createLineServer(options: LineServerOptions = {}): Server {
  const { maxClients = 200, idleTimeout = 5 * 60_000, maxLength = 64 * 1024 } = options;
  const { log = () => {} } = options;
  const code = bundle('./line-connection.ts');
  let threads = 0;

  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    socket.on('error', () => {}); // 'close' follows
    if (threads >= maxClients) return hangUp(socket, 'error: the server is full');
    threads++;
    socket.setTimeout(idleTimeout, () => socket.destroy());
    startThread(socket, code, { maxLength }, log).on('exit', () => threads--);
  });
  server.maxConnections = maxClients + 100;
  return server;
}

program(import.meta, {
  about: 'Answers each line that a client sends in upper case.',
  options: {
    host: host(),
    port: port(8888),
    maxClients: integer(200, { min: 1 }, 'how many clients, each with a thread of its own'),
  },
  run: ({ host, port, maxClients }, { signal }) =>
    serve(createLineServer({ maxClients, log: console.error }), { host, port, signal }),
});
