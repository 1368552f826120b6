/**
 * What the thread of one connection of line-server.ts runs: each line comes back in upper case.
 */
import { pipeline } from 'node:stream/promises';
import { type MessagePort, workerData } from 'node:worker_threads';
import { DelimiterDecoder, encodeDelimited, FramingError, readMessages } from '@shared/framing';
import { threadSocket } from './thread-socket.ts';

const { port, maxLength }: { port: MessagePort; maxLength: number } = workerData;
const socket = threadSocket(port);
const decoder = new DelimiterDecoder({ maxLength });

async function* answers(): AsyncGenerator<Buffer> {
  try {
    for await (const line of readMessages(socket.iterator({ destroyOnReturn: false }), decoder)) {
      yield encodeDelimited(line.toString().toUpperCase());
    }
  } catch (error) {
    if (!(error instanceof FramingError)) throw error;
    yield encodeDelimited(`error: ${error.message}`);
  }
}

pipeline(answers, socket);
