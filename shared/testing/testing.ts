/** What the tests of the examples need: real sockets, every way to cut a stream, real programs. */
export { cuts, type NamedCut, sendPieces } from './cuts.ts';
export { type Running, run, testServer, testUsage } from './programs.ts';
export { testReadme } from './readme.ts';
export {
  bind,
  dial,
  listen,
  noSilence,
  readAll,
  readBytes,
  reset,
  silentPort,
  until,
} from './sockets.ts';
