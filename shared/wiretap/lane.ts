/** One direction of one TCP connection: passes on what the sender does, and spoils it on purpose. */
import type { Socket } from 'node:net';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';

/** What the network does wrong, the same way every time for one seed. Without options: nothing. */
export interface TcpFaults {
  /** Chooses among the ways to do it. Default 1. */
  seed?: number;
  /** In which direction. Default both. */
  towards?: 'server' | 'client';
  /** Passes the stream on in pieces of 1 to so many bytes. */
  split?: number;
  /** Holds bytes back until so many (at most 1 MiB) can be passed on at once, the sender ends, or is silent for 50 ms. */
  glue?: number;
  /** Passes everything on so many milliseconds late. */
  delay?: number;
  /** Passes on no more than so many bytes a second. */
  bandwidth?: number;
  /** Passes on nothing behind so many bytes, no end and no reset either: a pulled cable. */
  stall?: number;
  /** Resets both sides behind so many bytes. */
  reset?: number;
}

/** What a lane tells of itself. */
export interface LaneEvents {
  /** It passes this on, or has stalled. */
  record(event: 'data' | 'fin' | 'stall', bytes?: Buffer): void;
  /** The connection is to be torn down: the sender has gone without a FIN, or the network wants it. */
  reset(by: 'sender' | 'network'): void;
}

/** What goes through a lane. */
type Packet = Buffer | 'fin' | 'rst';
type Take = (packet: Packet) => void;

/** How many bytes a lane that holds bytes back holds at most. Any other has a single chunk. */
const WINDOW = 1024 * 1024;
const GLUE_SILENCE = 50;

/** Starts to pass on what `from` does. Among the ways to do it `chance` chooses. */
export function openLane(
  from: Socket,
  to: Socket,
  faults: TcpFaults,
  chance: () => number,
  events: LaneEvents,
): void {
  const { glue, delay } = faults;
  const window = glue === undefined && delay === undefined ? 0 : WINDOW;
  let waiting = 0;
  const passed = (bytes: number) => {
    waiting -= bytes;
    if (waiting <= window) from.resume();
  };
  let take = passOn(to, faults, chance, events, passed);
  if (delay !== undefined) take = delayed(delay, take);
  if (glue !== undefined) take = glued(Math.min(glue, WINDOW), take);

  from.on('data', (chunk: Buffer) => {
    waiting += chunk.length;
    // What the receiver has not taken yet holds the sender back, as it would without the tap.
    if (waiting > window) from.pause();
    take(chunk);
  });
  from.on('end', () => {
    // Bytes and a reset that come together reach Node as bytes and an end (libuv does that). To
    // write nothing fails where it was a reset; behind other bytes it would have to wait for them.
    if (!from.writable || from.writableLength > 0) take('fin');
    else from.write('', (error) => error ?? take('fin'));
  });
  from.on('close', () => {
    // After its end, too: the peer has refused what was written to it.
    if (from.errored !== null) take('rst');
  });
  from.resume();
}

/** Holds bytes back until there are `size`, or no more come. */
function glued(size: number, next: Take): Take {
  let held: Buffer[] = [];
  let length = 0;
  let silence: NodeJS.Timeout | undefined;
  const flush = () => {
    if (length > 0) next(Buffer.concat(held));
    held = [];
    length = 0;
  };
  return (packet) => {
    clearTimeout(silence);
    if (typeof packet === 'string') {
      flush();
      next(packet);
      return;
    }
    held.push(packet);
    length += packet.length;
    if (length >= size) {
      let rest = Buffer.concat(held);
      for (; rest.length >= size; rest = rest.subarray(size)) next(rest.subarray(0, size));
      held = [rest];
      length = rest.length;
    }
    silence = setTimeout(flush, GLUE_SILENCE).unref();
  };
}

/** Timers of one length fire in the order in which they were set, so that nothing overtakes. */
function delayed(ms: number, next: Take): Take {
  return (packet) => setTimeout(next, ms, packet).unref();
}

/** Passes one packet on after the other; `passed` hears when the receiver has taken one. */
function passOn(
  to: Socket,
  faults: TcpFaults,
  chance: () => number,
  { record, reset }: LaneEvents,
  passed: (bytes: number) => void,
): Take {
  const { split, bandwidth = Infinity } = faults;
  const stallAt = faults.stall ?? Infinity;
  const resetAt = faults.reset ?? Infinity;
  // A slow wire brings a twentieth of a second's bytes at a time, not a chunk at once and then a pause.
  const burst = Math.max(1, Math.floor(bandwidth / 20));
  let offset = 0;
  let cut = split === undefined ? Infinity : 0;
  let stalled = false;

  const stalls = () => {
    if (offset >= stallAt && !stalled) record('stall');
    stalled ||= offset >= stallAt;
    return stalled;
  };

  const passBytes = async (chunk: Buffer) => {
    let rest = chunk;
    while (rest.length > 0) {
      if (to.destroyed || stalls()) return;
      // Places in the stream, not in the chunk: they do not depend on how the bytes happen to arrive.
      if (offset === cut) cut += 1 + Math.floor(chance() * (split as number));
      const slow = bandwidth === Infinity ? Infinity : offset + burst - (offset % burst);
      const piece = rest.subarray(0, Math.min(cut, slow, stallAt, resetAt) - offset);
      rest = rest.subarray(piece.length);
      offset += piece.length;
      record('data', piece);
      await new Promise((written) => to.write(piece, written));
      if (offset === cut || offset === resetAt) await untilRead();
      if (offset === resetAt) {
        reset('network');
        return;
      }
      if (bandwidth !== Infinity) {
        const ms = Math.ceil((piece.length / bandwidth) * 1000);
        await sleep(ms, undefined, { ref: false });
      }
    }
    passed(chunk.length);
  };

  const passEnd = () => {
    if (stalls()) return;
    record('fin');
    to.end();
  };

  let last = Promise.resolve();
  if (resetAt === 0) reset('network');
  return (packet) => {
    if (packet !== 'rst') {
      last = last.then(() => (packet === 'fin' ? passEnd() : passBytes(packet)));
      return;
    }
    // Not behind the bytes that the receiver does not take, or it would never hear of the reset.
    void untilRead().then(() => {
      if (!stalls()) reset('sender');
    });
  };
}

/**
 * A receiver in this process has read what was written after two turns of the event loop. Sooner,
 * it would get the bytes together with what follows them.
 */
async function untilRead(): Promise<void> {
  await nextTurn();
  await nextTurn();
}
