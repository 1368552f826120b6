/**
 * aiohttp's `ClientSession` on undici: requests that share connections, cookies, headers, limits.
 * Read example 12 before; start with this file, each of the others does one thing for it.
 */
import type { CookieJar } from 'tough-cookie';
import { Connector } from './connector.ts';
import { ClientConnectionError, ClientError, clientError, TooManyRedirects } from './errors.ts';
import { DEFAULTS, type RequestOptions, type SessionOptions } from './options.ts';
import { redirect } from './redirect.ts';
import { basicAuth, buildRequest, buildUrl, type HttpRequest, lowerCase } from './request.ts';
import { ClientResponse } from './response.ts';
import { ACCEPT_ENCODING } from './response-body.ts';
import { RETRY, type RetryOptions, retrying } from './retry.ts';
import { Deadline, TIMEOUTS, type Timeouts } from './timeout.ts';

type Settings = typeof DEFAULTS &
  Pick<RequestOptions, 'signal'> & { timeout: Required<Timeouts>; retry: Required<RetryOptions> };

/** Use it as `await using session = new ClientSession({ … })`. (Tutorials 000 §4.3, 001 §4.2, 003 §06) */
export class ClientSession implements AsyncDisposable {
  readonly #baseUrl: URL | undefined;
  /** Sent with every request, but for those that it sets itself; names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly #connector: Connector;
  readonly #defaults;
  readonly #running = new Set<Deadline>();
  #closed = false;

  constructor(options: SessionOptions = {}) {
    const { baseUrl, headers = {}, auth } = options;
    this.#baseUrl = baseUrl === undefined ? undefined : buildUrl(baseUrl);
    this.headers = {
      accept: '*/*',
      'accept-encoding': ACCEPT_ENCODING,
      'user-agent': 'net-by-example/13',
      ...lowerCase(headers),
      ...(auth && { authorization: basicAuth(auth) }),
    };
    this.#defaults = {
      ...DEFAULTS,
      ...options,
      timeout: { ...TIMEOUTS, ...options.timeout },
      retry: { ...RETRY, ...options.retry },
    };
    this.#connector = new Connector(options, this.#defaults.timeout.connect);
  }

  /** Where the cookies are kept, a `CookieJar` of tough-cookie. */
  get cookieJar(): CookieJar {
    return this.#connector.cookies.jar;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get(url: string | URL, options?: RequestOptions): Promise<ClientResponse> {
    return this.request('GET', url, options);
  }

  post(url: string | URL, options?: RequestOptions): Promise<ClientResponse> {
    return this.request('POST', url, options);
  }

  put(url: string | URL, options?: RequestOptions): Promise<ClientResponse> {
    return this.request('PUT', url, options);
  }

  patch(url: string | URL, options?: RequestOptions): Promise<ClientResponse> {
    return this.request('PATCH', url, options);
  }

  delete(url: string | URL, options?: RequestOptions): Promise<ClientResponse> {
    return this.request('DELETE', url, options);
  }

  head(url: string | URL, options?: RequestOptions): Promise<ClientResponse> {
    // As in aiohttp and in requests: whoever asks for the headers of a redirect wants to see them.
    return this.request('HEAD', url, { allowRedirects: false, ...options });
  }

  options(url: string | URL, options?: RequestOptions): Promise<ClientResponse> {
    return this.request('OPTIONS', url, options);
  }

  /** Resolves when the headers of the last answer are there; its body comes when it is read. Rejects with a {@link ClientError}. */
  async request(
    method: string,
    url: string | URL,
    options: RequestOptions = {},
  ): Promise<ClientResponse> {
    if (this.#closed) throw new ClientError('cannot send a request: the session is closed');
    const settings = {
      ...this.#defaults,
      ...options,
      timeout: { ...this.#defaults.timeout, ...options.timeout },
      retry: { ...this.#defaults.retry, ...options.retry },
    };
    const request = buildRequest(method, url, options, this.headers, this.#baseUrl);
    const response = await this.#exchange(request, settings);
    if (!settings.raiseForStatus || response.ok) return response;
    await response.release();
    return response.raiseForStatus();
  }

  async #exchange(first: HttpRequest, settings: Settings): Promise<ClientResponse> {
    const { timeout, retry, allowRedirects, maxRedirects, maxSize, signal } = settings;
    const deadline = new Deadline(first.url, timeout.total, signal);
    this.#running.add(deadline);
    const history: ClientResponse[] = [];
    let request = first;
    try {
      for (;;) {
        const response = await retrying(request, retry, deadline, async () => {
          const data = await this.#connector.send(request, deadline, timeout.read);
          return new ClientResponse(request, data, [...history], maxSize);
        });
        const next = allowRedirects ? redirect(request, response) : undefined;
        if (next === undefined) {
          response.onClose(() => this.#finish(deadline));
          return response;
        }
        if (history.push(response) > maxRedirects) {
          const text = `cannot ${first.method} ${first.url}: more than ${maxRedirects} redirects`;
          throw new TooManyRedirects(text, response.status);
        }
        await response.release();
        request = next;
      }
    } catch (error) {
      // The answer too: nobody will ever read one that leads nowhere.
      deadline.abort(clientError(error, `cannot ${request.method} ${request.url}`));
      this.#finish(deadline);
      throw deadline.reason;
    }
  }

  #finish(deadline: Deadline): void {
    deadline.clear();
    this.#running.delete(deadline);
  }

  /** Ends what is under way, with an error, and closes all connections. */
  async close(): Promise<void> {
    this.#closed = true;
    // Requests that wait for their next try have no connection that could be closed.
    const reason = new ClientConnectionError('the session was closed before the answer was there');
    for (const deadline of this.#running) deadline.abort(reason);
    await this.#connector.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
