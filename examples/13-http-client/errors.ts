/**
 * What can go wrong with a request, under the names that aiohttp has for it, one sentence each.
 * Part of session.ts: start there.
 */
import { explain, ProgramError } from '@shared/program';

/** The base of all of these: `catch (error) { if (error instanceof ClientError) … }`. */
export class ClientError extends ProgramError {
  constructor(message: string, options?: ErrorOptions) {
    // A server's own words may be in it, and some do things to a terminal: U+009B is ESC [ to it.
    super(message.replace(/\p{Cc}/gu, '\ufffd'), options);
    this.name = new.target.name;
  }
}

/** Not a URL, or not one of http: or https:. */
export class InvalidURL extends ClientError {}

/** No connection, or it broke before the answer was there. */
export class ClientConnectionError extends ClientError {}

/** The server (or the network) closed the connection in the middle. */
export class ServerDisconnectedError extends ClientConnectionError {}

/** One of the three timeouts; the message says which. */
export class ServerTimeoutError extends ClientConnectionError {}

/** The body is not what the headers promise, or larger than we take. */
export class ClientPayloadError extends ClientError {}

/** There is an answer, and it is a refusal. */
export class ClientResponseError extends ClientError {
  readonly status: number;

  constructor(message: string, status: number, options?: ErrorOptions) {
    super(message, options);
    this.status = status;
  }
}

/** The proxy closed the connection. */
export class ClientProxyConnectionError extends ClientConnectionError {}

/** The proxy said no. */
export class ClientHttpProxyError extends ClientResponseError {}

/** `json()` on a body that does not claim to be JSON. */
export class ContentTypeError extends ClientResponseError {}

/** A redirect that must not, or cannot, be followed. */
export class RedirectClientError extends ClientResponseError {}

export class TooManyRedirects extends RedirectClientError {}

type Sentence = [new (message: string, options?: ErrorOptions) => ClientError, string];

const SENTENCES: Record<string, Sentence> = {
  UND_ERR_SOCKET: [ServerDisconnectedError, 'the server closed the connection in the middle'],
  ECONNRESET: [ServerDisconnectedError, 'the server reset the connection (RST)'],
  EPIPE: [ServerDisconnectedError, 'the server has closed the connection'],
  UND_ERR_PRX_CONN: [ClientProxyConnectionError, 'the proxy closed the connection'],
  UND_ERR_CONNECT_TIMEOUT: [ServerTimeoutError, 'no connection in time (timeout.connect)'],
  UND_ERR_HEADERS_TIMEOUT: [ServerTimeoutError, 'the server is silent (timeout.read)'],
  UND_ERR_BODY_TIMEOUT: [ServerTimeoutError, 'the server is silent (timeout.read)'],
  UND_ERR_HEADERS_OVERFLOW: [ClientPayloadError, 'the headers are over 16 KiB'],
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: [ClientPayloadError, 'two lengths contradict each other'],
  UND_ERR_REQ_CONTENT_LENGTH_MISMATCH: [ClientPayloadError, 'our body is not as long as promised'],
  Z_BUF_ERROR: [ClientPayloadError, 'the compressed body ends too early'],
};

/** The sentence for what undici, zlib or the system threw; what is none of theirs stays as it is. */
export function clientError(error: unknown, doing: string): unknown {
  if (!(error instanceof Error) || error instanceof ClientError) return error;
  const { code = '' } = error as NodeJS.ErrnoException;
  const say = ([Class, why]: Sentence) => new Class(`${doing}: ${why}`, { cause: error });

  // undici reports a proxy's refusal as an abort and as an invalid argument: the text alone tells.
  const [, refused] = error.message.match(/^Proxy .*\((\d{3})\)/) ?? [];
  if (refused !== undefined) {
    const text = `${doing}: the proxy refused with ${refused}`;
    return new ClientHttpProxyError(text, Number(refused), { cause: error });
  }
  // 100 and 101, which it reports as a closed connection: it was undici that closed it.
  if (/^bad (response|upgrade)$/.test(error.message)) {
    return say([ClientPayloadError, 'the server answers what we did not ask (100 or 101)']);
  }
  const known = SENTENCES[String(code)];
  if (known !== undefined) return say(known);
  // The status 000 fails an assertion of undici, in words that differ from Node to Node.
  if (error.name === 'HTTPParserError' || isAssertion(error)) {
    return say([ClientPayloadError, 'that is not HTTP/1.1']);
  }
  if (/^(Z_|ERR__ERROR_)/.test(String(code))) {
    return say([ClientPayloadError, 'the body is not compressed as its header says']);
  }
  if (error.name === 'NotReadableError') {
    return say([ClientPayloadError, 'a file that is being sent has changed']);
  }
  const text = explain(error);
  if (text === undefined) return error;
  const sentence = text.startsWith('cannot ') ? text : `${doing}: ${text}`;
  return new ClientConnectionError(sentence, { cause: error });
}

function isAssertion({ name, stack = '' }: Error): boolean {
  return name === 'AssertionError' && /\bundici\b/.test(stack);
}
