/**
 * asyncio's start_server and open_connection: each conversation is one async function, which reads,
 * writes and waits from top to bottom, and is cancelled by a signal. Read stream-writer.ts before.
 */
import { once } from 'node:events';
import { connect, createServer, type Server } from 'node:net';
import { addAbortSignal } from 'node:stream';
import { explain, formatAddress, peerName } from '@shared/program';
import { StreamReader } from './stream-reader.ts';
import { StreamWriter } from './stream-writer.ts';
import { isCancellation, TaskGroup, TimeoutError, timeout } from './tasks.ts';

/** One conversation. `signal` is aborted when the server stops and when the connection is gone; it cancels the reads by itself. */
export type ClientConnected = (
  reader: StreamReader,
  writer: StreamWriter,
  signal: AbortSignal,
) => Promise<void> | void;

export interface ServerOptions {
  /** Stops the server: it accepts nobody any more, and cancels every conversation. Default: never. */
  signal?: AbortSignal;
  /** How long a cancelled conversation may take to say what it has promised, in milliseconds; then it is cut off. Default 2,000. */
  deadline?: number;
  /** The most bytes a line may have, and half of what is read ahead of a handler. Default 64 KiB. */
  limit?: number;
  /** How long a client may neither send nor read before it is dropped, in milliseconds. Default 5 minutes. */
  idleTimeout?: number;
  /** The same once it has been sent everything, and only its end is waited for. Default 2,000. */
  linger?: number;
  /** How long closing a connection may take in all, though the client sends on or reads slowly, in milliseconds. Default 60,000. */
  closeTimeout?: number;
  /** How many clients are served at once; one more is closed as soon as it connects. Default 10,000. */
  maxConnections?: number;
  /** Where a line about each client goes. Default: nowhere. */
  log?: (line: string) => void;
}

/**
 * Python's `asyncio.start_server(handler, start_serving=False)`: the caller lets it listen. A
 * connection ends when its handler does; one that throws ends its own and no other.
 * (Tutorials 000 §8.2, 001 §4.1, 002 §1.3)
 */
export function startServer(handler: ClientConnected, options: ServerOptions = {}): Server {
  const { signal, deadline = 2000, limit, linger, closeTimeout, log = () => {} } = options;
  const { idleTimeout = 5 * 60_000, maxConnections = 10_000 } = options;
  const conversations = new TaskGroup();
  const open = new Set<() => void>();

  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const client = peerName(socket);
    log(`${client} connected`);
    let failure: Error | undefined;
    socket.on('error', (error) => {
      failure = error;
      log(`${client} failed: ${error.message}`);
    });
    socket.on('close', () => {
      log(`${client} closed`);
      open.delete(drop);
      // A handler that waits for something else, a query or a timer, would go on for nobody.
      task.cancel();
    });
    socket.on('timeout', () =>
      log(`${client} dropped: idle for ${Number(socket.timeout) / 1000} s`),
    );
    socket.setTimeout(idleTimeout);
    const writer = new StreamWriter(socket, { linger, closeTimeout });
    const drop = () => {
      log(`${client} dropped: not done within ${deadline / 1000} s`);
      writer.abort();
    };
    open.add(drop);

    const task = conversations.createTask(async (signal) => {
      try {
        await handler(new StreamReader(socket, { limit, signal }), writer, signal);
      } catch (error) {
        // One client's trouble, or a bug that one client has met: the others are served on.
        const known = error === failure || isCancellation(error, signal);
        if (!known) log(`${client} handler failed: ${explain(error) ?? stack(error)}`);
      }
      // A handler that forgets to, or that throws, would leave the client waiting for ever.
      writer.close();
    });
  });
  server.maxConnections = maxConnections;

  const stop = () => {
    server.close();
    conversations.cancel();
    setTimeout(() => {
      for (const drop of open) drop();
    }, deadline).unref();
  };
  signal?.addEventListener('abort', stop);
  // It may have been told to before there was anything to stop.
  server.on('listening', () => {
    if (signal?.aborted) stop();
  });
  server.on('close', () => signal?.removeEventListener('abort', stop));
  return server;
}

export interface ConnectionOptions {
  /** How long the server may take to accept, in milliseconds. Default 3,000. */
  timeout?: number;
  /** The most bytes a line may have. Default 64 KiB. */
  limit?: number;
  /** Breaks the connection off. Default: never. */
  signal?: AbortSignal;
}

/** Python's `asyncio.open_connection(host, port)`. Rejects: refused, unknown host, no answer in time. */
export async function openConnection(
  host: string,
  port: number,
  options: ConnectionOptions = {},
): Promise<[StreamReader, StreamWriter]> {
  const { timeout: ms = 3000, limit, signal } = options;
  const open = async (late: AbortSignal) => {
    const socket = connect({ host, port, allowHalfOpen: true, noDelay: true, signal: late });
    socket.on('error', () => {}); // the reads and drain() reject with it
    if (signal) addAbortSignal(signal, socket);
    await once(socket, 'connect');
    return socket;
  };
  const socket = await timeout(ms, open).catch((error) => {
    if (!(error instanceof TimeoutError)) throw error;
    const where = formatAddress(host, port);
    throw new TimeoutError(`cannot connect to ${where}: no answer within ${ms / 1000} s`);
  });
  return [new StreamReader(socket, { limit }), new StreamWriter(socket)];
}

function stack(error: unknown): unknown {
  return error instanceof Error ? error.stack : error;
}
