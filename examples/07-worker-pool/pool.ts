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
  const pool = new Piscina({
    filename: new URL('tasks.mjs', import.meta.url).href,
    minThreads: 0,
    maxThreads: threads,
    // Not ours: tasks.mjs registers tsx itself, and a thread that loads it twice starts late.
    execArgv: [],
    // To start a thread takes longer than most tasks do.
    idleTimeout: 60_000,
  });
  return {
    async run(task, argument, signal) {
      // Without this the tasks of impatient clients pile up, and each waits for all before it.
      if (pool.queueSize >= maxQueue) {
        throw new TaskError(`busy: ${maxQueue} tasks are waiting, try again later`);
      }
      // Nothing stops a loop but the end of its thread: the pool ends it, and starts another.
      const tooLong = AbortSignal.timeout(taskTimeout);
      try {
        return await pool.run(argument, { name: task, signal: AbortSignal.any([signal, tooLong]) });
      } catch (error) {
        if (!tooLong.aborted) throw error;
        throw new TaskError(`${task} took longer than ${taskTimeout / 1000} s`);
      }
    },
    destroy: () => pool.destroy(),
  };
}
