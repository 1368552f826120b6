/** What a session, and each of its requests, can be told. Part of session.ts: start there. */
import type { CookieJar } from 'tough-cookie';
import type { Dispatcher } from 'undici';
import type { Data, Fields } from './request.ts';
import type { RetryOptions } from './retry.ts';
import type { Timeouts } from './timeout.ts';

/** What holds for all requests of a session, and can be different for one. */
export interface CommonOptions {
  /** Headers beside those that the request needs. One set for a request replaces the session's. */
  headers?: Record<string, string>;
  timeout?: Timeouts;
  retry?: RetryOptions;
  /** How many redirects may be followed; one more is an error. Default 10. */
  maxRedirects?: number;
  /** The largest body that `read()`, `text()` and `json()` take, in bytes, decoded. Default 16 MiB. */
  maxSize?: number;
  /** Whether a status from 400 is an error. Default: no; see `response.raiseForStatus()`. */
  raiseForStatus?: boolean;
  /** For `Authorization: Basic`. Default: what the URL has before its `@`. */
  auth?: Auth;
}

export interface Auth {
  login: string;
  password: string;
}

export interface SessionOptions extends CommonOptions {
  /** What relative URLs are relative to. Default: all must be absolute. */
  baseUrl?: string | URL;
  /** Default: an empty one. */
  cookieJar?: CookieJar;
  /** How many requests may have a connection; the others wait for their turn; 0: all. Default 100. */
  limit?: number;
  /** The same for one host. Default: all of `limit`. */
  limitPerHost?: number;
  /** The proxy, `http://user:password@host:port`. Default: none. */
  proxy?: string | URL;
  /** Makes the connections instead: then `limitPerHost`, `timeout.connect` and `proxy` are its matter. The session closes it. */
  connector?: Dispatcher;
}

export interface RequestOptions extends CommonOptions {
  /** Added to the query of the URL. */
  params?: Fields;
  /** The body: a form (`{ name: value }`, FormData), text, bytes, a Blob, or a stream, which cannot be sent twice. */
  data?: Data;
  /** The body as JSON, in place of `data`. */
  json?: unknown;
  /** For this request, beside those of the jar. */
  cookies?: Record<string, string>;
  /** Whether redirects are followed; if not, the first one is the answer. Default: yes, but for `head()`. */
  allowRedirects?: boolean;
  /** Gives up when it is aborted. Default: never. */
  signal?: AbortSignal;
}

export const DEFAULTS = {
  maxRedirects: 10,
  maxSize: 16 * 1024 * 1024,
  raiseForStatus: false,
  allowRedirects: true,
};
