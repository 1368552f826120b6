/**
 * What goes back: a status line, header fields, the blank line that the tutorial forgot, a body.
 *
 *     HTTP/1.1 200 OK CR LF
 *     Date: Sun, 06 Nov 1994 08:49:37 GMT CR LF
 *     Content-Length: 5 CR LF
 *     CR LF
 *     hello
 */
import { STATUS_CODES } from 'node:http';

export interface Response {
  status: number;
  headers?: Record<string, string>;
  body?: string;
}

/** A request that is refused. Its text goes to the client, so it never quotes what the client sent. */
export class HttpError extends Error {
  override name = 'HttpError';
  readonly status: number;
  readonly headers: Record<string, string>;

  constructor(status: number, message: string, headers: Record<string, string> = {}) {
    super(message);
    this.status = status;
    this.headers = headers;
  }
}

/** The answer in place of what was asked for. */
export function refusal({ status, message, headers }: HttpError): Response {
  return {
    status,
    headers: { 'Content-Type': 'text/plain; charset=utf-8', ...headers },
    body: `${status} ${STATUS_CODES[status]}: ${message}\n`,
  };
}

export interface FormatOptions {
  /** What the request's method was: the answer to HEAD has the headers of the body, and no body. */
  method: string;
  /** The Connection field, if there is one. */
  connection: 'close' | 'keep-alive' | undefined;
}

/** The bytes of a response. (Tutorial 004 §7.1, RFC 9112 §4) */
export function formatResponse(response: Response, { method, connection }: FormatOptions): Buffer {
  const body = Buffer.from(response.body ?? '');
  const headers = {
    Date: new Date().toUTCString(),
    ...response.headers,
    // Bytes, not characters: the client would take the rest for the beginning of the next answer.
    'Content-Length': body.length,
    ...(connection && { Connection: connection }),
  };
  const lines = [`HTTP/1.1 ${response.status} ${STATUS_CODES[response.status]}`];
  for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`);
  const head = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
  return method === 'HEAD' ? head : Buffer.concat([head, body]);
}
