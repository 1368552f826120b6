/** The bytes that have arrived and are not read yet, for stream-reader.ts: a queue that copies little. */

const NOTHING = Buffer.alloc(0);

export class Bytes {
  #block: Buffer = NOTHING;
  #start = 0;
  #end = 0;

  get length(): number {
    return this.#end - this.#start;
  }

  append(chunk: Buffer): void {
    const { length } = this;
    if (length === 0) {
      this.#block = chunk;
      this.#start = 0;
      this.#end = chunk.length;
      return;
    }
    if (this.#end + chunk.length > this.#block.length) {
      // Twice as large as needed: a peer that sends single bytes would have all of them copied for
      // each one, Buffer.concat's quadratic cost.
      const block = Buffer.allocUnsafeSlow(2 * (length + chunk.length));
      this.#block.copy(block, 0, this.#start, this.#end);
      this.#block = block;
      this.#start = 0;
      this.#end = length;
    }
    this.#end += chunk.copy(this.#block, this.#end);
  }

  /** The first `length` bytes, as a view: nothing is ever written where it points to. */
  take(length: number): Buffer {
    const taken = this.#block.subarray(this.#start, this.#start + length);
    this.#start += length;
    // An idle connection keeps no block.
    if (this.length === 0) {
      this.#block = NOTHING;
      this.#start = 0;
      this.#end = 0;
    }
    return taken;
  }

  /** Where `bytes` begin, if that is at `from` or behind it; -1 if nowhere. */
  indexOf(bytes: Buffer, from: number): number {
    return this.#block.subarray(this.#start, this.#end).indexOf(bytes, from);
  }
}
