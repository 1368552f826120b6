/**
 * Where a redirect leads, and what must not go there. By hand, since undici's redirect interceptor
 * refuses a page that sets a cookie and sends the client back to where it was, returns the last 3xx
 * as an answer when there are too many, and follows from https to http. Part of session.ts.
 */
import { RedirectClientError } from './errors.ts';
import { type HttpRequest, withoutCredentials } from './request.ts';
import type { ClientResponse } from './response.ts';

const REDIRECTS = new Set([301, 302, 303, 307, 308]);

/** The next request, or `undefined` if this is the answer. Throws {@link RedirectClientError}. (RFC 9110 §15.4) */
export function redirect(request: HttpRequest, response: ClientResponse): HttpRequest | undefined {
  const { status } = response;
  if (!REDIRECTS.has(status)) return undefined;
  const location = response.headers.get('location');
  if (location === null) return undefined;
  const refuse = (where: string, why: string): never => {
    const text = `cannot follow redirect from ${request.url} to ${where}: ${why}`;
    throw new RedirectClientError(text, status);
  };

  // A header is Latin-1 to Node, but servers put UTF-8 there.
  const text = Buffer.from(location, 'latin1').toString();
  if (!URL.canParse(text, request.url.href)) refuse(JSON.stringify(text), 'it is not a URL');
  const url = new URL(text, request.url);
  if (!/^https?:$/.test(url.protocol)) refuse(url.href, 'it is neither http: nor https:');
  if (request.url.protocol === 'https:' && url.protocol === 'http:') {
    refuse(url.href, 'everybody on the way could read it');
  }
  // The server that sent us has no password to give away, and undici would not send it.
  url.username = url.password = '';
  if (url.hash === '') url.hash = request.url.hash;

  let { method, body } = request;
  // Whoever we are sent to may not be who the password was meant for.
  const headers =
    url.origin === request.url.origin
      ? { ...request.headers }
      : withoutCredentials(request.headers);
  const post = method === 'POST' && (status === 301 || status === 302);
  if (post || (status === 303 && method !== 'HEAD')) {
    method = 'GET';
    body = undefined;
    for (const name of Object.keys(headers)) if (name.startsWith('content-')) delete headers[name];
  } else if (body?.again === false) {
    refuse(url.href, 'the body is a stream, and cannot be sent a second time');
  }
  // It was the name of the other one.
  delete headers.host;
  return { method, url, headers, body };
}
