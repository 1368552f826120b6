// What a thread of the pool can do. JavaScript, since a thread of Node 20 cannot start with a .ts
// file: tsx has to be registered in it first.
import { createRequire } from 'node:module';
import { register } from 'tsx/cjs/api';

register();
const { countPrimes } = createRequire(import.meta.url)('./primes.ts');

export const primes = countPrimes;
export const upperCase = (text) => text.toUpperCase();
