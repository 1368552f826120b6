/** The conversation that `npm start 14` plays: the server from scratch, a client of ws, and every byte. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { program } from '@shared/program';
import { format, Recording, tapTcp } from '@shared/wiretap';
import { WebSocket } from 'ws';
import { createFromScratchServer } from './from-scratch.ts';

program(import.meta, {
  about: 'Shows the opening handshake and the frames of a conversation.',
  options: {},
  async run() {
    const recording = new Recording();
    const server = createFromScratchServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    await using tap = await tapTcp({ port, recording });

    const ws = new WebSocket(`ws://127.0.0.1:${tap.port}/ws`, {
      perMessageDeflate: false,
      // Random by right. This one is the RFC's example, so that the bytes are the same each time.
      generateMask: (mask) => mask.set([0x37, 0xfa, 0x21, 0x3d]),
    });
    await once(ws, 'open');
    console.log('Opening handshake: the last HTTP on this connection');
    for (const { from, to, bytes } of recording.take()) {
      const lines = String(bytes ?? '').split('\r\n');
      for (const [i, line] of lines.filter(isAboutWebSocket).entries()) {
        console.log(`  ${i ? ' '.repeat(18) : `${from} ──▶ ${to}`}  ${hideRandom(line)}`);
      }
    }

    ws.send('Hello');
    await once(ws, 'message');
    console.log('\nA message: two bytes of header, and from the client a key and masked bytes');
    console.log(format(recording.take()));
    console.log(`
  81           FIN and opcode 1: a text, all of it in this frame
  85           masked, 5 bytes
  37 fa 21 3d  the key: 7f ^ 37 = 48 'H', 9f ^ fa = 65 'e', … 58 ^ 37 = 6f 'o'`);

    ws.send('Hel', { fin: false });
    ws.ping();
    await once(ws, 'pong');
    ws.send('lo');
    await once(ws, 'message');
    console.log('\nA message in two fragments, 01 and 80, and a ping, 89, that overtakes it');
    console.log(format(recording.take()));

    ws.close(1000, 'bye');
    await once(ws, 'close');
    await once(server.close(), 'close');
    console.log(
      '\nClosing handshake: code 03e8, which is 1000, and the reason; the server ends TCP',
    );
    console.log(format(recording.take()));
  },
});

function isAboutWebSocket(line: string): boolean {
  return /^(GET|HTTP|Upgrade|Connection|Sec-WebSocket-(Version|Key|Accept))/.test(line);
}

/** The key is new each time, and so is the answer to it. */
function hideRandom(line: string): string {
  return line
    .replace(/(?<=Key: ).+/, '16 random bytes in base64')
    .replace(/(?<=Accept: ).+/, 'the SHA-1 of that key and a fixed text');
}
