/**
 * The addresses of a name as connect() gets them: from the system, which reads its hosts file first
 * and asks DNS after that. Read example 01 before, and resolve.ts after.
 */
import { promises as dns } from 'node:dns';
import { setTimeout as sleep } from 'node:timers/promises';
import { milliseconds, ProgramError, program, UsageError } from '@shared/program';

export interface LookupOptions {
  /** How long it may take, in milliseconds. Default 5,000. */
  timeout?: number;
  /** Gives up when it is aborted. Default: never. */
  signal?: AbortSignal;
}

/** All addresses of a name, in the order of the system. Rejects with one sentence. (Python's `getaddrinfo`) */
export async function lookup(name: string, options: LookupOptions = {}): Promise<string[]> {
  const { timeout = 5000, signal } = options;
  try {
    const found = await inTime(dns.lookup(name, { all: true }), timeout, signal);
    // Some systems give one address twice, for two lines of the hosts file.
    return [...new Set(found.map(({ address }) => address))];
  } catch (error) {
    signal?.throwIfAborted();
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ETIMEOUT') throw refuse(name, `no answer within ${timeout / 1000} s`);
    if (code === 'ENOTFOUND') throw refuse(name, 'the system knows no such name');
    throw refuse(name, `the system cannot ask now (${code})`);
  }
}

function refuse(name: string, why: string): ProgramError {
  return new ProgramError(`cannot look up ${name}: ${why}`);
}

/** What the work gives, or a rejection: ETIMEOUT after so many milliseconds, or that of the signal. */
export async function inTime<T>(
  work: Promise<T>,
  timeout: number,
  signal?: AbortSignal,
): Promise<T> {
  // The work goes on, since the system's call cannot be cancelled; only nobody waits for it.
  const late = sleep(timeout, undefined, { ref: false, ...(signal && { signal }) }).then(() => {
    throw Object.assign(new Error('too late'), { code: 'ETIMEOUT' });
  });
  return await Promise.race([work, late]);
}

/** The argument of a program that wants one name, and nothing else. */
export function oneName([name = '', ...more]: string[]): string {
  if (name === '' || more.length > 0) throw new UsageError('one name is needed');
  return name;
}

program(import.meta, {
  about: 'Asks the system for the addresses of a name.',
  options: { timeout: milliseconds(5000, 'how long', { max: 60_000 }) },
  args: 'NAME',
  async run({ timeout }, { args, signal }) {
    const addresses = await lookup(oneName(args), { timeout, signal });
    for (const address of addresses) console.log(address);
  },
});
