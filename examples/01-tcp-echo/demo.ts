/** The conversation that `npm start 01` plays: the real server and client, and what crosses the wire. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { PassThrough } from 'node:stream';
import { program } from '@shared/program';
import { format, Recording, tapTcp } from '@shared/wiretap';
import { connectTo, converse } from './client.ts';
import { createEchoServer } from './server.ts';

program(import.meta, {
  about: 'Plays a conversation between the server and the client.',
  options: {},
  async run() {
    const recording = new Recording();
    const server = createEchoServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    recording.note('server', 'listening');

    const { port } = server.address() as AddressInfo;
    await using tap = await tapTcp({ port, recording });
    const socket = await connectTo({ host: '127.0.0.1', port: tap.port });
    const keyboard = new PassThrough();
    const screen = new PassThrough();
    const conversation = converse(socket, keyboard, screen);
    keyboard.write('Hello, TCP!');
    await once(screen, 'data');
    keyboard.end();
    await conversation;
    await once(server.close(), 'close');
    console.log(format(recording.entries));
  },
});
