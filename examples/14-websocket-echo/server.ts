/**
 * A WebSocket server on the package ws: it answers every message, on any path, and has a page for
 * the browser. Read peer.ts and http.ts before; from-scratch.ts is the same server without ws.
 */
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { peerName, program, serve } from '@shared/program';
import { type ServerOptions, type WebSocket, WebSocketServer } from 'ws';
import { complete, type EchoServerOptions, fromCommandLine, PROGRAM_OPTIONS } from './echo.ts';
import { createPageServer, refuse, whyNot } from './http.ts';
import { keepAlive, MAX_WAITING } from './peer.ts';

/** Builds the server; the caller lets it listen, and closes it. (Tutorials 000 §9.4, 002 §2.2) */
export function createEchoServer(options: EchoServerOptions = {}): Server {
  const settings = complete(options);
  const { maxPayload, closeTimeout, log } = settings;
  const limits: ServerOptions & { closeTimeout: number } = {
    maxPayload,
    closeTimeout,
    // ws by itself drops who sends 60 pings at once. Our pongs are held back, as all answers are.
    autoPong: false,
    // Four times what ws takes, for 4 MiB in fragments of 64 bytes, which conformance suites send.
    // There has to be a limit: each fragment is an object, which costs far more than its one byte.
    maxFragments: 64 * 1024,
  };
  // Else ws agrees to the first subprotocol that a client names, and we speak none.
  const sockets = new WebSocketServer({ ...limits, noServer: true, handleProtocols: () => false });
  const server = createPageServer(settings, () => {
    for (const ws of sockets.clients) ws.close(1001, 'the server is stopping');
  });

  server.on('upgrade', (request, socket, head) => {
    const client = peerName(request.socket);
    // Without a listener a single client that crashes (RST) would take the whole server with it.
    socket.on('error', (error) => log(`${client} failed: ${error.message}`));
    const refusal = whyNot(request, settings, sockets.clients.size);
    if (refusal) {
      log(`${client} refused: ${refusal.status} ${refusal.why}`);
      return refuse(socket, refusal, closeTimeout);
    }
    sockets.handleUpgrade(request, socket, head, (ws) => {
      serveClient(ws, request.socket, settings, (line) => log(`${client} ${line}`));
    });
  });
  return server;
}

function serveClient(
  ws: WebSocket,
  socket: Socket,
  { reply, heartbeat, maxBuffered }: Required<EchoServerOptions>,
  log: (line: string) => void,
): void {
  log('connected');
  // What breaks the protocol is an 'error' too. ws has sent the close frame with its code already.
  ws.on('error', (error) => log(`broke the protocol: ${error.message}`));
  ws.on('close', (code, reason) => log(`closed: ${code} ${JSON.stringify(String(reason))}`));

  // A client that sends and never reads would fill our memory with answers and pongs. While too
  // many wait we do not read either, and TCP tells the client to stop.
  let waiting = 0;
  const holdBack = () => {
    waiting++;
    if (waiting > MAX_WAITING || ws.bufferedAmount > maxBuffered) ws.pause();
  };
  const sent = () => {
    waiting--;
    if (waiting === 0) ws.resume();
  };

  ws.on('message', (data: Buffer, isBinary) => {
    ws.send(reply(isBinary ? data : data.toString()), sent);
    holdBack();
  });
  ws.on('ping', (data) => {
    ws.pong(data, false, sent);
    holdBack();
  });

  keepAlive(socket, heartbeat, {
    ping: () => ws.ping(),
    dead: () => {
      log('dropped: no sign of life');
      ws.terminate();
    },
  });
}

program(import.meta, {
  about: 'Answers every WebSocket message, and has a page for the browser at /.',
  options: PROGRAM_OPTIONS,
  run({ host, port, ...values }, { signal }) {
    const server = createEchoServer(fromCommandLine(values, signal));
    return serve(server, { host, port, signal, scheme: 'http://' });
  },
});
