/**
 * How long things may take, and the one clock that covers a request from its first try to the last
 * byte of its body. Part of session.ts: start there.
 */
import { EventEmitter, setMaxListeners } from 'node:events';
import { ServerTimeoutError } from './errors.ts';

/** As aiohttp's `ClientTimeout(total, sock_connect, sock_read)`, in milliseconds. */
export interface Timeouts {
  /** For everything: redirects, retries and the waits between them, and the body. Infinity: no limit. Default 5 minutes. */
  total?: number;
  /** Until a connection is there (TCP, and TLS); for a whole session. undici looks once a second or so. Default 3,000. */
  connect?: number;
  /** The longest silence of the server. undici looks once a second or so. Infinity: no limit. Default 30,000. */
  read?: number;
}

export const TIMEOUTS: Required<Timeouts> = { total: 5 * 60_000, connect: 3000, read: 30_000 };

/**
 * Emits `abort` when the time is over, or when an outer signal is aborted. Not an AbortSignal: undici
 * takes an emitter as well, and an AbortController for each makes requests a quarter slower.
 */
export class Deadline extends EventEmitter {
  aborted = false;
  reason: unknown;
  readonly #timer: NodeJS.Timeout;
  readonly #outer: AbortSignal | undefined;
  #reject: ((reason: unknown) => void) | undefined;

  constructor(url: URL, total: number, outer?: AbortSignal) {
    super();
    outer?.throwIfAborted();
    // One signal for eleven requests is no leak, though Node would warn of one: clear() forgets them.
    if (outer !== undefined) setMaxListeners(0, outer);
    outer?.addEventListener('abort', this);
    this.#outer = outer;
    // Of more than 2^31 - 1 milliseconds setTimeout() makes one.
    this.#timer = setTimeout(expire, Math.min(total, 2 ** 31 - 1), this, url, total);
    // The socket keeps the process: an answer that nobody reads must not do so for minutes.
    this.#timer.unref();
  }

  /** The outer signal was aborted. */
  handleEvent(): void {
    this.abort(this.#outer?.reason);
  }

  abort(reason: unknown): void {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = reason;
    this.clear();
    this.#reject?.(reason);
    this.emit('abort');
  }

  /** As the promise, but rejects as soon as the time is over. One at a time: a request does one thing after the other. */
  race<T>(promise: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.aborted) reject(this.reason);
      this.#reject = reject;
      promise.then(resolve, reject);
    });
  }

  /** Resolves after so many milliseconds. Rejects as soon as the time is over. */
  sleep(ms: number): Promise<void> {
    let timer: NodeJS.Timeout;
    const awake = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms);
    });
    return this.race(awake).finally(() => clearTimeout(timer));
  }

  /** The request is over. Without this a long-lived outer signal would remember every one of them. */
  clear(): void {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener('abort', this);
  }
}

function expire(deadline: Deadline, url: URL, total: number): void {
  deadline.abort(
    new ServerTimeoutError(`cannot get all of ${url} within ${total / 1000} s (timeout.total)`),
  );
}
