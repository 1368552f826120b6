/**
 * The problem: two writes that are read as one chunk, and one write that is read as three. Both
 * happen every time here; on a network they happen when they please. Read example 01 before.
 */
import { once } from 'node:events';
import {
  type AddressInfo,
  connect,
  createServer,
  type Socket,
  type TcpSocketConnectOpts,
} from 'node:net';
import { program } from '@shared/program';

export interface TwoWritesOptions {
  /** Whether the sender switches Nagle's algorithm off. It makes no difference. Default true. */
  noDelay?: boolean;
}

/** Writes each text; the receiver looks once all of them are there. (Tutorial 000 §4.5.2) */
export async function twoWrites(
  texts: string[],
  { noDelay = true }: TwoWritesOptions = {},
): Promise<Buffer[]> {
  await using ends = await connectedPair();
  const { sender, receiver } = ends;
  const length = Buffer.byteLength(texts.join(''));
  // The receiver is busy with something else; meanwhile the bytes queue, and nothing between them.
  const arrived = new Promise<void>((resolve) => {
    receiver.on('readable', () => {
      if (receiver.readableLength === length) resolve();
    });
  });
  sender.setNoDelay(noDelay);
  for (const text of texts) sender.write(text);
  await arrived;
  return [receiver.read()];
}

/** Writes once; the receiver reads at most `size` bytes at a time, as Python's `recv(size)` does. */
export async function oneWrite(text: string, size: number): Promise<Buffer[]> {
  const chunks: Buffer[] = [];
  await using ends = await connectedPair({
    onread: {
      buffer: Buffer.alloc(size),
      callback(length, buffer) {
        // A copy: the next bytes are read into the same buffer.
        chunks.push(Buffer.from(buffer.subarray(0, length)));
        return true;
      },
    },
  });
  ends.sender.end(text);
  await once(ends.receiver.resume(), 'end');
  return chunks;
}

/** Both ends of one connection on this machine. */
async function connectedPair(options: Partial<TcpSocketConnectOpts> = {}) {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  const { port } = server.address() as AddressInfo;
  const receiver = connect({ ...options, port, host: '127.0.0.1' });
  const [sender] = (await accepted) as [Socket];
  return {
    sender,
    receiver,
    async [Symbol.asyncDispose]() {
      receiver.destroy();
      sender.destroy();
      await once(server.close(), 'close');
    },
  };
}

program(import.meta, {
  about: 'Shows two writes that are read as one chunk, and one write that is read as several.',
  options: {},
  async run() {
    console.log('Two writes, read once:');
    show(['Hello', 'World'], await twoWrites(['Hello', 'World']));
    console.log('One write, read 8 bytes at a time:');
    show(['Python网络编程'], await oneWrite('Python网络编程', 8));
  },
});

function show(writes: string[], chunks: Buffer[]): void {
  for (const text of writes) console.log(`  sender    write  "${text}"`);
  for (const chunk of chunks) console.log(`  receiver  chunk  "${chunk}"  ${chunk.length} bytes`);
}
