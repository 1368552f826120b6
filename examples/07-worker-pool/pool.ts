/**
 * A pool of threads with the two limits that it needs: how many tasks may wait, and how long one
 * may take. Python's ThreadPoolExecutor has neither. Read primes.ts before.
 */
import { availableParallelism } from 'node:os';
import { Piscina } from 'piscina';

export interface PoolOptions {
  /** How many threads compute. Default: as many as there are cores. */
  threads?: number;
  /** How many tasks may wait for a thread; one more is refused. Default 100. */
  maxQueue?: number;
  /** How long a task may take, waiting included, in milliseconds. Default 10,000. */
  taskTimeout?: number;
  /** Where a line about each thread that fails goes. Default: nowhere. */
  log?: (line: string) => void;
}

/** A task that was not done. Its text is for the client. */
export class TaskError extends Error {
  override name = 'TaskError';
}

export interface Pool {
  /**
   * Runs one of the tasks in tasks.mjs. Rejects with a {@link TaskError} if too many wait or it
   * takes too long, with what the task throws, and with an AbortError once `signal` is aborted.
   */
  run<T>(task: 'primes' | 'upperCase', argument: unknown, signal: AbortSignal): Promise<T>;
  /** Ends the threads, and whatever they are doing. */
  destroy(): Promise<void>;
}

/** Starts no thread before there is a task. (Tutorial 003 §05) */
export function createPool(options: PoolOptions = {}): Pool {
  const { threads = availableParallelism(), maxQueue = 100, taskTimeout = 10_000 } = options;
  const { log = () => {} } = options;
  let pool: Piscina | undefined;
  const start = () => {
    const started = new Piscina({
      filename: new URL('tasks.mjs', import.meta.url).href,
      // All of them, always: with a lower minimum no thread follows one that was ended, and the
      // tasks in the queue wait for it.
      minThreads: threads,
      maxThreads: threads,
      // Not ours: tasks.mjs registers tsx itself.
      execArgv: [],
    });
    // Without a listener a thread that fails while it has no task would end the process.
    started.on('error', (error) => log(`a thread failed: ${error.message}`));
    return started;
  };
  return {
    async run(task, argument, signal) {
      pool ??= start();
      // Without this the tasks of impatient clients pile up, and each waits for all before it.
      if (pool.queueSize >= maxQueue) {
        throw new TaskError(`busy: the queue is full (${maxQueue}), try again later`);
      }
      // Nothing stops a loop but the end of its thread: the pool ends it, and starts another. Not
      // AbortSignal.any() and timeout(), which cost more than the way to the thread and back.
      const stop = new AbortController();
      const abort = () => stop.abort();
      let late = false;
      const timer = setTimeout(() => {
        late = true;
        abort();
      }, taskTimeout);
      signal.addEventListener('abort', abort);
      if (signal.aborted) abort();
      try {
        return await pool.run(argument, { name: task, signal: stop.signal });
      } catch (error) {
        if (!late) throw error;
        throw new TaskError(`${task} took longer than ${taskTimeout / 1000} s`);
      } finally {
        clearTimeout(timer);
        signal.removeEventListener('abort', abort);
      }
    },
    destroy: async () => pool?.destroy(),
  };
}
