/**
 * TODO What this is, in two sentences. Which example to read before.
 */
import { createServer, type Server } from 'node:net';
import { host, peerName, port, program, serve } from '@shared/program';

export interface TemplateServerOptions {
  /** How long a client may neither send nor read before it is dropped, in milliseconds. Default 5 minutes. */
  idleTimeout?: number;
  /** Where a line about each client goes. Default: nowhere. */
  log?: (line: string) => void;
}

/** Builds the server; the caller lets it listen, and closes it. (TODO tutorial section or RFC) */
export function createTemplateServer(options: TemplateServerOptions = {}): Server {
  const { idleTimeout = 5 * 60_000, log = () => {} } = options;
  return createServer({ allowHalfOpen: true }, (socket) => {
    const client = peerName(socket);
    // Without a listener a single client that crashes (RST) would take the whole server with it.
    socket.on('error', (error) => log(`${client} failed: ${error.message}`));
    socket.setTimeout(idleTimeout, () => socket.destroy());
    // Not read on while answers wait, so that a client that never reads costs little memory.
    socket.pipe(socket);
  });
}

program(import.meta, {
  about: 'TODO One sentence for --help.',
  options: { host: host(), port: port(8888) },
  run: ({ host, port }, { signal }) =>
    serve(createTemplateServer({ log: console.log }), { host, port, signal }),
});
