// What a thread of the pool can do. JavaScript, since a thread of Node 20 cannot start with a .ts
// file: tsx has to be registered in it first.
import { register } from 'tsx/esm/api';

register();
const { countPrimes } = await import('./primes.ts');

export const primes = countPrimes;
export const upperCase = (text) => text.toUpperCase();
