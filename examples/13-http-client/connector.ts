/**
 * One request on the wire, and its answer: over a connection that undici opens, keeps alive and
 * shares, to the server or to a proxy, with the cookies for it. Part of session.ts: start there.
 */
import { Agent, type Dispatcher, Pool, ProxyAgent } from 'undici';
import { Cookies } from './cookies.ts';
import { InvalidURL } from './errors.ts';
import type { SessionOptions } from './options.ts';
import { Places } from './places.ts';
import { type HttpRequest, hidden } from './request.ts';
import type { Deadline } from './timeout.ts';

const LIMIT = 100;

export class Connector {
  readonly cookies: Cookies;
  readonly #dispatcher: Dispatcher;
  readonly #places: Places;

  constructor(options: SessionOptions, connectTimeout: number) {
    this.cookies = new Cookies(options.cookieJar);
    this.#places = new Places((options.limit ?? LIMIT) || Infinity);
    this.#dispatcher = options.connector ?? createDispatcher(options, connectTimeout);
  }

  /** Resolves when the headers are there. `readTimeout` is the longest silence, in milliseconds. */
  async send(
    request: HttpRequest,
    deadline: Deadline,
    readTimeout: number,
  ): Promise<Dispatcher.ResponseData> {
    const { method, url, headers, body } = request;
    const silence = readTimeout === Infinity ? 0 : readTimeout;
    await this.#places.take(deadline);
    let data: Dispatcher.ResponseData;
    try {
      // Not before: while it waited another answer may have set one.
      const cookie = this.cookies.header(url, headers.cookie);
      const answer = this.#dispatcher.request({
        method,
        origin: url.origin,
        path: url.pathname + url.search,
        headers: cookie === undefined ? headers : { ...headers, cookie },
        body: body === undefined ? null : body.open(),
        signal: deadline,
        headersTimeout: silence,
        bodyTimeout: silence,
      });
      // undici heeds its signal once there is a connection: a request that waits for one would wait on.
      data = await deadline.race(answer);
    } catch (error) {
      this.#places.leave();
      throw error;
    }
    // It has its connection to the end of the body.
    data.body.once('close', this.#places.leave);
    // Here, and not where the session returns the last answer: redirects set cookies too.
    const setCookie = data.headers['set-cookie'];
    if (setCookie !== undefined) this.cookies.store(url, setCookie);
    return data;
  }

  /** Closes all connections, also those that are in use. */
  close(): Promise<void> {
    return this.#dispatcher.destroy();
  }
}

function createDispatcher(options: SessionOptions, timeout: number): Dispatcher {
  const { limit = LIMIT, limitPerHost: connections = limit, proxy } = options;
  if (proxy === undefined) return new Agent({ connections, connect: { timeout } });
  const uri = String(proxy);
  if (!/^https?:\/\//.test(uri) || !URL.canParse(uri)) {
    throw new InvalidURL(`cannot use proxy ${JSON.stringify(hidden(uri))}: want http://host:port`);
  }
  return new ProxyAgent({
    uri,
    connections,
    // CONNECT for https: only, as requests and curl do: many proxies allow it to port 443 alone.
    proxyTunnel: false,
    // Where it does not tunnel, ProxyAgent forgets the limit and opens a connection per request.
    factory: (origin, pool) => new Pool(origin, { ...pool, connections }),
    clientFactory: (origin, pool) =>
      tunnels(new Pool(origin, { ...pool, headersTimeout: timeout })),
    proxyTls: { timeout },
    requestTls: { timeout },
  });
}

/** Of a tunnel that the proxy closes undici makes another, at once and without end, unless the error has a new name. (nodejs/undici#3897) */
function tunnels(proxy: Pool): Pool {
  const names: Record<string, string> = {
    UND_ERR_SOCKET: 'UND_ERR_PRX_CONN',
    UND_ERR_HEADERS_TIMEOUT: 'UND_ERR_CONNECT_TIMEOUT',
  };
  const connect = proxy.connect.bind(proxy);
  return Object.assign(proxy, {
    connect: (options: Dispatcher.ConnectOptions) =>
      connect(options).catch((error) => {
        throw Object.assign(error, { code: names[error.code] ?? error.code });
      }),
  });
}
