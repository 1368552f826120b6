/**
 * The HTTP side of both servers: a page for the browser, and who may come in. A WebSocket begins as
 * an HTTP request, so all that HTTP knows about the client is there to be judged. Read echo.ts before.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { EchoServerOptions } from './echo.ts';
import { hangUp } from './peer.ts';

const PAGE = readFileSync(new URL('page.html', import.meta.url), 'utf8');

/** Only the page's own script and style run, and they reach only the server that the page is from. */
const POLICY = `default-src 'none'; connect-src 'self'; img-src data:; script-src ${hash('script')}; style-src ${hash('style')}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;

/**
 * What belongs to a 426: the protocol that is wanted instead. (RFC 9110 §15.5.22) With a Connection
 * of ours node:http says neither `close` nor `keep-alive`: without `close` it would keep the
 * connection also of a client that has asked it not to.
 */
export const UPGRADE_REQUIRED = { Connection: 'close, Upgrade', Upgrade: 'websocket' };

/** Builds the server with the page at `/`; the caller adds `'upgrade'`, and what is to be done when it stops. */
export function createPageServer(
  { maxClients, signal }: Required<EchoServerOptions>,
  stop: () => void,
): Server {
  const server = createServer(
    { headersTimeout: 10_000, requestTimeout: 10_000 },
    (request, response) => {
      const [pathname] = String(request.url).split('?');
      const safe = request.method === 'GET' || request.method === 'HEAD';
      const status = pathname === '/ws' ? 426 : pathname !== '/' ? 404 : safe ? 200 : 405;
      response.writeHead(status, {
        'Content-Type': status === 200 ? 'text/html; charset=utf-8' : 'text/plain; charset=utf-8',
        'Content-Security-Policy': POLICY,
        'X-Content-Type-Options': 'nosniff',
        'Cache-Control': 'no-store',
        ...(status === 405 && { Allow: 'GET, HEAD' }),
        ...(status === 426 && UPGRADE_REQUIRED),
      });
      response.end(status === 200 ? PAGE : `${status} ${STATUS_CODES[status]}\n`);
    },
  );
  // Besides the clients: browsers that load the page, and those who are told 503.
  server.maxConnections = maxClients + 100;

  const open = new Set<Socket>();
  server.on('connection', (socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  const onAbort = () => {
    stop();
    // Browsers connect ahead of need. server.close() would wait for what they may ask one day.
    for (const socket of open) if (socket.bytesRead === 0) socket.destroy();
  };
  signal.addEventListener('abort', onAbort);
  server.on('close', () => signal.removeEventListener('abort', onAbort));
  return server;
}

/** Why this request may not become a WebSocket, whatever it looks like, or `undefined` if it may. */
export function whyNot(
  { headers }: IncomingMessage,
  { origins, maxClients, signal }: Required<EchoServerOptions>,
  clients: number,
): Refusal | undefined {
  if (signal.aborted) return { status: 503, why: 'the server is stopping' };
  if (clients >= maxClients) return { status: 503, why: 'too many clients; try again later' };
  // What stands behind the headers are frames to us, to a proxy it would be a body. And from Node 26
  // on the socket of such a request is no net.Socket.
  if (headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) !== 0) {
    return { status: 400, why: 'an upgrade request has no body' };
  }
  // A browser lets every page of the web connect to every server, and sends the user's cookies
  // along: nothing but this tells our own page from a stranger's. Programs send no Origin.
  const { origin, host } = headers;
  const own = origin === undefined || (URL.canParse(origin) && new URL(origin).host === host);
  if (own || origins.includes(origin)) return undefined;
  return { status: 403, why: 'pages of this origin may not connect' };
}

export interface Refusal {
  status: number;
  why: string;
  headers?: Record<string, string>;
}

/** Answers an upgrade request with an error. node:http has given the socket away: it is ours to end. */
export function refuse(socket: Duplex, { status, why, headers = {} }: Refusal, ms: number): void {
  const body = `${why}\n`;
  const lines = Object.entries({
    Connection: 'close',
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': Buffer.byteLength(body),
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  hangUp(socket, ms, `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${body}`);
}

function hash(element: 'script' | 'style'): string {
  const [, text = ''] = PAGE.match(new RegExp(`<${element}>(.*?)</${element}>`, 's')) ?? [];
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}
