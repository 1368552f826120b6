/**
 * asyncio's tasks on AbortSignal: a time limit for one wait, a task that can be cancelled, and a
 * group of tasks that fail and end together. Nothing here knows sockets; read it before streams.ts.
 */
import { ProgramError } from '@shared/program';

/** The longest time for which a timer can be set, in milliseconds: 24.8 days. */
export const LONGEST = 2 ** 31 - 1;

/** What {@link timeout} throws. */
export class TimeoutError extends ProgramError {
  override name = 'TimeoutError';
}

/**
 * Python's `async with asyncio.timeout(…)`: gives `run` a signal that is aborted after `ms`
 * milliseconds, and rejects with a {@link TimeoutError} if that ended it. (Tutorial 000 §8.3)
 */
export async function timeout<T>(ms: number, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const { signal } = controller;
  const late = () => controller.abort(new TimeoutError(`timed out after ${ms / 1000} s`));
  // Node would make 1 ms of Infinity, or of a month.
  const timer = setTimeout(late, Math.min(ms, LONGEST));
  try {
    return await run(signal);
  } catch (error) {
    throw isCancellation(error, signal) ? signal.reason : error;
  } finally {
    // AbortSignal.timeout() has nothing to call here: each read would leave a timer behind that
    // runs to its end, and a server of many small reads would hold millions of them.
    clearTimeout(timer);
  }
}

/** Something that runs and can be told to stop: `asyncio.Task`. It starts at once. */
export class Task<T> {
  /** What it gives in the end. */
  readonly result: Promise<T>;
  readonly #controller = new AbortController();

  constructor(run: (signal: AbortSignal) => Promise<T>) {
    this.result = run(this.signal);
  }

  /** What `cancel` aborts. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Asks it to stop. It may still do what it has promised, and what it waits for rejects with `reason`, an AbortError by default. */
  cancel(reason?: unknown): void {
    this.#controller.abort(reason);
  }
}

/** Tasks that belong together: `asyncio.TaskGroup`. As soon as one of them fails the others are cancelled. */
export class TaskGroup {
  readonly #running = new Map<Task<unknown>, Promise<void>>();
  readonly #errors = new Set<unknown>();
  #cancelled = false;

  /** Starts a task. In a group that is cancelled it is cancelled at once. */
  createTask<T>(run: (signal: AbortSignal) => Promise<T>): Task<T> {
    const task = new Task(run);
    const ended = task.result.then(
      () => {
        this.#running.delete(task);
      },
      (error) => {
        this.#running.delete(task);
        if (isCancellation(error, task.signal)) return;
        this.#errors.add(error);
        this.cancel();
      },
    );
    this.#running.set(task, ended);
    if (this.#cancelled) task.cancel();
    return task;
  }

  /** Cancels all of them. */
  cancel(): void {
    this.#cancelled = true;
    for (const task of this.#running.keys()) task.cancel();
  }

  /** The end of Python's `async with`: waits for all tasks, and throws what failed; an AggregateError if that is more than one thing. */
  async wait(): Promise<void> {
    // Not once: a task may have started another.
    while (this.#running.size > 0) await Promise.all(this.#running.values());
    const [error, ...more] = this.#errors;
    if (more.length > 0) throw new AggregateError(this.#errors, `${more.length + 1} tasks failed`);
    if (error !== undefined) throw error;
  }
}

/** Whether the signal is behind this error: Python's `CancelledError`. Node's own functions throw an AbortError of their own. */
export function isCancellation(error: unknown, signal: AbortSignal): boolean {
  if (!signal.aborted) return false;
  return error === signal.reason || (error instanceof Error && error.name === 'AbortError');
}
