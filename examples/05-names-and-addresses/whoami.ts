/**
 * Who this machine is on the network: its name, its addresses and how far each of them reaches, and
 * the one that it would use to talk to the outside. Read lookup.ts before.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { BlockList, isIPv6 } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';
import { ProgramError, program } from '@shared/program';
import { lookup } from './lookup.ts';

/** Who can reach an address, from the nearest to the farthest. (RFC 6890, RFC 4193, RFC 4291) */
const SCOPES: [string, string[]][] = [
  ['loopback: this machine only', ['127.0.0.0/8', '::1/128']],
  ['link-local: this cable or Wi-Fi only', ['169.254.0.0/16', 'fe80::/10']],
  ['private: this network, not the internet', ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16']],
  ['private: this network, not the internet', ['fc00::/7']],
  ['shared: between a provider and its customers', ['100.64.0.0/10']],
  ['documentation: nobody, for ever', ['192.0.2.0/24', '198.51.100.0/24', '203.0.113.0/24']],
  ['documentation: nobody, for ever', ['2001:db8::/32', '3fff::/20']],
];

/** How far an address reaches, in words. */
export function scope(address: string): string {
  const family = isIPv6(address) ? 'ipv6' : 'ipv4';
  const found = SCOPES.find(([, subnets]) => {
    const list = new BlockList();
    for (const subnet of subnets) {
      const [network = '', prefix] = subnet.split('/');
      list.addSubnet(network, Number(prefix), isIPv6(network) ? 'ipv6' : 'ipv4');
    }
    return list.check(address, family);
  });
  return found?.[0] ?? 'global: the internet, if no firewall is between';
}

/**
 * The address of this machine that a packet to `destination` would come from; `undefined` if there is
 * no way there. Nothing is sent: to connect a UDP socket only asks the kernel for the route.
 */
export async function sourceAddress(destination: string): Promise<string | undefined> {
  const socket = createSocket(isIPv6(destination) ? 'udp6' : 'udp4');
  try {
    socket.connect(53, destination);
    await once(socket, 'connect');
    return socket.address().address;
  } catch {
    return undefined;
  } finally {
    socket.close();
  }
}

/** One line for each address of each interface. */
export function interfaceLines(): string[] {
  const rows = Object.entries(networkInterfaces()).flatMap(([name, addresses = []]) =>
    addresses.map(({ cidr, address }) => [name, cidr ?? address, scope(address)] as const),
  );
  const width = (column: 0 | 1) => Math.max(...rows.map((row) => row[column].length));
  return rows.map(
    ([name, address, reach]) => `${name.padEnd(width(0))}  ${address.padEnd(width(1))}  ${reach}`,
  );
}

/** What the system says of a name, be it that it cannot. */
export async function answerFor(name: string, signal: AbortSignal): Promise<string> {
  try {
    return `${name} is ${(await lookup(name, { signal })).join(', ')}`;
  } catch (error) {
    // Not every host name can be looked up, and the rest is worth showing.
    if (error instanceof ProgramError) return error.message;
    throw error;
  }
}

/** All that this machine says of itself, line by line. */
export async function* report(signal: AbortSignal): AsyncGenerator<string> {
  yield `host name ${hostname()}\n\ninterfaces`;
  for (const line of interfaceLines()) yield `  ${line}`;
  yield '\nwhat the system answers';
  for (const name of new Set([hostname(), 'localhost'])) yield `  ${await answerFor(name, signal)}`;
  yield '\nsource address of a packet';
  for (const destination of ['192.0.2.1', '2001:db8::1']) {
    const from = (await sourceAddress(destination)) ?? 'no way there';
    yield `  to ${destination.padEnd(11)}  ${from}`;
  }
}

program(import.meta, {
  about: 'Shows the names and the addresses of this machine.',
  options: {},
  async run(_, { signal }) {
    for await (const line of report(signal)) console.log(line);
  },
});
