/**
 * Python's TCPServer: each connection is a request, and the next one has to wait for its turn.
 * Read base-server.ts before.
 */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { type Address, BaseServer, type RequestHandlerClass } from './base-server.ts';

/** Handles one connection after another; one that is idle holds up all the others. */
export class TCPServer extends BaseServer<Socket> {
  /** The listening socket: Node's own server, whose `connection` listener is the queue. */
  readonly socket: Server;
  /** Node sets SO_REUSEADDR for every server: a restart need not wait for old connections. */
  readonly allowReuseAddress = true as const;
  /** How long a client may take, from `shutdownRequest` on, to read what was sent before, in milliseconds. Default 30 s. */
  sendTimeout = 30_000;
  /** How long it may take to hang up once all has been sent, in milliseconds. Default 2 s. */
  closeTimeout = 2000;

  constructor(
    serverAddress: Address,
    RequestHandlerClass: RequestHandlerClass<Socket>,
    bindAndActivate = true,
  ) {
    super(serverAddress, RequestHandlerClass, bindAndActivate);
    // Without allowHalfOpen a client that has ended its half would get no answer any more.
    this.socket = createServer({ allowHalfOpen: true }, (request) => this.#accept(request));
    this.socket.maxConnections = 10_000;
    // A connection that cannot be accepted (EMFILE) is passed over, as in Python.
    this.socket.on('error', () => {});
  }

  #accept(request: Socket): void {
    // Without this a client that resets while no handler reads would end the process.
    request.on('error', () => {});
    const { remoteAddress = '', remotePort = 0 } = request;
    // "Connection denied", as Python's documentation has it.
    if (!this.enqueue(request, [remoteAddress, remotePort])) request.resetAndDestroy();
  }

  /** Binds and listens, which is one call in Node, so that `serverActivate` has nothing left to do. */
  async serverBind(): Promise<void> {
    const [host, port] = this.serverAddress;
    this.socket.listen({ host, port });
    await once(this.socket, 'listening');
    const bound = this.socket.address() as AddressInfo;
    this.serverAddress = [bound.address, bound.port];
  }

  /** Frees the port and drops those who wait; the connection at hand goes on. */
  override async serverClose(): Promise<void> {
    await this.activated.catch(() => {});
    this.socket.close();
    for (const request of this.clearQueue()) request.resetAndDestroy();
  }

  /** Ends our half, and closes the connection when the client has ended its own, or takes too long. */
  override shutdownRequest(request: Socket): void {
    if (request.destroyed) {
      this.closeRequest(request);
      return;
    }
    const close = () => {
      clearTimeout(timer);
      request.off('close', close);
      this.closeRequest(request);
    };
    request.once('close', close);
    // Not request.setTimeout(): a client that does not read would keep it by sending a byte now and then.
    let timer = setTimeout(close, this.sendTimeout);
    request.end(() => {
      clearTimeout(timer);
      if (!request.destroyed) timer = setTimeout(close, this.closeTimeout);
    });
    // What the handler has not read: in Python it turns the FIN into a RST, and the client may lose
    // its answer.
    request.resume();
  }

  override closeRequest(request: Socket): void {
    request.destroy();
  }
}
