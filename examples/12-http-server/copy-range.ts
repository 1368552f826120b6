/** From an open file to a client, in constant memory. */
import type { FileHandle } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import type { Range } from './ranges.ts';

/**
 * How many bytes are read at once, which is what a client that downloads costs in memory. With
 * Node's own 64 KiB a large file takes more than twice as long.
 */
const CHUNK = 256 * 1024;

/** Sends as many bytes as were promised, whatever happens to the file. Rejects if it ends before. */
export async function copyRange(
  file: FileHandle,
  { start, end }: Range,
  client: Writable,
): Promise<void> {
  const buffer = Buffer.allocUnsafe(Math.min(CHUNK, end - start));
  for (let at = start; at < end; ) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, end - at), at);
    if (bytesRead === 0) throw new Error(`the file ended at ${at} of ${end} bytes`);
    at += bytesRead;
    // The next read takes the same buffer, and a client that does not read must not fill more.
    await written(client, buffer.subarray(0, bytesRead));
  }
}

/** Waits until the kernel has the bytes. Rejects if the client goes before. */
function written(client: Writable, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    // Node forgets the callback of a write to a socket that was destroyed just before.
    const gone = () => reject(new Error('the client has gone'));
    client.once('close', gone);
    client.write(bytes, (error) => {
      client.off('close', gone);
      if (error) reject(error);
      else resolve();
    });
  });
}
