/** Real sockets on 127.0.0.1, each closed when its test ends. */
import type { Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, connect, type Server, type Socket } from 'node:net';
import type { TestContext } from 'node:test';

/** Lets a server listen on a free port of 127.0.0.1 and returns the port. It and its connections are closed after the test. */
export async function listen(t: TestContext, server: Server): Promise<number> {
  const open = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  t.after(async () => {
    if (!server.listening) return;
    const closed = once(server, 'close');
    server.close();
    for (const socket of open) socket.destroy();
    await closed;
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** Binds a UDP socket to a free port of 127.0.0.1 and returns the port. It is closed after the test. */
export async function bind(
  t: TestContext,
  socket: UdpSocket,
  address = '127.0.0.1',
): Promise<number> {
  t.after(
    () =>
      new Promise<void>((resolve) => {
        try {
          socket.close(resolve);
        } catch {
          resolve(); // the test has closed it
        }
      }),
  );
  socket.bind(0, address);
  await once(socket, 'listening');
  return socket.address().port;
}

/** A plain socket to a port of 127.0.0.1, half-open capable and without Nagle's delay, so that each write goes out as it is. */
export async function dial(t: TestContext, port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
  t.after(() => socket.destroy());
  await once(socket, 'connect');
  // A reset by the peer is often what a test is about; it shows in `errored` and in 'close'.
  socket.on('error', () => {});
  return socket;
}

/** Reads exactly `length` bytes. Rejects if the peer ends or resets before, with what had come. */
export async function readBytes(socket: Socket, length: number): Promise<Buffer> {
  for (;;) {
    const bytes: Buffer | null = length === 0 ? Buffer.alloc(0) : socket.read(length);
    if (bytes?.length === length) return bytes;
    if (bytes !== null) socket.unshift(bytes); // at the end a stream gives what it has
    if (socket.readableEnded || socket.destroyed || bytes !== null) {
      const had = bytes?.length ?? 0;
      throw new Error(`the peer is gone after ${had} of ${length} bytes`, {
        cause: socket.errored,
      });
    }
    await new Promise<void>((resolve) => {
      const done = () => {
        socket.off('readable', done).off('end', done).off('close', done);
        resolve();
      };
      socket.on('readable', done).on('end', done).on('close', done);
    });
  }
}

/** Reads to the end of the stream. Rejects if it is reset instead. */
export async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Tears the connection down with a RST, as a crashed peer does. */
export function reset(socket: Socket): void {
  socket.resetAndDestroy();
}
