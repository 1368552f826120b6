/**
 * Requests out of the bytes of a connection: head, body, and the next head behind it. It reads as if
 * it could wait for bytes, and it can: a generator. Read request-head.ts and request-body.ts before.
 */
import { ByteInput, type Reading } from './byte-input.ts';
import { HttpError } from './raw-response.ts';
import { type Body, type Limits, readBody, readFields } from './request-body.ts';
import { type Head, parseRequestLine, readHead } from './request-head.ts';

export interface Request extends Head, Body {}

export const DEFAULT_LIMITS: Limits = {
  maxRequestLine: 8192,
  maxHeaderBytes: 16_384,
  maxHeaders: 100,
  maxBody: 1024 * 1024,
};

/** How many empty lines there may be in front of a request: old clients send one behind a body. (RFC 9112 §2.2) */
const EMPTY_LINES = 4;

export class RequestParser {
  /** Whether nothing of the next request has been read yet. */
  idle = true;
  /** The method of the request being read, once it is known. */
  method = '';
  readonly #limits: Limits;
  readonly #input = new ByteInput();
  readonly #events = this.#parse();

  constructor(limits: Partial<Limits> = {}) {
    this.#limits = { ...DEFAULT_LIMITS, ...limits };
  }

  /** Takes the next chunk. Call `next` until that is used up. */
  push(chunk: Buffer): void {
    this.#input.push(chunk);
  }

  /**
   * A whole request; `'continue'` if the client waits for `100 Continue` before it sends the body;
   * `undefined` when the chunk is used up. Throws an {@link HttpError} for what must be refused.
   * Nothing comes behind that: nobody can tell where the next request would begin.
   */
  next(): Request | 'continue' | undefined {
    return this.#events.next().value ?? undefined;
  }

  /** The client has said all. Throws an {@link HttpError} if that was inside a request. */
  end(): void {
    if (!this.idle) throw new HttpError(400, 'the request has no end');
  }

  *#parse(): Generator<Request | 'continue' | undefined, void, void> {
    for (;;) {
      const head = yield* this.#head();
      if (head.expectsContinue) yield 'continue';
      const body = yield* readBody(this.#input, head, this.#limits);
      this.idle = true;
      yield { ...head, ...body };
    }
  }

  *#head(): Reading<Head> {
    const { maxRequestLine, maxBody } = this.#limits;
    const tooLong = (start: string) =>
      start.includes(' ')
        ? new HttpError(414, `the request line is over the limit of ${maxRequestLine} bytes`)
        : new HttpError(501, 'this server knows no method as long as that');
    let line = '';
    for (let empty = 0; line === ''; empty++) {
      if (empty > EMPTY_LINES) throw new HttpError(400, 'there are too many empty lines');
      this.idle = true;
      this.method = '';
      yield* this.#input.ready();
      this.idle = false;
      line = yield* this.#input.line(maxRequestLine, tooLong);
    }
    const requestLine = parseRequestLine(line);
    this.method = requestLine.method;
    return readHead(requestLine, yield* readFields(this.#input, this.#limits), maxBody);
  }
}
