/**
 * A handler's `wfile`: a write that waits for the client. Read handlers.ts before, request-reader.ts
 * after.
 */
import type { Socket } from 'node:net';
import { ProgramError } from '@shared/program';

/** Python's `_SocketWriter`. */
export class SocketWriter {
  readonly #socket: Socket;
  readonly #timeout: number | undefined;

  constructor(socket: Socket, timeout?: number) {
    this.#socket = socket;
    this.#timeout = timeout;
  }

  /** Sends all of `data`. Waits while the client does not read; rejects if the connection breaks. */
  async write(data: string | Uint8Array): Promise<void> {
    const socket = this.#socket;
    this.#check();
    if (socket.write(data)) return;
    let changed = () => {};
    // Without this wait the answers to a client that never reads would fill our memory.
    try {
      await waitFor(
        (wake) => {
          changed = wake;
          socket.on('drain', wake).on('close', wake);
        },
        this.#timeout,
        'write',
      );
    } finally {
      socket.off('drain', changed).off('close', changed);
    }
    this.#check();
  }

  #check(): void {
    const { writable, errored } = this.#socket;
    if (!writable) throw errored ?? new ProgramError('cannot write: the connection is closed');
  }
}

/** A read or a write that the client kept waiting for too long. */
export class TimeoutError extends ProgramError {
  override name = 'TimeoutError';
}

/** Waits until what `start` is given has been called. Rejects with a {@link TimeoutError} after `timeout` milliseconds. */
export function waitFor(
  start: (wake: () => void) => void,
  timeout: number | undefined,
  what: string,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const late = () => reject(new TimeoutError(`cannot ${what}: timed out`));
    const timer = timeout === undefined ? undefined : setTimeout(late, timeout);
    start(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
