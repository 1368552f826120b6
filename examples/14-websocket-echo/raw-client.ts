/**
 * A client's bytes by hand: what ws would never send is what a server has to be tried with. The
 * tests and the benchmark use it; it checks nothing. Read frames.ts before.
 */
import { CLOSE } from './frames.ts';

/** The key and the mask of the examples in RFC 6455. */
export const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
export const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';
export const MASK = Buffer.from('37fa213d', 'hex');

const HEADERS = {
  Host: '127.0.0.1',
  Upgrade: 'websocket',
  Connection: 'Upgrade',
  'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Key': KEY,
};

/** An opening handshake; a header with several values is sent several times. (RFC 6455 §4.1) */
export function openingHandshake(
  headers: Record<string, string | string[]> = {},
  requestLine = 'GET /ws HTTP/1.1',
): string {
  const lines = Object.entries({ ...HEADERS, ...headers }).flatMap(([name, values]) =>
    [values].flat().map((value) => `${name}: ${value}\r\n`),
  );
  return `${requestLine}\r\n${lines.join('')}\r\n`;
}

export interface ClientFrameOptions {
  /** Whether it is the last of its message. Default true. */
  fin?: boolean;
  /** The three reserved bits as a number. Default 0. */
  rsv?: number;
  /** The mask; `null` for a frame without one. Default {@link MASK}. */
  mask?: Buffer | null;
  /** How many bytes the length takes, 1, 3 or 9. Default as few as possible. */
  lengthSize?: number;
}

/** A frame as a client sends it. (RFC 6455 §5.2) */
export function clientFrame(
  opcode: number,
  payload: string | Buffer = '',
  options: ClientFrameOptions = {},
): Buffer {
  const body = Buffer.from(payload as string);
  const { fin = true, rsv = 0, mask = MASK } = options;
  const { lengthSize = body.length < 126 ? 1 : body.length < 65_536 ? 3 : 9 } = options;
  const header = Buffer.alloc(1 + lengthSize);
  header[0] = (fin ? 0x80 : 0) | (rsv << 4) | opcode;
  header[1] = (mask ? 0x80 : 0) | (lengthSize === 1 ? body.length : lengthSize === 3 ? 126 : 127);
  if (lengthSize > 1)
    header.writeUIntBE(body.length, lengthSize === 3 ? 2 : 4, lengthSize === 3 ? 2 : 6);
  if (!mask) return Buffer.concat([header, body]);
  return Buffer.concat([header, mask, body.map((byte, i) => byte ^ (mask[i % 4] as number))]);
}

/** A close frame as a client sends it. */
export function clientClose(code: number, reason: string | Buffer = ''): Buffer {
  return clientFrame(
    CLOSE,
    Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason as string)]),
  );
}

export interface ServerFrame {
  fin: boolean;
  opcode: number;
  payload: Buffer;
}

/** The frames that a server has sent. Throws for half a frame, and for one that no server may send. */
export function serverFrames(bytes: Buffer): ServerFrame[] {
  const frames: ServerFrame[] = [];
  for (let at = 0; at < bytes.length; ) {
    const first = bytes.readUInt8(at);
    let length = bytes.readUInt8(at + 1);
    if (first & 0x70 || length & 0x80) throw new Error(`not a server's frame at byte ${at}`);
    const size = length === 126 ? 4 : length === 127 ? 10 : 2;
    if (size > 2) length = bytes.readUIntBE(at + (size === 4 ? 2 : 4), size === 4 ? 2 : 6);
    const end = at + size + length;
    if (end > bytes.length) throw new Error(`half a frame at byte ${at}`);
    frames.push({ fin: first > 127, opcode: first & 15, payload: bytes.subarray(at + size, end) });
    at = end;
  }
  return frames;
}
