/**
 * Bytes in by chunks, whole messages out. TCP is a stream of bytes: one write may arrive as many
 * chunks, and many writes as one, so a protocol has to say where a message ends. These are the
 * three ways, behind one decoder shape:
 *
 *     const decoder = new LengthPrefixDecoder();
 *     socket.on('data', (chunk) => {
 *       for (const message of decoder.push(chunk)) handle(message);
 *     });
 *     socket.on('end', () => decoder.end());
 *
 * The cost is linear in the bytes, however they are cut: a message that lies within one chunk is a
 * view of that chunk, any other is put together once, when its last byte is there. Memory follows
 * the bytes that have arrived, never a length that a peer merely claims.
 */
// The global Buffer is a getter: for chunks of a few bytes its call costs a third of all the rest.
import { Buffer } from 'node:buffer';

/** The most bytes one message may have unless a decoder is told otherwise: 1 MiB. */
export const MAX_LENGTH = 1024 * 1024;

/** The peer broke the framing, or a message does not fit into it. Its text names the numbers. */
export class FramingError extends Error {
  override name = 'FramingError';
  /** `ERR_TOO_LONG`, `ERR_UNEXPECTED_END` or `ERR_DELIMITER_INSIDE`. */
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined };
const NOTHING = Buffer.alloc(0);

/** A piece of at least this many bytes is kept as it came. Smaller ones are copied together: a peer that sends single bytes must not make us keep an object for each of them. */
const KEEP = 1024;

/** Small blocks are cut from a slab that all decoders share: making a block each costs more than filling it. */
const SLAB = 64 * 1024;
let slab: Buffer = NOTHING;
let slabUsed = 0;

function allocate(length: number): Buffer {
  if (length > SLAB / 16) return Buffer.allocUnsafeSlow(length);
  if (slab.length - slabUsed < length) {
    slab = Buffer.allocUnsafeSlow(SLAB);
    slabUsed = 0;
  }
  slabUsed += length;
  return slab.subarray(slabUsed - length, slabUsed);
}

/** As `source.copy`, which costs more than a loop for the few bytes that a cut usually leaves. */
function copy(source: Buffer, start: number, end: number, target: Buffer, at: number): void {
  if (end - start > 32) source.copy(target, at, start, end);
  else while (start < end) target[at++] = source[start++] as number;
}

/** The bytes of a message whose end is not there yet. Each byte is copied at most twice. */
class Pending {
  length = 0;
  #pieces: Buffer[] = [];
  #block: Buffer = NOTHING;
  #used = 0;

  /** Adds `chunk` from `start` to `end`. The message can take `missing` more bytes: no block is made larger than that. */
  append(chunk: Buffer, start: number, end: number, missing: number): void {
    const length = end - start;
    this.length += length;
    if (length >= KEEP) {
      this.#seal();
      this.#pieces.push(chunk.subarray(start, end));
      return;
    }
    if (this.#block.length - this.#used < length) {
      this.#seal();
      // As large as all before it, so that blocks are few and what is unused of them is little.
      this.#block = allocate(Math.min(missing, Math.max(this.length, KEEP)));
    }
    if (length === chunk.length) this.#block.set(chunk, this.#used);
    else copy(chunk, start, end, this.#block, this.#used);
    this.#used += length;
  }

  /** All the bytes as one message; empty afterwards. */
  take(): Buffer {
    const whole = this.#used === this.length ? this.#block.subarray(0, this.length) : this.#join();
    this.#block = NOTHING;
    this.#used = 0;
    this.length = 0;
    return whole;
  }

  #join(): Buffer {
    this.#seal();
    const whole = Buffer.concat(this.#pieces, this.length);
    this.#pieces = [];
    return whole;
  }

  #seal(): void {
    if (this.#used > 0) this.#pieces.push(this.#block.subarray(0, this.#used));
    this.#block = NOTHING;
    this.#used = 0;
  }
}

/** What the three decoders have in common. Messages and chunks share memory: change neither. */
export abstract class Decoder implements IterableIterator<Buffer> {
  /** The chunk being read, and how far. */
  protected chunk: Buffer = NOTHING;
  protected at = 0;
  protected readonly pending: Pending = new Pending();

  /** The next whole message, or `null` when the chunk is used up. */
  protected abstract read(): Buffer | null;

  /** Where the stream stands inside a message, or `null` between two messages. */
  protected abstract inside(): string | null;

  /**
   * Takes the next chunk and returns the messages that it completes. Read them all before the next
   * chunk. A broken frame throws a {@link FramingError} after the good messages before it.
   */
  push(chunk: Uint8Array): this {
    if (this.at < this.chunk.length) {
      throw new Error('cannot push a chunk: the messages of the one before are not all read');
    }
    this.chunk = toBuffer(chunk);
    this.at = 0;
    return this;
  }

