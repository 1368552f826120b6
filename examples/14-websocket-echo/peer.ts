/**
 * What a server owes itself about any peer: to find out that it is dead, and to get rid of it.
 * Both servers use it. Read example 04 before.
 */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/**
 * Pings a peer that has been silent for `interval` milliseconds, and gives it as long again to say
 * anything. Silent is who neither sends nor takes a byte: node:net resets this timer for both, so
 * that a slow reader is no dead one, and a busy connection is never pinged. (RFC 6455 §5.5.2)
 */
export function keepAlive(
  socket: Socket,
  interval: number,
  { ping, dead }: { ping: () => void; dead: () => void },
): void {
  let asked = false;
  socket.on('data', () => {
    asked = false;
  });
  // Not as setTimeout's callback, which is called once and never again.
  socket.on('timeout', () => {
    if (asked) return dead();
    asked = true;
    ping();
    // A ping that waits behind what the peer does not take would not start the timer again.
    socket.setTimeout(interval);
  });
  socket.setTimeout(interval);
}

/** Ends our half, after `last`, and gives the peer `ms` milliseconds to end its own. */
export function hangUp(socket: Duplex, ms: number, last: string | Buffer = ''): void {
  socket.end(last);
  // Bytes that nobody reads make a reset out of our end, and the peer may lose what we said last.
  socket.resume();
  const timer = setTimeout(() => socket.destroy(), ms);
  socket.once('close', () => clearTimeout(timer));
}
