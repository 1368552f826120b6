/**
 * A DNS server over UDP and TCP. On TCP each message has its length in front, 2 bytes, big-endian.
 * Read answer.ts before.
 *
 *     00 22 | 12 34 01 00 … |        0x22 = 34 bytes follow
 */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, isIPv6, type Server, type Socket } from 'node:net';
import { formatAddress, host, peerName, port, program, serve } from '@shared/program';
import { answer, MAX_QUERY } from './answer.ts';
import { EXAMPLE_ZONE } from './example-zone.ts';
import type { Zone } from './zone.ts';

export interface DnsServerOptions {
  zone: Zone;
  /** Where a line about each question goes. Default: nowhere. */
  log?: (line: string) => void;
}

export interface TcpOptions extends DnsServerOptions {
  /** How long a client may take for its next question, and for reading the answer, in milliseconds. Default 10 s. */
  idleTimeout?: number;
  /** How many clients are served at once; one more is closed as soon as it connects. Default 100. */
  maxConnections?: number;
}

/** How many bytes of answers may wait for the kernel. What comes on top is lost, as UDP may. */
const MAX_WAITING = 1024 * 1024;

/** Builds the UDP side for addresses of one family; the caller binds it, and closes it. */
export function createUdpServer(family: 'udp4' | 'udp6', options: DnsServerOptions): UdpSocket {
  const { zone, log = () => {} } = options;
  const socket = createSocket(family);
  socket.on('error', (error) => log(`udp: ${error.message}`));
  socket.on('message', (query, sender) => {
    const reply = answer(query, zone, 'udp');
    // Port 0 cannot be answered: send() throws, and one forged packet would end the server.
    if (reply === undefined || sender.port === 0) return;
    if (socket.getSendQueueSize() > MAX_WAITING) return;
    log(`udp ${formatAddress(sender.address, sender.port)} ${reply.log}`);
    socket.send(reply.packet, sender.port, sender.address, (error) => {
      if (error) log(`udp ${formatAddress(sender.address, sender.port)} ${error.message}`);
    });
  });
  return socket;
}

/** Builds the TCP side; the caller lets it listen on the same port, and closes it. (RFC 7766) */
export function createTcpServer(options: TcpOptions): Server {
  const { zone, idleTimeout = 10_000, maxConnections = 100, log = () => {} } = options;
  // allowHalfOpen: 'end' comes to a paused socket too, while questions still wait for their answers.
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const client = `tcp ${peerName(socket)}`;
    socket.on('error', (error) => log(`${client} failed: ${error.message}`));
    // Not socket.setTimeout(): a client that sends a byte now and then would stay for ever.
    let idle: NodeJS.Timeout | undefined;
    const wait = () => {
      clearTimeout(idle);
      idle = setTimeout(() => socket.destroy(), idleTimeout);
    };
    wait();
    socket.on('close', () => clearTimeout(idle));
    answerAll(socket, (query) => {
      const reply = answer(query, zone, 'tcp');
      if (reply === undefined) return undefined;
      wait();
      log(`${client} ${reply.log}`);
      return reply.packet;
    });
  });
  server.maxConnections = maxConnections;
  return server;
}

/** Answers each message of a stream. One that deserves no answer ends the conversation. */
function answerAll(socket: Socket, reply: (query: Buffer) => Buffer | undefined): void {
  let rest = Buffer.alloc(0);
  const work = () => {
    // One chunk holds many questions, and answers are larger: no more of them than the client reads.
    while (rest.length >= 2 && !socket.writableNeedDrain && !socket.destroyed) {
      const length = rest.readUInt16BE(0);
      const fits = length <= MAX_QUERY;
      if (fits && rest.length < 2 + length) break;
      const packet = fits ? reply(rest.subarray(2, 2 + length)) : undefined;
      if (packet === undefined) {
        socket.destroy();
        return;
      }
      rest = rest.subarray(2 + length);
      const prefix = Buffer.alloc(2);
      prefix.writeUInt16BE(packet.length);
      socket.write(Buffer.concat([prefix, packet]));
    }
    if (socket.writableNeedDrain) socket.pause();
    else if (socket.readableEnded) socket.end();
    else socket.resume();
  };
  socket.on('data', (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    work();
  });
  socket.on('drain', work);
  socket.on('end', work);
}

/**
 * Binds UDP, then has `listen` let TCP listen on the same port. With port 0 the port that is free
 * for the one can be taken for the other: then the next one.
 */
export async function serveDns(
  { host, port, ...options }: TcpOptions & { host: string; port: number },
  listen: (tcp: Server, port: number) => Promise<void>,
): Promise<UdpSocket> {
  for (;;) {
    const udp = createUdpServer(isIPv6(host) ? 'udp6' : 'udp4', options);
    try {
      udp.bind(port, host);
      await once(udp, 'listening');
      await listen(createTcpServer(options), udp.address().port);
      return udp;
    } catch (error) {
      udp.close();
      if (port !== 0 || (error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    }
  }
}

program(import.meta, {
  about: 'Answers DNS questions about example.test, over UDP and TCP.',
  options: { host: host('127.0.0.1', 'the address, 127.0.0.1 or ::1'), port: port(5300) },
  async run({ host, port }, { signal }) {
    const options = { host, port, zone: EXAMPLE_ZONE, log: console.log };
    const udp = await serveDns(options, (tcp, port) => serve(tcp, { host, port, signal }));
    udp.close();
  },
});
