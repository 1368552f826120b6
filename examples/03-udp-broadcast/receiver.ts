/**
 * Shows every datagram that comes to its port, broadcast, multicast or for this machine alone.
 * It never answers. Read sender.ts before, and then server.ts.
 */
import { createSocket, type Socket } from 'node:dgram';
import { inspect } from 'node:util';
import { formatAddress, host, ProgramError, port, program } from '@shared/program';
import { group, multicastInterface, serve } from './datagram.ts';

export interface ReceiverOptions {
  /** A multicast group to join, 224.0.0.0 to 239.255.255.255. Default: none. */
  group?: string;
  /** The network interface that joins the group, by its address. Default: the kernel chooses. */
  multicastInterface?: string;
  /** Where a line about each datagram goes. Default: nowhere. */
  log?: (line: string) => void;
}

/**
 * Builds the receiver; the caller binds it, and closes it. To hear broadcasts it must be bound to
 * 0.0.0.0, or on Linux to the broadcast address itself. (Tutorial 000 §2.2)
 */
export function createReceiver(options: ReceiverOptions = {}): Socket {
  const { group = '', multicastInterface = '', log = () => {} } = options;
  // Without reuseAddr the second receiver on a machine would find the port in use, although every
  // one of them gets its own copy of a broadcast.
  const socket = createSocket({ type: 'udp4', reuseAddr: true });

  socket.on('message', (bytes, sender) => {
    const from = formatAddress(sender.address, sender.port);
    // Anybody may send us anything: bytes that are not UTF-8 become U+FFFD, and inspect() shows
    // controls as \x1B, which would otherwise do as the sender likes with our terminal.
    const text = inspect(bytes.toString(), { breakLength: Infinity });
    log(`${from}  ${bytes.length} ${bytes.length === 1 ? 'byte' : 'bytes'}  ${text}`);
  });

  socket.on('listening', () => {
    try {
      if (group !== '') socket.addMembership(group, multicastInterface || undefined);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      const at = multicastInterface === '' ? '' : ` at ${multicastInterface}`;
      const hint = 'name a network interface by its address with --multicast-interface';
      socket.emit('error', new ProgramError(`cannot join ${group}${at}: ${code}; ${hint}`));
      return;
    }
    // Not before: an error until here is an answer to whoever has called bind().
    socket.on('error', (error) => log(`failed: ${error.message}`));
  });
  return socket;
}

program(import.meta, {
  about: 'Shows every datagram that comes to the port.',
  options: {
    host: host('0.0.0.0', 'the address; 127.0.0.1 would not get broadcasts'),
    port: port(9999),
    group: group('join this multicast group, such as 239.255.0.3'),
    multicastInterface: multicastInterface(),
  },
  run: ({ host, port, ...options }, { signal }) =>
    serve(createReceiver({ log: console.log, ...options }), { host, port, signal }),
});
