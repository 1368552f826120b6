/**
 * The thread's half of a connection: a stream that reads and writes like the socket, which stays in
 * the main thread. Read thread.ts before.
 */
import { Duplex } from 'node:stream';
import type { MessagePort } from 'node:worker_threads';

/** The client's bytes, and where to answer. `writableLength` is what the client has not taken yet. */
export function threadSocket(port: MessagePort): Duplex {
  let written = () => {};
  const socket = new Duplex({
    read: () => port.postMessage('read'),
    // All that has gathered meanwhile is one message: fewer of them, each with more in it.
    writev(chunks, done) {
      const bytes = new Uint8Array(Buffer.concat(chunks.map(({ chunk }) => chunk)));
      // Not done() at once: only what has not been written counts as waiting.
      written = done;
      port.postMessage(bytes, [bytes.buffer]);
    },
    final(done) {
      port.postMessage('end');
      done();
    },
  });
  port.on('message', (message: Uint8Array<ArrayBuffer> | 'written' | 'end') => {
    if (message === 'written') written();
    else socket.push(message === 'end' ? null : Buffer.from(message.buffer));
  });
  return socket;
}
