/**
 * A client that always comes to an end: connecting, silence and the whole have a timeout each, and
 * the answer has a limit. Read example 01's client before.
 */
import { connect } from 'node:net';
import { finished } from 'node:stream/promises';
import { formatAddress, host, milliseconds, ProgramError, port, program } from '@shared/program';

export interface ExchangeOptions {
  host: string;
  port: number;
  /** How long the name and the server may take until we are connected, in milliseconds. Default 3,000. */
  connectTimeout?: number;
  /** How long a connection may carry nothing, in milliseconds. Default 5,000. */
  idleTimeout?: number;
  /** How long all of it may take, in milliseconds. Default 10,000. */
  totalTimeout?: number;
  /** The longest answer to take, in bytes. Default 1 MiB. */
  maxLength?: number;
  /** Gives up when it is aborted. Default: never. */
  signal?: AbortSignal;
}

/**
 * Sends the message, ends our half, and returns all that the server says until it ends its half.
 * Rejects if that is too long or takes too long, and if it fails; but on Linux libuv before 1.52
 * (Node 20, 22) calls a RST right behind bytes an end too. (Tutorials 000 §4.2, 004 §5.4)
 */
export async function exchange(
  message: string | Uint8Array,
  { host, port, signal, ...limits }: ExchangeOptions,
): Promise<Buffer> {
  const { connectTimeout = 3000, idleTimeout = 5000, totalTimeout = 10_000 } = limits;
  const { maxLength = 1024 * 1024 } = limits;
  const where = formatAddress(host, port);
  const socket = connect({ host, port, ...(signal && { signal }) });
  const giveUp = (reason: string) => socket.destroy(new ProgramError(reason));

  // The kernel gives up on a server that does not answer only after one to two minutes.
  const connecting = setTimeout(() => {
    giveUp(`cannot connect to ${where}: no answer within ${connectTimeout / 1000} s`);
  }, connectTimeout);
  // Every byte sets the idle timeout back: a server that drips would keep us for ever.
  const total = setTimeout(() => {
    giveUp(`gave up on ${where}: not finished within ${totalTimeout / 1000} s`);
  }, totalTimeout);
  socket.once('connect', () => {
    clearTimeout(connecting);
    // A peer that vanished without FIN or RST is silent for ever, and TCP says nothing about it.
    socket.setTimeout(idleTimeout, () => {
      giveUp(`gave up on ${where}: silent for ${idleTimeout / 1000} s`);
    });
  });

  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    if (socket.bytesRead > maxLength) {
      giveUp(`gave up on ${where}: its answer is over ${maxLength.toLocaleString('en-US')} bytes`);
    }
  });

  try {
    socket.end(message);
    // Both halves: the server may have said all before it has taken all.
    await finished(socket);
    return Buffer.concat(chunks);
  } finally {
    // A timer that is left running keeps the whole process.
    clearTimeout(connecting);
    clearTimeout(total);
  }
}

program(import.meta, {
  about: 'Sends its arguments, or "Test", and prints the answer, with a timeout for everything.',
  args: '[TEXT...]',
  options: {
    host: host(),
    port: port(8888),
    connectTimeout: milliseconds(3000, 'how long connecting may take'),
    idleTimeout: milliseconds(5000, 'how long it may be silent'),
    totalTimeout: milliseconds(10_000, 'how long all of it may take'),
  },
  async run(options, { args, signal }) {
    const answer = await exchange(args.join(' ') || 'Test', { ...options, signal });
    console.log(answer.toString().trimEnd());
  },
});
