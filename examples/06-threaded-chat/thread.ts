/**
 * The main thread's half: a thread for a socket that cannot go there itself. A socket belongs to the
 * thread that accepted it, so its bytes travel over a MessagePort, never more than one chunk each
 * way. Its other half is thread-socket.ts.
 *
 *     main ── bytes of one chunk ─▶ thread ── 'read': the next one, please ─▶ main
 *     thread ── bytes to send ─▶ main ── 'written': the kernel has taken them ─▶ thread
 *     main ── 'end': the client's FIN ─▶ thread ── 'end': our FIN ─▶ main
 */
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { MessageChannel, Worker } from 'node:worker_threads';
import { buildSync } from 'esbuild';

/** How long a client may take to read our last words, in milliseconds. */
const LINGER = 1000;

/** What a thread may take of the heap, in MB; one that wants more ends, alone. */
const HEAP = { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 };

/** Starts a thread that runs `code` and talks to the client of `socket`, and ends it when the socket closes. */
export function startThread(
  socket: Socket,
  code: string,
  data: object,
  log: (line: string) => void,
): Worker {
  const { port1: port, port2 } = new MessageChannel();
  const worker = new Worker(code, {
    eval: true,
    // Not ours, which load the TypeScript compiler: it would be loaded in each thread anew.
    execArgv: [],
    resourceLimits: HEAP,
    workerData: { ...data, port: port2 },
    transferList: [port2],
  });
  // Without a listener what one thread throws would end the process, and everybody's chat.
  worker.on('error', (error) => log(`a thread failed: ${error.message}`));
  worker.on('exit', () => {
    if (!socket.destroyed && !socket.writableEnded) {
      hangUp(socket, 'error: your thread has crashed');
    }
  });
  // A thread is not collected as garbage is: it would wait for ever for a client that is gone.
  socket.on('close', () => void worker.terminate());

  const pass = (chunk: Buffer) => {
    // One chunk at a time: what the thread has not asked for stays in the kernel, and TCP tells
    // the client to stop. A port takes everything, and keeps it in memory.
    socket.pause();
    send(chunk);
  };
  const send = (chunk: Buffer) => {
    const bytes = new Uint8Array(chunk);
    port.postMessage(bytes, [bytes.buffer]);
  };
  socket.pause().on('data', pass);
  socket.on('end', () => port.postMessage('end'));
  port.on('message', (message: Uint8Array | 'read' | 'end') => {
    // We have hung up since the thread said this: a write would be an error, and cut our reason off.
    if (socket.writableEnded) return;
    if (message === 'read') socket.resume();
    else if (message !== 'end') socket.write(message, () => port.postMessage('written'));
    else {
      socket.off('data', pass).resume();
      socket.end(() => linger(socket));
    }
  });
  return worker;
}

/** Says why, and ends the connection whether the client reads it or not. */
export function hangUp(socket: Socket, why: string): void {
  socket.removeAllListeners('data').resume();
  socket.end(`${why}\n`);
  linger(socket);
}

/** Without a limit a client that never ends its half would keep its socket, and its thread, for ever. */
function linger(socket: Socket): void {
  const cut = setTimeout(() => socket.destroy(), LINGER);
  socket.once('close', () => clearTimeout(cut));
}

const bundles = new Map<string, string>();

/**
 * The program of a thread with all that it imports, as one piece of JavaScript: made once, since a
 * thread that compiled TypeScript itself would take ten times as long to start, on Node 20.
 */
export function bundle(file: string): string {
  const path = fileURLToPath(new URL(file, import.meta.url));
  let code = bundles.get(path);
  if (code === undefined) {
    const options = { bundle: true, write: false, platform: 'node', format: 'cjs' } as const;
    code = buildSync({ entryPoints: [path], ...options }).outputFiles[0]?.text ?? '';
    bundles.set(path, code);
  }
  return code;
}
