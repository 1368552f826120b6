/**
 * The tutorial's handler: takes what a client has sent, answers it in upper case and hangs up.
 * Read socketserver.ts and the files that it names before.
 */
import { inspect } from 'node:util';
import { host, port, program, serve } from '@shared/program';
import { StreamRequestHandler, ThreadingTCPServer } from './socketserver.ts';

/** One for each client. (Tutorial 004 §5.3) */
export class MyTCPHandler extends StreamRequestHandler {
  override timeout = 60_000;

  override async handle(): Promise<void> {
    console.log(`[+] connection from ${this.clientAddress[0]}`);
    const data = strip(await this.rfile.read1(1024));
    // Escaped: what a client sends must not move the cursor of whoever reads this.
    console.log(`[*] received: ${inspect(data.toString(), { breakLength: Infinity })}`);
    await this.wfile.write(upper(data));
  }
}

/** Python's `bytes.strip()`. */
export function strip(bytes: Buffer): Buffer {
  const space = (byte: number | undefined) =>
    byte !== undefined && ' \t\n\r\v\f'.includes(chr(byte));
  let [start, end] = [0, bytes.length];
  while (space(bytes[start])) start++;
  while (end > start && space(bytes[end - 1])) end--;
  return bytes.subarray(start, end);
}

/** Python's `bytes.upper()`: a to z only, so that a character cut in two by `read1` comes back whole. */
export function upper(bytes: Buffer): Buffer {
  return bytes.map((byte) => (/[a-z]/.test(chr(byte)) ? byte - 32 : byte)) as Buffer;
}

const chr = (byte: number) => String.fromCharCode(byte);

program(import.meta, {
  about: 'Answers the first words of each client in upper case, and hangs up.',
  options: { host: host(), port: port(8888) },
  async run({ host, port }, { signal }) {
    await using server = new ThreadingTCPServer([host, port], MyTCPHandler, false);
    const serving = server.serveForever();
    await serve(server.socket, { host, port, signal }); // binds it, until the signal
    await server.shutdown();
    await serving;
  },
});
