/**
 * What the thread of one connection of line-server.ts runs: each line comes back in upper case.
 */
import { pipeline } from 'node:stream/promises';
import { type MessagePort, workerData } from 'node:worker_threads';
import { DelimiterDecoder, encodeDelimited, FramingError } from '@shared/framing';
import { threadSocket } from './thread-socket.ts';

const { port, maxLength }: { port: MessagePort; maxLength: number } = workerData;
const socket = threadSocket(port);
const decoder = new DelimiterDecoder({ maxLength });

async function* answers(): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
      for (const line of decoder.push(chunk)) yield encodeDelimited(line.toString().toUpperCase());
    }
    // No decoder.end(): a client may end inside a line, and half of one may mean something else.
  } catch (error) {
    if (!(error instanceof FramingError)) throw error;
    yield encodeDelimited(`error: ${error.message}`);
  }
}

pipeline(answers, socket);
