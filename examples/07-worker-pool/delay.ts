/**
 * How long the event loop keeps everybody waiting while it computes by itself, and while a pool
 * does it. Read server.ts before.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { integer, program } from '@shared/program';
import { createPool } from './pool.ts';
import { countPrimes, MAX_N } from './primes.ts';

/** How late the event loop was, in milliseconds. */
export interface Delay {
  mean: number;
  max: number;
}

/** Measures while `work` goes on. */
export async function measureDelay(work: () => unknown): Promise<Delay> {
  const resolution = 1;
  const histogram = monitorEventLoopDelay({ resolution });
  histogram.enable();
  // The first tick starts the clock, the last one sees what the work has cost.
  const tick = () => new Promise((resolve) => setTimeout(resolve, 10 * resolution));
  await tick();
  await work();
  await tick();
  histogram.disable();
  return { mean: histogram.mean / 1e6, max: histogram.max / 1e6 };
}

program(import.meta, {
  about: 'Shows how late the event loop is with and without the pool.',
  options: { n: integer(2_000_000, { min: 1, max: MAX_N }, 'counts the primes up to N') },
  async run({ n }, { signal }) {
    const pool = createPool({ taskTimeout: 60_000 });
    await pool.run('primes', 1, signal); // a thread is there
    const nothing = await measureDelay(() => new Promise((resolve) => setTimeout(resolve, 500)));
    const inPool = await measureDelay(() => pool.run('primes', n, signal));
    const inLoop = await measureDelay(() => countPrimes(n));
    await pool.destroy();
    const rows = { 'nothing to do': nothing, 'in the pool': inPool, 'in the event loop': inLoop };
    for (const [name, { mean, max }] of Object.entries(rows)) {
      const [average, worst] = [mean, max].map((ms) => `${ms.toFixed(1).padStart(8)} ms`);
      console.log(`${name.padEnd(18)}late by ${average} on average, ${worst} at most`);
    }
  },
});
