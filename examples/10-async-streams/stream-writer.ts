/**
 * asyncio's StreamWriter: `write` never waits, `drain` waits until the peer has read enough, and
 * `close` lets everything out before it closes. Read stream-reader.ts before.
 */
import type { Socket } from 'node:net';
import type { ReadOptions } from './stream-reader.ts';

export interface StreamWriterOptions {
  /** How long the peer may be silent, without ending its half, after `close` has sent everything, in milliseconds. Default 2,000. */
  linger?: number | undefined;
  /** How long closing may take in all, in milliseconds. `drain` before `close` what may take longer. Default 60,000. */
  closeTimeout?: number | undefined;
}

export interface ExtraInfo {
  /** The address and port of the peer. */
  peername: [string, number];
  /** The address and port of this side. */
  sockname: [string, number];
  /** Node's own. */
  socket: Socket;
}

/** Writes to a socket. (Tutorial 000 §8.2) */
export class StreamWriter {
  readonly #socket: Socket;
  readonly #linger: number;
  readonly #closeTimeout: number;
  readonly #info: ExtraInfo;
  readonly #draining = new Set<() => void>();
  readonly #closed: Promise<void>;
  #closing = false;
  #error: Error | undefined;

  constructor(socket: Socket, { linger = 2000, closeTimeout = 60_000 }: StreamWriterOptions = {}) {
    this.#socket = socket;
    this.#linger = linger;
    this.#closeTimeout = closeTimeout;
    // Now, since a socket that is closed knows it no more.
    this.#info = {
      peername: [socket.remoteAddress ?? 'unknown', socket.remotePort ?? 0],
      sockname: [socket.localAddress ?? 'unknown', socket.localPort ?? 0],
      socket,
    };
    const wake = () => {
      for (const drained of this.#draining) drained();
    };
    socket.on('error', (error) => {
      this.#error = error;
    });
    socket.on('drain', wake);
    socket.on('timeout', () => this.abort());
    this.#closed = new Promise((resolve) => {
      socket.on('close', () => {
        // Without this whoever waits for a peer that is gone would wait for ever.
        wake();
        resolve();
      });
    });
  }

  /** Takes the data and returns at once. Nothing is sent to a peer that is gone: `drain` tells. */
  write(data: string | Uint8Array): void {
    const socket = this.#socket;
    if (socket.writableEnded) {
      if (this.#closing) return;
      throw new Error('cannot write: writeEof() was called');
    }
    // All that is written before the event loop turns leaves as one: a client that sends 10,000
    // small lines at once would cost 10,000 system calls, and nobody else would have a turn.
    if (socket.writableCorked === 0) {
      socket.cork();
      process.nextTick(() => socket.uncork());
    }
    socket.write(data);
  }

  /** The same for each of them. */
  writelines(list: Iterable<string | Uint8Array>): void {
    for (const data of list) this.write(data);
  }

  /** Waits while more is written than the peer reads. Rejects if the connection is lost. */
  async drain({ signal }: ReadOptions = {}): Promise<void> {
    const socket = this.#socket;
    while (socket.writableNeedDrain && !socket.destroyed) {
      signal?.throwIfAborted();
      const draining = this.#draining;
      await new Promise<void>((resolve) => {
        const done = () => {
          draining.delete(done);
          signal?.removeEventListener('abort', done);
          resolve();
        };
        draining.add(done);
        signal?.addEventListener('abort', done);
      });
    }
    if (!socket.destroyed) return;
    await this.waitClosed();
    throw new DOMException('the connection is closed', 'AbortError');
  }

  /** Ends our half behind what is written: the peer's reads end. Ours go on. */
  writeEof(): void {
    this.#socket.end();
  }

  /** Sends what is written, then ends our half. What the peer still sends is thrown away. */
  close(): void {
    const socket = this.#socket;
    if (this.#closing || socket.closed) return;
    this.#closing = true;
    // A close with bytes unread is a reset, which destroys the last answers on their way: read on.
    socket.removeAllListeners('data').resume();
    // And a peer that never ends its half would keep the connection.
    socket.end(() => socket.setTimeout(this.#linger));
    // Nor may one that sends a byte now and then, or reads one.
    const timer = setTimeout(() => this.abort(), this.#closeTimeout);
    socket.on('close', () => clearTimeout(timer));
  }

  /** Whether `close` was called, or the connection is gone. */
  isClosing(): boolean {
    return this.#closing || this.#socket.destroyed;
  }

  /** Closes now: Python's `transport.abort()`. */
  abort(): void {
    const socket = this.#socket;
    // Behind half an answer a FIN would look like the end of it: only a reset tells the peer.
    if (socket.writableLength > 0) socket.resetAndDestroy();
    else socket.destroy();
  }

  /** Waits until the connection is closed. Rejects if it broke. */
  async waitClosed(): Promise<void> {
    await this.#closed;
    if (this.#error) throw this.#error;
  }

  /** What is known about the connection. */
  getExtraInfo<Name extends keyof ExtraInfo>(name: Name): ExtraInfo[Name] {
    return this.#info[name];
  }
}
