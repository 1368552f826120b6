/**
 * A tap on TCP: listens on a port of its own, connects every client to the real server, and passes
 * on what each side does: bytes in the same chunks, half-close, reset, and a reader that is slow.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { random } from './random.ts';
import { Recording } from './recording.ts';

/** A tap that stands. `await using` closes it. */
export interface Tap extends AsyncDisposable {
  /** The port on 127.0.0.1 that clients use instead of the server's. */
  readonly port: number;
  readonly recording: Recording;
  /** Cuts off what still runs through the tap, and frees the port. */
  close(): Promise<void>;
}

/** What the network does wrong, the same way every time for one seed. Without options: nothing. */
export interface TcpFaults {
  /** Chooses among the ways to do it. Default 1. */
  seed?: number;
  /** In which direction. Default both. */
  towards?: 'server' | 'client';
  /** Passes the stream on in pieces of 1 to so many bytes. */
  split?: number;
  /** Holds bytes back until so many can be passed on at once, the sender ends, or is silent for 50 ms. */
  glue?: number;
  /** Passes bytes on so many milliseconds late. */
  delay?: number;
  /** Passes on no more than so many bytes a second. */
  bandwidth?: number;
  /** Passes on nothing behind so many bytes, no end and no reset either: a pulled cable. */
  stall?: number;
  /** Resets both sides behind so many bytes. */
  reset?: number;
}

export interface TapOptions {
  /** Where the real server listens. The host is 127.0.0.1 by default. */
  host?: string;
  port: number;
  recording?: Recording;
  /** What the ends are called. Default `client` and `server`; a function gives each connection's client its own name. */
  client?: string | ((connection: number) => string);
  server?: string;
  faults?: TcpFaults;
}

/** Bytes under way in one direction of a delayed connection. Without a delay a single chunk is. */
const WINDOW = 1024 * 1024;
const GLUE_SILENCE = 50;

