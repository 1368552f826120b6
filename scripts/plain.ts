/** The service of the comparison in its plainest form, nothing but node:net: what the others are measured against. */
import { createServer } from 'node:net';
import { host, port, program, serve } from '@shared/program';

program(import.meta, {
  about: 'Answers each line in upper case.',
  options: { host: host(), port: port(8888) },
  run: ({ host, port }, { signal }) => {
    const server = createServer({ noDelay: true }, (socket) => {
      let rest = '';
      socket.setEncoding('utf8').on('error', () => {});
      socket.on('data', (text: string) => {
        const lines = (rest + text).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) socket.write(`${line.toUpperCase()}\n`);
      });
    });
    return serve(server, { host, port, signal });
  },
});
