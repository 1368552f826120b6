/**
 * The tutorial's asyncio server: answers all text in upper case, and gives nobody more than a minute.
 * Read example 01 before; here the listeners of its server have become one loop. Start with this file.
 */
import type { Server } from 'node:net';
import { StringDecoder } from 'node:string_decoder';
import { host, milliseconds, port, program, serve } from '@shared/program';
import { LIMIT } from './stream-reader.ts';
import { type ServerOptions, startServer } from './streams.ts';
import { timeout } from './tasks.ts';

export interface UpperCaseServerOptions extends ServerOptions {
  /** How long one read or drain may take, in milliseconds. Default 60,000. */
  readTimeout?: number;
}

/** Builds the server; the caller lets it listen, and closes it. (Tutorial 000 §8.2) */
export function createUpperCaseServer(options: UpperCaseServerOptions = {}): Server {
  const { readTimeout = 60_000 } = options;
  return startServer(async (reader, writer) => {
    // A read ends anywhere, also inside a character: this keeps the first half until the second is
    // there, where the tutorial's decode() would throw.
    const decoder = new StringDecoder('utf8');
    for (;;) {
      const data = await timeout(readTimeout, (signal) => reader.read(LIMIT, { signal }));
      if (data.length === 0) break;
      writer.write(decoder.write(data).toUpperCase());
      // Without drain() a client that sends and never reads would fill our memory with its answers.
      await timeout(readTimeout, (signal) => writer.drain({ signal }));
    }
    // The client ended inside a character: U+FFFD stands for it.
    writer.write(decoder.end());
  }, options);
}

program(import.meta, {
  about: 'Answers all text that a client sends in upper case.',
  options: {
    host: host(),
    port: port(8888),
    readTimeout: milliseconds(60_000, 'how long a client may be silent'),
  },
  run: ({ host, port, readTimeout }, { signal }) =>
    serve(createUpperCaseServer({ readTimeout, signal, log: console.log }), { host, port, signal }),
});
