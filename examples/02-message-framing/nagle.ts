/**
 * What Nagle's algorithm costs, and three ways not to pay: small writes that follow one another
 * wait for the peer's ACK. It is about time only: no setting keeps messages apart. Read
 * length-prefix.ts before.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { encodeLengthPrefix } from '@shared/framing';
import { integer, program } from '@shared/program';
import { createMessageServer } from './length-prefix.ts';
import { twoWrites } from './sticky.ts';

const FRAME = encodeLengthPrefix('Hello, TCP!');
const PREFIX = FRAME.subarray(0, 4);
const BODY = FRAME.subarray(4);

/** The ways to send a length prefix and its body. */
export const ways = {
  /** The body waits until the server has acknowledged the prefix, and the server, which has nothing to answer yet, takes its time for that. */
  'two writes': (socket: Socket) => {
    socket.write(PREFIX);
    socket.write(BODY);
  },
  'two writes, noDelay': (socket: Socket) => {
    socket.setNoDelay(true);
    socket.write(PREFIX);
    socket.write(BODY);
  },
  'two writes, corked': (socket: Socket) => {
    socket.cork();
    socket.write(PREFIX);
    socket.write(BODY);
    socket.uncork();
  },
  'one write': (socket: Socket) => {
    socket.write(FRAME);
  },
};

export type Way = keyof typeof ways;

/** How long a request sent in this way and its answer take, in milliseconds: the median of so many rounds, since single ones are slow on a busy machine, or fast while a connection is young. */
export async function measure(way: Way, rounds: number): Promise<number> {
  const server = createMessageServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1' });
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    ways[way](socket);
    const end = socket.bytesRead + FRAME.length;
    while (socket.bytesRead < end) await once(socket, 'data');
    times.push(performance.now() - start);
  }
  socket.end();
  await once(server.close(), 'close');
  return times.sort((a, b) => a - b)[Math.floor(rounds / 2)] as number;
}

program(import.meta, {
  about: 'Measures what small writes cost with and without Nagle\u2019s algorithm (TCP_NODELAY).',
  options: { rounds: integer(20, { min: 5, max: 1000 }, 'how often each way is measured') },
  async run({ rounds }) {
    const times: Record<string, number> = {};
    for (const way of Object.keys(ways) as Way[]) {
      times[way] = await measure(way, rounds);
      console.log(`${way.padEnd(20)}${times[way].toFixed(1).padStart(6)} ms`);
    }
    const { 'two writes': slow = 0, 'one write': fast = 0 } = times;
    if (slow < 10 * fast) console.log('Nagle\u2019s algorithm does not show on this machine.');
    const [chunk] = await twoWrites(['Hello', 'World'], { noDelay: true });
    console.log(`With noDelay, "Hello" and "World" still arrive as one chunk: "${chunk}"`);
  },
});
