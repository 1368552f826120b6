/**
 * The body of an answer: read when it is asked for, decoded, and no more of it than there may be.
 * Part of session.ts: start there.
 */
import { pipeline, type Readable } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import type { Dispatcher } from 'undici';
import { ClientPayloadError, clientError } from './errors.ts';

/** By hand, since undici's decompress interceptor is experimental, and says so on stderr. */
const DECODERS: Record<string, () => ReturnType<typeof createGunzip>> = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
};
export const ACCEPT_ENCODING = 'gzip, deflate, br';

/** A body that nobody wants is read on for so many bytes and milliseconds: a new connection costs more. */
const DUMP = { limit: 64 * 1024, time: 100 };

export class ResponseBody {
  readonly #data: Dispatcher.ResponseData;
  readonly #url: URL;
  /** There is none, whatever the headers say: Content-Length and Content-Encoding are those of a GET. */
  readonly #none: boolean;
  #received = 0;
  #released = false;

  constructor(data: Dispatcher.ResponseData, method: string, url: URL) {
    this.#data = data;
    this.#url = url;
    const { statusCode: status, headers, body } = data;
    this.#none =
      method === 'HEAD' || [204, 304].includes(status) || headers['content-length'] === '0';
    // It may break, or its time may be over, while nobody reads it: then the next read says so.
    body.on('error', () => {});
    // Nobody reads what is not there, and its deadline would run on.
    if (this.#none) body.resume();
  }

  /** All of it. Rejects with a {@link ClientPayloadError} if that is more than `maxSize` bytes. */
  async read(maxSize: number): Promise<Buffer> {
    try {
      return this.#none ? Buffer.alloc(0) : await this.#readAll(maxSize);
    } catch (error) {
      throw this.#explain(error);
    }
  }

  /** Chunk by chunk, as they come. Leaving the loop early closes the connection. */
  async *chunks(): AsyncGenerator<Buffer> {
    if (this.#none) return;
    try {
      for await (const chunk of this.#decoded()) yield chunk;
      await nextTurn();
    } catch (error) {
      throw this.#explain(error);
    }
  }

  /** Does without the rest: reads it if it is short and there, closes the connection if not. */
  async release(): Promise<void> {
    this.#released = true;
    const signal = AbortSignal.timeout(DUMP.time);
    await this.#data.body.dump({ limit: DUMP.limit, signal }).catch(() => {});
    await nextTurn();
  }

  /** Does without the rest, and without the connection. */
  close(): void {
    this.#data.body.destroy();
  }

  /** Calls back when it has been read, released, or lost. */
  onClose(listener: () => void): void {
    if (this.#data.body.closed) listener();
    else this.#data.body.once('close', listener);
  }

  #readAll(maxSize: number): Promise<Buffer> {
    const stream = this.#decoded();
    const { body, headers } = this.#data;
    const chunks: Buffer[] = [];
    let size = 0;
    return new Promise((resolve, reject) => {
      stream.on('error', reject);
      // undici has the connection free one turn of the event loop after the last byte: whoever made
      // the next request before would open a second one.
      stream.on('end', () => setImmediate(() => resolve(Buffer.concat(chunks, size))));
      stream.on('data', (chunk: Buffer) => {
        size += chunk.length;
        chunks.push(chunk);
        if (size > maxSize) stream.destroy(this.#tooLarge(size, 'after decoding', maxSize));
      });
      const announced = Number(headers['content-length'] ?? 0);
      if (announced > maxSize) stream.destroy(this.#tooLarge(announced, 'announced', maxSize));
      if (stream === body) return;
      // What arrives counts too: there are endless gzip streams that decode to nothing at all.
      body.on('data', () => {
        if (this.#received > maxSize)
          stream.destroy(this.#tooLarge(this.#received, 'compressed', maxSize));
      });
    });
  }

  /** Starts to read. */
  #decoded(): Readable {
    const { body, headers } = this.#data;
    if (body.errored !== null && !this.#released) throw body.errored;
    if (body.readableDidRead || body.destroyed) {
      throw new ClientPayloadError(`cannot read ${this.#url}: its body has been read or released`);
    }
    body.on('data', (chunk: Buffer) => {
      this.#received += chunk.length;
    });
    const coding = String(headers['content-encoding'] || 'identity').toLowerCase();
    if (coding === 'identity') return body;
    const decoder = DECODERS[coding]?.();
    if (decoder === undefined) {
      const text = `its Content-Encoding is ${JSON.stringify(coding)}, we asked for ${ACCEPT_ENCODING}`;
      throw new ClientPayloadError(`cannot read ${this.#url}: ${text}`);
    }
    return pipeline(body, decoder, () => {});
  }

  #tooLarge(bytes: number, what: string, maxSize: number): ClientPayloadError {
    const text = `${number(bytes)} bytes ${what}, the limit is ${number(maxSize)}`;
    return new ClientPayloadError(`cannot read ${this.#url}: ${text}`);
  }

  #explain(error: unknown): unknown {
    const length = this.#data.headers['content-length'];
    const of = length === undefined ? '' : ` of ${number(Number(length))}`;
    return clientError(
      error,
      `cannot read ${this.#url} after ${number(this.#received)}${of} bytes`,
    );
  }
}

function number(value: number): string {
  return value.toLocaleString('en-US');
}
