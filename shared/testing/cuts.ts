/** Every way in which a stream can arrive. A program that reads one must not care. */
import type { Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';

export interface NamedCut {
  name: string;
  pieces: Buffer[];
}

/** The same bytes whole, one at a time, and split in two at every offset. */
export function* cuts(bytes: string | Uint8Array): Generator<NamedCut> {
  const whole = Buffer.from(bytes as string);
  yield { name: 'whole', pieces: [whole] };
  yield { name: 'one byte at a time', pieces: [...whole].map((byte) => Buffer.from([byte])) };
  for (let at = 1; at < whole.length; at++) {
    yield { name: `split at byte ${at}`, pieces: [whole.subarray(0, at), whole.subarray(at)] };
  }
}

/**
 * Sends each piece when the receiver has read the one before, so that each arrives as a chunk of
 * its own for certain. `receiver` is the server's socket of the same connection, in this process.
 * Does not wait any more once one of the two is destroyed.
 */
export async function sendPieces(
  sender: Socket,
  receiver: Socket,
  pieces: Iterable<Uint8Array>,
): Promise<void> {
  for (const piece of pieces) {
    const read = receiver.bytesRead + piece.length;
    sender.write(piece);
    // Not once(receiver, 'data'): half a character makes no event where an encoding is set.
    while (receiver.bytesRead < read && !receiver.destroyed && !sender.destroyed) await nextTurn();
  }
}
