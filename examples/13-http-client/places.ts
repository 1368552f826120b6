/** So many places, and a queue before them: the `limit` of a session. Part of session.ts: start there. */
import type { Deadline } from './timeout.ts';

export class Places {
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(limit: number) {
    this.#free = limit;
  }

  /** Takes a place, or waits for one. Rejects when the time is over. */
  async take(deadline: Deadline): Promise<void> {
    if (this.#free > 0) {
      this.#free--;
      return;
    }
    let call = () => {};
    const called = new Promise<void>((resolve) => {
      call = resolve;
    });
    this.#waiting.add(call);
    try {
      await deadline.race(called);
    } catch (error) {
      // Called and late at the same time: the place would be lost.
      if (!this.#waiting.delete(call)) this.leave();
      throw error;
    }
  }

  /** Whoever has waited longest gets the place. */
  readonly leave = (): void => {
    const [call] = this.#waiting;
    if (call === undefined) this.#free++;
    else {
      this.#waiting.delete(call);
      call();
    }
  };
}
