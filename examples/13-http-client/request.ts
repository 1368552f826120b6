/**
 * What is sent: the URL with its parameters, the headers, and a body that can be sent again or not.
 * Part of session.ts: start there.
 */
import { Blob } from 'node:buffer';
import querystring from 'node:querystring';
import { Readable } from 'node:stream';
import { type Dispatcher, FormData as UndiciFormData } from 'undici';
import { InvalidURL } from './errors.ts';
import type { Auth, RequestOptions } from './options.ts';

type Scalar = string | number | boolean;
export type Fields = URLSearchParams | Record<string, Scalar | readonly Scalar[]>;
export type Data = string | Uint8Array | Fields | FormData | Blob | AsyncIterable<Uint8Array>;

export interface HttpRequest {
  method: string;
  url: URL;
  /** Names in lower case. */
  headers: Record<string, string>;
  body: Body | undefined;
}

export interface Body {
  /** Its headers. */
  headers: Record<string, string>;
  /** Whether {@link Body.open} can be called a second time, for a retry or a redirect. */
  again: boolean;
  open(): NonNullable<Dispatcher.DispatchOptions['body']>;
}

/** The URL, on top of the session's base if it is a relative one. Throws {@link InvalidURL}. */
export function buildUrl(url: string | URL, base?: URL, params?: Fields): URL {
  let built: URL;
  try {
    built = new URL(url, base);
  } catch (cause) {
    const text = JSON.stringify(hidden(String(url)));
    throw new InvalidURL(`cannot use URL ${text}: it is not one`, { cause });
  }
  if (built.protocol !== 'http:' && built.protocol !== 'https:') {
    throw new InvalidURL(`cannot use URL ${hidden(built.href)}: it is neither http: nor https:`);
  }
  if (params !== undefined) {
    for (const [name, value] of search(params)) built.searchParams.append(name, value);
  }
  return built;
}

/** Without the password, for an error message. */
export function hidden(url: string): string {
  return url.replace(/(?<=^(\w+:)?\/*)[^/?#]*@/, '…@');
}

/** `{ id: [1, 2] }` is `id=1&id=2`, as in requests. (Tutorial 003 §06) */
export function search(fields: Fields): URLSearchParams {
  if (fields instanceof URLSearchParams) return fields;
  const pairs = Object.entries(fields).flatMap(([name, value]) =>
    (typeof value === 'object' ? value : [value]).map((one): [string, string] => [
      name,
      String(one),
    ]),
  );
  return new URLSearchParams(pairs);
}

/** Names in lower case, so that one set for a request replaces the session's. */
export function lowerCase(headers: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]),
  );
}

/** The headers but for those that prove who we are. */
export function withoutCredentials(headers: Record<string, string>): Record<string, string> {
  const { authorization, cookie, 'proxy-authorization': _, ...others } = headers;
  return others;
}

/** The request for these options. What they do not say, the session's headers and base URL say. */
export function buildRequest(
  method: string,
  text: string | URL,
  options: RequestOptions,
  defaults: Record<string, string>,
  base?: URL,
): HttpRequest {
  const url = buildUrl(text, base, options.params);
  // The password for one server is none for another, whose whole URL somebody passes to get().
  const foreign = base !== undefined && base.origin !== url.origin;
  const { json, data, headers: own, auth, cookies = {} } = options;
  let body: Body | undefined;
  if (json !== undefined) body = bytes('application/json', JSON.stringify(json));
  else if (data !== undefined) body = dataBody(data);
  const headers = {
    ...(foreign ? withoutCredentials(defaults) : defaults),
    ...body?.headers,
    ...(own && lowerCase(own)),
  };
  const { username, password } = url;
  if (auth !== undefined) headers.authorization = basicAuth(auth);
  else if (username !== '') {
    const decode = querystring.unescape;
    headers.authorization = basicAuth({ login: decode(username), password: decode(password) });
  }
  for (const [name, value] of Object.entries(cookies)) {
    headers.cookie = `${headers.cookie === undefined ? '' : `${headers.cookie}; `}${name}=${value}`;
  }
  // They would be in every error message.
  if (username !== '' || password !== '') url.username = url.password = '';
  return { method: method.toUpperCase(), url, headers, body };
}

export function basicAuth({ login, password }: Auth): string {
  return `Basic ${Buffer.from(`${login}:${password}`).toString('base64')}`;
}

/** The body for `data`, as aiohttp and requests take it. */
function dataBody(data: Data): Body {
  if (typeof data === 'string') return bytes('text/plain;charset=UTF-8', data);
  if (data instanceof Uint8Array) return bytes('application/octet-stream', data);
  if (data instanceof FormData) return multipart(data);
  if (data instanceof Blob) {
    // With its length, and a new stream each time: a file is never in memory, and can be sent again.
    const type = data.type || 'application/octet-stream';
    const headers = { 'content-type': type, 'content-length': String(data.size) };
    return { headers, again: true, open: () => Readable.fromWeb(data.stream()) };
  }
  if (Symbol.asyncIterator in data) {
    const headers = { 'content-type': 'application/octet-stream' };
    return { headers, again: false, open: () => Readable.from(data, { objectMode: false }) };
  }
  return bytes('application/x-www-form-urlencoded', search(data).toString());
}

function bytes(type: string, body: string | Uint8Array): Body {
  return { headers: { 'content-type': type }, again: true, open: () => body };
}

function multipart(form: FormData): Body {
  // undici encodes it, with its length and from disk, but only a FormData of its own: it fails with
  // "action is not a function" for the one that Node has built in.
  const own = new UndiciFormData();
  for (const [name, value] of form) {
    if (typeof value === 'string') own.append(name, value);
    else own.append(name, value, value.name);
  }
  return { headers: {}, again: true, open: () => own };
}
