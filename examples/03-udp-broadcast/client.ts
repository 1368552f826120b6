/**
 * The client side: sends a request, sends it again if no answer comes, and never takes an old
 * answer for a new one. Read server.ts before, and then subscriber.ts.
 */
import { createSocket, type Socket } from 'node:dgram';
import { addAbortListener } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { formatAddress, host, integer, ProgramError, program } from '@shared/program';
import { remotePort, sendDatagram } from './datagram.ts';

export interface RequestOptions {
  host: string;
  port: number;
  /** How long the first attempt waits for the answer, in milliseconds; each further one waits twice as long as the one before (RFC 8085 §3.1.1). Default 1,000. */
  timeout?: number;
  /** How many more attempts there are. Default 2. */
  retries?: number;
  /** Gives up when it is aborted. Default: never. */
  signal?: AbortSignal;
}

/** How many ports of finished requests are kept from being used again. */
const MAX_RESTING = 32;
const resting: Socket[] = [];

/**
 * Sends a request and resolves to the answer, or rejects: unknown host, too long, nobody there, no
 * answer to any attempt. The server may get the request more than once. (Tutorials 001 §2.2,
 * 003 §04, 004 §4.2)
 */
export function request(message: string | Uint8Array, options: RequestOptions): Promise<string> {
  const { host, port, timeout = 1000, retries = 2, signal } = options;
  const where = formatAddress(host, port);
  // The tutorial's answers do not say which request they belong to, so the port has to: whatever
  // still comes for an earlier request comes to another socket than this one.
  const socket = createSocket('udp4');
  let timer: NodeJS.Timeout | undefined;
  let listener: Disposable | undefined;

  const answer = new Promise<string>((resolve, reject) => {
    const attempt = (n: number) => {
      if (n <= retries) {
        sendDatagram(socket, message).catch((error) => reject(sentence(error, where)));
        timer = setTimeout(attempt, timeout * 2 ** n, n + 1);
        return;
      }
      const seconds = (timeout * (2 ** n - 1)) / 1000;
      const attempts = n === 1 ? '1 attempt' : `${n} attempts`;
      reject(new ProgramError(`no answer from ${where} within ${seconds} s (${attempts})`));
    };
    socket.on('error', (error) => reject(sentence(error, where)));
    socket.on('connect', () => {
      if (signal?.aborted) return;
      socket.on('message', (bytes) => {
        const text = bytes.toString();
        // The server knows this port, and sends it what others broadcast while we wait.
        if (!isBroadcast(text)) resolve(text);
      });
      attempt(0);
    });
    if (signal) listener = addAbortListener(signal, () => reject(signal.reason));
  });
  // Nothing is sent for this: the kernel now drops what anybody but the server sends to the port,
  // and tells us if there is no server.
  socket.connect(port, host);
  return answer.finally(() => {
    clearTimeout(timer);
    listener?.[Symbol.dispose]();
    rest(socket);
  });
}

/** Whether it is what another client has said, and no answer. */
export function isBroadcast(text: string): boolean {
  return text.startsWith('广播消息: ');
}

function sentence(error: NodeJS.ErrnoException, where: string): Error {
  if (error.code !== 'ECONNREFUSED') return error;
  return new ProgramError(
    `cannot reach ${where}: the port is closed (ICMP port unreachable); is the server running there?`,
  );
}

/** Closed at once, its port could be the next request's, and get the late answer. TCP calls this TIME_WAIT. */
function rest(socket: Socket): void {
  resting.push(socket.unref());
  if (resting.length > MAX_RESTING) resting.shift()?.close();
}

/** What to ask: the arguments as one text, or else each line of the input. */
export function texts(args: string[], input: Readable, signal?: AbortSignal) {
  return args.length > 0 ? [args.join(' ')] : createInterface({ input, ...(signal && { signal }) });
}

program(import.meta, {
  about: 'Sends its arguments, or each line of standard input, and prints the answers.',
  args: '[TEXT...]',
  options: {
    host: host(),
    port: remotePort(9999),
    timeout: integer(1000, { min: 1, max: 60_000 }, 'how long the first attempt waits, in ms'),
    retries: integer(2, { max: 10 }, 'how many more attempts there are'),
  },
  async run(options, { args, signal }) {
    for await (const text of texts(args, process.stdin, signal)) {
      console.log(await request(text, { ...options, signal }));
    }
  },
});
