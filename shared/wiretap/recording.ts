/**
 * What happened between two ends of a wire, as plain data:
 *
 * - `note`: somebody said something about itself (`detail`); nothing crossed the wire
 * - `open`: a connection was established; `refused`: it could not be
 * - `data`: bytes of a stream as they were passed on; `datagram`: one datagram
 * - `fin`: no more bytes in this direction; `rst`: the connection was torn down
 * - `lost`, `duplicate`, `reordered`: what the network did to a datagram on purpose
 * - `stall`: from here on nothing passes in this direction
 */
export type Event =
  | 'note'
  | 'open'
  | 'refused'
  | 'data'
  | 'fin'
  | 'rst'
  | 'datagram'
  | 'lost'
  | 'duplicate'
  | 'reordered'
  | 'stall';

/** One thing that happened. */
export interface Entry {
  /** Milliseconds since the recording began. */
  at: number;
  event: Event;
  /** Who did it, and towards whom; both the same for a `note`. */
  from: string;
  to: string;
  /** Which connection of its tap this belongs to, from 1; 0 for a `note`. */
  connection: number;
  /** The bytes of `data` and of datagrams. */
  bytes?: Buffer;
  /** The text of a `note`, the reason of `refused`. */
  detail?: string;
}

/** Entries in the order in which they happened. Several taps can share one. */
export class Recording {
  readonly entries: Entry[] = [];
  readonly #start = performance.now();

  add(entry: Omit<Entry, 'at'>): void {
    this.entries.push({ at: performance.now() - this.#start, ...entry });
  }

  /** Lets somebody say something between the arrows: `server  listening`. */
  note(who: string, detail: string): void {
    this.add({ event: 'note', from: who, to: who, connection: 0, detail });
  }

  /** Takes the entries so far out of the recording, to print them act by act. */
  take(): Entry[] {
    return this.entries.splice(0);
  }
}
