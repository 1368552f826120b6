/**
 * The requests that wait for their turn, and a way to wait for one: what the kernel and `select()`
 * are for Python's socketserver. Read base-server.ts after.
 */

export const SERVING = 'cannot serve: this server is serving already';

export class RequestQueue<T> {
  readonly #waiting: T[] = [];
  #wake: (() => void) | undefined;

  /** Adds a request unless `limit` of them wait already, and tells which. */
  push(request: T, limit: number): boolean {
    // Without this the queue grows as long as requests come faster than they are handled.
    if (this.#waiting.length >= limit) return false;
    this.#waiting.push(request);
    this.wake();
    return true;
  }

  /** The request that has waited longest. */
  shift(): T | undefined {
    return this.#waiting.shift();
  }

  /** Takes out all that wait. */
  clear(): T[] {
    return this.#waiting.splice(0);
  }

  /** Waits until there is a request: false if none has come within `timeout` milliseconds, or `wake` was called. */
  async wait(timeout?: number): Promise<boolean> {
    if (this.#wake !== undefined) throw new Error(SERVING);
    if (this.#waiting.length === 0) {
      await new Promise<void>((resolve) => {
        const timer = timeout === undefined ? undefined : setTimeout(resolve, timeout);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#wake = undefined;
    }
    return this.#waiting.length > 0;
  }

  wake(): void {
    this.#wake?.();
  }
}
