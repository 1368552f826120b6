/**
 * What the thread of one connection runs: lines of the client to the room, lines of the room to the
 * client. It shares no variable with the other threads, only the room's channel. Read server.ts before.
 */
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { DelimiterDecoder, FramingError } from '@shared/framing';
import { threadSocket } from './thread-socket.ts';

/** What the main thread gives a connection; server.ts explains the limits. */
export interface ConnectionData {
  /** The name of the room's channel. */
  room: string;
  /** What the client is called until it chooses a name. */
  name: string;
  maxLength: number;
  rate: number;
  maxQueue: number;
  maxWaiting: number;
}

/** What a connection wants of the main thread, which alone knows all names. `nick` and `who` are answered. */
export type Request =
  | { type: 'join' }
  | { type: 'nick'; name: string }
  | { type: 'who' }
  | { type: 'drop'; why: string };

/** A line for the client, and the client's new name if it has one. */
export interface Reply {
  line?: string;
  name?: string;
}

/** Controls (C0, C1, escape), and what turns the direction of text or hides in it, but for the two joiners. */
const UNPRINTABLE = /[\p{Cc}\p{Zl}\p{Zp}]|[^\P{Cf}\u200c\u200d]/gu;

const data: ConnectionData & { port: MessagePort } = workerData;
const main = parentPort as MessagePort;
const socket = threadSocket(data.port);
const room = new BroadcastChannel(data.room);
const lines = new Readable({ objectMode: true, highWaterMark: data.maxQueue, read() {} });
let name = data.name;
let due = 0;

room.onmessage = (event) => show((event as MessageEvent).data);
show('/nick NAME, /who, or exit');
request({ type: 'join' });
read();
void talk();

function show(line: string): void {
  if (!socket.writable) return; // the room's last lines may come after our end
  socket.write(`${line}\n`);
  // The room does not wait for this client: what it does not read would fill the memory.
  if (socket.writableLength > data.maxWaiting) drop('does not read');
}

/** Reads always, so that a client that is gone is noticed at once; hence the limit on what waits. */
function read(): void {
  const decoder = new DelimiterDecoder({ maxLength: data.maxLength });
  socket.on('end', () => lines.push(null));
  socket.on('data', (chunk: Buffer) => {
    try {
      for (const line of decoder.push(chunk)) {
        if (!lines.push(line.toString())) return drop('sends too fast');
      }
    } catch (error) {
      if (!(error instanceof FramingError)) throw error;
      drop(error.message);
    }
  });
}

/** One line after the other: each waits until the one before is done. */
async function talk(): Promise<void> {
  for await (const line of lines) {
    await pace();
    const text = line.replace(/\r$/, '').replaceAll('\t', ' ').replace(UNPRINTABLE, '\ufffd');
    const [, command = '', rest = ''] = text.match(/^(\S*) *(.*?) *$/) ?? [];
    if (text.trim().toLowerCase() === 'exit') break;
    if (command === '/nick') await ask({ type: 'nick', name: rest });
    else if (command === '/who') await ask({ type: 'who' });
    else if (command.startsWith('/')) show(`error: unknown command ${command}`);
    else if (text.trim() !== '') room.postMessage(`${name}: ${text}`);
  }
  show('Goodbye!');
  socket.end();
}

/** Lets `rate` lines a second pass, and as many at once after a silence. */
async function pace(): Promise<void> {
  const now = performance.now();
  due = Math.max(due, now - 1000) + 1000 / data.rate;
  if (due > now) await sleep(due - now);
}

function drop(why: string): void {
  socket.pause();
  request({ type: 'drop', why });
}

function request(message: Request): void {
  main.postMessage(message);
}

async function ask(message: Request): Promise<void> {
  const answered = new Promise<Reply>((resolve) => main.once('message', resolve));
  request(message);
  const reply = await answered;
  name = reply.name ?? name;
  if (reply.line !== undefined) show(reply.line);
}
