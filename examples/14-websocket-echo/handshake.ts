/**
 * How an HTTP connection becomes a WebSocket: the client asks, with a key, and the server shows by
 * its answer to that key that it understood. (RFC 6455 §4) Read http.ts before; then frames.ts.
 *
 *     GET /ws HTTP/1.1                               HTTP/1.1 101 Switching Protocols
 *     Host: 127.0.0.1:8080                           Upgrade: websocket
 *     Upgrade: websocket                             Connection: Upgrade
 *     Connection: Upgrade                            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
 *     Sec-WebSocket-Version: 13
 *     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
 */
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { type Refusal, UPGRADE_REQUIRED } from './http.ts';

/** 16 bytes in base64. */
const KEY = /^[A-Za-z0-9+/]{22}==$/;

/** The same for everybody: no server that does not know the protocol answers with this in the hash. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** Why this request is no opening handshake, or `undefined` if it is one. (RFC 6455 §4.2.1) */
export function checkHandshake(request: IncomingMessage): Refusal | undefined {
  const { method, httpVersion, headersDistinct: headers } = request;
  const only = (name: string) => (headers[name]?.length === 1 ? headers[name][0] : undefined);
  const bad = (why: string): Refusal => ({ status: 400, why });

  if (method !== 'GET') {
    return { status: 405, why: 'the method must be GET', headers: { Allow: 'GET' } };
  }
  if (httpVersion !== '1.1') return bad('the version must be HTTP/1.1');
  if (!only('host')) return bad('there must be one Host');
  if (!lists(headers.upgrade, 'websocket')) return bad('Upgrade must say websocket');
  if (!lists(headers.connection, 'upgrade')) return bad('Connection must say Upgrade');
  if (only('sec-websocket-version') !== '13') {
    const required = { ...UPGRADE_REQUIRED, 'Sec-WebSocket-Version': '13' };
    return { status: 426, why: 'Sec-WebSocket-Version must be 13', headers: required };
  }
  const key = only('sec-websocket-key');
  if (!key || !KEY.test(key)) return bad('Sec-WebSocket-Key must be 16 bytes in base64, once');
  return undefined;
}

/**
 * The answer. It names no subprotocol and no extension, whatever the client has offered, and so
 * none is in use: no compression, and all three reserved bits stay 0. (RFC 6455 §4.2.2)
 */
export function acceptHandshake({ headers }: IncomingMessage): string {
  const accept = createHash('sha1')
    .update(headers['sec-websocket-key'] + GUID)
    .digest('base64');
  return [
    'HTTP/1.1 101 Switching Protocols',
    'Upgrade: websocket',
    'Connection: Upgrade',
    `Sec-WebSocket-Accept: ${accept}`,
    '\r\n',
  ].join('\r\n');
}

/** Whether one of the tokens is this: `Connection: keep-alive, Upgrade` is what Firefox sends. */
function lists(values: string[] | undefined, token: string): boolean {
  const tokens = values?.join().toLowerCase().split(',') ?? [];
  return tokens.some((value) => value.trim() === token);
}