  /** The stream has ended. Throws a {@link FramingError} if that was inside a message. */
  end(): void {
    const where = this.inside();
    if (where !== null) {
      throw new FramingError('ERR_UNEXPECTED_END', `the stream ended inside ${where}`);
    }
  }

  next(): IteratorResult<Buffer, undefined> {
    const message = this.read();
    return message === null ? DONE : { done: false, value: message };
  }

  [Symbol.iterator](): this {
    return this;
  }

  /** The next `length` bytes as one message, or `null` until all of them are there. */
  protected readBytes(length: number): Buffer | null {
    const { chunk, at, pending } = this;
    const missing = length - pending.length;
    const end = at + missing;
    if (end > chunk.length) {
      if (at < chunk.length) pending.append(chunk, at, chunk.length, missing);
      this.at = chunk.length;
      return null;
    }
    this.at = end;
    if (pending.length === 0) return chunk.subarray(at, end);
    pending.append(chunk, at, end, missing);
    return pending.take();
  }
}

/**
 * A length of 4 bytes, big-endian (Python's `struct.pack('!I', n)`), then so many bytes. A message
 * may be empty. A length over `maxLength` (default 1 MiB) throws before one byte of it is kept.
 *
 *     00 00 00 05 | h  e  l  l  o | 00 00 00 00 | 00 00 00 02 | h  i
 */
export class LengthPrefixDecoder extends Decoder {
  readonly #maxLength: number;
  /** What the prefix announced; -1 between two messages. */
  #length = -1;

  constructor({ maxLength = MAX_LENGTH }: { maxLength?: number } = {}) {
    super();
    this.#maxLength = maxLength;
  }

  protected read(): Buffer | null {
    let length = this.#length;
    if (length === -1) {
      const { chunk, at } = this;
      if (this.pending.length === 0 && at + 4 <= chunk.length) {
        length = chunk.readUInt32BE(at);
        this.at = at + 4;
      } else {
        const prefix = this.readBytes(4);
        if (prefix === null) return null;
        length = prefix.readUInt32BE();
      }
    }
    if (length > this.#maxLength) {
      this.#length = length;
      throw new FramingError(
        'ERR_TOO_LONG',
        `cannot accept message: its prefix says ${count(length)}, the limit is ${number(this.#maxLength)}`,
      );
    }
    const message = this.readBytes(length);
    this.#length = message === null ? length : -1;
    return message;
  }

  protected inside(): string | null {
    const { length } = this.pending;
    if (this.#length !== -1) {
      return `a message: ${number(length)} of ${count(this.#length)} had arrived`;
    }
    return length === 0 ? null : `a length prefix: ${length} of 4 bytes had arrived`;
  }
}

/**
 * A delimiter (default a line feed) behind each message; it is not part of the message. A message
 * without its delimiter that grows over `maxLength` bytes (default 1 MiB) throws.
 *
 *     h  e  l  l  o 0a | 0a | h  i 0a
 */
export class DelimiterDecoder extends Decoder {
  readonly #maxLength: number;
  readonly #delimiter: Buffer;
  /** How many bytes of a delimiter can be there without the last one. */
  readonly #overlap: number;
  /** The last bytes of what is pending: the delimiter may have begun there. */
  #tail: Buffer = NOTHING;

