/** What the pool computes: arithmetic, as slow as one likes. Read pool.ts after. */

/** The largest N: some seconds of work. */
export const MAX_N = 10_000_000;

/** Counts the primes up to `n` by trying every divisor. There are better ways; this one keeps a core busy. */
export function countPrimes(n: number): number {
  let count = n < 2 ? 0 : 1;
  for (let candidate = 3; candidate <= n; candidate += 2) {
    let divisor = 3;
    while (divisor * divisor <= candidate && candidate % divisor !== 0) divisor += 2;
    if (divisor * divisor > candidate) count++;
  }
  return count;
}
