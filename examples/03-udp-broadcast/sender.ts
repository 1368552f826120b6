/**
 * Sends one datagram to everybody on the network (broadcast), or to those who asked for it
 * (multicast). Read datagram.ts before, and then receiver.ts.
 */
import { createSocket } from 'node:dgram';
import { host, integer, program } from '@shared/program';
import { bindTo, group, multicastInterface, remotePort, sendDatagram } from './datagram.ts';

export interface SendOptions {
  /** A broadcast address, a multicast group or one machine. Default `<broadcast>`, as Python calls 255.255.255.255: everybody on the local network. */
  host?: string;
  /** Default 9999. */
  port?: number;
  /** How many networks a datagram to a group may cross: 0 stays on this machine, 1 on the local network. Default 1. */
  ttl?: number;
  /** The network interface for a group, by its address. Default: the kernel chooses. */
  multicastInterface?: string;
}

/** Sends one datagram, or rejects: too long, no way there. (Tutorial 000 §2.2) */
export async function send(
  message: string | Uint8Array,
  { host = '<broadcast>', port = 9999, ttl = 1, multicastInterface = '' }: SendOptions = {},
): Promise<void> {
  await using socket = createSocket('udp4');
  // The options below belong to a socket that the kernel has: before bind they are EBADF.
  await bindTo(socket, { host: '0.0.0.0', port: 0 });
  // One datagram for everybody must be meant: without this the kernel says EACCES.
  socket.setBroadcast(true);
  socket.setMulticastTTL(ttl);
  if (multicastInterface !== '') socket.setMulticastInterface(multicastInterface);
  // Node would look `<broadcast>` up in the DNS.
  const address = host === '<broadcast>' ? '255.255.255.255' : host;
  await sendDatagram(socket, message, { host: address, port });
}

program(import.meta, {
  about: 'Sends its arguments to everybody on the network who listens on the port.',
  args: '[TEXT...]',
  options: {
    host: host('<broadcast>', 'the broadcast address, or that of one machine'),
    port: remotePort(9999),
    group: group('send to this multicast group instead, such as 239.255.0.3'),
    ttl: integer(1, { max: 1 }, 'for --group: 0 stays on this machine, 1 on the local network'),
    multicastInterface: multicastInterface(),
  },
  async run({ host, group, ...options }, { args }) {
    const message = args.length > 0 ? args.join(' ') : 'Hello, UDP Broadcast!';
    await send(message, { host: group || host, ...options });
    console.log(`sent ${Buffer.byteLength(message)} bytes to ${group || host}:${options.port}`);
  },
});