  constructor({
    delimiter = '\n',
    maxLength = MAX_LENGTH,
  }: {
    delimiter?: string | Uint8Array;
    maxLength?: number;
  } = {}) {
    super();
    this.#delimiter = toBuffer(delimiter);
    this.#overlap = this.#delimiter.length - 1;
    if (this.#delimiter.length === 0) throw new RangeError('the delimiter must not be empty');
    this.#maxLength = maxLength;
  }

  protected read(): Buffer | null {
    const { chunk, at, pending } = this;
    if (at === chunk.length) return null;
    const end = this.#find();
    if (end === null) {
      // The last bytes may be the first of a delimiter: they do not count as message yet.
      this.#limit(pending.length + chunk.length - at - this.#overlap, ' and no delimiter');
      const missing = this.#maxLength + this.#overlap - pending.length;
      pending.append(chunk, at, chunk.length, missing);
      if (this.#overlap > 0) {
        const last = chunk.subarray(Math.max(at, chunk.length - this.#overlap));
        const tail = Buffer.concat([this.#tail, last]);
        this.#tail = tail.subarray(-this.#overlap);
      }
      this.at = chunk.length;
      return null;
    }
    const length = pending.length + end - at;
    this.#limit(length, '');
    this.at = end + this.#delimiter.length;
    if (pending.length === 0) return chunk.subarray(at, end);
    if (end > at) pending.append(chunk, at, end, end - at);
    this.#tail = NOTHING;
    return pending.take().subarray(0, length);
  }

  /** Where in the chunk the next delimiter begins: below 0 if in an earlier chunk, `null` if nowhere. */
  #find(): number | null {
    const { chunk, at } = this;
    if (this.#tail.length > 0) {
      const seam = Buffer.concat([this.#tail, chunk.subarray(0, this.#overlap)]);
      const found = seam.indexOf(this.#delimiter);
      if (found !== -1) return found - this.#tail.length;
    }
    const found = chunk.indexOf(this.#delimiter, at);
    return found === -1 ? null : found;
  }

  #limit(length: number, suffix: string): void {
    if (length <= this.#maxLength) return;
    throw new FramingError(
      'ERR_TOO_LONG',
      `cannot accept message: ${count(length)}${suffix}, the limit is ${number(this.#maxLength)}`,
    );
  }

  protected inside(): string | null {
    return this.pending.length === 0
      ? null
      : `a message: ${count(this.pending.length)} had arrived, and no delimiter`;
  }
}

/**
 * Every message has exactly `length` bytes; the sender fills shorter ones up.
 *
 *     h  e  l  l  o 20 20 20 | h  i 20 20 20 20 20 20
 */
export class FixedLengthDecoder extends Decoder {
  readonly #length: number;

  constructor({ length }: { length: number }) {
    super();
    if (!Number.isInteger(length) || length < 1) {
      throw new RangeError(`the length must be a whole number from 1, not ${length}`);
    }
    this.#length = length;
  }

  protected read(): Buffer | null {
    // Without this an empty chunk would look like the start of a message for ever.
    return this.at === this.chunk.length ? null : this.readBytes(this.#length);
  }

  protected inside(): string | null {
    return this.pending.length === 0
      ? null
      : `a message: ${number(this.pending.length)} of ${count(this.#length)} had arrived`;
  }
}

/**
 * The messages of any byte source, one by one, so that a slow reader holds the sender back. For a
 * socket, `socket.iterator({ destroyOnReturn: false })`: the plain iterator closes the socket when
 * the loop ends, with the answers unsent. Throws what the decoder throws, at the end too.
 */
export async function* readMessages(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  decoder: Decoder,
): AsyncGenerator<Buffer, void, undefined> {
  for await (const chunk of source) {
    for (const message of decoder.push(chunk)) yield message;
  }
  decoder.end();
}

/** The frame for {@link LengthPrefixDecoder}. Throws over 4,294,967,295 bytes: the prefix ends there. */
export function encodeLengthPrefix(message: string | Uint8Array): Buffer {
  const body = toBuffer(message);
  const prefix = Buffer.allocUnsafe(4);
  prefix.writeUInt32BE(body.length);
  return Buffer.concat([prefix, body]);
}

/** The frame for {@link DelimiterDecoder}. Throws if the message has the delimiter in it: it would arrive as two. */
export function encodeDelimited(
  message: string | Uint8Array,
  delimiter: string | Uint8Array = '\n',
): Buffer {
  const end = toBuffer(delimiter);
  const frame = Buffer.concat([toBuffer(message), end]);
  // Searched in the frame: the end of the message and the delimiter may make one together, earlier.
  const at = frame.indexOf(end);
  if (at !== frame.length - end.length) {
    throw new FramingError(
      'ERR_DELIMITER_INSIDE',
      `cannot send message: it has the delimiter in it, at byte ${number(at)}`,
    );
  }
  return frame;
}

/** The frame for {@link FixedLengthDecoder}, filled up with `pad` (default a space). Throws if the message is longer. */
export function encodeFixedLength(message: string | Uint8Array, length: number, pad = ' '): Buffer {
  const body = toBuffer(message);
  if (body.length > length) {
    throw new FramingError(
      'ERR_TOO_LONG',
      `cannot send message: it has ${count(body.length)}, the limit is ${number(length)}`,
    );
  }
  const frame = Buffer.alloc(length, pad);
  body.copy(frame);
  return frame;
}

function toBuffer(bytes: string | Uint8Array): Buffer {
  if (typeof bytes === 'string') return Buffer.from(bytes);
  if (bytes instanceof Buffer) return bytes;
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function number(value: number): string {
  return value.toLocaleString('en-US');
}

function count(bytes: number): string {
  return `${number(bytes)} ${bytes === 1 ? 'byte' : 'bytes'}`;
}
