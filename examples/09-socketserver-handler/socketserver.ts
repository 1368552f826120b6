/**
 * Python's module `socketserver`, to import from by the names of its documentation. Read
 * base-server.ts first, then tcp-server.ts, handlers.ts, threading.ts, udp-server.ts
 * and unix-server.ts.
 */
export { type Address, BaseServer, type RequestHandlerClass } from './base-server.ts';
export { BaseRequestHandler, DatagramRequestHandler, StreamRequestHandler } from './handlers.ts';
export { MAX_LINE } from './request-reader.ts';
export { TimeoutError } from './socket-writer.ts';
export { TCPServer } from './tcp-server.ts';
export { ThreadingMixIn, ThreadingTCPServer, ThreadingUDPServer } from './threading.ts';
export { type Datagram, UDPServer } from './udp-server.ts';
export { ThreadingUnixStreamServer, UnixStreamServer } from './unix-server.ts';
