/**
 * Answers each line in upper case: the service that examples 06 to 10 build in five ways, here as
 * one loop for each connection. Read streams.ts before.
 *
 *     h  e  l  l  o 0a | 0a | h  i 0a   →   H  E  L  L  O 0a | 0a | H  I 0a
 */
import type { Server } from 'node:net';
import { host, milliseconds, port, program, serve } from '@shared/program';
import { LIMIT, LimitOverrunError } from './stream-reader.ts';
import { type ServerOptions, startServer } from './streams.ts';

/** Builds the server; the caller lets it listen, and closes it. (Tutorial 000 §8.2) */
export function createLineServer(options: ServerOptions = {}): Server {
  const { limit = LIMIT } = options;
  return startServer(async (reader, writer) => {
    try {
      for await (const line of reader) {
        // The client ended inside a line. Half a message may mean something else than the whole.
        if (line.at(-1) !== NEWLINE) return;
        writer.write(line.toString().toUpperCase());
        await writer.drain();
      }
    } catch (error) {
      if (error instanceof LimitOverrunError) {
        writer.write(
          `error: cannot accept line: the limit is ${limit.toLocaleString('en-US')} bytes\n`,
        );
      }
      throw error;
    }
  }, options);
}

const NEWLINE = 0x0a;

program(import.meta, {
  about: 'Answers each line that a client sends in upper case.',
  options: {
    host: host(),
    port: port(8888),
    deadline: milliseconds(2000, 'how long a conversation may go on after Ctrl+C', { min: 0 }),
  },
  run({ host, port, deadline }, { signal }) {
    const server = createLineServer({ signal, deadline, log: console.log });
    return serve(server, { host, port, signal, grace: deadline });
  },
});
