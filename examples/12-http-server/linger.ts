/** How to close a connection on which the client is still sending. */
import type { Socket } from 'node:net';

/** How long a client may go on sending behind its last answer, in milliseconds. */
const LINGER = 2000;

/**
 * Ends our half, and throws away what comes until the client ends its own. `socket.destroy()` with
 * bytes unread is a reset: the client may lose the answer that says why it was refused.
 */
export function linger(socket: Socket): void {
  // Its 'close' has come already, and would not stop the timer any more.
  if (socket.destroyed) return;
  // Node calls it too, as soon as the answer is written: that would be the reset.
  socket.destroySoon = () => {};
  socket.end();
  // Behind a CONNECT, Node has left the reading to us.
  socket.resume();
  const timer = setTimeout(() => socket.destroy(), LINGER);
  socket.once('close', () => clearTimeout(timer));
}
