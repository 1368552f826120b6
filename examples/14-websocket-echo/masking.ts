/**
 * Takes the mask off a payload: byte i was combined with byte i modulo 4 of the key (XOR), so that
 * nobody can make a client send chosen bytes that a proxy takes for HTTP. It is no secret: the key
 * stands in front. (RFC 6455 §5.3) Read frames.ts before.
 *
 *     key      37 fa 21 3d
 *     masked   7f 9f 4d 51 58
 *     text     H  e  l  l  o     7f ^ 37 = 48 'H', …, 58 ^ 37 = 6f 'o'
 */

/** Below so many bytes a view of the words costs more than it saves. */
const SHORT = 128;

/** Four bytes, and the same four as a word in this machine's byte order, whichever that is. */
const fourBytes = new Uint8Array(4);
const oneWord = new Int32Array(fourBytes.buffer);

/** Unmasks in place. `offset` is where in the payload the first byte stands: the key goes on from there. */
export function unmask(bytes: Buffer, key: number, offset = 0): void {
  const { length, byteOffset } = bytes;
  if (length < SHORT) {
    unmaskBytes(bytes, 0, length, key, offset);
    return;
  }
  // A word may only begin at a multiple of 4 in its memory, which is rarely where a payload begins.
  const first = -byteOffset & 3;
  const count = (length - first) >> 2;
  const last = first + 4 * count;
  unmaskBytes(bytes, 0, first, key, offset);
  for (let i = 0; i < 4; i++) fourBytes[i] = keyByte(key, offset + first + i);
  const mask = oneWord[0] as number;
  const words = new Int32Array(bytes.buffer, byteOffset + first, count);
  for (let i = 0; i < count; i++) (words[i] as number) ^= mask;
  unmaskBytes(bytes, last, length, key, offset);
}

function unmaskBytes(bytes: Buffer, start: number, end: number, key: number, offset: number): void {
  for (let i = start; i < end; i++) (bytes[i] as number) ^= keyByte(key, offset + i);
}

/** The key is a big-endian word, so that byte 0 is the highest. */
function keyByte(key: number, i: number): number {
  return (key >>> (24 - 8 * (i & 3))) & 0xff;
}
