/**
 * The client side: sends message by message, and shows what comes back. Read server.ts before.
 */
import { once } from 'node:events';
import { STATUS_CODES } from 'node:http';
import { createInterface } from 'node:readline';
import type { Writable } from 'node:stream';
import {
  explain,
  formatAddress,
  host,
  milliseconds,
  ProgramError,
  port,
  program,
  text,
  UsageError,
} from '@shared/program';
import { type ClientOptions, WebSocket } from 'ws';

export interface ConnectOptions {
  /** How long the server may take to accept, in milliseconds. Default 3,000. */
  timeout?: number;
  /** Gives up when it is aborted. Default: never. */
  signal?: AbortSignal;
}

/** Connects to `ws://…` or `wss://…`, or rejects with what is wrong. (Tutorial 002 §2.2) */
export async function connectTo(url: string, options: ConnectOptions = {}): Promise<WebSocket> {
  const { timeout = 3000, signal } = options;
  const settings: ClientOptions & { closeTimeout: number } = {
    // A client of ws offers compression unless told otherwise; then a few bytes may become many.
    perMessageDeflate: false,
    maxPayload: 16 * 1024 * 1024,
    closeTimeout: 2000,
  };
  const ws = new WebSocket(url, settings);
  ws.on('error', () => {}); // whoever waits hears of it
  // What the server says at once would come before anybody listens: converse() resumes.
  ws.on('open', () => ws.pause());
  let late = false;
  // Not ws's handshakeTimeout: that begins anew with each byte of an answer that never ends.
  const timer = setTimeout(() => {
    late = true;
    ws.terminate();
  }, timeout);
  try {
    await once(ws, 'open', { signal });
    return ws;
  } catch (error) {
    ws.terminate();
    if (signal?.aborted) throw error;
    const why = late ? `no answer within ${timeout / 1000} s` : reason(error as Error);
    throw new ProgramError(why.startsWith('cannot') ? why : `cannot connect to ${url}: ${why}`);
  } finally {
    clearTimeout(timer);
  }
}

/** What is wrong, for somebody who has typed the address. */
function reason(error: Error & { code?: string }): string {
  const { code = '', message } = error;
  const status = Number(message.match(/^Unexpected server response: (\d+)$/)?.[1]);
  if (status === 403) return '403 Forbidden; the server lets in only pages of certain origins';
  if (status >= 400) return `the server refused: ${status} ${STATUS_CODES[status] ?? ''}`.trim();
  if (status) return `${status} ${STATUS_CODES[status] ?? ''}; that is HTTP, and no WebSocket`;
  if (code.startsWith('HPE_')) return 'the server does not speak HTTP';
  if (code === 'EPROTO' || code.startsWith('ERR_SSL')) return 'no TLS there; ws:// and not wss://?';
  if (/CERT|SIGN|ISSUER/.test(code)) return `the certificate cannot be trusted: ${message}`;
  if (message === 'socket hang up') return 'the server hung up; does it speak WebSocket?';
  return explain(error) ?? message;
}

/**
 * Sends each message when the one before is answered, all answers go to `output`, then closes with
 * 1000. Rejects if the server ends before, or breaks the protocol.
 */
export async function converse(
  ws: WebSocket,
  input: AsyncIterable<string> | Iterable<string>,
  output: Writable,
  { signal }: { signal?: AbortSignal } = {},
): Promise<void> {
  ws.on('message', (data: Buffer, isBinary) => {
    const line = isBinary ? `${data.length} bytes: ${data.toString('hex')}` : data.toString();
    if (!output.write(`${line}\n`)) ws.pause();
  });
  output.on('drain', () => ws.resume());
  const leave = () => ws.close(1000);
  signal?.addEventListener('abort', leave);
  const ended = once(ws, 'close').catch((error) => {
    throw new ProgramError(`the server broke the protocol: ${error.message}`);
  });
  const refused = ended.then(([code, reason]) => {
    signal?.throwIfAborted();
    const why = `${code} ${code === 1006 ? 'without a close frame' : reason}`.trim();
    throw new ProgramError(`the server ended the conversation before the input did: ${why}`);
  });
  const talk = async () => {
    for await (const message of input) {
      const answered = once(ws, 'message');
      ws.send(message);
      await answered;
    }
  };
  ws.resume();
  await Promise.race([refused, talk()]);
  leave();
  await ended;
}

function isAddress(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hash } = new URL(text);
  return /^wss?:$/.test(protocol) && hash === '';
}

/** The options of the program. */
export const CLIENT_OPTIONS = {
  host: host(),
  port: port(8080),
  url: {
    ...text('', 'the whole address instead, such as wss://localhost:8443/ws'),
    parse(value: string, name: string) {
      if (isAddress(value)) return value;
      throw new UsageError(`${name} must be like wss://localhost:8443/ws, not "${value}"`);
    },
  },
  timeout: milliseconds(3000, 'how long connecting may take'),
};

program(import.meta, {
  about:
    'Sends its arguments, or each line of standard input if there are none, and prints the answers.',
  args: '[TEXT...]',
  options: CLIENT_OPTIONS,
  async run({ host, port, url, timeout }, { args, signal }) {
    const address = url || `ws://${formatAddress(host, port)}/ws`;
    const ws = await connectTo(address, { timeout, signal });
    const lines = () => createInterface({ input: process.stdin });
    await converse(ws, args.length > 0 ? [args.join(' ')] : lines(), process.stdout, { signal });
  },
});
