/**
 * The client side: what is typed goes to the room, what the room says to the screen, both at once,
 * for which the tutorial's client needs a second thread. Read server.ts before.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { host, port, program } from '@shared/program';

export interface ChatOptions {
  host: string;
  port: number;
  /** Gives up when it is aborted. Default: never. */
  signal?: AbortSignal;
}

/** Connects and talks until the room ends the conversation; the end of `input` is our FIN. (Tutorial 003 §03) */
export async function chat(
  { host, port, signal }: ChatOptions,
  input: AsyncIterable<string | Uint8Array>,
  output: Writable,
): Promise<void> {
  const socket = connect({ host, port, allowHalfOpen: true, ...(signal && { signal }) });
  await once(socket, 'connect');
  const over = new AbortController();
  const sent = pipeline(input, socket, { signal: over.signal }).catch((error) => {
    if (!over.signal.aborted) throw error;
  });
  const received = pipeline(socket, output, { end: false });
  // The room ends first after `exit`: then nobody hears what else is typed.
  await Promise.all([sent, received.finally(() => over.abort())]);
}

program(import.meta, {
  about: 'Sends each line of standard input to a chat room and prints what it says.',
  options: { host: host(), port: port(8888) },
  async run({ host, port }, { signal }) {
    await chat({ host, port, signal }, process.stdin, process.stdout);
    // A keyboard that is still being read would keep the process.
    process.stdin.destroy();
  },
});
