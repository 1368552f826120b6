/**
 * A handler's `rfile`: to read by calls that wait, instead of events. Read socket-writer.ts before.
 */
import type { Readable } from 'node:stream';
import { ProgramError } from '@shared/program';
import { waitFor } from './socket-writer.ts';

/** What `readline` accepts unless it is told otherwise: 64 KiB. Python's accepts any length. */
export const MAX_LINE = 64 * 1024;

const NEWLINE = 0x0a;
const NOTHING = Buffer.alloc(0);

/** Python's buffered reader. Rejects if the connection breaks, or after `timeout` milliseconds of waiting. */
export class RequestReader {
  readonly #source: Readable;
  readonly #timeout: number | undefined;
  /** What has been taken from the source and not been asked for: the bytes from `start` to `end`. */
  #buffer: Buffer = NOTHING;
  #start = 0;
  #end = 0;
  #wake = () => {};
  readonly #changed = () => this.#wake();

  constructor(source: Readable, timeout?: number) {
    this.#source = source;
    this.#timeout = timeout;
    // Node reads ahead only some 64 KiB for this listener: then TCP tells the client to wait.
    for (const event of ['readable', 'end', 'close']) source.on(event, this.#changed);
  }

  /** A line with its line feed, or `limit` bytes of a longer one; without a line feed at the end of the stream, and empty behind it. */
  async readline(limit = MAX_LINE): Promise<Buffer> {
    let searched = 0;
    for (;;) {
      const line = this.#buffer.subarray(this.#start, this.#end);
      // Each byte is looked at once, however they arrive.
      const at = line.indexOf(NEWLINE, searched);
      if (at !== -1) return this.#take(Math.min(at + 1, limit));
      if (line.length >= limit) return this.#take(limit);
      searched = line.length;
      if (!(await this.#fill())) return this.#take(line.length);
    }
  }

  /** `size` bytes; fewer only at the end of the stream. */
  async read(size: number): Promise<Buffer> {
    while (this.#length < size && (await this.#fill()));
    return this.#take(Math.min(size, this.#length));
  }

  /** What is there, at least one byte and at most `size`, as `recv(size)` does; empty at the end of the stream. */
  async read1(size: number): Promise<Buffer> {
    if (this.#length === 0) await this.#fill();
    return this.#take(Math.min(size, this.#length));
  }

  /** Line by line to the end of the stream: `for await (const line of this.rfile)`. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    for (let line = await this.readline(); line.length > 0; line = await this.readline())
      yield line;
  }

  /** Reads no more, so that others may. */
  close(): void {
    for (const event of ['readable', 'end', 'close']) this.#source.off(event, this.#changed);
  }

  get #length(): number {
    return this.#end - this.#start;
  }

  #take(length: number): Buffer {
    const taken = this.#buffer.subarray(this.#start, this.#start + length);
    this.#start += length;
    if (this.#length === 0) {
      this.#buffer = NOTHING;
      this.#start = this.#end = 0;
    }
    return taken;
  }

  /** Waits for more bytes; false at the end of the stream. */
  async #fill(): Promise<boolean> {
    const source = this.#source;
    for (;;) {
      const chunk: Buffer | null = source.read();
      if (chunk !== null) {
        this.#append(chunk);
        return true;
      }
      if (source.readableEnded) return false;
      if (source.destroyed)
        throw source.errored ?? new ProgramError('cannot read: the connection is closed');
      await waitFor(
        (wake) => {
          this.#wake = wake;
        },
        this.#timeout,
        'read',
      );
    }
  }

  #append(chunk: Buffer): void {
    if (this.#length === 0) {
      this.#buffer = chunk;
      this.#start = 0;
      this.#end = chunk.length;
      return;
    }
    if (this.#end + chunk.length > this.#buffer.length) {
      // Twice as much each time: a client that sends single bytes must not have us copy all for each.
      const larger = Buffer.allocUnsafe(2 * (this.#length + chunk.length));
      this.#end = this.#buffer.copy(larger, 0, this.#start, this.#end);
      this.#start = 0;
      this.#buffer = larger;
    }
    this.#end += chunk.copy(this.#buffer, this.#end);
  }
}
