/** What `npm start 06` plays: two people in the room, and what goes over the wire of each. */
import { on, once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { createInterface, type Interface } from 'node:readline';
import { program } from '@shared/program';
import { format, Recording, tapTcp } from '@shared/wiretap';
import { createChatServer } from './server.ts';

program(import.meta, {
  about: 'Plays a conversation in the room.',
  options: {},
  async run(_, { signal }) {
    const server = createChatServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const recording = new Recording();
    const client = (connection: number) => (connection === 1 ? 'Ann' : 'Ben');
    await using tap = await tapTcp({ port, recording, client });

    /** Prints what has crossed the wires since, of the one who acts first: two threads have no order. */
    const act = (actor: string, title: string) => {
      const entries = recording.take().filter(({ event }) => event === 'data');
      const mine = entries.filter(({ from, to }) => from === actor || to === actor);
      const others = entries.filter((entry) => !mine.includes(entry));
      console.log(`${actor} ${title}\n${format([...mine, ...others])}`);
    };
    const until = async (lines: Interface, wanted: string) => {
      for await (const [line] of on(lines, 'line', { signal })) if (line === wanted) return;
    };

    const [ann, annReads] = dial(tap.port);
    await until(annReads, '* guest1 joined');
    ann.write('/nick Ann\n');
    await until(annReads, '* guest1 is now Ann');
    act('Ann', 'comes in; her thread has started');

    const [ben, benReads] = dial(tap.port);
    await Promise.all([until(annReads, '* guest2 joined'), until(benReads, '* guest2 joined')]);
    act('Ben', 'comes in, with a thread of his own');

    ben.write('/nick ann\n');
    await until(benReads, 'error: the name Ann is taken');
    act('Ben', 'wants the same name');

    ann.write('\x1b[2Jhi\n');
    await until(benReads, 'Ann: \ufffd[2Jhi');
    act('Ann', 'tries to clear his screen');

    ben.write('exit\n');
    await Promise.all([until(annReads, '* guest2 left'), once(ben, 'end')]);
    act('Ben', 'leaves');

    ann.end();
    await Promise.all([once(ann, 'close'), once(ben.end(), 'close')]);
    await once(server.close(), 'close');
  },
});

function dial(port: number): [Socket, Interface] {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  return [socket, createInterface({ input: socket })];
}
