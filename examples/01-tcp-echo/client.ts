/**
 * The client side: sends what it is given and shows what comes back, both at the same time.
 * Read server.ts before.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { formatAddress, host, milliseconds, ProgramError, port, program } from '@shared/program';

export interface ConnectOptions {
  host: string;
  port: number;
  /** How long the server may take to accept, in milliseconds. Default 3,000. */
  timeout?: number;
  /** Gives up when it is aborted. Default: never. */
  signal?: AbortSignal;
}

/** Connects, or rejects: refused, unknown host, no answer in time. (Tutorial 000 §4.2) */
export async function connectTo(options: ConnectOptions): Promise<Socket> {
  const { host, port, timeout = 3000, signal } = options;
  // allowHalfOpen: the server may end its half first and must still hear all that we have to say.
  const socket = connect({ host, port, allowHalfOpen: true, ...(signal && { signal }) });
  // Without this a host that does not answer at all keeps us waiting for minutes.
  const giveUp = () => {
    const where = formatAddress(host, port);
    socket.destroy(
      new ProgramError(`cannot connect to ${where}: no answer within ${timeout / 1000} s`),
    );
  };
  socket.setTimeout(timeout, giveUp);
  await once(socket, 'connect');
  socket.setTimeout(0, giveUp);
  return socket;
}

/**
 * Sends all of `input`, then ends our half, while all answers go to `output`, until the server ends
 * its half. Rejects if the connection breaks, or if the server ends before the input does.
 */
export async function converse(
  socket: Socket,
  input: AsyncIterable<string | Uint8Array> | Iterable<string>,
  output: Writable,
): Promise<void> {
  const sent = pipeline(input, socket);
  const received = pipeline(socket, output, { end: false }).then(() => {
    // Else somebody at a keyboard would type on, to a server that answers no more.
    if (!socket.writableEnded) {
      socket.destroy(new ProgramError('the server ended the conversation before the input did'));
    }
  });
  await Promise.all([sent, received]);
}

program(import.meta, {
  about: 'Sends its arguments, or standard input if there are none, and prints the answers.',
  args: '[TEXT...]',
  options: {
    host: host(),
    port: port(8888),
    timeout: milliseconds(3000, 'how long connecting may take'),
  },
  async run({ host, port, timeout }, { args, signal }) {
    const socket = await connectTo({ host, port, timeout, signal });
    await converse(
      socket,
      args.length > 0 ? [`${args.join(' ')}\n`] : process.stdin,
      process.stdout,
    );
  },
});
