/**
 * A UDP server that answers `ping`, `time` and `broadcast`, and echoes everything else. It has one
 * socket and no connections: who its clients are is what it remembers. Read receiver.ts before.
 */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { formatAddress, host, port, program } from '@shared/program';
import { MAX_LENGTH, serve } from './datagram.ts';

export interface UdpServerOptions {
  /** How long a client is remembered after its last datagram, in milliseconds. Default 1 minute. */
  idleTimeout?: number;
  /** How many clients are remembered; for one more, the one silent for longest is forgotten. Default 1,000. */
  maxClients?: number;
  /** How many bytes of answers may wait to be sent; what comes on top is dropped. Default 1 MiB. */
  maxWaiting?: number;
  /** What time it is. Default: the system's clock. */
  now?: () => Date;
  /** Where a line about each client goes. Default: nowhere. */
  log?: (line: string) => void;
}

/** What an echo begins with, as in the tutorial. */
const ECHO = Buffer.from('收到: ');

/** Builds the server; the caller binds it, and closes it. (Tutorials 001 §2.2, 003 §04, 004 §4.1) */
export function createUdpServer(options: UdpServerOptions = {}): Socket {
  const { idleTimeout = 60_000, maxClients = 1_000, maxWaiting = 1024 * 1024 } = options;
  const { now = () => new Date(), log = () => {} } = options;
  const server = createSocket('udp4');
  /** By name, with the time of their last datagram; the one silent for longest first. */
  const clients = new Map<string, { client: RemoteInfo; seen: number }>();

  server.on('message', (bytes, client) => {
    // Source port 0 wants no answer (RFC 768), and Node throws at the attempt to send one.
    if (client.port === 0) return;
    remember(client);
    const answer = answerTo(bytes, client);
    if (answer !== undefined) send(answer, client);
  });

  // Not before: an error until then is an answer to whoever has called bind(). After that a datagram
  // that could not be read must not end the server for all.
  server.on('listening', () => server.on('error', (error) => log(`failed: ${error.message}`)));

  function remember(client: RemoteInfo): void {
    const name = formatAddress(client.address, client.port);
    const time = now().getTime();
    if (!clients.delete(name)) log(`${name} is new`);
    clients.set(name, { client, seen: time });
    // UDP has no close: without this everybody who ever sent a datagram would stay for ever.
    for (const [name, { seen }] of clients) {
      if (clients.size <= maxClients && time - seen <= idleTimeout) break;
      clients.delete(name);
      log(`${name} forgotten`);
    }
  }

  function answerTo(bytes: Buffer, sender: RemoteInfo): string | Buffer | undefined {
    // An echo is not echoed: two servers, one of them given as the sender by a forger, would go on
    // for ever.
    if (bytes.subarray(0, ECHO.length).equals(ECHO)) return undefined;
    switch (bytes.toString().trim().toLowerCase()) {
      case 'ping':
        return `PONG (${clockTime(now())})`;
      case 'time':
        return `服务器时间: ${date(now())} ${clockTime(now())}`;
      case 'broadcast': {
        const text = `广播消息: 来自 ('${sender.address}', ${sender.port})`;
        for (const { client } of clients.values()) {
          if (client.port !== sender.port || client.address !== sender.address) send(text, client);
        }
        return '广播已发送';
      }
    }
    const most = MAX_LENGTH - ECHO.length;
    if (bytes.length > most) return `消息太长: ${bytes.length} 字节，最多 ${most} 字节`;
    // The bytes as they came: decoded and encoded again, each that is not UTF-8 would become three.
    return Buffer.concat([ECHO, bytes]);
  }

  function send(answer: string | Buffer, { address, port }: RemoteInfo): void {
    // What the network does not take waits in this process. UDP may lose datagrams: lose these.
    if (server.getSendQueueSize() > maxWaiting) return;
    server.send(answer, port, address, (error) => {
      if (error) log(`cannot answer: ${error.message}`);
    });
  }
  return server;
}

/** The local time, HH:MM:SS. */
function clockTime(date: Date): string {
  return date.toTimeString().slice(0, 8);
}

/** The local date, YYYY-MM-DD. */
function date(date: Date): string {
  return [date.getFullYear(), date.getMonth() + 1, date.getDate()]
    .map((part) => String(part).padStart(2, '0'))
    .join('-');
}

program(import.meta, {
  about: 'Answers ping, time and broadcast, and echoes every other datagram.',
  options: { host: host(), port: port(9999) },
  run: ({ host, port }, { signal }) =>
    serve(createUdpServer({ log: console.log }), { host, port, signal }),
});
