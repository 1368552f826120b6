/**
 * The service that all of Part 2 offers: each line comes back in upper case. Here every line goes
 * to a thread of the pool and back, which costs far more than the work. Read server.ts before.
 */
import { createServer, type Server } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { DelimiterDecoder, encodeDelimited, readMessages } from '@shared/framing';
import { host, port, program, serve } from '@shared/program';
import { createPool, type PoolOptions } from './pool.ts';

/** Builds the server; the caller lets it listen, and closes it, which ends the threads. */
export function createLineServer(options: PoolOptions = {}): Server {
  const pool = createPool({ maxQueue: 10_000, ...options });
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const gone = new AbortController();
    socket.on('error', () => {}); // 'close' follows
    socket.on('close', () => gone.abort());
    socket.setTimeout(5 * 60_000, () => socket.destroy());
    const chunks = socket.iterator({ destroyOnReturn: false });
    const answers = async function* () {
      const decoder = new DelimiterDecoder({ maxLength: 64 * 1024 });
      for await (const line of readMessages(chunks, decoder)) {
        yield encodeDelimited(await pool.run<string>('upperCase', line.toString(), gone.signal));
      }
    };
    pipeline(answers, socket).catch(() => {});
  });
  server.maxConnections = 10_000;
  server.once('close', () => void pool.destroy());
  return server;
}

program(import.meta, {
  about: 'Answers each line that a client sends in upper case.',
  options: { host: host(), port: port(8888) },
  run: ({ host, port }, { signal }) => serve(createLineServer(), { host, port, signal }),
});
