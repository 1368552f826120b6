/**
 * Chunks in, messages out: puts together what arrives in frames, and frames what arrives in chunks.
 * Control frames may come between the fragments of a message, and overtake it. (RFC 6455 §5.4)
 * Read frames.ts, masking.ts and utf8.ts before; then connection.ts.
 */
import type { Message } from './echo.ts';
import {
  CLOSE,
  CONTINUATION,
  type FrameHeader,
  ProtocolError,
  readHeader,
  TEXT,
} from './frames.ts';
import { unmask } from './masking.ts';
import { checkUtf8 } from './utf8.ts';

export interface Take {
  message(message: Message): void;
  /** A ping, a pong, or a close: nothing comes behind that one. */
  control(opcode: number, payload: Buffer): void;
}

const NOTHING = Buffer.alloc(0);
/** The least that is allocated for a message in pieces. */
const BLOCK = 4096;

/**
 * A function that takes the chunks of one connection. It throws a {@link ProtocolError} after the
 * good messages before it. It changes the chunks: masks are taken off in place.
 */
export function createReceiver(maxPayload: number, take: Take): (chunk: Buffer) => void {
  /** The beginning of a header or of a control frame. */
  let held: Buffer = NOTHING;
  /** The data frame whose payload arrives, and how many bytes of that are missing. */
  let frame: FrameHeader | undefined;
  let missing = 0;
  /** The message that arrives: what it is (0 between two messages), and `length` bytes of it. */
  let kind = CONTINUATION;
  let message: Buffer = NOTHING;
  let length = 0;
  let character: Buffer = NOTHING;

  const begin = (header: FrameHeader) => {
    if ((header.opcode === CONTINUATION) === (kind === CONTINUATION)) {
      throw new ProtocolError(1002, kind ? 'a message is not finished yet' : 'nothing to continue');
    }
    kind ||= header.opcode;
    frame = header;
    missing = header.length;
  };

  const append = (piece: Buffer, total: number) => {
    if (length + piece.length > message.length) {
      // Twice as much each time: to grow by each piece would copy all before it, again and again.
      // And never at once what a header claims: memory follows what has arrived.
      const size = Math.min(total, Math.max(2 * (length + piece.length), BLOCK));
      const grown = Buffer.allocUnsafeSlow(size);
      message.copy(grown, 0, 0, length);
      message = grown;
    }
    piece.copy(message, length);
    length += piece.length;
  };

  /** Takes a piece of the payload. */
  const read = ({ fin, length: size, key }: FrameHeader, piece: Buffer) => {
    unmask(piece, key, size - missing);
    missing -= piece.length;
    if (kind === TEXT) {
      const rest = checkUtf8(character, piece);
      if (rest === undefined || (fin && missing === 0 && rest.length > 0)) {
        throw new ProtocolError(1007, 'the text is not UTF-8');
      }
      character = rest;
    }
    const done = fin && missing === 0;
    if (!done || length > 0) append(piece, fin ? length + piece.length + missing : maxPayload);
    if (missing === 0) frame = undefined;
    if (!done) return;
    const whole = length > 0 ? message.subarray(0, length) : piece;
    const text = kind === TEXT;
    kind = CONTINUATION;
    message = NOTHING;
    length = 0;
    take.message(text ? whole.toString() : whole);
  };

  return (chunk) => {
    const bytes = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    held = NOTHING;
    let at = 0;
    for (;;) {
      if (frame === undefined) {
        const header = readHeader(bytes, at, maxPayload - length);
        if (header === undefined) break;
        const start = at + header.size;
        if (header.opcode >= CLOSE) {
          const end = start + header.length;
          if (end > bytes.length) break;
          const payload = bytes.subarray(start, end);
          unmask(payload, header.key);
          take.control(header.opcode, payload);
          if (header.opcode === CLOSE) return;
          at = end;
          continue;
        }
        begin(header);
        at = start;
      }
      const end = Math.min(at + missing, bytes.length);
      read(frame as FrameHeader, bytes.subarray(at, end));
      at = end;
      if (frame !== undefined) return;
    }
    // A copy: a view would keep the whole chunk for the sake of 130 bytes.
    held = Buffer.from(bytes.subarray(at));
  };
}
