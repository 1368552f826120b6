/**
 * What follows the request line: header lines, and a body of a known length or in chunks.
 * Read byte-input.ts and request-head.ts before.
 *
 *     5;ext=1 CR LF  hello CR LF     size in hex and maybe extensions, data
 *     6 CR LF         world CR LF
 *     0 CR LF                        the last chunk
 *     Sum: 11 CR LF                  a trailer
 *     CR LF
 */
import { type ByteInput, Collector, type Reading } from './byte-input.ts';
import { HttpError } from './raw-response.ts';
import { type Field, type Head, parseField, tooLarge } from './request-head.ts';

export interface Limits {
  /** The longest request line, in bytes with its CR LF. More is answered 414. Default 8,192. */
  maxRequestLine: number;
  /** All header lines together, in bytes; and once more for trailers and chunk extensions. More is answered 431. Default 16,384. */
  maxHeaderBytes: number;
  /** How many header lines, and how many trailers. More is answered 431. Default 100. */
  maxHeaders: number;
  /** The longest body, in bytes. More is answered 413. Default 1 MiB. */
  maxBody: number;
}

export interface Body {
  body: Buffer;
  /** What followed a body in chunks. Never to be mixed with the headers: those have been decided upon. */
  trailers: Field[];
}

/** What would change the meaning of a request that has been decided upon. (RFC 9110 §6.5.1) */
const NOT_IN_TRAILERS = /^(connection|content-length|expect|host|te|trailer|transfer-encoding)$/i;
/** A longer size, however many zeros it begins with, would be more than any body. */
const CHUNK_SIZE = /^[\da-f]{1,16}/i;
const CHUNK_EXTENSIONS =
  /^(?:[ \t]*;[ \t]*[!#$%&'*+.^`|~\w-]+(?:[ \t]*=[ \t]*(?:[!#$%&'*+.^`|~\w-]+|"(?:[^"\\]|\\.)*"))?)*$/;

/** Header lines, or trailers, to the empty line. (RFC 9112 §5, §7.1.2) */
export function* readFields(
  input: ByteInput,
  { maxHeaderBytes, maxHeaders }: Limits,
): Reading<Field[]> {
  const tooLong = () =>
    new HttpError(431, `the headers are over the limit of ${maxHeaderBytes} bytes`);
  const fields: Field[] = [];
  let room = maxHeaderBytes;
  for (;;) {
    const line = yield* input.line(room + 2, tooLong);
    if (line === '') return fields;
    if (fields.length === maxHeaders) {
      throw new HttpError(431, `the headers are over the limit of ${maxHeaders} lines`);
    }
    fields.push(parseField(line));
    room -= line.length + 2;
  }
}

/** The body. (RFC 9112 §6, §7.1) */
export function* readBody(input: ByteInput, { length }: Head, limits: Limits): Reading<Body> {
  const body = new Collector();
  if (length !== 'chunked') {
    yield* input.copy(length, body);
    return { body: body.take(), trailers: [] };
  }
  const { maxHeaderBytes, maxBody } = limits;
  const tooLong = () => new HttpError(431, `a chunk's extensions are over the limit`);
  let room = maxHeaderBytes;
  for (;;) {
    const line = yield* input.line(room + 18, tooLong);
    const [digits = ''] = line.match(CHUNK_SIZE) ?? [];
    const extensions = line.slice(digits.length);
    if (digits === '' || !CHUNK_EXTENSIONS.test(extensions)) {
      throw new HttpError(400, 'a chunk does not begin with its size');
    }
    // Of all chunks together: bodies in chunks of one byte would carry megabytes of them past us.
    room -= extensions.length;
    if (room < 0) throw tooLong();
    const size = Number.parseInt(digits, 16);
    if (size === 0) break;
    if (body.length + size > maxBody) throw tooLarge(maxBody);
    yield* input.copy(size, body);
    const end = yield* input.line(2, () => new HttpError(400, 'a chunk is longer than its size'));
    if (end !== '') throw new HttpError(400, 'a chunk is longer than its size');
  }
  const trailers = yield* readFields(input, limits);
  if (trailers.some(([name]) => NOT_IN_TRAILERS.test(name))) {
    throw new HttpError(400, 'a trailer has the name of a header that must come first');
  }
  return { body: body.take(), trailers };
}
