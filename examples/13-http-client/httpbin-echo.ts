/** What httpbin tells of a request: its arguments, headers and body, as JSON. Part of httpbin.ts. */
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';

/** A request that cannot be served; the status and the text are the answer. */
export class BadRequest extends Error {
  override name = 'BadRequest';
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** One request, and what its route needs to answer it. */
export interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  url: URL;
  /** What the groups of the route's path matched, decoded. */
  args: string[];
  body: Buffer;
  /** Aborted when the client has gone, or has its answer. */
  signal: AbortSignal;
}

/** A whole number that a client asks for. */
export function integer(what: string, text: string | undefined, min: number, max: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  const range = `a whole number from ${min} to ${max}`;
  throw new BadRequest(400, `${what} must be ${range}, not ${JSON.stringify(text)}`);
}

export function sendJson({ response }: Exchange, value: unknown): void {
  response.setHeader('Content-Type', 'application/json');
  response.end(toJson(value));
}

/** No body. Not writeHead(), after which Node would say `Transfer-Encoding: chunked`. */
export function sendEmpty(
  { response }: Exchange,
  status: number,
  headers: Record<string, string | string[]> = {},
): void {
  setStatus(response, status);
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  response.end();
}

/** `404 NOT FOUND`: so it stands in what requests raises for httpbin. */
export function setStatus(response: ServerResponse, status: number): void {
  response.statusCode = status;
  response.statusMessage = (STATUS_CODES[status] ?? 'Unknown').toUpperCase();
}

/** As httpbin writes it: keys in order, two spaces, and a line break at the end. */
export function toJson(value: unknown): string {
  return `${JSON.stringify(value, (_, inner) => sortKeys(inner), 2)}\n`;
}

function sortKeys(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** `args`, `headers`, `origin` and `url` of any request. */
export function describeRequest({ request, url }: Exchange) {
  return {
    args: fields(url.searchParams),
    headers: describeHeaders(request),
    origin: request.socket.remoteAddress,
    url: readableUrl(url),
  };
}

/** `?name=张三`, not `?name=%E5%BC%A0%E4%B8%89`: httpbin shows it so. */
function readableUrl({ href }: URL): string {
  return href.replace(/(%[89a-f][0-9a-f])+/gi, (encoded) => {
    try {
      return decodeURIComponent(encoded);
    } catch {
      return encoded;
    }
  });
}

/** `Accept-Encoding`, not `accept-encoding`: httpbin shows them so. */
export function describeHeaders({ headers }: IncomingMessage): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [
      name.replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase()),
      String(value),
    ]),
  );
}

export function describeCookies({ headers }: IncomingMessage): Record<string, string> {
  const pairs = (headers.cookie ?? '').split(/; */).filter(Boolean);
  return Object.fromEntries(
    pairs.map((pair) => {
      const [name = '', ...value] = pair.split('=');
      return [name, value.join('=')];
    }),
  );
}

/** The same with `data`, `files`, `form` and `json`, for a request with a body. */
export async function describeBody(exchange: Exchange) {
  const { request, body } = exchange;
  const [type = ''] = (request.headers['content-type'] ?? '').split(';');
  let data = '';
  let files = {};
  let form = {};
  if (type === 'application/x-www-form-urlencoded') {
    form = fields(new URLSearchParams(body.toString()));
  } else if (type === 'multipart/form-data') {
    ({ files, form } = await parseMultipart(exchange));
  } else data = readable(body);
  return { ...describeRequest(exchange), data, files, form, json: parseJson(data) };
}

async function parseMultipart({ request, body }: Exchange) {
  const headers = { 'content-type': request.headers['content-type'] ?? '' };
  const entries = await new Response(body, { headers }).formData().catch(() => {
    throw new BadRequest(400, 'cannot parse body: it is not multipart/form-data');
  });
  const files: [string, string][] = [];
  const form = new URLSearchParams();
  for (const [name, value] of entries) {
    if (typeof value === 'string') form.append(name, value);
    else files.push([name, readable(Buffer.from(await value.arrayBuffer()), value.type)]);
  }
  return { files: Object.fromEntries(files), form: fields(form) };
}

/** A name that comes more than once has a list of values. */
function fields(pairs: URLSearchParams): Record<string, string | string[]> {
  return Object.fromEntries(
    [...new Set(pairs.keys())].map((name) => {
      const [first = '', ...more] = pairs.getAll(name);
      return [name, more.length === 0 ? first : [first, ...more]];
    }),
  );
}

/** Bytes that are no text become a `data:` URL. */
function readable(bytes: Buffer, type?: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return `data:${type || 'application/octet-stream'};base64,${bytes.toString('base64')}`;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
