/**
 * Checks text while it arrives. A text message must be UTF-8 (RFC 6455 §5.6, §8.1), and may be cut
 * anywhere: between chunks, between fragments, inside a character. Read example 02 before.
 */
import { isUtf8 } from 'node:buffer';

const NOTHING = Buffer.alloc(0);

/**
 * Checks the next piece of a text, behind the `rest` of the one before. Returns the new rest: the
 * character that the piece ends in the middle of. Returns `undefined` as soon as this can be UTF-8
 * no more, whatever may still come: nobody need wait for the end of a megabyte to know.
 */
export function checkUtf8(rest: Buffer, piece: Buffer): Buffer | undefined {
  const bytes = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
  const end = lastStart(bytes);
  if (!isUtf8(bytes.subarray(0, end))) return undefined;
  if (end === bytes.length) return NOTHING;
  // A copy: a view would keep the whole chunk for the sake of three bytes.
  const begun = Buffer.from(bytes.subarray(end));
  return canBecomeCharacter(begun) ? begun : undefined;
}

/** Where the last character begins if it is not complete, else the end. */
function lastStart(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] as number;
    if ((byte & 0xc0) === 0x80) continue;
    return lengthOf(byte) > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}

/** How many bytes a character has that begins so. */
function lengthOf(byte: number): number {
  return byte < 0xc0 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

/** `e0 80`, `ed a0`, `f4 90` and `ff` cannot: with the lowest or the highest bytes behind, any other becomes one. */
function canBecomeCharacter(begun: Buffer): boolean {
  return [0x80, 0xbf].some((byte) => {
    const missing = lengthOf(begun[0] as number) - begun.length;
    return isUtf8(Buffer.concat([begun, Buffer.alloc(missing, byte)]));
  });
}
