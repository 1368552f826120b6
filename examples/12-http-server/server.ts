/**
 * The command line of `python -m http.server`: the files of a folder, for whoever may connect.
 * Read http-server.ts before.
 */
import { stat } from 'node:fs/promises';
import { host, ProgramError, port, program, serve, text, UsageError } from '@shared/program';
import { HTTPServer, type HTTPServerOptions, SimpleHTTPRequestHandler } from './http-server.ts';

/** A server for the files below `directory`. (Tutorial 003 §07) */
export function createFileServer(directory: string, options: HTTPServerOptions = {}): HTTPServer {
  return new HTTPServer(
    class extends SimpleHTTPRequestHandler {
      override directory = directory;
    },
    options,
  );
}

program(import.meta, {
  about: 'Serves the files of a folder, as python -m http.server does.',
  args: '[PORT]',
  options: {
    bind: text('', 'the address to listen on: the same as --host'),
    directory: text('.', 'the folder to serve'),
    host: host(),
    port: port(8000),
  },
  async run({ bind, directory, ...address }, { args, signal }) {
    if (args.length > 1) throw new UsageError(`unexpected argument ${JSON.stringify(args[1])}`);
    const isFolder = await stat(directory).then(
      (stats) => stats.isDirectory(),
      () => false,
    );
    if (!isFolder) throw new ProgramError(`cannot serve ${directory}: it is not a folder`);
    const server = createFileServer(directory, { log: console.error });
    await serve(server, {
      host: bind || address.host,
      port: args[0] === undefined ? address.port : port(8000).parse(args[0], 'PORT'),
      scheme: 'http://',
      signal,
    });
  },
});
