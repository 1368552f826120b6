/**
 * The client side: sends what it is given and shows what comes back, as two tasks of one group.
 * Read tasks.ts and server.ts before.
 */
import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { host, milliseconds, ProgramError, port, program } from '@shared/program';
import type { StreamReader } from './stream-reader.ts';
import type { StreamWriter } from './stream-writer.ts';
import { openConnection } from './streams.ts';
import { TaskGroup } from './tasks.ts';

/**
 * Sends all of `input`, then ends our half, while all answers go to `output`, until the server ends
 * its half. Rejects if the connection breaks, or if the server ends before the input does.
 */
export async function converse(
  [reader, writer]: [StreamReader, StreamWriter],
  input: AsyncIterable<string | Uint8Array> | Iterable<string>,
  output: Writable,
): Promise<void> {
  const group = new TaskGroup();
  let sending = true;
  group.createTask(async (signal) => {
    const send = async (chunks: AsyncIterable<string | Uint8Array>) => {
      for await (const chunk of chunks) {
        writer.write(chunk);
        await writer.drain({ signal });
      }
    };
    // Not for await alone: who waits for a keyboard cannot be cancelled.
    await pipeline(input, send, { signal });
    sending = false;
    writer.writeEof();
  });
  group.createTask(async (signal) => {
    for (;;) {
      const answer = await reader.read(64 * 1024, { signal });
      if (answer.length === 0) break;
      if (!output.write(answer)) await once(output, 'drain', { signal });
    }
    if (sending) throw new ProgramError('the server ended the conversation before the input did');
  });
  try {
    await group.wait();
  } finally {
    writer.close();
  }
}

program(import.meta, {
  about: 'Sends its arguments, or standard input if there are none, and prints the answers.',
  args: '[TEXT...]',
  options: {
    host: host(),
    port: port(8888),
    timeout: milliseconds(3000, 'how long connecting may take'),
  },
  async run({ host, port, timeout }, { args, signal }) {
    const connection = await openConnection(host, port, { timeout, signal });
    const input = args.length > 0 ? [`${args.join(' ')}\n`] : process.stdin;
    await converse(connection, input, process.stdout);
  },
});
