/**
 * asyncio's StreamReader: a socket gives its bytes as events, and here they are read by `await`.
 * A read that has to wait is a promise that a later event settles. Read tasks.ts before.
 */
import type { Socket } from 'node:net';
import { ProgramError } from '@shared/program';
import { Bytes } from './bytes.ts';

/** The most bytes a line may have without its end, as in asyncio: 64 KiB. */
export const LIMIT = 64 * 1024;

/** The stream ended inside what was to be read. */
export class IncompleteReadError extends ProgramError {
  override name = 'IncompleteReadError';
  /** What had arrived. */
  readonly partial: Buffer;
  /** How many bytes were wanted; `undefined` if that is up to a separator. */
  readonly expected: number | undefined;

  constructor(partial: Buffer, wanted: string, expected?: number) {
    super(`cannot read ${wanted}: the stream ended after ${count(partial.length)}`);
    this.partial = partial;
    this.expected = expected;
  }
}

/** More bytes than the limit in front of a separator. They stay in the reader. */
export class LimitOverrunError extends ProgramError {
  override name = 'LimitOverrunError';
  /** How many bytes there are before the separator, or before the place where one may begin. */
  readonly consumed: number;

  constructor(wanted: string, limit: number, consumed: number) {
    super(`cannot read ${wanted}: it is not within the limit of ${count(limit)}`);
    this.consumed = consumed;
  }
}

export interface StreamReaderOptions {
  /** The most bytes in front of a separator. Reading from the socket stops at twice as many. Default 64 KiB. */
  limit?: number | undefined;
  /** Cancels every read that has to wait. Default: nothing does. */
  signal?: AbortSignal | undefined;
}

export interface ReadOptions {
  /** Cancels this read if it has to wait. What has arrived stays, for the next one. Default: nothing does. */
  signal?: AbortSignal;
}

/** Reads a socket. One read at a time. (Tutorial 000 §8.2) */
export class StreamReader implements AsyncIterable<Buffer> {
  readonly #socket: Socket;
  readonly #limit: number;
  readonly #signal: AbortSignal | undefined;
  readonly #arrived = new Bytes();
  #eof = false;
  #error: Error | undefined;
  /** Ends the wait of the read that waits. */
  #wake: (() => void) | undefined;

  constructor(socket: Socket, { limit = LIMIT, signal }: StreamReaderOptions = {}) {
    // With NaN nothing would ever be too much.
    if (!(limit > 0)) throw new RangeError(`the limit must be over 0, not ${limit}`);
    this.#socket = socket;
    this.#limit = limit;
    this.#signal = signal;
    socket.on('error', (error) => {
      this.#error = error;
      this.#wake?.();
    });
    socket.on('data', (chunk: Buffer) => {
      this.#arrived.append(chunk);
      // Whoever sends faster than we read would fill our memory: TCP tells it to wait.
      if (this.#arrived.length > 2 * limit) socket.pause();
      this.#wake?.();
    });
    socket.on('end', () => {
      this.#eof = true;
      this.#wake?.();
    });
    socket.on('close', () => {
      // Destroyed by this side: without this the read would wait for ever.
      if (!this.#eof) this.#error ??= new DOMException('the connection is closed', 'AbortError');
      this.#wake?.();
    });
    signal?.addEventListener('abort', () => {
      // What has arrived is still answered. Of a client that goes on sending, that would be no end.
      socket.pause();
      this.#wake?.();
    });
  }

  /** At most `n` bytes, as soon as there are any; none at the end. Without a limit, as Python's `read()`, the peer would decide about our memory. */
  async read(n: number, { signal }: ReadOptions = {}): Promise<Buffer> {
    checkSize(n);
    while (n > 0 && this.#arrived.length === 0 && !this.#eof) await this.#wait(signal);
    return this.#take(Math.min(n, this.#arrived.length));
  }

  /** Exactly `n` bytes. Rejects with an {@link IncompleteReadError} if the stream ends before. */
  async readexactly(n: number, { signal }: ReadOptions = {}): Promise<Buffer> {
    checkSize(n);
    while (this.#arrived.length < n) {
      if (this.#eof) throw new IncompleteReadError(this.#take(this.#arrived.length), count(n), n);
      await this.#wait(signal);
    }
    return this.#take(n);
  }

  /** All up to the separator, and the separator. Rejects with an {@link IncompleteReadError} or a {@link LimitOverrunError}. */
  async readuntil(separator = '\n', { signal }: ReadOptions = {}): Promise<Buffer> {
    const wanted = `until ${JSON.stringify(separator)}`;
    const bytes = Buffer.from(separator);
    if (bytes.length === 0) throw new RangeError('the separator must not be empty');
    let searched = 0;
    for (;;) {
      const at = this.#arrived.indexOf(bytes, searched);
      if (at > this.#limit) throw new LimitOverrunError(wanted, this.#limit, at);
      if (at >= 0) return this.#take(at + bytes.length);
      // The last bytes may be the first of a separator.
      searched = Math.max(0, this.#arrived.length + 1 - bytes.length);
      if (searched > this.#limit) throw new LimitOverrunError(wanted, this.#limit, searched);
      if (this.#eof) throw new IncompleteReadError(this.#take(this.#arrived.length), wanted);
      await this.#wait(signal);
    }
  }

  /** A line with its `\n`; without it if the stream ends there; nothing at the end. Behind a {@link LimitOverrunError} the next read goes on. */
  async readline(options: ReadOptions = {}): Promise<Buffer> {
    try {
      return await this.readuntil('\n', options);
    } catch (error) {
      if (error instanceof IncompleteReadError) return error.partial;
      if (error instanceof LimitOverrunError) {
        // Else the next readline would fail as well, at once and for ever.
        this.#take(error.consumed);
        if (this.#arrived.length > 0) this.#take(1); // the line feed
      }
      throw error;
    }
  }

  /** The lines, to the end. Leaving the loop early leaves the connection as it is. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void, undefined> {
    for (let line = await this.readline(); line.length > 0; line = await this.readline()) {
      yield line;
    }
  }

  /** Whether all has been read that will ever come. */
  atEof(): boolean {
    return this.#eof && this.#arrived.length === 0;
  }

  #take(length: number): Buffer {
    return this.#arrived.take(length);
  }

  /** Waits for more. Only here a read is cancelled: one that has all it needs is done, as in asyncio. */
  async #wait(signal: AbortSignal | undefined): Promise<void> {
    if (this.#wake) throw new Error('cannot read: another read is waiting');
    if (this.#error) throw this.#error;
    this.#signal?.throwIfAborted();
    signal?.throwIfAborted();
    this.#socket.resume();
    await new Promise<void>((resolve) => {
      const wake = () => {
        this.#wake = undefined;
        signal?.removeEventListener('abort', wake);
        resolve();
      };
      this.#wake = wake;
      signal?.addEventListener('abort', wake);
    });
  }
}

function checkSize(n: number): void {
  if (!Number.isInteger(n) || n < 0) throw new RangeError(`cannot read ${n} bytes`);
}

function count(bytes: number): string {
  return `${bytes.toLocaleString('en-US')} ${bytes === 1 ? 'byte' : 'bytes'}`;
}
