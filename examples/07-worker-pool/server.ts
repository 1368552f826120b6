/**
 * A server whose heavy command runs in a pool of threads, so that its event loop stays free for
 * everybody else. One command is one line, and `nc` is a client. Read pool.ts before.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { DelimiterDecoder, encodeDelimited, FramingError, readMessages } from '@shared/framing';
import { host, integer, milliseconds, peerName, port, program, serve } from '@shared/program';
import { createPool, type Pool, type PoolOptions, TaskError } from './pool.ts';
import { MAX_N } from './primes.ts';

export interface PoolServerOptions extends PoolOptions {
  /** How long a client may neither send nor read before it is dropped, in milliseconds. Default 5 minutes. */
  idleTimeout?: number;
  /** How many clients are served at once; one more is closed as soon as it connects. Default 10,000. */
  maxConnections?: number;
  /** How long a client that was sent away may go on sending, in milliseconds. Default 1,000. */
  linger?: number;
  /** What `time` tells. Default: the time. */
  now?: () => Date;
  /** Where a line about each client, and about each thread that fails, goes. Default: nowhere. */
  log?: (line: string) => void;
}

/** Builds the server; the caller lets it listen, and closes it, which ends the threads. (Tutorial 003 §05) */
export function createPoolServer(options: PoolServerOptions = {}): Server {
  const { idleTimeout = 5 * 60_000, maxConnections = 10_000, log = () => {} } = options;
  const { linger, now = () => new Date() } = options;
  const pool = createPool(options);
  const clients = new Set<Socket>();
  let count = 0;

  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const number = ++count;
    const gone = new AbortController();
    socket.on('error', (error) => log(`client ${number} failed: ${error.message}`));
    socket.on('close', () => {
      clients.delete(socket);
      // Nobody waits for this client's task any more: without this it would go on to its end.
      gone.abort();
      log(`client ${number} left`);
    });
    socket.setTimeout(idleTimeout, () => socket.destroy());
    clients.add(socket);
    log(`client ${number} connected from ${peerName(socket)}`);

    const commands: Record<string, (argument: string) => string | Promise<string>> = {
      time: () => now().toLocaleString('sv-SE'), // as Swedes write it: 2026-01-31 23:59:59
      echo: (text) => text,
      clients: () => `${clients.size} connected`,
      primes: (n) => primes(pool, n, gone.signal),
    };
    // One command at a time: it reads no further while an answer is made or waits to be sent.
    pipeline(answers(socket, number, commands), socket)
      .then(() => hangUp(socket, linger))
      .catch(() => {}); // 'error' has logged it
  });
  server.maxConnections = maxConnections;
  server.once('close', () => void pool.destroy());
  return server;
}

async function* answers(
  socket: Socket,
  number: number,
  commands: Record<string, (argument: string) => string | Promise<string>>,
): AsyncGenerator<Buffer> {
  yield encodeDelimited(`Welcome, you are client ${number}.`);
  const decoder = new DelimiterDecoder({ maxLength: 64 * 1024 });
  try {
    for await (const line of readMessages(socket.iterator({ destroyOnReturn: false }), decoder)) {
      const text = line.toString().replace(/\r$/, '').trimStart();
      const [word = ''] = text.split(' ', 1);
      const [name, argument] = [word.toLowerCase(), text.slice(word.length + 1)];
      if (name === 'exit') {
        yield encodeDelimited('Goodbye!');
        break;
      }
      const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
      const help = `commands: ${Object.keys(commands).join(', ')}, exit`;
      yield encodeDelimited(command === undefined ? help : await command(argument));
    }
  } catch (error) {
    if (!(error instanceof FramingError)) throw error;
    yield encodeDelimited(`error: ${error.message}`);
  }
}

/** Our half has ended; the client has `linger` milliseconds, 1,000 by default, to end its own. */
export function hangUp(socket: Socket, linger = 1000): void {
  if (socket.readableEnded) return;
  // What the client still sends is of no use to us, but unread it would turn our FIN into a RST.
  socket.resume();
  // Without a limit, one that never stops sending would never be idle, and stay for ever.
  const cut = setTimeout(() => socket.destroy(), linger);
  socket.once('close', () => clearTimeout(cut));
}

async function primes(pool: Pool, argument: string, signal: AbortSignal): Promise<string> {
  const n = /^ *\d+ *$/.test(argument) ? Number(argument) : Number.NaN;
  if (!(n >= 1 && n <= MAX_N)) {
    return `error: N must be a whole number from 1 to ${MAX_N.toLocaleString('en-US')}`;
  }
  try {
    const found = await pool.run<number>('primes', n, signal);
    return `${found.toLocaleString('en-US')} primes up to ${n.toLocaleString('en-US')}`;
  } catch (error) {
    if (error instanceof TaskError) return `error: ${error.message}`;
    throw error;
  }
}

program(import.meta, {
  about: 'Answers time, echo TEXT, clients, primes N and exit, one line each.',
  options: {
    host: host(),
    port: port(8888),
    maxQueue: integer(100, { min: 1 }, 'how many tasks may wait for a thread'),
    taskTimeout: milliseconds(10_000, 'how long a task may take'),
  },
  run: ({ host, port, ...limits }, { signal }) =>
    serve(createPoolServer({ ...limits, log: console.log }), { host, port, signal }),
});
