/**
 * HTTP/1.1 by hand over a TCP socket: it answers each request with a page that shows the time and the
 * request. Strict: what can be understood in two ways is refused. Read examples 01 and 02 before, and
 * then, from the bytes up: byte-input.ts, request-head.ts, request-body.ts, request-parser.ts,
 * raw-response.ts, raw-connection.ts and this file.
 */
import { createServer, type Server } from 'node:net';
import { host, peerName, port, program, serve } from '@shared/program';
import { converse } from './raw-connection.ts';
import { HttpError, type Response } from './raw-response.ts';
import type { Limits } from './request-body.ts';
import { type Field, METHODS } from './request-head.ts';
import type { Request } from './request-parser.ts';

export interface RawServerOptions extends Partial<Limits> {
  /** How long a client may be silent between two requests, or not read its answers, in milliseconds. Default 60,000. */
  idleTimeout?: number;
  /** How long a request may take from its first byte to its last, in milliseconds. More is answered 408. Default 30,000. */
  requestTimeout?: number;
  /** How long a client may go on sending behind its last answer, in milliseconds. Default 2,000. */
  lingerTimeout?: number;
  /** How many clients are served at once; one more is answered 503. Default 1,000. */
  maxConnections?: number;
  /** Aborted when the server is to stop: who is idle is closed, who is not gets its answer first. Default: never. */
  signal?: AbortSignal;
  /** Where a line about each answer goes. Default: nowhere. */
  log?: (line: string) => void;
}

/** Builds the server; the caller lets it listen, and closes it. (Tutorial 004 §7.1, RFC 9112) */
export function createRawServer(options: RawServerOptions = {}): Server {
  const {
    idleTimeout = 60_000,
    requestTimeout = 30_000,
    lingerTimeout = 2000,
    maxConnections = 1000,
    signal,
    log = () => {},
    ...limits
  } = options;
  const conversations = new Set<ReturnType<typeof converse>>();

  // Without noDelay, of two answers the second waits until the client has confirmed the first: 40 ms.
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const client = peerName(socket);
    socket.on('error', (error) => log(`${client} failed: ${error.message}`));
    const conversation = converse(socket, {
      respond,
      limits,
      idleTimeout,
      requestTimeout,
      lingerTimeout,
      log: (line) => log(`${client} ${line}`),
    });
    if (conversations.size >= maxConnections) {
      conversation.refuse(new HttpError(503, 'too many clients', { 'Retry-After': '1' }));
      return;
    }
    conversations.add(conversation);
    socket.on('close', () => conversations.delete(conversation));
  });
  // Who is told 503 is still a connection. There must not be any number of those either.
  server.maxConnections = maxConnections + 100;
  signal?.addEventListener('abort', () => {
    for (const { stop } of conversations) stop();
  });
  return server;
}

/** How much of a body the page shows, in bytes: escaped, it may take five times as much memory. */
const SHOWN = 16 * 1024;

/** The tutorial's page. */
function respond(request: Request): Response {
  if (request.method === 'OPTIONS') return { status: 200, headers: { Allow: METHODS.join(', ') } };
  const { method, target, version, headers, host = 'this server', body, trailers } = request;
  const text = Buffer.concat([
    Buffer.from(`${method} ${target} ${version}\n${lines(headers)}\n`, 'latin1'),
    body.subarray(0, SHOWN),
    Buffer.from(`\n${lines(trailers)}`, 'latin1'),
  ]);
  return {
    status: 200,
    headers: { 'Content-Type': 'text/html; charset=utf-8' },
    body: `<!doctype html>
<title>HTTP by hand</title>
<h1>Hello from TypeScript!</h1>
<p>The time: ${new Date().toISOString()}</p>
<p>Your request to ${escapeHtml(host)}:</p>
<pre>
${escapeHtml(text.toString())}</pre>
`,
  };
}

function lines(fields: Field[]): string {
  return fields.map(([name, value]) => `${name}: ${value}\n`).join('');
}

/** Text that is nothing but text in HTML. Without it a link to us could run its script in our name. */
function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

program(import.meta, {
  about: 'Answers each HTTP request with a page that shows it.',
  options: { host: host(), port: port(8080) },
  run: ({ host, port }, { signal }) =>
    serve(createRawServer({ signal, log: console.log }), { host, port, signal, scheme: 'http://' }),
});
