/**
 * Python's non-blocking sockets over Node's: `accept`, `recv` and `send` that never wait, and what
 * tells beforehand whether they would have to. The first file to read here; selectors.ts is next.
 *
 * Node reads and accepts by itself, so this is about its buffers instead of the kernel's:
 *
 *     kernel ──▶ socket.readableLength ──▶ recv(socket, n)
 *     kernel ◀── socket.writableLength ◀── send(socket, bytes)
 */
import { Server, type Socket } from 'node:net';

/** What can be asked whether it is ready. */
export type FileObject = Socket | Server;

export type Address = [host: string, port: number];

/** There is nothing to accept, to receive, or no room to send: ask the selector first. */
export class BlockingIOError extends Error {
  override name = 'BlockingIOError';
  readonly code = 'EAGAIN';
}

/** Takes the next connection that waits. Throws a {@link BlockingIOError} if there is none. (Python: `sock.accept()`) */
export function accept(server: Server): [conn: Socket, addr: Address] {
  const waiting = backlog(server);
  for (const [conn, addr] of waiting) {
    waiting.delete(conn);
    return [conn, addr];
  }
  throw new BlockingIOError('cannot accept: no connection waits');
}

/**
 * Takes up to `bufsize` bytes of what has arrived; no bytes at all mean that the peer has ended its
 * half. Throws what broke the connection (ECONNRESET …), or a {@link BlockingIOError} if nothing
 * is there. (Python: `sock.recv(bufsize)`)
 */
export function recv(socket: Socket, bufsize: number): Buffer {
  // read(n) of all that is there would not notice that the stream has ended behind it.
  const bytes = bufsize < socket.readableLength ? socket.read(bufsize) : socket.read();
  if (bytes !== null) return bytes;
  if (socket.readableEnded) return Buffer.alloc(0);
  throwIfGone(socket, 'receive');
  throw new BlockingIOError('cannot receive: nothing has arrived');
}

/**
 * Hands over as much of `data` as there is room for, and returns how many bytes that is: the rest
 * is yours to send later. Leave the bytes as they are; they may still wait. Throws what broke the
 * connection, EPIPE after `socket.end()`, or a {@link BlockingIOError} if there is no room.
 * (Python: `sock.send(data)`)
 */
export function send(socket: Socket, data: Buffer): number {
  throwIfGone(socket, 'send');
  if (socket.writableEnded) throw systemError('EPIPE', 'cannot send: this side has ended');
  if (!isWritable(socket)) throw new BlockingIOError('cannot send: no room');
  // write() takes all, however much it is: what a slow reader leaves would fill our memory.
  const taken = data.subarray(0, socket.writableHighWaterMark - socket.writableLength);
  socket.write(taken);
  return taken.length;
}

/** Whether `accept` or `recv` has something to give or to tell: also an end, also an error. */
export function isReadable(fileobj: FileObject): boolean {
  if (fileobj instanceof Server) return backlog(fileobj).size > 0;
  return fileobj.readableLength > 0 || fileobj.readableEnded || fileobj.destroyed;
}

/** Whether `send` has room, or an error to tell. */
export function isWritable(fileobj: FileObject): boolean {
  if (fileobj instanceof Server) return false;
  if (fileobj.destroyed) return true;
  return !fileobj.connecting && fileobj.writableLength < fileobj.writableHighWaterMark;
}

/** After these, and only then, something that was not ready may be. An end is 'readable' too. */
const CHANGES = ['connection', 'connect', 'readable', 'drain', 'close'];

/** Calls `changed` whenever the object may have become ready. Returns what ends that. */
export function watch(fileobj: FileObject, changed: () => void): () => void {
  if (fileobj instanceof Server) backlog(fileobj);
  else keepErrors(fileobj);
  // A 'readable' listener makes Node read ahead, as far as its buffer goes, and take nothing out.
  for (const event of CHANGES) fileobj.on(event, changed);
  return () => {
    for (const event of CHANGES) fileobj.off(event, changed);
  };
}

/** For each server the connections that Node has accepted and the program has not. */
const backlogs = new WeakMap<Server, Map<Socket, Address>>();

function backlog(server: Server): Map<Socket, Address> {
  const known = backlogs.get(server);
  if (known !== undefined) return known;
  const waiting = new Map<Socket, Address>();
  backlogs.set(server, waiting);
  server.on('connection', (socket: Socket) => {
    keepErrors(socket);
    // Now, since a socket that was reset in the meantime has no address any more.
    waiting.set(socket, [socket.remoteAddress ?? 'unknown', socket.remotePort ?? 0]);
    // Without this, clients that connect and reset would pile up where maxConnections counts none.
    socket.on('close', () => waiting.delete(socket));
  });
  return waiting;
}

/** Without a listener a client that resets would end the process; `recv` and `send` throw the error. */
function keepErrors(socket: Socket): void {
  if (!socket.listeners('error').includes(ignore)) socket.on('error', ignore);
}

function ignore(): void {}

function throwIfGone(socket: Socket, what: string): void {
  if (socket.errored !== null) throw socket.errored;
  if (socket.destroyed) throw systemError('EBADF', `cannot ${what}: the socket is closed`);
}

function systemError(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}
