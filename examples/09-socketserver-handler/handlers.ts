/**
 * Python's request handlers: derive from one, write `handle()`, and a new object of your class looks
 * after each request. Read base-server.ts before, socket-writer.ts after.
 */
import type { Socket as UdpSocket } from 'node:dgram';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import type { Address, BaseServer } from './base-server.ts';
import { RequestReader } from './request-reader.ts';
import { SocketWriter } from './socket-writer.ts';
import type { Datagram } from './udp-server.ts';

/** `setup`, `handle` and `finish` may be async. `finish` runs whenever `setup` has not failed. */
export class BaseRequestHandler<R = Socket> {
  /** A TCP server gives the socket of the connection; a UDP server the data and its own socket. */
  readonly request: R;
  readonly clientAddress: Address;
  readonly server: BaseServer<R>;

  constructor(request: R, clientAddress: Address, server: BaseServer<R>) {
    this.request = request;
    this.clientAddress = clientAddress;
    this.server = server;
  }

  setup(): void | Promise<void> {}
  handle(): void | Promise<void> {}
  finish(): void | Promise<void> {}
}

/** For a connection: `rfile` to read from, `wfile` to write to. */
export class StreamRequestHandler extends BaseRequestHandler<Socket> {
  /** How long a read or a write may wait for the client, in milliseconds. Default: for ever. */
  timeout?: number;
  /** Whether each write goes out at once, and does not wait for the client's ACK. Default false. */
  disableNagleAlgorithm = false;
  // Set by setup(), which is sure to come first.
  rfile!: RequestReader;
  wfile!: SocketWriter;

  get connection(): Socket {
    return this.request;
  }

  override setup(): void {
    if (this.disableNagleAlgorithm) this.request.setNoDelay();
    this.rfile = new RequestReader(this.request, this.timeout);
    this.wfile = new SocketWriter(this.request, this.timeout);
  }

  override finish(): void {
    this.rfile.close();
  }
}

/** For a datagram: `rfile` has what is in it, and what is written to `wfile` goes back as one. */
export class DatagramRequestHandler extends BaseRequestHandler<Datagram> {
  rfile!: RequestReader;
  readonly wfile: Pick<SocketWriter, 'write'>;
  readonly #answer: Buffer[] = [];

  constructor(request: Datagram, clientAddress: Address, server: BaseServer<Datagram>) {
    super(request, clientAddress, server);
    this.wfile = {
      write: async (data) => {
        this.#answer.push(Buffer.from(data as string));
      },
    };
  }

  get packet(): Buffer {
    return this.request[0];
  }

  get socket(): UdpSocket {
    return this.request[1];
  }

  override setup(): void {
    this.rfile = new RequestReader(Readable.from([this.packet], { objectMode: false }));
  }

  /** Sends the answer, as Python does: also an empty one, and what is there of it after an error. */
  override finish(): Promise<void> {
    const [address, port] = this.clientAddress;
    return new Promise((resolve, reject) => {
      this.socket.send(this.#answer, port, address, (error) => (error ? reject(error) : resolve()));
    });
  }
}
