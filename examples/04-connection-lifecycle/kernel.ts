/**
 * What the kernel itself says about one end of a TCP connection: its row in Linux's /proc/net/tcp.
 * Read example 01 before; states.ts shows what the states mean.
 *
 *     sl  local_address rem_address   st tx_queue rx_queue tr tm->when …
 *      0: 0100007F:1F90 0100007F:D431 06 00000000:00000000 03:00001770 …
 *         127.0.0.1     127.0.0.1     TIME_WAIT            timer 3 goes off in
 *         :8080         :54321                             0x1770 hundredths of a second: 60 s
 */
import { existsSync, readFileSync } from 'node:fs';
import { endianness } from 'node:os';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ProgramError } from '@shared/program';

/** An IPv4 address and a port. */
export interface Endpoint {
  address: string;
  port: number;
}

/** One end as the kernel sees it. */
export interface TcpEnd {
  /** The name that RFC 9293 §3.3.2 gives to the state. `CLOSED` if the kernel has no such end (any more). */
  state: string;
  /** Which timer runs: until the last bytes are sent again, or until a peer without room is asked again (`probe`), … */
  timer: 'none' | 'retransmit' | 'keepalive' | 'time wait' | 'probe';
  /** In how many seconds it goes off, rounded up. */
  seconds: number;
}

const TABLE = '/proc/net/tcp';
/** In the order of the kernel's numbers, from 1. */
const STATES = [
  'ESTABLISHED',
  'SYN_SENT',
  'SYN_RECEIVED',
  'FIN_WAIT_1',
  'FIN_WAIT_2',
  'TIME_WAIT',
  'CLOSED',
  'CLOSE_WAIT',
  'LAST_ACK',
  'LISTEN',
  'CLOSING',
];
const TIMERS = ['none', 'retransmit', 'keepalive', 'time wait', 'probe'] as const;
const ANYBODY: Endpoint = { address: '0.0.0.0', port: 0 };
const CLOSED: TcpEnd = { state: 'CLOSED', timer: 'none', seconds: 0 };

/** Whether this machine has the table. Only Linux has. */
export const canTell: boolean = existsSync(TABLE);

/**
 * All rows as text. The kernel goes through all of its connections for that, which takes
 * milliseconds: a program that asks often uses netlink, as `ss` does.
 */
export function readTable(): string {
  return readFileSync(TABLE, 'latin1');
}

/** The end with this local and this remote address; without a remote one, the end that listens. */
export function findEnd(table: string, local: Endpoint, remote: Endpoint = ANYBODY): TcpEnd {
  const wanted = ` ${hex(local)} ${hex(remote)} `;
  const row = table.split('\n').find((line) => line.includes(wanted));
  if (row === undefined) return CLOSED;
  const [state = '', , timer = ''] = row.slice(row.indexOf(wanted) + wanted.length).split(' ');
  const [kind = '', ticks = ''] = timer.split(':');
  return {
    state: STATES[Number.parseInt(state, 16) - 1] ?? state,
    timer: TIMERS[Number.parseInt(kind, 16)] ?? 'none',
    seconds: Math.ceil(Number.parseInt(ticks, 16) / 100),
  };
}

/** `0100007F:1F90`: the port as a number, but the address as it lies in memory. */
function hex({ address, port }: Endpoint): string {
  const bytes = address.split('.').map(Number);
  // A little-endian machine has the first byte of the address last in the number.
  if (endianness() === 'LE') bytes.reverse();
  const digits = Buffer.from(bytes).toString('hex');
  return `${digits}:${port.toString(16).padStart(4, '0')}`.toUpperCase();
}

export interface UntilOptions {
  /** What we want, for the error. */
  what: string;
  /** How long the kernel may take, in milliseconds. It usually takes none. Default 5,000. */
  timeout?: number;
  /** Gives up when it is aborted. Default: never. */
  signal?: AbortSignal | undefined;
}

/**
 * Looks into the table at each turn of the event loop until `look` finds what is `good`, and
 * rejects if it never does. A fixed pause would be too short on one machine, too long on all others.
 */
export async function until<T>(
  look: (table: string) => T,
  good: (seen: T) => boolean,
  options: UntilOptions,
): Promise<T> {
  const { what, timeout = 5000, signal } = options;
  for (const start = performance.now(); ; ) {
    const seen = look(readTable());
    if (good(seen)) return seen;
    if (performance.now() - start > timeout) {
      throw new ProgramError(`${what}, the kernel says ${JSON.stringify(seen)}`);
    }
    await nextTurn(undefined, signal && { signal });
  }
}
