/** What http.server says about an error: Python's page and sentences, so that both look the same. */
import { STATUS_CODES } from 'node:http';

/** Text that may stand in HTML, as Python's `html.escape`. With `quote` also inside an attribute. */
export function escapeHtml(text: string, quote = true): string {
  const escaped = text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
  return quote ? escaped.replaceAll('"', '&quot;').replaceAll("'", '&#x27;') : escaped;
}

/** The short name of a status, such as `Not Found`. */
export function phrase(code: number): string {
  return STATUS_CODES[code] ?? '???';
}

/** The page for an error. Message and explanation may quote what a client sent. */
export function errorPage(code: number, message: string, explain = EXPLAIN[code]): string {
  return `<!DOCTYPE HTML>
<html lang="en">
    <head>
        <meta charset="utf-8">
        <title>Error response</title>
    </head>
    <body>
        <h1>Error response</h1>
        <p>Error code: ${code}</p>
        <p>Message: ${escapeHtml(message, false)}.</p>
        <p>Error code explanation: ${code} - ${escapeHtml(explain ?? phrase(code), false)}.</p>
    </body>
</html>
`;
}

const EXPLAIN: Record<number, string> = {
  400: 'Bad request syntax or unsupported method',
  404: 'Nothing matches the given URI',
  408: 'Request timed out; try again later',
  411: 'Client must specify Content-Length',
  412: 'Precondition in headers is false',
  413: 'Entity is too large',
  414: 'URI is too long',
  415: 'Entity body in unsupported format',
  416: 'Cannot satisfy request range',
  417: 'Expect condition could not be satisfied',
  431: 'The server is unwilling to process the request because its header fields are too large',
  500: 'Server got itself in trouble',
  501: 'Server does not support this operation',
  505: 'Cannot fulfill request',
};

/** What node:http says of bytes that are no request. */
export type ParseError = Error & { code?: string; rawPacket?: Buffer; bytesParsed?: number };

/** The status and the message for them. */
export function refusalOf({ code, rawPacket, bytesParsed = 0 }: ParseError): [number, string] {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return [408, phrase(408)];
  const text = rawPacket?.toString('latin1') ?? '';
  const line = text.slice(text.lastIndexOf('\n', bytesParsed - 1) + 1);
  if (code === 'HPE_HEADER_OVERFLOW') {
    // Of a long request line we see the beginning only if all of it came in one packet.
    const status = /^[A-Z-]+ /.test(line) ? 414 : 431;
    return [status, phrase(status)];
  }
  const [, method] = line.match(/^([-!#$%&'*+.^`|~\w]+) \S+ HTTP\/\d\.\d\r\n/) ?? [];
  if (method === undefined) return [400, 'Bad request syntax'];
  if (code === 'HPE_INVALID_METHOD') return [501, `Unsupported method ('${method}')`];
  return code === 'HPE_INVALID_VERSION' ? [505, phrase(505)] : [400, 'Bad request syntax'];
}
