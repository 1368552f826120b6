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
import { realpathSync } from 'node:fs';
import type { Server, Socket } from 'node:net';
import { basename, dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { explain, formatAddress } from './errors.ts';
import { describe, type Options, parse, UsageError, type Values } from './options.ts';

export { explain, formatAddress, ProgramError } from './errors.ts';
export { flag, host, integer, type Option, port, text, UsageError } from './options.ts';

/** What a program does when it is run. */
export interface Program<O extends Options> {
  /** One sentence for `--help`. */
  about: string;
  options: O;
  /** The arguments beside the options, as `--help` shows them: `[TEXT…]`. Without this there may be none. */
  args?: string;
  /** `signal` is aborted by Ctrl+C and by SIGTERM; a second one ends the program at once. */
  run(values: Values<O>, context: { args: string[]; signal: AbortSignal }): void | Promise<void>;
}

/**
 * Runs the program if its file is the one that was started, and does nothing if it was imported.
 * Exit codes: 0 done, or stopped by Ctrl+C; 1 failed, after one line that starts with `error: `;
 * 2 for an option or a value that cannot be, with the usage.
 */
export function program<O extends Options>(meta: ImportMeta, definition: Program<O>): void {
  const file = fileURLToPath(meta.url);
  if (process.argv[1] === undefined || realpathSync(process.argv[1]) !== file) return;
  void main(file, definition);
}

async function main<O extends Options>(file: string, definition: Program<O>): Promise<void> {
  const stop = new AbortController();
  const onSignal = () => (stop.signal.aborted ? process.exit(130) : stop.abort());
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  // The reader of our output went away (`| head`): there is nobody left to tell anything.
  process.stdout.on('error', () => process.exit(0));
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
    if (stop.signal.aborted && error instanceof Error && error.name === 'AbortError') return;
    if (error instanceof UsageError) {
      console.error(
        `error: ${error.message}\n${usage(file, definition)}\n${describe(definition.options)}`,
      );
      process.exit(2);
    }
    const text = explain(error);
    console.error(text === undefined ? error : `error: ${text}`);
    process.exit(1);
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
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
  server.listen({ port, host, signal });
  await once(server, 'listening');
  console.log(`listening on ${scheme}${address(server)}`);

  if (!signal.aborted) await once(signal, 'abort');
  const cut = setTimeout(() => {
    for (const socket of open) socket.destroy();
  }, grace);
  if (open.size > 0) {
    const wait = `for ${open.size} open ${open.size === 1 ? 'connection' : 'connections'}`;
    console.error(`stopping: waiting up to ${grace / 1000} s ${wait}, Ctrl+C to stop now`);
  }
  if (server.listening) server.close();
  await once(server, 'close');
  clearTimeout(cut);
}

function address(server: Server): string {
  const bound = server.address();
  if (bound === null || typeof bound === 'string') return String(bound);
  return formatAddress(bound.address, bound.port);
}
