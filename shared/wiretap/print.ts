/** Shows a recording as a conversation, one arrow a line. */
import { styleText } from 'node:util';
import type { Entry } from './recording.ts';

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

/** The conversation as lines of text, without a line break at the end. */
export function format(entries: readonly Entry[], options: FormatOptions = {}): string {
  const { color = hasColor(), chunks = false, open = false } = options;
  const shown = entries.filter(({ event }) => open || event !== 'open');
  const rows = chunks ? shown : merge(shown);
  const left = rows.map(who);
  const width = Math.max(0, ...left.map((text) => text.length));
  const first = rows.find(({ event }) => event !== 'note')?.from;
  const paint = (entry: Entry, text: string) => {
    if (!color || entry.event === 'note') return text;
    if (['rst', 'refused', 'lost', 'stall'].includes(entry.event)) return styleText('red', text);
    return styleText(entry.from === first ? 'cyan' : 'magenta', text);
  };
  return rows
    .map((entry, row) => {
      const indent = ' '.repeat(width + 4);
      const [head = '', ...more] = what(entry);
      const lines = [`  ${paint(entry, (left[row] as string).padEnd(width))}  ${head}`];
      return [...lines, ...more.map((line) => indent + line)]
        .map((line) => line.trimEnd())
        .join('\n');
    })
    .join('\n');
}

function hasColor(): boolean {
  return process.stdout.isTTY === true && process.stdout.hasColors();
}

/** Bytes that follow one another in one direction of one connection become one entry. */
function merge(entries: readonly Entry[]): Entry[] {
  const merged: Entry[] = [];
  for (const entry of entries) {
    const last = merged.at(-1);
    if (
      entry.event === 'data' &&
      last?.event === 'data' &&
      last.connection === entry.connection &&
      last.from === entry.from &&
      last.to === entry.to
    ) {
      const bytes = Buffer.concat([last.bytes ?? Buffer.alloc(0), entry.bytes ?? Buffer.alloc(0)]);
      merged[merged.length - 1] = { ...last, bytes };
    } else merged.push(entry);
  }
  return merged;
}

function who({ event, from, to }: Entry): string {
  return event === 'note' ? from : `${from} ──▶ ${to}`;
}

function what({ event, bytes, detail = '' }: Entry): string[] {
  switch (event) {
    case 'data':
    case 'datagram':
      return show(bytes ?? Buffer.alloc(0));
    case 'lost':
    case 'duplicate':
    case 'reordered': {
      const [head = '', ...more] = show(bytes ?? Buffer.alloc(0));
      return [`${head}  (${event})`, ...more];
    }
    case 'fin':
    case 'rst':
      return [event.toUpperCase()];
    case 'note':
      return [detail];
    default:
      return [detail === '' ? event : `${event}: ${detail}`];
  }
}

function show(bytes: Buffer): string[] {
  const count = `${bytes.length.toLocaleString('en-US')} ${bytes.length === 1 ? 'byte' : 'bytes'}`;
  const text = printable(bytes);
  if (text !== undefined) {
    const characters = [...text];
    const more = characters.length - TEXT_LENGTH;
    if (more <= 0) return [bytes.length === 0 ? count : `${count}  ${JSON.stringify(text)}`];
    return [`${count}  ${JSON.stringify(characters.slice(0, TEXT_LENGTH).join(''))}…`];
  }
  const rows: string[] = [];
  for (let at = 0; at < bytes.length && rows.length < HEX_ROWS; at += HEX_ROW) {
    const row = bytes.subarray(at, at + HEX_ROW);
    const hex = [...row].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    const ascii = [...row].map((byte) =>
      byte > 31 && byte < 127 ? String.fromCharCode(byte) : '.',
    );
    rows.push(`${hex.padEnd(HEX_ROW * 3 - 1)}  ${ascii.join('')}`);
  }
  if (bytes.length > HEX_ROW * HEX_ROWS) rows.push('…');
  const [head = '', ...rest] = rows;
  return [`${count}  ${head}`, ...rest.map((row) => ' '.repeat(count.length + 2) + row)];
}

/** The bytes as text, unless they are not UTF-8 or would do something to a terminal. */
function printable(bytes: Buffer): string | undefined {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    return /[^\P{C}\n\r\t]/u.test(text) ? undefined : text;
  } catch {
    return undefined;
  }
}