/** Puts a tap in front of a server. */
export async function tapTcp(options: TapOptions): Promise<Tap> {
  const { host = '127.0.0.1', port, client = 'client', server = 'server', faults = {} } = options;
  const recording = options.recording ?? new Recording();
  const sockets = new Set<Socket>();
  const listener = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true });
  let connections = 0;

  listener.on('connection', (near) => {
    const connection = ++connections;
    const name = typeof client === 'string' ? client : client(connection);
    const far = connect({ host, port, allowHalfOpen: true, noDelay: true });
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
    }
    let over = false;
    const reset = (from: string, to: string) => {
      if (over || !listener.listening) return;
      over = true;
      recording.add({ event: 'rst', from, to, connection });
      near.resetAndDestroy();
      far.resetAndDestroy();
    };
    near.on('error', () => {}); // 'close' follows, and says the same
    far.on('error', (error: NodeJS.ErrnoException) => {
      if (!far.connecting) return;
      over = true;
      const detail = error.code ?? error.message;
      recording.add({ event: 'refused', from: name, to: server, connection, detail });
      near.resetAndDestroy();
    });
    far.once('connect', () => {
      recording.add({ event: 'open', from: name, to: server, connection });
      if (near.destroyed) return reset(name, server);
      const lane = (from: Socket, to: Socket, names: [string, string], seed: number) => {
        const here = names[1] === server ? 'server' : 'client';
        const spoilt = (faults.towards ?? here) === here;
        new Lane(from, to, spoilt ? faults : {}, seed, {
          data: (bytes) => record('data', names, bytes),
          fin: () => record('fin', names),
          stall: () => record('stall', names),
          gone: () => reset(...names),
          reset: () => reset('network', 'both'),
        });
      };
      const record = (event: 'data' | 'fin' | 'stall', [from, to]: string[], bytes?: Buffer) => {
        if (over) return;
        recording.add({
          event,
          from: from as string,
          to: to as string,
          connection,
          ...(bytes && { bytes }),
        });
      };
      const seed = (faults.seed ?? 1) + connection * 2;
      lane(near, far, [name, server], seed);
      lane(far, near, [server, name], seed + 1);
    });
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');

  const close = async () => {
    if (!listener.listening) return;
    const closed = once(listener, 'close');
    listener.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  return {
    port: (listener.address() as AddressInfo).port,
    recording,
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** What a lane tells of what it passes on. */
interface LaneEvents {
  data(bytes: Buffer): void;
  fin(): void;
  stall(): void;
  /** The sender vanished without a FIN. */
  gone(): void;
  /** The network is to reset the connection now. */
  reset(): void;
}

/** One direction of one connection. */
class Lane {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #faults: TcpFaults;
  readonly #events: LaneEvents;
  readonly #random: () => number;
  /** What is under way: chunks and, as `null`, the FIN, each with the time when it is due. */
  readonly #queue: { chunk: Buffer | null; due: number }[] = [];
  #queued = 0;
  #passed = 0;
  #running = false;
  #held: Buffer[] = [];
  #silence: NodeJS.Timeout | undefined;

  constructor(from: Socket, to: Socket, faults: TcpFaults, seed: number, events: LaneEvents) {
    this.#from = from;
    this.#to = to;
    this.#faults = faults;
    this.#events = events;
    this.#random = random(seed);
    from.on('data', (chunk: Buffer) => this.#arrive(chunk));
    from.on('end', () => this.#arrive(null));
    from.on('close', () => {
      clearTimeout(this.#silence);
      // An error with the end already read: the peer refused what was written to it.
      if ((!from.readableEnded || from.errored !== null) && !this.#stalled) events.gone();
    });
    from.resume();
  }

  #arrive(chunk: Buffer | null): void {
    const { glue } = this.#faults;
    if (glue === undefined) {
      this.#enqueue(chunk);
      return;
    }
    clearTimeout(this.#silence);
    if (chunk !== null) this.#held.push(chunk);
    const held = Buffer.concat(this.#held);
    const whole = held.length - (held.length % glue);
    for (let at = 0; at < whole; at += glue) this.#enqueue(held.subarray(at, at + glue));
    this.#held = [held.subarray(whole)];
    if (chunk === null) {
      this.#flush();
      this.#enqueue(null);
    } else this.#silence = setTimeout(() => this.#flush(), GLUE_SILENCE);
  }

  #flush(): void {
    const held = Buffer.concat(this.#held.splice(0));
    if (held.length > 0) this.#enqueue(held);
  }

  #enqueue(chunk: Buffer | null): void {
    const delay = this.#faults.delay ?? 0;
    this.#queue.push({ chunk, due: performance.now() + delay });
    this.#queued += chunk?.length ?? 0;
    // What the receiver has not taken yet holds the sender back, as it would without the tap.
    if (this.#queued > (delay > 0 ? WINDOW : 0)) this.#from.pause();
    if (!this.#running) void this.#run();
  }

  async #run(): Promise<void> {
    this.#running = true;
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      const { chunk, due } = next;
      const early = due - performance.now();
      if (early > 0) await sleep(early, undefined, { ref: false });
      if (chunk === null) {
        if (this.#stalled) return;
        this.#events.fin();
        this.#to.end();
      } else {
        for (const piece of this.#pieces(chunk)) {
          if (this.#stalled) {
            this.#events.stall();
            return;
          }
          const wait = this.#pass(piece);
          if (wait !== undefined) await wait;
          if (this.#to.destroyed) return;
        }
        this.#queued -= chunk.length;
      }
      if (this.#queued === 0) this.#from.resume();
    }
    this.#running = false;
  }

  get #stalled(): boolean {
    return this.#passed >= (this.#faults.stall ?? Infinity);
  }

  *#pieces(chunk: Buffer): Generator<Buffer> {
    const { split, stall = Infinity, reset = Infinity } = this.#faults;
    let at = 0;
    while (at < chunk.length) {
      const longest = split === undefined ? chunk.length : 1 + Math.floor(this.#random() * split);
      const fault = Math.min(stall, reset) - this.#passed;
      const end = Math.min(chunk.length, at + longest, fault > 0 ? at + fault : Infinity);
      yield chunk.subarray(at, end);
      at = end;
    }
  }

  /** Passes a piece on; the promise, if there is one, is fulfilled when the next may follow. */
  #pass(piece: Buffer): Promise<unknown> | undefined {
    const { split, bandwidth, reset } = this.#faults;
    this.#passed += piece.length;
    this.#events.data(piece);
    const to = this.#to;
    if (this.#passed === reset) {
      to.write(piece, () => this.#events.reset());
      return once(to, 'close');
    }
    if (bandwidth !== undefined) {
      to.write(piece);
      return sleep((piece.length / bandwidth) * 1000, undefined, { ref: false });
    }
    // A turn of the event loop between two pieces lets a receiver in this process see them apart.
    if (split !== undefined) {
      return new Promise((resolve) => {
        to.once('close', resolve);
        to.write(piece, () => {
          to.off('close', resolve);
          setImmediate(resolve);
        });
      });
    }
    if (to.write(piece)) return undefined;
    return new Promise<void>((resolve) => {
      const done = () => {
        to.off('drain', done).off('close', done);
        resolve();
      };
      to.on('drain', done).on('close', done);
    });
  }
}
