/**
 * What DNS has for a name, asked of a DNS server and of nobody else: not only addresses, and never
 * the hosts file. Read lookup.ts before.
 */
import { Resolver } from 'node:dns/promises';
import { isIP, isIPv4 } from 'node:net';
import {
  formatAddress,
  integer,
  milliseconds,
  type Option,
  ProgramError,
  program,
  UsageError,
} from '@shared/program';
import { encode } from 'dns-packet';
import { inTime, type LookupOptions, oneName } from './lookup.ts';

export interface ResolveOptions extends LookupOptions {
  /** The DNS server, `127.0.0.1:5300` or `[::1]:5300`. Default: those of the system. */
  server?: string;
  /** How often to ask, each time waiting twice as long. Default 2. */
  tries?: number;
}

/** What can be asked for, and what a record looks like in one line. */
const TYPES = {
  A: (resolver: Resolver, name: string) => resolver.resolve4(name),
  AAAA: (resolver: Resolver, name: string) => resolver.resolve6(name),
  CNAME: (resolver: Resolver, name: string) => resolver.resolveCname(name),
  async MX(resolver: Resolver, name: string) {
    const records = await resolver.resolveMx(name);
    records.sort((one, other) => one.priority - other.priority);
    return records.map(({ priority, exchange }) => `${priority} ${exchange}`);
  },
  NS: (resolver: Resolver, name: string) => resolver.resolveNs(name),
  // Not resolver.reverse(): that reads the hosts file first, whichever server it was given.
  PTR: (resolver: Resolver, name: string) => resolver.resolvePtr(reverseName(name)),
  async TXT(resolver: Resolver, name: string) {
    // A text over 255 bytes is kept in pieces, and Node gives each byte as a character of its own.
    const whole = (pieces: string[]) => Buffer.from(pieces.join(''), 'latin1').toString();
    return (await resolver.resolveTxt(name)).map((pieces) => quote(whole(pieces)));
  },
};

export type Type = keyof typeof TYPES;

const REASONS: Record<string, string> = {
  ENOTFOUND: 'there is no such name (NXDOMAIN)',
  ENODATA: 'the name has no such record (NODATA)',
  ESERVFAIL: 'the server failed (SERVFAIL)',
  EREFUSED: 'the server does not answer for this name (REFUSED)',
  ENOTIMP: 'the server does not know such questions (NOTIMP)',
  EFORMERR: 'the server did not understand the question (FORMERR)',
  EBADRESP: 'the answer cannot be read',
  EBADNAME: 'DNS can have no such name',
  ECONNREFUSED: 'no DNS server listens there',
};

/** A line for each record. Rejects with one sentence. (RFC 1035 §3) */
export async function resolve(
  name: string,
  type: Type,
  { server, tries = 2, timeout = 5000, signal }: ResolveOptions = {},
): Promise<string[]> {
  // The tries wait 1, 2, 4 … times this.
  const resolver = new Resolver({ timeout: Math.ceil(timeout / (2 ** tries - 1)), tries });
  if (server !== undefined) resolver.setServers([server]);
  try {
    const found = await inTime(TYPES[type](resolver, name), timeout, signal);
    // An alias that leads nowhere is no error to Node: an empty list, and a program that says nothing.
    if (found.length === 0) throw Object.assign(new Error(), { code: 'ENODATA' });
    return found;
  } catch (error) {
    signal?.throwIfAborted();
    const { code = '' } = error as NodeJS.ErrnoException;
    const late = `no answer within ${timeout / 1000} s`;
    const where = server === undefined ? '' : ` at ${server}`;
    const why = code === 'ETIMEOUT' ? late : (REASONS[code] ?? code);
    throw new ProgramError(`cannot resolve ${type} ${name}${where}: ${why}`);
  } finally {
    // What nobody waits for any more would keep the process.
    resolver.cancel();
  }
}

/** The name under which DNS keeps the name of an address: its parts backwards. (RFC 1035 §3.5, RFC 3596 §2.5) */
export function reverseName(address: string): string {
  if (isIP(address) === 0) return address;
  if (isIPv4(address)) return `${address.split('.').reverse().join('.')}.in-addr.arpa`;
  const [data = ''] = address.split('%'); // `fe80::1%eth0`: the interface is not part of it
  const bytes = encode({ answers: [{ type: 'AAAA', name: '.', data }] }).subarray(-16);
  return `${[...bytes.toString('hex')].reverse().join('.')}.ip6.arpa`;
}

/** What is meant by a name alone: its address, or the name of the address that it is. */
export function usualType(name: string): Type {
  return isIP(name) ? 'PTR' : 'A';
}

/** A text can hold anything: what it would do to the terminal is written out instead. */
function quote(text: string): string {
  const visible = (control: string) => `\\u{${control.codePointAt(0)?.toString(16)}}`;
  return JSON.stringify(text).replace(/[^\P{C}\u200d]/gu, visible);
}

export const type: Option<Type | ''> = {
  help: `one of ${Object.keys(TYPES).join(', ')}; default A, or PTR for an address`,
  default: '',
  placeholder: 'TYPE',
  parse(value, option) {
    const type = value.toUpperCase();
    if (Object.hasOwn(TYPES, type)) return type as Type;
    const known = Object.keys(TYPES).join(', ');
    throw new UsageError(`${option} must be one of ${known}, not ${JSON.stringify(value)}`);
  },
};

export const server: Option<string> = {
  help: "the DNS server (default the system's)",
  default: '',
  placeholder: 'ADDRESS[:PORT]',
  parse(value, option) {
    const [, six, four = '', port = '53'] = value.match(/^(?:\[(.+)\]|([^:]+))(?::(\d+))?$/) ?? [];
    const address = isIP(value) ? value : (six ?? four);
    const number = isIP(value) ? 53 : Number(port);
    // Port 0, or one that is too large, would crash the process inside of Node 20.
    if (isIP(address) && number >= 1 && number <= 65_535) return formatAddress(address, number);
    throw new UsageError(
      `${option} must be like 127.0.0.1:53 or [::1]:53, not ${JSON.stringify(value)}`,
    );
  },
};

program(import.meta, {
  about: 'Asks a DNS server for a name, or for the name of an address.',
  options: {
    type,
    server,
    timeout: milliseconds(5000, 'how long it may take', { max: 60_000 }),
    tries: integer(2, { min: 1, max: 5 }, 'how often to ask'),
  },
  args: 'NAME',
  async run({ type, server, ...limits }, { args, signal }) {
    const name = oneName(args);
    const options = { ...limits, signal, ...(server !== '' && { server }) };
    for (const line of await resolve(name, type || usualType(name), options)) console.log(line);
  },
});
