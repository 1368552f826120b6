/**
 * A progress bar that is drawn over itself, in a terminal and nowhere else. Beside download.ts.
 */
import { ClientPayloadError } from './errors.ts';

/** What `process.stderr` is. */
export interface Terminal {
  isTTY?: boolean;
  columns?: number;
  write(text: string): unknown;
}

export interface ProgressOptions {
  /** How many bytes there will be. Default: that is not known. */
  total?: number | undefined;
  /** Passes on no more than so many bytes. */
  maxSize: number;
  terminal: Terminal;
}

/** Milliseconds from one drawing to the next: a terminal is slower than a network. */
const PAUSE = 100;

/** Passes on the chunks, and draws how many bytes there have been. Throws a {@link ClientPayloadError} if there are too many. */
export async function* withProgress(
  chunks: AsyncIterable<Uint8Array>,
  { total, maxSize, terminal }: ProgressOptions,
): AsyncGenerator<Uint8Array> {
  const start = performance.now();
  let received = 0;
  let drawn = -Infinity;
  const draw = () => {
    // In a file or a pipe every bar would be there, one behind the other.
    if (terminal.isTTY !== true) return;
    drawn = performance.now();
    const bar = formatBar(received, total, drawn - start, terminal.columns);
    terminal.write(`\r${bar}`);
  };
  try {
    for await (const chunk of chunks) {
      received += chunk.length;
      if (received > maxSize) {
        const text = `${received.toLocaleString('en-US')} bytes, the limit is ${maxSize.toLocaleString('en-US')}`;
        throw new ClientPayloadError(`cannot download: ${text}`);
      }
      if (performance.now() - drawn >= PAUSE) draw();
      yield chunk;
    }
    draw();
  } finally {
    // The next line, an error perhaps, must not stand behind the bar.
    if (drawn > 0 && terminal.isTTY) terminal.write('\n');
  }
}

/** One line of the same width each time, so that nothing of the last one shows behind it. */
export function formatBar(
  received: number,
  total: number | undefined,
  ms: number,
  columns = 80,
): string {
  const rate = `${mebibytes((received / Math.max(ms, 1)) * 1000)}/s`.padStart(12);
  // The last column stays free: there some terminals begin a new line.
  const width = Math.min(columns || 80, 80) - 1;
  if (total === undefined) return `${mebibytes(received)}${rate}`.padEnd(width).slice(0, width);
  const share = total === 0 ? 1 : Math.min(received / total, 1);
  const percent = `${Math.floor(share * 100)} %`.padStart(6);
  const right = `${percent}  ${mebibytes(received)} of ${mebibytes(total)}${rate}`;
  const room = width - right.length - 2;
  if (room < 5) return right.padEnd(width).slice(0, width);
  return `[${'#'.repeat(Math.floor(share * room)).padEnd(room)}]${right}`;
}

function mebibytes(bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}
