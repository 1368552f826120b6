/**
 * The three ranges of ports, what this machine makes of them, and whether a port can be had now.
 * Read example 01 before.
 */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { program, UsageError } from '@shared/program';

/** RFC 6335 §6: who assigns which ports. Every port is in one of them. */
export const RANGES = [
  {
    name: 'system',
    first: 0,
    last: 1023,
    who: 'assigned by IANA to standards, such as 80 to HTTP',
  },
  { name: 'user', first: 1024, last: 49_151, who: 'assigned by IANA to whoever asks' },
  {
    name: 'dynamic',
    first: 49_152,
    last: 65_535,
    who: 'assigned to nobody: for a while, for anybody',
  },
];

export function rangeOf(port: number): string | undefined {
  return RANGES.find(({ first, last }) => first <= port && port <= last)?.name;
}

/** Whether this process could listen on the port now. */
export async function state(port: number, host = '127.0.0.1'): Promise<string> {
  const server = createServer();
  try {
    server.listen(port, host);
    await once(server, 'listening');
    return 'free';
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    return { EADDRINUSE: 'in use', EACCES: 'not permitted' }[code] ?? code;
  } finally {
    server.close();
  }
}

/** What Linux says: from where on anybody may listen, and from which ports it gives a client one. `undefined` elsewhere. */
export async function kernelLimits() {
  const read = async (name: string) => {
    const text = await readFile(`/proc/sys/net/ipv4/${name}`, 'latin1');
    return text.trim().split(/\s+/).map(Number) as [number, number];
  };
  try {
    const [unprivileged] = await read('ip_unprivileged_port_start');
    const [first, last] = await read('ip_local_port_range');
    return { unprivileged, first, last };
  } catch {
    return undefined;
  }
}

/** The ranges, and what this machine makes of them, line by line. */
export async function* report(): AsyncGenerator<string> {
  for (const { name, first, last, who } of RANGES) {
    yield `${name.padEnd(7)}  ${`${first}–${last}`.padEnd(11)}  ${who}`;
  }
  const kernel = await kernelLimits();
  if (kernel === undefined) return;
  const { unprivileged, first, last } = kernel;
  yield `\nHere every user may listen from ${unprivileged} on; below it root, or who has`;
  yield 'CAP_NET_BIND_SERVICE. A client that does not choose its port gets one of';
  yield `${first}–${last}: a server may find its own port there taken by a client.`;
}

/** The numbers as they are typed. Throws a {@link UsageError} for one that is no port. */
export function parsePorts(args: string[]): number[] {
  return args.map((text) => {
    const port = /^\d+$/.test(text) ? Number(text) : 0;
    if (port >= 1 && port <= 65_535) return port;
    throw new UsageError(`a port is 1 to 65,535, not ${JSON.stringify(text)}`);
  });
}

program(import.meta, {
  about:
    'Shows the ranges of ports and what this machine makes of them, or the state of some ports.',
  options: {},
  args: '[PORT...]',
  async run(_, { args, signal }) {
    for (const port of parsePorts(args)) {
      signal.throwIfAborted();
      console.log(`${String(port).padEnd(5)}  ${rangeOf(port)?.padEnd(7)}  ${await state(port)}`);
    }
    if (args.length > 0) return;
    for await (const line of report()) console.log(line);
  },
});
