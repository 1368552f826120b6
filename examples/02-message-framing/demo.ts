/** What `npm start 02` plays: writes that nobody can tell apart, three cures, and what Nagle costs. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { program } from '@shared/program';
import { format, Recording, type TcpFaults, tapTcp } from '@shared/wiretap';
import * as delimiter from './delimiter.ts';
import * as fixedLength from './fixed-length.ts';
import * as lengthPrefix from './length-prefix.ts';
import { measure, type Way } from './nagle.ts';
import { twoWrites } from './sticky.ts';

program(import.meta, {
  about: 'Plays the problem and the three cures, and shows what TCP_NODELAY does about it.',
  options: {},
  async run() {
    console.log('The problem: the client writes "Hello", then "World"');
    await play(createSilentServer(), { glue: 10 }, write('Hello', 'World'));
    console.log('The same two writes another time');
    await play(createSilentServer(), { glue: 10, split: 4, seed: 2 }, write('Hello', 'World'));

    const words = ['Hello', '', 'World'];
    console.log('\nFixed length: each message is filled up to 8 bytes');
    await play(fixedLength.createMessageServer({ length: 8 }), { glue: 24 }, (socket) =>
      fixedLength.converse(socket, words, { length: 8 }),
    );
    console.log('\nDelimiter: each message ends with a line feed');
    await play(delimiter.createMessageServer(), { glue: 13 }, (socket) =>
      delimiter.converse(socket, words),
    );
    console.log('\nLength prefix: 4 bytes say how many follow');
    await play(lengthPrefix.createMessageServer(), { glue: 22 }, (socket) =>
      lengthPrefix.converse(socket, words),
    );
    console.log('A length prefix that arrives in pieces');
    await play(lengthPrefix.createMessageServer(), { glue: 9, split: 4, seed: 2 }, (socket) =>
      lengthPrefix.converse(socket, ['Hello']),
    );

    console.log('\nTCP_NODELAY: a prefix and its body in two writes, then the answer');
    for (const way of ['two writes', 'two writes, noDelay', 'two writes, corked'] as const) {
      console.log(`  ${way.padEnd(20)} ${await pace(way)}`);
    }
    const [chunk] = await twoWrites(['Hello', 'World'], { noDelay: true });
    console.log(`  two messages, noDelay, and still one chunk: "${chunk}"`);
  },
});

/** Lets the client talk to the server, through a network that does this wrong, and prints the bytes. */
async function play(
  server: Server,
  faults: TcpFaults,
  talk: (socket: Socket) => AsyncIterable<string>,
): Promise<void> {
  const recording = new Recording();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await using tap = await tapTcp({ port, recording, faults: { ...faults, towards: 'server' } });
  const answers: string[] = [];
  const socket = connect({ port: tap.port, host: '127.0.0.1', noDelay: true });
  for await (const answer of talk(socket)) answers.push(JSON.stringify(answer));
  if (answers.length > 0) recording.note('client', `answers: ${answers.join(', ')}`);
  await once(server.close(), 'close');
  // A FIN may come before or behind an answer: not the lesson here, and not the same every time.
  const said = recording.entries.filter(({ event }) => event === 'data' || event === 'note');
  // Nor is whether answers that follow one another share a chunk.
  console.log(format(said, { chunks: answers.length < 2 }));
}

/** A server that reads all and says nothing. */
function createSilentServer(): Server {
  return createServer((socket) => socket.resume());
}

/** A client that knows no messages: it writes, ends its half, and gives what comes as it comes. */
function write(...texts: string[]): (socket: Socket) => AsyncIterable<string> {
  return async function* (socket) {
    for (const text of texts) socket.write(text);
    yield* socket.end();
  };
}

async function pace(way: Way): Promise<string> {
  const late = (await measure(way, 11)) > 20;
  return late ? 'late: the body waited until the prefix was acknowledged' : 'at once';
}
