/**
 * Numbers from 0 to 1 that are the same every time for one seed (mulberry32). Each stream of a
 * seed has numbers of its own, so that what happens on one connection changes nothing on another.
 */
export function random(seed: number, stream: number): () => number {
  let state = (Math.imul(seed, 0x9e3779b1) + stream) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
