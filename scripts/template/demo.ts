/** The conversation that `npm start 00` plays. */
import { once } from 'node:events';
import { type AddressInfo, connect } from 'node:net';
import { program } from '@shared/program';
import { format, Recording, tapTcp } from '@shared/wiretap';
import { createTemplateServer } from './server.ts';

program(import.meta, {
  about: 'Plays a conversation between the server and a client.',
  options: {},
  async run() {
    const recording = new Recording();
    const server = createTemplateServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    recording.note('server', 'listening');

    const { port } = server.address() as AddressInfo;
    await using tap = await tapTcp({ port, recording });
    const socket = connect({ port: tap.port, host: '127.0.0.1' });
    socket.write('Hello, TCP!');
    await once(socket, 'data');
    socket.end();
    await once(socket, 'close');
    await once(server.close(), 'close');
    console.log(format(recording.entries));
  },
});
