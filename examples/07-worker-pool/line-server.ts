/**
 * The service that all of Part 2 offers: each line comes back in upper case. Here every line goes
 * to a thread of the pool and back, which costs far more than the work. Read server.ts before.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { DelimiterDecoder, encodeDelimited, FramingError } from '@shared/framing';
import { host, port, program, serve } from '@shared/program';
import { createPool, type Pool, type PoolOptions, TaskError } from './pool.ts';
import { hangUp } from './server.ts';

/** Builds the server; the caller lets it listen, and closes it, which ends the threads. */
export function createLineServer(options: PoolOptions = {}): Server {
  const pool = createPool({ maxQueue: 10_000, ...options });
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const gone = new AbortController();
    socket.on('error', () => {}); // 'close' follows
    socket.on('close', () => gone.abort());
    socket.setTimeout(5 * 60_000, () => socket.destroy());
    pipeline(answers(socket, pool, gone.signal), socket)
      .then(() => hangUp(socket))
      .catch(() => {}); // 'close' follows
  });
  server.maxConnections = 10_000;
  server.once('close', () => void pool.destroy());
  return server;
}

async function* answers(socket: Socket, pool: Pool, gone: AbortSignal): AsyncGenerator<Buffer> {
  const decoder = new DelimiterDecoder({ maxLength: 64 * 1024 });
  try {
    for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
      for (const line of decoder.push(chunk)) {
        yield encodeDelimited(await pool.run<string>('upperCase', line.toString(), gone));
      }
    }
    // No decoder.end(): a client may end inside a line, and half of one may mean something else.
  } catch (error) {
    if (!(error instanceof FramingError || error instanceof TaskError)) throw error;
    yield encodeDelimited(`error: ${error.message}`);
  }
}

program(import.meta, {
  about: 'Answers each line that a client sends in upper case.',
  options: { host: host(), port: port(8888) },
  run: ({ host, port }, { signal }) => serve(createLineServer(), { host, port, signal }),
});
