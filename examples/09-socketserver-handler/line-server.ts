/**
 * The service that all of Part 2 offers: each line comes back in upper case. Here every connection
 * has a handler object of its own. Read server.ts before.
 *
 *     h  e  l  l  o 0a | 0a | h  i 0a   →   H  E  L  L  O 0a | 0a | H  I 0a
 */
import { host, port, program, serve } from '@shared/program';
import { MAX_LINE, StreamRequestHandler, ThreadingTCPServer } from './socketserver.ts';

const NEWLINE = 0x0a;

/** A line has at most 64 KiB, without its line feed. */
export class LineHandler extends StreamRequestHandler {
  override timeout = 5 * 60_000;
  override disableNagleAlgorithm = true;

  override async handle(): Promise<void> {
    for (;;) {
      const line = await this.rfile.readline(MAX_LINE + 1);
      if (line.at(-1) === NEWLINE) await this.wfile.write(line.toString().toUpperCase());
      else if (line.length > MAX_LINE) {
        const limit = MAX_LINE.toLocaleString('en-US');
        await this.wfile.write(`error: cannot accept line: the limit is ${limit} bytes\n`);
        return;
      } else return; // The client has ended, perhaps inside a line: half of one may mean something else.
    }
  }
}

program(import.meta, {
  about: 'Answers each line that a client sends in upper case.',
  options: { host: host(), port: port(8888) },
  async run({ host, port }, { signal }) {
    await using server = new ThreadingTCPServer([host, port], LineHandler, false);
    const serving = server.serveForever();
    await serve(server.socket, { host, port, signal }); // binds it, until the signal
    await server.shutdown();
    await serving;
  },
});
