/**
 * Shows what a TLS server says of itself: version, cipher, names, dates, and whether to believe it.
 * Read client.ts before. This one goes on where a client must not: it only looks, and sends nothing.
 */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { connect, rootCertificates, type TLSSocket } from 'node:tls';
import { formatAddress, milliseconds, port, program, text, UsageError } from '@shared/program';
import { DIRECTORY } from './certificates.ts';
import { handshake } from './client.ts';
import { explainTls, printable } from './explain.ts';

export interface InspectOptions {
  host: string;
  port: number;
  /** CAs to trust, PEM. Default: the public ones, as Node has them. */
  ca?: string[];
  /** How long connecting and the handshake may take together, in milliseconds. Default 5,000. */
  timeout?: number;
  /** Gives up when it is aborted. Default: never. */
  signal?: AbortSignal;
  /** Which moment the days are counted from. Default: now. */
  now?: number;
}

const DAY = 24 * 60 * 60_000;

/** What the server is, line by line: `['version', 'TLSv1.3']`. Rejects if there is no handshake at all. */
export async function inspect(options: InspectOptions): Promise<[string, string][]> {
  const { host, port, timeout = 5000, now = Date.now(), ...rest } = options;
  const socket = connect({
    ...rest,
    host,
    port,
    servername: isIP(host) ? '' : host,
    // Only to show what is wrong with it. A client that talks to such a server talks to anybody.
    rejectUnauthorized: false,
    minVersion: 'TLSv1',
    ciphers: 'DEFAULT@SECLEVEL=0',
    ALPNProtocols: ['h2', 'http/1.1'],
  });
  try {
    await handshake(socket, timeout, `cannot inspect ${formatAddress(host, port)}`);
    return describe(socket, host, now);
  } finally {
    socket.destroy();
  }
}

function describe(socket: TLSSocket, host: string, now: number): [string, string][] {
  const cipher = socket.getCipher().standardName;
  const lines: [string, string][] = [
    ['version', String(socket.getProtocol())],
    ['cipher', cipher],
    ['key exchange', cipher.startsWith('TLS_RSA_') ? 'RSA, no forward secrecy' : group(socket)],
    ['ALPN', socket.alpnProtocol || 'none'],
  ];
  const certificate = socket.getPeerX509Certificate();
  if (certificate !== undefined) {
    const { subject, subjectAltName = 'none', issuer, validFrom, validTo } = certificate;
    const days = Math.floor((Date.parse(validTo) - now) / DAY);
    lines.push(
      ['subject', oneLine(subject)],
      ['names', subjectAltName],
      ['issuer', oneLine(issuer)],
      ['valid', `${date(validFrom)} to ${date(validTo)}, ${days} days left`],
    );
  }
  const code = String(socket.authorizationError);
  const cert = { subjectaltname: certificate?.subjectAltName };
  const error = Object.assign(new Error(code), { code, host, cert });
  lines.push(['verified', socket.authorized ? 'yes' : `no: ${explainTls(error) ?? code}`]);
  // All of this is what a stranger says.
  return lines.map(([name, value]) => [name, printable(value)]);
}

function group(socket: TLSSocket): string {
  const info = socket.getEphemeralKeyInfo() as { type?: string; name?: string; size?: number };
  const { type = 'a group that this Node has no name for', name = type, size } = info;
  return size === undefined ? name : `${name}, ${size} bits`;
}

/** Node has `undefined` for a name with nothing in it, whatever its types say; from 26 on an empty text. */
function oneLine(name: string | undefined): string {
  return name?.replaceAll('\n', ', ') || 'none';
}

function date(text: string): string {
  const time = Date.parse(text);
  // What a stranger has written need not be a date.
  return Number.isNaN(time) ? text : new Date(time).toISOString().slice(0, 10);
}

/** The public CAs, and that of this example where it has been made. */
export function trustedCas(directory: string): string[] {
  try {
    return [...rootCertificates, readFileSync(join(directory, 'ca.crt'), 'utf8')];
  } catch {
    return [...rootCertificates];
  }
}

program(import.meta, {
  about: 'Shows version, cipher, names and dates of any TLS server, and whether it can be trusted.',
  args: 'HOST [PORT]',
  options: {
    certs: text(DIRECTORY, 'the folder whose ca.crt is trusted beside the public CAs'),
    timeout: milliseconds(5000, 'how long connecting may take'),
  },
  async run({ certs, timeout }, { args: [host, number = '443', ...more], signal }) {
    if (host === undefined || more.length > 0) throw new UsageError('want HOST and perhaps PORT');
    const lines = await inspect({
      host,
      port: port(443).parse(number, 'PORT'),
      ca: trustedCas(certs),
      timeout,
      signal,
    });
    for (const [name, value] of lines) console.log(`${name.padEnd(12)}  ${value}`);
  },
});
