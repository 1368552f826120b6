/**
 * The rules of a request's head: each line, and what all of them say together about where the body
 * ends. Whatever two servers could understand in two ways is refused: between a proxy and a server
 * that disagree about it, a second request can be smuggled through. base-handler.ts holds to them
 * what node:http lets pass. Read request-parser.ts after.
 *
 *     GET /time?zone=utc HTTP/1.1 CR LF     method SP target SP version
 *     Host: 127.0.0.1:8080 CR LF            name ":" value
 *     CR LF
 */
import { isIPv6 } from 'node:net';
import { HttpError } from './raw-response.ts';

/** The methods that are served. */
export const METHODS = ['GET', 'HEAD', 'POST', 'OPTIONS'];
const NOT_SERVED = ['PUT', 'PATCH', 'DELETE', 'CONNECT', 'TRACE'];

/** A name and its value, one character for each byte. */
export type Field = [name: string, value: string];

export interface RequestLine {
  method: string;
  target: string;
  /** `HTTP/1.0`, or `HTTP/1.1` and what may come after it. */
  version: string;
}

export interface Head extends RequestLine {
  headers: Field[];
  /** Whom it was sent to; `undefined` for a client of HTTP/1.0 that does not say. */
  host: string | undefined;
  /** How many bytes of body follow. */
  length: number | 'chunked';
  expectsContinue: boolean;
  keepAlive: boolean;
}

const TOKEN = /^[!#$%&'*+.^_`|~\w-]+$/;
const REQUEST_LINE = /^([^ ]+) ([!-~]+) (HTTP\/\d\.\d)$/;

/** Method, target and version. (RFC 9112 §3) */
export function parseRequestLine(line: string): RequestLine {
  const [, method = '', target = '', version = ''] = line.match(REQUEST_LINE) ?? [];
  if (!TOKEN.test(method)) throw new HttpError(400, 'the request line is malformed');
  if (!version.startsWith('HTTP/1.')) {
    throw new HttpError(505, 'this server speaks HTTP/1.1 and HTTP/1.0');
  }
  if (METHODS.includes(method)) return { method, target, version };
  if (!NOT_SERVED.includes(method)) throw new HttpError(501, 'this server knows no such method');
  throw new HttpError(405, 'this server does not serve that method', { Allow: METHODS.join(', ') });
}

/** One field of a head or of a trailer. (RFC 9112 §5) */
export function parseField(line: string): Field {
  const colon = line.indexOf(':');
  const name = line.slice(0, colon);
  // No token: also a space in front of the colon, and a line that continues the one before (obs-fold).
  if (colon === -1 || !TOKEN.test(name)) throw new HttpError(400, 'a header line is malformed');
  return [name, trim(line.slice(colon + 1))];
}

/** What the lines mean together. `maxBody` is in bytes. (RFC 9112 §3.2, §6, §9.3; RFC 9110 §10.1.1) */
export function readHead(line: RequestLine, headers: Field[], maxBody: number): Head {
  const old = line.version === 'HTTP/1.0';
  const host = findHost(line, headers);
  const length = findLength(line, headers, maxBody);
  const expectations = old ? [] : list(headers, 'expect');
  if (expectations.some((one) => one !== '100-continue')) {
    throw new HttpError(417, 'the only expectation that can be met is 100-continue');
  }
  const connection = list(headers, 'connection');
  return {
    ...line,
    headers,
    host,
    length,
    expectsContinue: expectations.length > 0 && length !== 0,
    keepAlive: !connection.includes('close') && (!old || connection.includes('keep-alive')),
  };
}

function findHost({ method, target, version }: RequestLine, headers: Field[]): string | undefined {
  const [host, second] = values(headers, 'host');
  if (second !== undefined) throw new HttpError(400, 'there is more than one Host');
  if (host === undefined && version !== 'HTTP/1.0') throw new HttpError(400, 'there is no Host');
  if (host !== undefined && !isHost(host)) throw new HttpError(400, 'the Host is malformed');
  // A target that names a host decides, whatever the Host field says.
  const [, authority] = target.match(/^http:\/\/([^/?]*)/i) ?? [];
  const known = target.startsWith('/') || (target === '*' && method === 'OPTIONS');
  if (target.includes('#') || !(authority === undefined ? known : isHost(authority))) {
    throw new HttpError(400, 'the target is malformed');
  }
  return authority ?? host;
}

function isHost(text: string): boolean {
  const match = text.match(
    /^(?:\[([\da-f:.]+)\]|(?:[\w.~!$&'()*+,;=-]|%[\da-f]{2})+)(?::(\d{0,5}))?$/i,
  );
  if (match === null) return false;
  const [, address, port = ''] = match;
  return (address === undefined || isIPv6(address)) && Number(port) <= 65_535;
}

function findLength({ version }: RequestLine, headers: Field[], maxBody: number): Head['length'] {
  const [length, second] = values(headers, 'content-length');
  const [coding] = values(headers, 'transfer-encoding');
  const codings = list(headers, 'transfer-encoding');
  if (second !== undefined) throw new HttpError(400, 'there is more than one Content-Length');
  // A number that begins with 0 is octal to some: 010 would be 8 bytes for them, and 10 for us.
  if (length !== undefined && !/^(0|[1-9]\d*)$/.test(length)) {
    throw new HttpError(400, 'the Content-Length is not a number');
  }
  if (coding === undefined) {
    if (length === undefined) return 0;
    if (Number(length) <= maxBody) return Number(length);
    throw tooLarge(maxBody);
  }
  if (length !== undefined) {
    throw new HttpError(400, 'there is a Transfer-Encoding beside the Content-Length');
  }
  if (version === 'HTTP/1.0') throw new HttpError(400, 'HTTP/1.0 has no Transfer-Encoding');
  if (codings.at(-1) !== 'chunked' || codings.indexOf('chunked') < codings.length - 1) {
    throw new HttpError(400, 'the last Transfer-Encoding, and only that, must be chunked');
  }
  if (codings.length > 1) throw new HttpError(501, 'the only Transfer-Encoding here is chunked');
  return 'chunked';
}

export function tooLarge(maxBody: number): HttpError {
  return new HttpError(413, `the body is over the limit of ${maxBody} bytes`);
}

/** All values of a name, in whatever case it was written. */
function values(headers: Field[], name: string): string[] {
  return headers.filter(([one]) => one.toLowerCase() === name).map(([, value]) => value);
}

/** The same as one list with commas, in lower case. Empty elements do not count. (RFC 9110 §5.6.1) */
function list(headers: Field[], name: string): string[] {
  const elements = values(headers, name).join().toLowerCase().split(',');
  return elements.map(trim).filter((element) => element !== '');
}

/** Without spaces and tabs around it. Not String's trim(): that takes the byte A0 for a space too. */
function trim(text: string): string {
  let [start, end] = [0, text.length];
  while (text[start] === ' ' || text[start] === '\t') start++;
  while (end > start && (text[end - 1] === ' ' || text[end - 1] === '\t')) end--;
  return text.slice(start, end);
}
