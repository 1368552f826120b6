/**
 * Shows what other clients broadcast through the server. A server can only send to a client that it
 * remembers, so this one says `ping` again and again. Read client.ts before.
 */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { formatAddress, host, integer, program } from '@shared/program';
import { isBroadcast } from './client.ts';
import { remotePort } from './datagram.ts';

export interface SubscriberOptions {
  /** How often the server is reminded of us, in milliseconds: well under its idle timeout, since a `ping` may be lost. Default 15,000. */
  interval?: number;
  /** Takes every broadcast; one that the network repeats comes twice. */
  heard: (text: string) => void;
  /** Where a line about each failure goes. Default: nowhere. */
  log?: (line: string) => void;
}

/** Builds the subscriber; the caller connects it to the server, and closes it. (Tutorial 003 §04) */
export function createSubscriber(options: SubscriberOptions): Socket {
  const { interval = 15_000, heard, log = () => {} } = options;
  const socket = createSocket('udp4');
  socket.on('connect', () => {
    // A server that restarts is an error for each `ping` until it is back; then it knows us again.
    socket.on('error', (error) => log(`failed: ${error.message}; trying again`));
    socket.on('message', (bytes) => {
      const text = bytes.toString();
      if (isBroadcast(text)) heard(text);
    });
    const ping = () => socket.send('ping');
    const timer = setInterval(ping, interval);
    socket.on('close', () => clearInterval(timer));
    ping();
  });
  return socket;
}

program(import.meta, {
  about: 'Shows what other clients of the server broadcast.',
  options: {
    host: host(),
    port: remotePort(9999),
    interval: integer(
      15_000,
      { min: 1, max: 60_000 },
      'how often the server is reminded of us, in ms',
    ),
  },
  async run({ host, port, interval }, { signal }) {
    const socket = createSubscriber({ interval, heard: console.log, log: console.error });
    socket.once('message', () => console.log(`subscribed to ${formatAddress(host, port)}`));
    socket.connect(port, host);
    await once(socket, 'connect', { signal });
    await once(signal, 'abort');
    socket.close();
  },
});
