/**
 * The frames of RFC 6455 §5: their headers read and checked, and written. Read handshake.ts before;
 * then masking.ts and messages.ts.
 *
 *      0               1               2               3
 *     +-+-----+-------+-+-------------+-------------------------------+
 *     |F| RSV |opcode |M|  length     | if 126: 16 bits of length     |
 *     |I|0 0 0|       |A| 0…125,      | if 127: 64 bits               |
 *     |N|     |       |S| 126 or 127  |                               |
 *     +-+-----+-------+-+-------------+-------------------------------+
 *     | if MASK: the key, 4 bytes     | payload …                     |
 *     +-------------------------------+-------------------------------+
 */

export const CONTINUATION = 0x0;
export const TEXT = 0x1;
export const BINARY = 0x2;
export const CLOSE = 0x8;
export const PING = 0x9;
export const PONG = 0xa;

/** The peer broke the protocol. `code` and the message go into the close frame. (RFC 6455 §7.4.1) */
export class ProtocolError extends Error {
  override name = 'ProtocolError';
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

export interface FrameHeader {
  /** Whether this is the last frame of its message. */
  fin: boolean;
  opcode: number;
  /** Bytes of payload. */
  length: number;
  key: number;
  /** Bytes of the header itself. */
  size: number;
}

/**
 * The header of a client's frame at `at`, or `undefined` until all of it is there. Throws a
 * {@link ProtocolError} for what no client may send, and for data of more bytes than there is `room`
 * for, as soon as the bytes that say so are there.
 */
export function readHeader(bytes: Buffer, at: number, room: number): FrameHeader | undefined {
  const there = bytes.length - at;
  if (there < 2) return undefined;
  const first = bytes[at] as number;
  const second = bytes[at + 1] as number;
  const fin = (first & 0x80) !== 0;
  const opcode = first & 0x0f;
  if (first & 0x70) throw new ProtocolError(1002, 'a reserved bit is set');
  if ((opcode > BINARY && opcode < CLOSE) || opcode > PONG) {
    throw new ProtocolError(1002, `opcode ${opcode} is reserved`);
  }
  if (!(second & 0x80)) throw new ProtocolError(1002, 'a client must mask its frames');
  let length = second & 0x7f;
  if (opcode >= CLOSE && (!fin || length > 125)) {
    throw new ProtocolError(1002, 'a control frame is in one piece, of at most 125 bytes');
  }
  let size = 6;
  if (length === 126) {
    size = 8;
    if (there < 4) return undefined;
    length = bytes.readUInt16BE(at + 2);
    if (length < 126) throw new ProtocolError(1002, 'a length must take as few bytes as it can');
  } else if (length === 127) {
    size = 14;
    if (there < 10) return undefined;
    const high = bytes.readUInt32BE(at + 2);
    length = high * 2 ** 32 + bytes.readUInt32BE(at + 6);
    if (high >= 2 ** 31) throw new ProtocolError(1002, 'the highest bit of a length must be 0');
    if (length < 2 ** 16)
      throw new ProtocolError(1002, 'a length must take as few bytes as it can');
  }
  // Before one byte of it is kept: what a header claims must not cost anything.
  if (opcode < CLOSE && length > room) throw new ProtocolError(1009, 'the message is too long');
  if (there < size) return undefined;
  return { fin, opcode, length, key: bytes.readInt32BE(at + size - 4), size };
}

/** A frame with a whole message or a control frame in it. A server's are not masked. (RFC 6455 §5.1) */
export function encodeFrame(opcode: number, payload: string | Buffer): Buffer {
  const text = typeof payload === 'string';
  const length = text ? Buffer.byteLength(payload) : payload.length;
  const size = length < 126 ? 2 : length < 2 ** 16 ? 4 : 10;
  const frame = Buffer.allocUnsafe(size + length);
  frame[0] = 0x80 | opcode;
  if (size === 2) frame[1] = length;
  else if (size === 4) {
    frame[1] = 126;
    frame.writeUInt16BE(length, 2);
  } else {
    frame[1] = 127;
    frame.writeUInt32BE(Math.floor(length / 2 ** 32), 2);
    frame.writeUInt32BE(length % 2 ** 32, 6);
  }
  if (text) frame.write(payload, size);
  else frame.set(payload, size);
  return frame;
}
