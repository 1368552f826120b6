/**
 * Python's UnixStreamServer: a TCPServer for programs of this machine, found by a path instead of
 * a host and a port. Read threading.ts before.
 */
import { once } from 'node:events';
import type { Socket } from 'node:net';
import type { RequestHandlerClass } from './base-server.ts';
import { TCPServer } from './tcp-server.ts';
import { ThreadingMixIn } from './threading.ts';

/** Its `serverAddress` is `[path, 0]`, and its clients have none: `['', 0]`. Windows wants a path such as `\\.\pipe\name`. */
export class UnixStreamServer extends TCPServer {
  constructor(
    path: string,
    RequestHandlerClass: RequestHandlerClass<Socket>,
    bindAndActivate = true,
  ) {
    super([path, 0], RequestHandlerClass, bindAndActivate);
  }

  override async serverBind(): Promise<void> {
    const [path] = this.serverAddress;
    this.socket.listen({ path });
    await once(this.socket, 'listening');
  }
}

export class ThreadingUnixStreamServer extends ThreadingMixIn(UnixStreamServer) {}
