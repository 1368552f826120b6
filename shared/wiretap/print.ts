/** Shows a recording as a conversation, one arrow a line. */
import { styleText } from 'node:util';
import type { Entry, Event } from './recording.ts';

export interface FormatOptions {
  /** Whether to use colours. Default: if the standard output is a terminal that has them, and NO_COLOR is not set. */
  color?: boolean;
  /** Whether every chunk has its own arrow. Default: bytes that follow one another in one direction are one arrow. */
  chunks?: boolean;
  /** Whether to show where connections were established. Default: no. */
  open?: boolean;
}

/** How many bytes of one arrow are shown: as text, and as rows of hex. */
const TEXT_LENGTH = 44;
const HEX_ROW = 8;
const HEX_ROWS = 8;
const TROUBLE = new Set<Event>(['rst', 'refused', 'lost', 'stall']);
/** What must not reach a terminal: controls, also invisible ones, but for the joiner inside emoji. */
const UNPRINTABLE = /[^\P{C}\u200d]/gu;

/** The conversation as lines of text, without a line break at the end. */
export function format(entries: readonly Entry[], options: FormatOptions = {}): string {
  const { color = hasColor(), chunks = false, open = false } = options;
  const shown = entries.filter(({ event }) => open || event !== 'open');
  const rows = chunks ? shown : merge(shown);
  const width = Math.max(0, ...rows.map((entry) => who(entry).length));
  const indent = ' '.repeat(width + 4);
  const first = rows.find(({ event }) => event !== 'note')?.from;
  const paint = (entry: Entry, text: string) => {
    if (!color || entry.event === 'note') return text;
    const party = entry.from === first ? 'cyan' : 'magenta';
    const style = TROUBLE.has(entry.event) ? 'red' : party;
    // Unasked, it would look itself whether the standard output is a terminal.
    return styleText(style, text, { validateStream: false });
  };
  return rows
    .flatMap((entry) => {
      const [head = '', ...more] = what(entry);
      const left = paint(entry, who(entry).padEnd(width));
      return [`  ${left}  ${head}`, ...more.map((line) => indent + line)];
    })
    .map((line) => line.trimEnd())
    .join('\n');
}

function hasColor(): boolean {
  return process.stdout.isTTY === true && process.stdout.hasColors();
}

/** Bytes that follow one another in one direction of one connection become one entry. */
function merge(entries: readonly Entry[]): Entry[] {
  const runs: Entry[][] = [];
  for (const entry of entries) {
    const run = runs.at(-1);
    if (run?.[0] !== undefined && continues(run[0], entry)) run.push(entry);
    else runs.push([entry]);
  }
  return runs.map(([first, ...more]) => {
    if (first === undefined || more.length === 0) return first as Entry;
    return { ...first, bytes: Buffer.concat([first, ...more].map(bytesOf)) };
  });
}

function continues(last: Entry, { event, connection, from, to }: Entry): boolean {
  return (
    event === 'data' &&
    last.event === 'data' &&
    last.connection === connection &&
    last.from === from &&
    last.to === to
  );
}

function bytesOf({ bytes = Buffer.alloc(0) }: Entry): Buffer {
  return bytes;
}

function who({ event, from, to }: Entry): string {
  return event === 'note' ? tame(from) : `${tame(from)} ──▶ ${tame(to)}`;
}

function what(entry: Entry): string[] {
  const { event, detail = '' } = entry;
  switch (event) {
    case 'data':
    case 'datagram':
      return show(bytesOf(entry));
    case 'lost':
    case 'duplicate':
    case 'reordered': {
      const [head = '', ...more] = show(bytesOf(entry));
      return [`${head}  (${event})`, ...more];
    }
    case 'fin':
    case 'rst':
      return [event.toUpperCase()];
    case 'note':
      return [tame(detail)];
    default:
      return [detail === '' ? event : `${event}: ${tame(detail)}`];
  }
}

function show(bytes: Buffer): string[] {
  const count = `${bytes.length.toLocaleString('en-US')} ${bytes.length === 1 ? 'byte' : 'bytes'}`;
  if (bytes.length === 0) return [count];
  const text = printable(bytes);
  if (text !== undefined) {
    const characters = [...text.slice(0, 4 * TEXT_LENGTH)];
    const quoted = JSON.stringify(characters.slice(0, TEXT_LENGTH).join(''));
    return [`${count}  ${quoted}${characters.length > TEXT_LENGTH ? '…' : ''}`];
  }
  const rows: string[] = [];
  for (let at = 0; at < bytes.length && rows.length < HEX_ROWS; at += HEX_ROW) {
    const row = bytes.subarray(at, at + HEX_ROW);
    const hex = [...row].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    const ascii = row.toString('latin1').replace(/[^ -~]/g, '.');
    rows.push(`${hex.padEnd(HEX_ROW * 3 - 1)}  ${ascii}`);
  }
  if (bytes.length > HEX_ROW * HEX_ROWS) rows.push('…');
  const [head = '', ...rest] = rows;
  return [`${count}  ${head}`, ...rest.map((row) => ' '.repeat(count.length + 2) + row)];
}

/** The bytes as text, unless they are not UTF-8 or would do something to a terminal. */
function printable(bytes: Buffer): string | undefined {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    // JSON.stringify makes \n, \r and \t of these three.
    return text.replace(/[\n\r\t]/g, '').search(UNPRINTABLE) < 0 ? text : undefined;
  } catch {
    return undefined;
  }
}

/** Names and notes may quote what a peer sent. */
function tame(text: string): string {
  return text.replace(UNPRINTABLE, (control) => {
    const code = control.codePointAt(0) as number;
    return `\\u{${code.toString(16)}}`;
  });
}
