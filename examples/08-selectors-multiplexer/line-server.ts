/**
 * The service that all of Part 2 offers, on the loop of server.ts: each line comes back in upper
 * case. Read server.ts before.
 */
import type { Server } from 'node:net';
import { DelimiterDecoder } from '@shared/framing';
import { host, port, program, serve } from '@shared/program';
import { createMultiplexer, type MultiplexerOptions, type Protocol } from './server.ts';

export interface LineServerOptions extends Omit<MultiplexerOptions, 'createProtocol'> {
  /** The longest line to accept, in bytes; a longer one is refused. Default 64 KiB. */
  maxLength?: number;
}

/** Builds the server; the caller lets it listen, and closes it. */
export function createLineServer(options: LineServerOptions = {}): Server {
  const { maxLength = 64 * 1024, ...others } = options;
  return createMultiplexer({ ...others, createProtocol: () => upperCaseLines(maxLength) });
}

/** A line may arrive in pieces: what is there of it waits in the client's own decoder. */
function upperCaseLines(maxLength: number): Protocol {
  const decoder = new DelimiterDecoder({ maxLength });
  return function* (received) {
    for (const line of decoder.push(received)) {
      yield Buffer.from(`${line.toString().toUpperCase()}\n`);
    }
  };
}

program(import.meta, {
  about: 'Answers each line that a client sends in upper case.',
  options: { host: host(), port: port(8888) },
  run: ({ host, port }, { signal }) => serve(createLineServer(), { host, port, signal }),
});
