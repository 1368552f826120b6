/**
 * The records that TLS puts on the wire, as anybody between the two ends sees them. What is in them
 * is encrypted from the ServerHello on; that there are some, and of which size, is not.
 *
 *     type   version  length   then so many bytes
 *     16     03 03    00 7a    02 00 00 76 …       handshake (22), ServerHello (2), readable
 *     17     03 03    00 1c    8f 4e 1a …          encrypted (23): 28 bytes for 11 of text
 *
 * Framing again, with a length prefix of two bytes: read example 02 before. (RFC 8446 §5.1)
 */

const TYPES: Record<number, string> = {
  20: 'ChangeCipherSpec',
  21: 'Alert',
  22: 'Handshake',
  23: 'encrypted',
};
const MESSAGES: Record<number, string> = { 1: 'ClientHello', 2: 'ServerHello' };
const HEADER = 5;

/** One record. */
export interface TlsRecord {
  /** What kind it is; of a handshake that can be read, which message. */
  type: string;
  /** How many bytes follow its header. */
  length: number;
}

/** The records of one direction, from its first byte. One that is cut off at the end is left out. */
export function* readRecords(bytes: Buffer): Generator<TlsRecord> {
  let at = 0;
  while (at + HEADER <= bytes.length) {
    const [type = 0, length] = [bytes[at], bytes.readUInt16BE(at + 3)];
    if (at + HEADER + length > bytes.length) return;
    const message = type === 22 ? MESSAGES[bytes[at + HEADER] ?? 0] : undefined;
    yield { type: message ?? TYPES[type] ?? `type ${type}`, length };
    at += HEADER + length;
  }
}
