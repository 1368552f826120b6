/**
 * One server for IPv4 and IPv6: it tells each client who it is and over which of the two it came.
 * Read whoami.ts before.
 */
import { once } from 'node:events';
import { type AddressInfo, createServer, isIP, isIPv4, type Server } from 'node:net';
import { networkInterfaces } from 'node:os';
import { formatAddress, host, port, program, serve } from '@shared/program';
import { lookup } from './lookup.ts';

export interface DualStackServerOptions {
  /** How long a conversation may take, in milliseconds. Default 10 s. */
  timeout?: number;
  /** How many clients are served at once; one more is closed as soon as it connects. Default 1,000. */
  maxConnections?: number;
  /** Where a line about each client goes. Default: nowhere. */
  log?: (line: string) => void;
}

/** Builds the server; the caller lets it listen on an address of either family, or on `::` for both. (Tutorial 000 §5.11) */
export function createDualStackServer(options: DualStackServerOptions = {}): Server {
  const { timeout = 10_000, maxConnections = 1000, log = () => {} } = options;
  const server = createServer((socket) => {
    const address = plainAddress(socket.remoteAddress ?? '');
    const client = formatAddress(address, socket.remotePort ?? 0);
    socket.on('error', (error) => log(`${client} failed: ${error.message}`));
    const family = isIPv4(address) ? 'IPv4' : 'IPv6';
    const mapped = address === socket.remoteAddress ? '' : `, seen as ${socket.remoteAddress}`;
    log(`${client} came over ${family}${mapped}`);

    socket.end(`hello ${address}, you came over ${family}\n`);
    // Read and thrown away: only behind it comes the client's FIN, and the end of the connection.
    socket.resume();
    // Not socket.setTimeout(): a client that keeps talking would stay for ever.
    const late = setTimeout(() => socket.destroy(), timeout);
    socket.on('close', () => clearTimeout(late));
  });
  server.maxConnections = maxConnections;
  return server;
}

/**
 * One address has one text: a socket for both families gives an IPv4 client as `::ffff:127.0.0.1`,
 * and a list of who may come in would not find it. (RFC 4291 §2.5.5.2)
 */
export function plainAddress(address: string): string {
  const tail = address.replace(/^::ffff:/i, '');
  return isIPv4(tail) ? tail : address;
}

/** The addresses to listen on for a host: for a name all that it has, as asyncio does. `server.listen()` would take one of them. */
export async function listenAddresses(host: string, signal?: AbortSignal): Promise<string[]> {
  if (isIP(host)) return [host];
  // A hosts file can say anything, or only half of it; RFC 6761 §6.3 says that it is these.
  if (host === 'localhost') return loopbacks();
  return await lookup(host, { ...(signal && { signal }) });
}

/** 127.0.0.1 and ::1, as far as this machine has them: in many containers there is no IPv6. */
export function loopbacks(): string[] {
  const own = Object.values(networkInterfaces()).flatMap((all = []) =>
    all.map((one) => one.address),
  );
  return ['127.0.0.1', '::1'].filter((address) => own.includes(address));
}

program(import.meta, {
  about: 'Tells each client its address, and whether it came over IPv4 or IPv6.',
  options: {
    host: host('localhost', 'a name, of which all addresses are taken; :: for all of this machine'),
    port: port(8000),
  },
  async run({ host, port }, { signal }) {
    const [first = host, ...others] = await listenAddresses(host, signal);
    const server = createDualStackServer({ log: console.log });
    const serving = serve(server, { host: first, port, signal });
    await Promise.race([once(server, 'listening'), serving]);
    // Not the port option: with 0 each address would get another port.
    const { port: taken } = server.address() as AddressInfo;
    const more = others.map((host) =>
      serve(createDualStackServer({ log: console.log }), { host, port: taken, signal }),
    );
    await Promise.all([serving, ...more]);
  },
});
