/**
 * Python's UDPServer: each datagram is a request, together with the socket to answer on.
 * Read base-server.ts before.
 */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv6 } from 'node:net';
import { BaseServer } from './base-server.ts';

export type Datagram = readonly [data: Buffer, socket: Socket];

/** Handles one datagram after another. */
export class UDPServer extends BaseServer<Datagram> {
  /** How many datagrams may wait; further ones are lost, as they are when the kernel's buffer is full. Default 1,000. */
  override requestQueueSize = 1000;
  /** A datagram is cut off here, in bytes. Default 8,192. */
  maxPacketSize = 8192;
  /** Whether several sockets may bind one address, of which one gets the datagrams. Default false. */
  allowReuseAddress = false;
  #socket: Socket | undefined;
  #closed = false;

  get socket(): Socket {
    if (this.#socket === undefined) {
      const type = isIPv6(this.serverAddress[0]) ? 'udp6' : 'udp4';
      this.#socket = createSocket({ type, reuseAddr: this.allowReuseAddress });
      // A datagram of ours that did not arrive may come back as an error, which concerns no other.
      this.#socket.on('error', () => {});
      this.#socket.on('message', (data, { address, port }) => {
        // What a handler sees of it is all that is kept of it.
        const packet = Buffer.from(data.subarray(0, this.maxPacketSize));
        this.enqueue([packet, this.socket], [address, port]);
      });
    }
    return this.#socket;
  }

  async serverBind(): Promise<void> {
    const [address, port] = this.serverAddress;
    this.socket.bind({ address, port });
    await once(this.socket, 'listening');
    const bound = this.socket.address();
    this.serverAddress = [bound.address, bound.port];
  }

  override async serverClose(): Promise<void> {
    await this.activated.catch(() => {});
    const socket = this.#socket;
    // Closing twice is no error in Python.
    if (socket === undefined || this.#closed) return;
    this.#closed = true;
    socket.close();
    await once(socket, 'close');
  }
}
