/**
 * What every runnable file needs, so that a lesson need not show it: options, Ctrl+C, tidy errors.
 *
 *     program(import.meta, {
 *       about: 'Answers all text in upper case.',
 *       options: { host: host(), port: port(8888) },
 *       run: ({ host, port }, { signal }) => serve(createEchoServer(), { host, port, signal }),
 *     });
 */
import { once } from 'node:events';
import { existsSync, realpathSync } from 'node:fs';
import type { AddressInfo, Server, Socket } from 'node:net';
import { basename, dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { explain, formatAddress } from './errors.ts';
import { describe, type Options, parse, UsageError, type Values } from './options.ts';

export { explain, formatAddress, ProgramError, peerName } from './errors.ts';
export {
  flag,
  host,
  integer,
  milliseconds,
  type Option,
  port,
  text,
  UsageError,
} from './options.ts';

/** What a program does when it is run. */
export interface Program<O extends Options> {
  /** One sentence for `--help`. */
  about: string;
  options: O;
  /** The arguments beside the options, as `--help` shows them: `[TEXT…]`. Without this there may be none. */
  args?: string;
  /** `signal` is aborted by Ctrl+C and by SIGTERM; a second one ends the program at once, with 130. */
  run(values: Values<O>, context: { args: string[]; signal: AbortSignal }): void | Promise<void>;
}

/**
 * Runs the program if its file is the one that was started, and does nothing if it was imported.
 * Exit codes: 0 done, or stopped by Ctrl+C; 1 failed, after one line that starts with `error: `, or
 * after the stack trace of a bug; 2 for an option or a value that cannot be, with the usage.
 */
export function program<O extends Options>(meta: ImportMeta, definition: Program<O>): void {
  const file = fileURLToPath(meta.url);
  const [, started] = process.argv;
  // It need not be a file: `node -e CODE word`. And Node gives us the file behind a symbolic link.
  if (started === undefined || !existsSync(started) || realpathSync(started) !== file) return;
  void main(file, definition);
}

/** A second signal within this many milliseconds is the same Ctrl+C: the terminal gives it to us and to npm, which may pass it on. */
const SAME_PRESS = 300;

async function main<O extends Options>(file: string, definition: Program<O>): Promise<void> {
  const stop = new AbortController();
  let stoppedAt = 0;
  const onSignal = () => {
    if (!stop.signal.aborted) {
      stoppedAt = Date.now();
      stop.abort();
    } else if (Date.now() - stoppedAt >= SAME_PRESS) process.exit(130);
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      // The reader of our output went away (`| head`): there is nobody left to tell anything.
      if (error.code === 'EPIPE' || error.code === 'EOF') process.exit(0);
      fail(error);
    });
  }
  try {
    const { values, args, help } = parse(definition.options, process.argv.slice(2));
    if (help) {
      console.log(
        `${usage(file, definition)}\n\n${definition.about}\n\n${describe(definition.options)}`,
      );
      return;
    }
    if (definition.args === undefined && args[0] !== undefined) {
      throw new UsageError(`unexpected argument ${JSON.stringify(args[0])}`);
    }
    await definition.run(values, { args, signal: stop.signal });
  } catch (error) {
    // Not `return`: a name that is being looked up would keep the process for many seconds more.
    const aborted = stop.signal.aborted && error instanceof Error && error.name === 'AbortError';
    if (aborted) process.exit(0);
    if (error instanceof UsageError) {
      console.error(
        `error: ${error.message}\n${usage(file, definition)}\n${describe(definition.options)}`,
      );
      process.exit(2);
    }
    fail(error);
  }
}

/** Not `process.exitCode`: a socket or a standard input that is open still would keep the process. */
function fail(error: unknown): never {
  report(error);
  process.exit(1);
}

/** One line for a network condition, the whole stack trace for a bug. */
function report(error: unknown): void {
  const text = explain(error);
  console.error(text === undefined ? error : `error: ${text}`);
}

function usage(file: string, { args }: { args?: string }): string {
  const script = basename(file, '.ts').replace(/^demo$/, 'start');
  const run = script === 'start' ? 'npm start' : `npm run ${script}`;
  return `usage: ${run} -w ${basename(dirname(file))} -- [options]${args === undefined ? '' : ` ${args}`}`;
}

/** How {@link serve} listens and stops. */
export interface ServeOptions {
  host: string;
  port: number;
  /** Aborted when the server is to stop. */
  signal: AbortSignal;
  /** What stands before the address in the ready line, such as `http://`. Default: nothing. */
  scheme?: string;
  /** How long conversations may go on after the signal, in milliseconds. Default 2,000. */
  grace?: number;
}

/**
 * Listens, prints the ready line `listening on 127.0.0.1:8888`, and serves until the signal: then
 * it accepts nobody any more, lets the conversations finish, and cuts off those that have not
 * within the grace. Rejects if it cannot listen.
 */
export async function serve(
  server: Server,
  { host, port, signal, scheme = '', grace = 2000 }: ServeOptions,
): Promise<void> {
  const open = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  server.listen({ port, host });
  await once(server, 'listening', { signal }).catch((error) => {
    // The look-up of a name knows neither the port nor what the name was for.
    throw error.syscall === 'getaddrinfo'
      ? Object.assign(error, { syscall: 'listen', port })
      : error;
  });
  // Without a listener one connection that cannot be accepted (EMFILE) would end the whole server.
  server.on('error', report);
  const bound = server.address() as AddressInfo;
  console.log(`listening on ${scheme}${formatAddress(bound.address, bound.port)}`);

  // Not once(server, 'close'), which an 'error' before the 'close' would reject.
  const closed = new Promise<void>((resolve) => server.once('close', () => resolve()));
  await Promise.race([once(signal, 'abort'), closed]);
  server.close();
  // node:http closes at once the connections on which nothing is under way.
  const waiting = [...open].filter((socket) => !socket.destroyed);
  if (waiting.length > 0) {
    const connections = waiting.length === 1 ? 'connection' : 'connections';
    console.error(
      `stopping: waiting up to ${grace / 1000} s for ${waiting.length} open ${connections}, Ctrl+C to stop now`,
    );
  }
  const cut = setTimeout(() => {
    for (const socket of open) socket.destroy();
  }, grace);
  await closed;
  clearTimeout(cut);
}
