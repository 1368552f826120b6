/**
 * Python's module `http.server` on node:http, to import from by the names of its documentation. The
 * server owns the connections: their limits, what is no request at all, and a tidy end.
 * Read base-handler.ts before, simple-handler.ts after.
 */
import { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { BaseHTTPRequestHandler } from './base-handler.ts';
import { type ParseError, refusalOf } from './error-page.ts';
import { linger } from './linger.ts';

export { BaseHTTPRequestHandler } from './base-handler.ts';
export { SimpleHTTPRequestHandler } from './simple-handler.ts';

export interface HTTPServerOptions {
  /** How many clients may be connected; one more is closed as soon as it connects. Default 1,000. */
  maxConnections?: number;
  /** How long the request line and the headers may be, in bytes. Default 16 KiB. */
  maxHeaderSize?: number;
  /** How long a client may take to send the headers, in milliseconds. Default 10,000. */
  headersTimeout?: number;
  /** How long a client may take to send a whole request, in milliseconds. Default 60,000. */
  requestTimeout?: number;
  /**
   * How long a client may read nothing of its answer, in milliseconds. It may become twice as long,
   * since Node sees only the second time that nothing has moved. Default 30,000.
   */
  timeout?: number;
  /**
   * How long a connection waits for the next request, in milliseconds, and 1,000 more that Node does
   * not announce: a request that is on its way by then still gets its answer. Default 5,000.
   */
  keepAliveTimeout?: number;
  /** Where a line about each request goes. Default: nowhere. */
  log?: (line: string) => void;
}

export type RequestHandlerClass = new (
  request: IncomingMessage,
  response: ServerResponse,
  server: HTTPServer,
) => BaseHTTPRequestHandler;

type Exchange = [request: IncomingMessage, response: ServerResponse];

/** How many requests a client may send before it has the answer to the first one. */
const MAX_PIPELINED = 100;

/** Python's HTTPServer. The caller lets it listen, and closes it. (Tutorials 001 §3.2, 003 §07) */
export class HTTPServer extends Server {
  readonly log: (line: string) => void;
  readonly #RequestHandlerClass: RequestHandlerClass;
  /** The requests of each connection: the first one is being answered, the others wait. */
  readonly #connections = new Map<Socket, Exchange[]>();

  constructor(RequestHandlerClass: RequestHandlerClass, options: HTTPServerOptions = {}) {
    const { headersTimeout = 10_000, requestTimeout = 60_000 } = options;
    super({
      maxHeaderSize: options.maxHeaderSize ?? 16 * 1024,
      headersTimeout: Math.min(headersTimeout, requestTimeout),
      requestTimeout,
      keepAliveTimeout: options.keepAliveTimeout ?? 5000,
      // Node looks for late clients every 30 seconds only, whatever the two timeouts are.
      connectionsCheckingInterval: Math.min(headersTimeout, requestTimeout, 1000),
      // Node would say 400 without a page, and take the first of two.
      requireHostHeader: false,
    });
    this.#RequestHandlerClass = RequestHandlerClass;
    this.maxConnections = options.maxConnections ?? 1000;
    this.timeout = options.timeout ?? 30_000;
    this.log = options.log ?? (() => {});
    // A client that ends its half early, such as `printf … | nc -N`, would get no answer.
    Object.assign(this, { httpAllowHalfOpen: true });

    // Node would hang up here also while a handler takes its time, or a client with its body.
    this.on('timeout', (socket: Socket) => {
      // By a reset: else the kernel would keep the megabytes that it has taken for a client that does
      // not read, until that one leaves.
      if (socket.writableLength > 0) socket.resetAndDestroy();
      else if (this.#connections.get(socket)?.length === 0) socket.destroy();
    });
    this.on('connection', (socket: Socket) => {
      // Node takes its own listener away when a client asks for CONNECT.
      socket.on('error', () => {});
      socket.on('close', () => this.#connections.delete(socket));
      this.#connections.set(socket, []);
    });
    for (const event of ['request', 'checkContinue', 'checkExpectation']) {
      this.on(event, (...exchange: Exchange) => this.#take(exchange));
    }
    this.on('connect', (_request, socket: Socket) =>
      this.#refuse(socket, 501, "Unsupported method ('CONNECT')"),
    );
    this.on('clientError', (error: ParseError, socket: Socket) =>
      this.#refuse(socket, ...refusalOf(error)),
    );
  }

  #take(exchange: Exchange): void {
    const [{ socket, headers }, response] = exchange;
    const exchanges = this.#connections.get(socket);
    if (exchanges === undefined || !socket.writable) return;
    // We speak no other protocol, and Node forgets what came in one packet with the wish for one: a
    // client would wait for the answer to that for ever. So it is told that there will be none.
    if (headers.upgrade !== undefined) response.shouldKeepAlive = false;
    exchanges.push(exchange);
    // One after another: else a client that asks 1,000 times at once makes us open 1,000 files.
    if (exchanges.length === 1) void this.#answer(socket, exchanges);
    else if (exchanges.length > MAX_PIPELINED) socket.destroy();
  }

  async #answer(socket: Socket, exchanges: Exchange[]): Promise<void> {
    for (let next = exchanges[0]; next !== undefined; next = exchanges[0]) {
      const [request, response] = next;
      const closed = new Promise((resolve) => response.once('close', resolve));
      const handler = new this.#RequestHandlerClass(request, response, this);
      try {
        await handler.handle();
      } catch (error) {
        this.handleError(handler, error);
      }
      if (!request.complete) {
        socket.destroySoon = () => linger(socket);
        request.resume();
      }
      response.end();
      await closed;
      exchanges.shift();
      if (!this.listening) socket.destroySoon();
      if (!socket.writable) exchanges.length = 0;
    }
  }

  /** A handler has thrown: that costs a line in the log, and this client its answer. */
  handleError(handler: BaseHTTPRequestHandler, error: unknown): void {
    const { socket } = handler.rfile;
    if (!socket.writable) return void handler.logError('the client has gone');
    handler.logError(error instanceof Error ? `${error.stack}` : String(error));
    // Half an answer must not look like a whole one.
    if (handler.wfile.headersSent) return void socket.destroy();
    for (const name of handler.wfile.getHeaderNames()) handler.wfile.removeHeader(name);
    handler.sendError(500);
  }

  /** Answers what is no request in the same form, unless an answer has begun. */
  #refuse(socket: Socket, code: number, message: string): void {
    if (socket.destroyed || socket.writableEnded) return;
    const [current, ...others] = this.#connections.get(socket) ?? [];
    const last = others.at(-1) ?? current;
    if (last?.[0].complete) {
      // It came behind whole requests. Those are answered first.
      last[1].once('close', () => setImmediate(() => this.#refuse(socket, code, message)));
      return;
    }
    if (current?.[1].headersSent) {
      // Its body is wrong, and the answer may not have asked for that. But half of one is no answer.
      setImmediate(() => current[1].writableEnded || socket.destroy());
      return;
    }
    // Browsers connect in advance: they would take a 408 for the answer to what they ask next.
    if (socket.bytesRead === 0) return void socket.destroy();
    const request = current?.[0] ?? new IncomingMessage(socket);
    const response = current?.[1] ?? new ServerResponse(request);
    if (current === undefined) response.assignSocket(socket);
    new this.#RequestHandlerClass(request, response, this).sendError(code, message);
    response.end();
    linger(socket);
  }

  /** Accepts nobody any more. What is being answered is finished, all else is closed at once. */
  override close(callback?: (error?: Error) => void): this {
    super.close(callback);
    // Node waits for clients that have connected and said nothing yet, as browsers do.
    for (const [socket, { length }] of this.#connections) if (length === 0) socket.destroy();
    return this;
  }
}
