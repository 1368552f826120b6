/**
 * Lines and bytes out of chunks that end anywhere, for request-parser.ts. Each method is a generator
 * that yields when it needs the next chunk, and goes on in the middle of its line when it is there.
 * Read example 02 before.
 */
import { HttpError } from './raw-response.ts';

const LF = 0x0a;
const NOTHING = Buffer.alloc(0);
/** Text of one byte a character: no controls, but for the tab and the line's end. */
const CONTROL = /[^\t\r\n -~\x80-\xff]/;

/** Needs the next chunk, and returns what it has read. */
export type Reading<T> = Generator<undefined, T, void>;

export class ByteInput {
  #chunk: Buffer = NOTHING;
  #at = 0;

  /** Gives it the next chunk. The one before must be read to its end. */
  push(chunk: Buffer): void {
    this.#chunk = chunk;
    this.#at = 0;
  }

  /** Waits until there is a byte. */
  *ready(): Reading<void> {
    while (this.#at === this.#chunk.length) yield;
  }

  /** A line without its CR LF. Throws `tooLong(start)` if it has more than `limit` bytes with them. */
  *line(limit: number, tooLong: (start: string) => HttpError): Reading<string> {
    const line = new Collector();
    for (;;) {
      yield* this.ready();
      const room = limit - line.length;
      const found = this.#chunk.indexOf(LF, this.#at);
      const end = found === -1 ? this.#chunk.length : found + 1;
      const piece = this.#chunk.subarray(this.#at, Math.min(end, this.#at + room));
      // Not at the line's end alone: a browser that begins with TLS sends no LF, and waits.
      if (CONTROL.test(piece.toString('latin1'))) {
        throw new HttpError(400, 'a line has a control character in it');
      }
      line.append(piece);
      if (end - this.#at > room) throw tooLong(line.take().toString('latin1'));
      this.#at = end;
      if (found !== -1) break;
    }
    const text = line.take().toString('latin1');
    // A proxy in front that sees one line where we see two has seen other requests than we have.
    if (!text.endsWith('\r\n')) throw new HttpError(400, 'a line ends in LF without CR');
    const content = text.slice(0, -2);
    if (content.includes('\r')) throw new HttpError(400, 'a line has CR without LF in it');
    return content;
  }

  /** Adds the next `length` bytes to what is collected, as they arrive. */
  *copy(length: number, target: Collector): Reading<void> {
    let missing = length;
    while (missing > 0) {
      yield* this.ready();
      const piece = this.#chunk.subarray(this.#at, this.#at + missing);
      target.append(piece);
      this.#at += piece.length;
      missing -= piece.length;
    }
  }
}

/** Puts pieces together. Its memory follows what has arrived, not what was announced. */
export class Collector {
  #block: Buffer = NOTHING;
  length = 0;

  append(piece: Buffer): void {
    if (this.length === 0) {
      this.#block = piece; // mostly it is the only one, and needs no copy
      this.length = piece.length;
      return;
    }
    const length = this.length + piece.length;
    if (length > this.#block.length) {
      // Twice as large as needed: a list of pieces would cost an object for each byte that a client
      // sends by itself, and Buffer.concat a copy of all the others.
      const block = Buffer.allocUnsafeSlow(2 * length);
      this.#block.copy(block, 0, 0, this.length);
      this.#block = block;
    }
    piece.copy(this.#block, this.length);
    this.length = length;
  }

  /** All of them. */
  take(): Buffer {
    return this.#block.subarray(0, this.length);
  }
}
