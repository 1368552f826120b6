/**
 * What a server owes itself about any peer: to find out that it is dead, to get rid of it, and to
 * keep no more for it than it takes. Both servers use it. Read example 04 before.
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
    // Timers run before what has arrived is read: behind a pause of this process, the sign of life
    // that was asked for may be there already.
    if (asked) return void setImmediate(() => asked && dead());
    asked = true;
    ping();
    // A ping that waits behind what the peer does not take would not start the timer again.
    socket.setTimeout(interval);
  });
  socket.setTimeout(interval);
}

/**
 * How many answers may wait for one peer, however short they are: each is an object of some 200
 * bytes. A limit on their bytes alone would let 1 MiB of empty pongs fill 100 MiB of memory.
 */
export const MAX_WAITING = 1000;

/** Ends our half, after `last`, and gives the peer `ms` milliseconds to end its own. */
export function hangUp(socket: Duplex, ms: number, last: string | Buffer = ''): void {
  socket.end(last);
  // Bytes that nobody reads make a reset out of our end, and the peer may lose what we said last.
  socket.resume();
  const timer = setTimeout(() => socket.destroy(), ms);
  socket.once('close', () => clearTimeout(timer));
}
