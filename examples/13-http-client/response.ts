/**
 * The answer to a request: its status and headers at once, its body when it is asked for.
 * Part of session.ts: start there.
 */
import { STATUS_CODES } from 'node:http';
import type { Dispatcher } from 'undici';
import { ClientPayloadError, ClientResponseError, ContentTypeError } from './errors.ts';
import type { HttpRequest } from './request.ts';
import { ResponseBody } from './response-body.ts';

export class ClientResponse implements AsyncDisposable {
  readonly method: string;
  readonly url: URL;
  readonly status: number;
  /** The redirects that led here, the first one first. */
  readonly history: readonly ClientResponse[];
  readonly #fields: Dispatcher.ResponseData['headers'];
  readonly #body: ResponseBody;
  readonly #maxSize: number;
  #headers: Headers | undefined;
  #bytes: Promise<Buffer> | undefined;

  constructor(
    { method, url }: HttpRequest,
    data: Dispatcher.ResponseData,
    history: readonly ClientResponse[],
    maxSize: number,
  ) {
    this.method = method;
    this.url = url;
    this.status = data.statusCode;
    this.history = history;
    this.#fields = data.headers;
    this.#body = new ResponseBody(data, method, url);
    this.#maxSize = maxSize;
  }

  get ok(): boolean {
    return this.status < 400;
  }

  /** Our own words for the status: those of the server might do something to a terminal. */
  get reason(): string {
    return STATUS_CODES[this.status] ?? 'Unknown Status';
  }

  get headers(): Headers {
    // Made when somebody looks: it would be a tenth of what a request costs.
    this.#headers ??= new Headers(
      Object.entries(this.#fields).flatMap(([name, value = '']) =>
        [value].flat().map((one): [string, string] => [name, one]),
      ),
    );
    return this.#headers;
  }

  /** Throws a {@link ClientResponseError} if the status is 400 or more. (Tutorial 003 §06) */
  raiseForStatus(): this {
    if (this.ok) return this;
    // Who catches the error does not read, and the body would hold its connection.
    void this.release();
    const text = `${this.method} ${this.url}: ${this.status} ${this.reason}`;
    throw new ClientResponseError(text, this.status);
  }

  /** The whole body, decoded; the same when asked for again. Rejects with a {@link ClientPayloadError} if it is over `maxSize`. */
  read(): Promise<Buffer> {
    this.#bytes ??= this.#body.read(this.#maxSize);
    return this.#bytes;
  }

  async text(): Promise<string> {
    const bytes = await this.read();
    const [, charset = 'utf-8'] = this.#type.match(/;\s*charset="?([^\s;"]+)/i) ?? [];
    try {
      return new TextDecoder(charset).decode(bytes);
    } catch {
      return bytes.toString(); // a charset that nobody knows
    }
  }

  /** The body as JSON. Rejects with a {@link ContentTypeError} if it does not say that it is, unless `anyType` is set. */
  async json({ anyType = false }: { anyType?: boolean } = {}): Promise<unknown> {
    const bytes = await this.read();
    if (!anyType && !/^application\/([\w.+-]+\+)?json\s*(;|$)/i.test(this.#type)) {
      const text = `cannot read ${this.url} as JSON: its Content-Type is ${JSON.stringify(this.#type)}`;
      throw new ContentTypeError(text, this.status);
    }
    try {
      return JSON.parse(bytes.toString());
    } catch (cause) {
      throw new ClientPayloadError(`cannot read ${this.url} as JSON: it is not`, { cause });
    }
  }

  /** The body as it comes, decoded: for what is too large for `read()`. Leaving the loop early closes the connection. */
  get content(): AsyncIterable<Buffer> {
    return this.#body.chunks();
  }

  /** Does without the rest of the body. Whoever reads it to the end need not call this. */
  release(): Promise<void> {
    return this.#body.release();
  }

  /** Calls back when the body has been read, released, or lost. */
  onClose(listener: () => void): void {
    this.#body.onClose(listener);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  get #type(): string {
    return String(this.#fields['content-type'] ?? '');
  }
}
