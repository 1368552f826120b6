/** Real sockets on 127.0.0.1, each closed when its test ends. */
import type { Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, connect, type Server, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';

/** Lets a server listen on a free port of 127.0.0.1 and returns the port. It and its connections are closed after the test. */
export async function listen(t: TestContext, server: Server): Promise<number> {
  const open = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  t.after(async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    // A test may have closed the server, and left connections that would keep it open.
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
  // A reset by the peer is often what a test is about; it shows in `errored` and in 'close'.
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

/** For a test's `skip`: why there can be no {@link silentPort}, or `false` if there can. */
export const noSilence =
  process.platform === 'linux' ? false : 'only Linux drops the SYN when the queue is full';

/** A port whose queue of waiting connections is full, so that the kernel drops every further SYN, as a firewall does. */
export async function silentPort(t: TestContext): Promise<number> {
  const worker = new Worker(
    `const { workerData, parentPort } = require('node:worker_threads');
     const server = require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
       parentPort.postMessage(server.address().port);
       Atomics.wait(new Int32Array(workerData), 0, 0); // never accepts
     });`,
    { eval: true, workerData: new SharedArrayBuffer(4) },
  );
  t.after(() => worker.terminate());
  const [port] = (await once(worker, 'message')) as [number];
  // The queue takes one more than its length; two half-open connections at a time it does not take.
  for (const _ of [1, 2]) await dial(t, port);
  return port;
}

/** Reads exactly `length` bytes and leaves the rest. Rejects if the peer ends or resets before. */
export function readBytes(socket: Socket, length: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const check = () => {
      const bytes: Buffer | null = length === 0 ? Buffer.alloc(0) : socket.read(length);
      if (bytes?.length === length) resolve(bytes);
      // At the end a stream gives what it has; after a reset it keeps it.
      else if (bytes !== null || socket.readableEnded || socket.destroyed) {
        const had = bytes?.length ?? socket.readableLength;
        const gone = `the peer is gone after ${had} of ${length} bytes`;
        reject(new Error(gone, { cause: socket.errored }));
      } else return;
      socket.off('readable', check).off('end', check).off('close', check);
    };
    // Once for all: a 'readable' listener that is added anew while bytes wait is called at once,
    // so that a loop around once(socket, 'readable') would spin and read nothing more.
    socket.on('readable', check).on('end', check).on('close', check);
    check();
  });
}

/** Reads to the end of the stream. Rejects if it is reset instead. */
export async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/**
 * Lets the event loop turn until the condition holds: for a state that Node tells by no event, such as
 * how much is buffered. No time is guessed; what never comes true ends with the test's timeout.
 */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await nextTurn();
}

/** Tears the connection down with a RST, as a crashed peer does. */
export function reset(socket: Socket): void {
  socket.resetAndDestroy();
}
