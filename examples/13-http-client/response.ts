/**
 * The answer to a request: its status and headers at once, its body when it is asked for.
 * Part of session.ts: start there.
 */
import { STATUS_CODES } from 'node:http';
import { Cookie } from 'tough-cookie';
import type { Dispatcher } from 'undici';
import { ClientPayloadError, ClientResponseError, ContentTypeError } from './errors.ts';
import type { HttpRequest } from './request.ts';
import { ResponseBody } from './response-body.ts';

/** To make one takes longer than to decode a short body. */
const UTF_8 = new TextDecoder();

export interface JsonOptions {
  /** What the body must say that it is; `null`: anything. Default `application/json`. */
  contentType?: string | null;
}

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

  /** What this answer set; the jar knows whether it may. */
  get cookies(): Record<string, string> {
    const cookies = this.headers.getSetCookie().map((header) => Cookie.parse(header));
    return Object.fromEntries(cookies.flatMap((one) => (one ? [[one.key, one.value]] : [])));
  }

  /** `text/html`, in lower case. What says nothing is bytes. (RFC 9110 §8.3) */
  get contentType(): string {
    const [type = ''] = this.#type.split(';');
    return type.trim().toLowerCase() || 'application/octet-stream';
  }

  /** As the Content-Type names it, or `undefined`. */
  get charset(): string | undefined {
    return this.#type.match(/;\s*charset="?([^\s;"]+)/i)?.[1]?.toLowerCase();
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

  /** The body as text. `encoding` is for a server that names the wrong one, or none that is UTF-8. */
  async text(encoding = this.charset): Promise<string> {
    const bytes = await this.read();
    let decoder = UTF_8;
    try {
      if (encoding !== undefined) decoder = new TextDecoder(encoding);
    } catch {
      // a charset that nobody knows
    }
    return decoder.decode(bytes);
  }

  /** The body as JSON. Rejects with a {@link ContentTypeError} if it does not say that it is. */
  async json({ contentType = 'application/json' }: JsonOptions = {}): Promise<unknown> {
    const body = await this.text();
    const type = this.contentType.replace(/^application\/[\w.+-]+\+json$/, 'application/json');
    if (contentType !== null && type !== contentType) {
      const text = `cannot read ${this.url} as JSON: its Content-Type is ${JSON.stringify(this.#type)}`;
      throw new ContentTypeError(text, this.status);
    }
    try {
      return JSON.parse(body);
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

  /** Closes the connection, whatever is still to come. */
  close(): void {
    this.#body.close();
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
