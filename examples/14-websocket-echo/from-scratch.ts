/**
 * The server of server.ts without ws: node:http gives the socket away, and the rest is RFC 6455 by
 * hand. Read handshake.ts, frames.ts, messages.ts and connection.ts before.
 */
import type { Server } from 'node:http';
import { peerName, program, serve } from '@shared/program';
import { type Connection, openConnection } from './connection.ts';
import { complete, type EchoServerOptions, fromCommandLine, PROGRAM_OPTIONS } from './echo.ts';
import { acceptHandshake, checkHandshake } from './handshake.ts';
import { createPageServer, refuse, whyNot } from './http.ts';

/** Builds the server; the caller lets it listen, and closes it. (Tutorials 000 §9.3, 002 §2.2) */
export function createFromScratchServer(options: EchoServerOptions = {}): Server {
  const settings = complete(options);
  const { reply, closeTimeout } = settings;
  const connections = new Set<Connection>();
  const server = createPageServer(settings, () => {
    for (const connection of connections) connection.close(1001, 'the server is stopping');
  });

  server.on('upgrade', (request, socket, head) => {
    const client = peerName(request.socket);
    const log = (line: string) => settings.log(`${client} ${line}`);
    // Without a listener a single client that crashes (RST) would take the whole server with it.
    socket.on('error', (error) => log(`failed: ${error.message}`));
    const refusal = whyNot(request, settings, connections.size) ?? checkHandshake(request);
    if (refusal) {
      log(`refused: ${refusal.status} ${refusal.why}`);
      return refuse(socket, refusal, closeTimeout);
    }
    socket.write(acceptHandshake(request));
    // The client may have sent its first frames behind the request, without waiting for the answer.
    if (head.length > 0) socket.unshift(head);
    const connection = openConnection(request.socket, settings, {
      log,
      message: (message) => connection.send(reply(message)),
      closed(code, reason) {
        connections.delete(connection);
        log(`closed: ${code} ${JSON.stringify(reason)}`);
      },
    });
    connections.add(connection);
    log('connected');
  });
  return server;
}

program(import.meta, {
  about: 'Answers every WebSocket message, and has a page for the browser at /. Without ws.',
  options: PROGRAM_OPTIONS,
  run({ host, port, ...values }, { signal }) {
    const server = createFromScratchServer(fromCommandLine(values, signal));
    return serve(server, { host, port, signal, scheme: 'http://' });
  },
});
