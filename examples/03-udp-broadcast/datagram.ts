/**
 * One datagram out, and a socket that waits for them: what the programs of this example share.
 * UDP is IP and two ports: 8 bytes of header, then one message, whole or not at all (RFC 768).
 *
 *     source port | destination port | length | checksum | message: 0 to 65,507 bytes
 *     9c 40       | 27 0f            | 00 0d  | fa af    | h  e  l  l  o
 *
 * Read 01-tcp-echo before, and then sender.ts.
 */
import type { Socket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv4 } from 'node:net';
import {
  formatAddress,
  integer,
  type Option,
  ProgramError,
  text,
  UsageError,
} from '@shared/program';

/** The most bytes that one message may have: 65,535 of an IPv4 packet less both headers. */
export const MAX_LENGTH: number = 65_535 - 20 - 8;

/**
 * Hands one datagram to the kernel, or rejects: too long, not permitted, no way there. That it went
 * out does not say that it arrived. `to` is not needed by a socket that is connected.
 */
export function sendDatagram(
  socket: Socket,
  message: string | Uint8Array,
  to?: { host: string; port: number },
): Promise<void> {
  const bytes = Buffer.from(message as string);
  return new Promise((resolve, reject) => {
    const sent = (error: NodeJS.ErrnoException | null) => {
      if (error === null) resolve();
      else reject(sentence(error, bytes.length, to));
    };
    if (to === undefined) socket.send(bytes, sent);
    else socket.send(bytes, to.port, to.host, sent);
  });
}

function sentence(
  error: NodeJS.ErrnoException,
  length: number,
  to?: { host: string; port: number },
): Error {
  if (error.code === 'EMSGSIZE') {
    const [has, most] = [length, MAX_LENGTH].map((bytes) => bytes.toLocaleString('en-US'));
    return new ProgramError(
      `cannot send message: it has ${has} bytes, one datagram takes at most ${most}`,
    );
  }
  if (error.code === 'ENETUNREACH' && to !== undefined) {
    return new ProgramError(
      `cannot send to ${formatAddress(to.host, to.port)}: no network leads there; --host 127.255.255.255 reaches this machine`,
    );
  }
  return error;
}

/** Binds the socket, or rejects: the port is in use, no such address. */
export async function bindTo(
  socket: Socket,
  { host, port, signal }: { host: string; port: number; signal?: AbortSignal },
): Promise<void> {
  socket.bind(port, host);
  await once(socket, 'listening', signal && { signal }).catch((error) => {
    // The look-up of a name does not know what the name was for.
    throw error.syscall === 'getaddrinfo' ? Object.assign(error, { syscall: 'bind', port }) : error;
  });
}

/** Binds the socket, prints the ready line, and closes the socket on the signal. */
export async function serve(
  socket: Socket,
  options: { host: string; port: number; signal: AbortSignal },
): Promise<void> {
  await bindTo(socket, options);
  const { address, port } = socket.address();
  console.log(`listening on ${formatAddress(address, port)}`);
  await once(options.signal, 'abort');
  socket.close();
}

/** The port to send to. Unlike the one to listen on it cannot be 0. */
export function remotePort(defaultValue: number): Option<number> {
  return { ...integer(defaultValue, { min: 1, max: 65_535 }, 'the port'), placeholder: 'PORT' };
}

/** `--group 239.255.0.3` */
export function group(help: string): Option<string> {
  return {
    ...text('', help),
    placeholder: 'GROUP',
    parse(value, name) {
      if (isIPv4(value) && /^2(2[4-9]|3\d)\./.test(value)) return value;
      throw new UsageError(
        `${name} must be from 224.0.0.0 to 239.255.255.255, not ${JSON.stringify(value)}`,
      );
    },
  };
}

/** `--multicast-interface 127.0.0.1` */
export function multicastInterface(): Option<string> {
  return {
    ...text('', 'the interface for --group, by its address; without it the kernel chooses'),
    placeholder: 'ADDRESS',
    parse(value, name) {
      if (isIPv4(value)) return value;
      throw new UsageError(`${name} must be an IPv4 address, not ${JSON.stringify(value)}`);
    },
  };
}
