/** What `npm start 07` plays: one client keeps a thread busy, and the other one does not notice. */
import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { program } from '@shared/program';
import { format, Recording, tapTcp } from '@shared/wiretap';
import { createPoolServer } from './server.ts';

program(import.meta, {
  about: 'Plays two clients, of which one wants something that takes long.',
  options: {},
  async run(_, { signal }) {
    const recording = new Recording();
    const server = createPoolServer({ taskTimeout: 60_000 });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const client = (connection: number) => (connection === 1 ? 'Ann' : 'Ben');
    await using tap = await tapTcp({ port, recording, client });

    const [ann, ben] = [await dial(tap.port), await dial(tap.port)];
    const left = Promise.all([once(ann.socket, 'close'), once(ben.socket, 'close')]);
    const found = once(ann.lines, 'line', { signal });
    ann.socket.write('primes 2000000\n');
    for (const command of ['clients', 'echo still there?', 'primes 0']) {
      ben.socket.write(`${command}\n`);
      await once(ben.lines, 'line', { signal });
    }
    ben.socket.end('exit\n');
    await found;
    ann.socket.end();
    await left;
    await once(server.close(), 'close');
    // Which FIN comes first is not the lesson here.
    console.log(format(recording.entries.filter(({ event }) => event === 'data')));
  },
});

/** A connection whose welcome has been read. */
async function dial(port: number): Promise<{ socket: Socket; lines: NodeJS.EventEmitter }> {
  const socket = connect({ port, host: '127.0.0.1' });
  const lines = createInterface({ input: socket });
  await once(lines, 'line');
  return { socket, lines };
}
