/**
 * Python's `selectors` module: one object that is told which sockets matter, and waits until some
 * of them are ready. Read nonblocking.ts before; server.ts is what one builds with it.
 */
import { EventEmitter } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type FileObject, isReadable, isWritable, watch } from './nonblocking.ts';

/** Something to accept or to receive, an end, or an error. */
export const EVENT_READ: number = 1 << 0;
/** Room to send, or an error. */
export const EVENT_WRITE: number = 1 << 1;

/** What was registered. Python's has also `fd`, which Node tells of no socket. */
export interface SelectorKey<Data = unknown> {
  readonly fileobj: FileObject;
  /** What is waited for: EVENT_READ, EVENT_WRITE, or both with `|`. */
  readonly events: number;
  /** Whatever belongs to this socket: its buffers, a callback. */
  readonly data: Data | null;
}

export class KeyError extends Error {
  override name = 'KeyError';
}

export class ValueError extends Error {
  override name = 'ValueError';
}

/** The longest that a timer of Node's can wait, in milliseconds: 24.8 days. */
const LONGEST = 2 ** 31 - 1;

/**
 * Waits for many sockets at once. Level-triggered: what is ready is reported again and again until
 * the program has received, sent or accepted. (Tutorials 002 §1.2, 004 §5.2)
 */
export class DefaultSelector<Data = unknown> {
  readonly #keys = new Map<FileObject, SelectorKey<Data>>();
  readonly #unwatch = new Map<FileObject, () => void>();
  /** What may be ready, so that `select` need not look at 10,000 sockets for the sake of one. */
  readonly #candidates = new Set<FileObject>();
  /** Rings when there is a new candidate. */
  readonly #bell = new EventEmitter();
  #closed = false;

  /** Begins to watch. Throws a {@link KeyError} if it is registered already, a {@link ValueError} for events that cannot be. */
  register(fileobj: FileObject, events: number, data: Data | null = null): SelectorKey<Data> {
    this.#check('register');
    checkEvents('register', events);
    if (this.#keys.has(fileobj)) throw new KeyError('cannot register: it is registered already');
    const changed = () => this.#consider(fileobj);
    this.#unwatch.set(fileobj, watch(fileobj, changed));
    return this.#set({ fileobj, events, data });
  }

  /** Changes what is waited for, and the data: without `data` there is none afterwards, as in Python. Throws as `register` and `getKey` do. */
  modify(fileobj: FileObject, events: number, data: Data | null = null): SelectorKey<Data> {
    const key = this.#find('modify', fileobj);
    checkEvents('modify', events);
    return events === key.events && data === key.data ? key : this.#set({ fileobj, events, data });
  }

  /** Watches no longer. The socket stays open. Throws a {@link KeyError} if it is not registered. */
  unregister(fileobj: FileObject): SelectorKey<Data> {
    const key = this.#find('unregister', fileobj);
    this.#unwatch.get(fileobj)?.();
    this.#unwatch.delete(fileobj);
    this.#keys.delete(fileobj);
    this.#candidates.delete(fileobj);
    return key;
  }

  /**
   * Waits until something is ready, and returns that with what it is ready for. After `timeout`
   * seconds it returns nothing; 0 or less only looks, `null` (default) waits for ever. A `close`
   * in the meantime ends it, with nothing.
   */
  async select(timeout: number | null = null): Promise<[SelectorKey<Data>, number][]> {
    this.#check('select');
    let expired = timeout !== null && timeout <= 0;
    const expire = () => {
      expired = true;
      this.#bell.emit('ring');
    };
    // Node would take a longer time for 1 ms.
    const wait = Math.min(Math.ceil((timeout ?? 0) * 1000), LONGEST);
    const timer = wait > 0 ? setTimeout(expire, wait) : undefined;
    try {
      for (;;) {
        // Node finds out about its sockets between two turns of its loop: a program whose sockets
        // are always ready would never let it, and hear of nothing new.
        await nextTurn();
        const ready = this.#ready();
        if (ready.length > 0 || expired || this.#closed) return ready;
        await new Promise((resolve) => this.#bell.once('ring', resolve));
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** All keys by what was registered; `null` after `close`. */
  getMap(): ReadonlyMap<FileObject, SelectorKey<Data>> | null {
    return this.#closed ? null : this.#keys;
  }

  /** The key of one. Throws a {@link KeyError} if it is not registered. */
  getKey(fileobj: FileObject): SelectorKey<Data> {
    this.#check('get the key');
    return this.#find('get the key', fileobj);
  }

  /** Forgets all that was registered. The sockets stay open. */
  close(): void {
    for (const fileobj of this.#keys.keys()) this.unregister(fileobj);
    this.#closed = true;
    this.#bell.emit('ring');
  }

  /** For `using`, which stands for Python's `with`. */
  [Symbol.dispose](): void {
    this.close();
  }

  #check(what: string): void {
    if (this.#closed) throw new Error(`cannot ${what}: the selector is closed`);
  }

  #find(what: string, fileobj: FileObject): SelectorKey<Data> {
    const key = this.#keys.get(fileobj);
    if (key === undefined) throw new KeyError(`cannot ${what}: it is not registered`);
    return key;
  }

  #set(key: SelectorKey<Data>): SelectorKey<Data> {
    this.#keys.set(key.fileobj, key);
    this.#consider(key.fileobj); // it may be ready already, and then nothing would tell
    return key;
  }

  #consider(fileobj: FileObject): void {
    // An event that is under way reaches us even if somebody has unregistered the socket meanwhile.
    if (this.#keys.has(fileobj)) this.#candidates.add(fileobj);
    this.#bell.emit('ring');
  }

  #ready(): [SelectorKey<Data>, number][] {
    const ready: [SelectorKey<Data>, number][] = [];
    for (const fileobj of this.#candidates) {
      const key = this.#keys.get(fileobj) as SelectorKey<Data>;
      const events =
        (key.events & EVENT_READ && isReadable(fileobj) ? EVENT_READ : 0) |
        (key.events & EVENT_WRITE && isWritable(fileobj) ? EVENT_WRITE : 0);
      if (events !== 0) ready.push([key, events]);
      else this.#candidates.delete(fileobj);
    }
    return ready;
  }
}

function checkEvents(what: string, events: number): void {
  if (events === EVENT_READ || events === EVENT_WRITE) return;
  if (events === (EVENT_READ | EVENT_WRITE)) return;
  throw new ValueError(
    `cannot ${what}: events must be EVENT_READ, EVENT_WRITE or both, not ${events}`,
  );
}
