/**
 * A server that does not answer at all: its queue of connections is full, and then Linux drops
 * every further SYN without a word, as a firewall does. A thread, since Node itself always accepts.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { Worker } from 'node:worker_threads';
import { ProgramError } from '@shared/program';

/** A server that stands. `await using` ends it. */
export interface SilentServer extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
}

/** Starts one on a free port of 127.0.0.1. Rejects where the kernel would answer nevertheless. */
export async function openSilentServer(): Promise<SilentServer> {
  if (process.platform !== 'linux') {
    throw new ProgramError('only Linux is known to drop a SYN when the queue is full');
  }
  const entry = new URL('silent-server.mjs', import.meta.url);
  const worker = new Worker(entry, { execArgv: [] });
  const [port] = (await once(worker, 'message')) as [number];
  const address = '127.0.0.1';
  // The queue takes one more than its length (backlog: 1).
  const waiting: Socket[] = [];
  for (const _ of [1, 2]) {
    const socket = connect({ port, host: address }).on('error', () => {});
    waiting.push(socket);
    // One by one: two half-open connections are over the limit too, and a SYN is repeated after 1 s.
    await once(socket, 'connect');
  }
  return {
    address,
    port,
    async [Symbol.asyncDispose]() {
      for (const socket of waiting) socket.destroy();
      await worker.terminate();
    },
  };
}
