/**
 * One read, one answer, and close: the asyncio servers of two tutorials, which differ in what they
 * answer. Read server.ts before.
 */
import type { Server } from 'node:net';
import { host, milliseconds, port, program, serve, text } from '@shared/program';
import { type ServerOptions, startServer } from './streams.ts';
import { timeout } from './tasks.ts';

export interface OneShotServerOptions extends ServerOptions {
  /** What to answer. Default: what was read. */
  answer?: string;
  /** How long a client may take to send something, in milliseconds. Default 60,000. */
  readTimeout?: number;
}

/** Builds the server; the caller lets it listen, and closes it. (Tutorials 001 §4.1, 002 §1.3) */
export function createOneShotServer(options: OneShotServerOptions = {}): Server {
  const { answer, readTimeout = 60_000 } = options;
  return startServer(async (reader, writer) => {
    const data = await timeout(readTimeout, (signal) => reader.read(100, { signal }));
    writer.write(answer ?? data);
  }, options);
}

program(import.meta, {
  about: 'Answers the first 100 bytes that a client sends, and closes.',
  options: {
    host: host(),
    port: port(8080),
    answer: text('', 'what to answer; what was read if it is empty'),
    readTimeout: milliseconds(60_000, 'how long a client may be silent'),
  },
  run({ host, port, answer, readTimeout }, { signal }) {
    const server = createOneShotServer({
      ...(answer !== '' && { answer }),
      readTimeout,
      signal,
      log: console.log,
    });
    return serve(server, { host, port, signal });
  },
});
