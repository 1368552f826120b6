/** What `npm start 10` plays: a conversation, a read that times out, and two that are cancelled. */
import { once } from 'node:events';
import type { AddressInfo, Server } from 'node:net';
import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { program } from '@shared/program';
import { type Entry, format, Recording, tapTcp } from '@shared/wiretap';
import { converse } from './client.ts';
import { createUpperCaseServer } from './server.ts';
import type { StreamReader } from './stream-reader.ts';
import type { StreamWriter } from './stream-writer.ts';
import { openConnection, startServer } from './streams.ts';

const recording = new Recording();

program(import.meta, {
  about: 'Plays a conversation, a read that times out, and two that are cancelled.',
  options: {},
  async run() {
    console.log('One conversation is one loop: read, write, drain');
    await play(createUpperCaseServer(), async (...connection) => {
      const [keyboard, screen] = [new PassThrough(), new PassThrough()];
      const conversation = converse(connection, keyboard, screen);
      keyboard.write('Hello, asyncio!');
      await once(screen, 'data');
      keyboard.end();
      await conversation;
    });

    console.log('\nA read may take 50 ms, and the client says nothing');
    await play(createUpperCaseServer({ readTimeout: 50, log }), (reader) => reader.read(1));

    console.log('\nTold to stop during the first of three lines: what has arrived is answered');
    await play(createBusyServer(), async (reader, writer) => {
      writer.write('one\ntwo\nthree\n');
      for await (const _ of reader);
    });

    console.log('\nTold to stop while the client does not read: cut off at the deadline');
    const endless = createEndlessServer();
    const over = once(endless, 'close');
    // Not its megabytes, of which the network has taken more one time and less another.
    await play(
      endless,
      () => over,
      (entry) => entry.event === 'note',
    );
  },
});

/** Lets a client talk to the server, and prints what crossed the wire. */
async function play(
  server: Server,
  talk: (reader: StreamReader, writer: StreamWriter) => Promise<unknown>,
  shown: (entry: Entry) => boolean = () => true,
): Promise<void> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await using tap = await tapTcp({ port, recording });
  const [reader, writer] = await openConnection('127.0.0.1', tap.port);
  const closed = once(server, 'close');
  await talk(reader, writer);
  writer.close();
  if (server.listening) server.close();
  await closed;
  console.log(format(recording.take().filter(shown)));
}

/** Is told to stop when it begins to work. */
function createBusyServer(): Server {
  const stop = new AbortController();
  return startServer(
    async (reader, writer) => {
      for await (const line of reader) {
        if (!stop.signal.aborted) recording.note('server', 'told to stop');
        stop.abort();
        await sleep(20);
        writer.write(line.toString().toUpperCase());
      }
    },
    { signal: stop.signal },
  );
}

/** Is told to stop when it begins to answer, and there is no end to the answer. */
function createEndlessServer(): Server {
  const stop = new AbortController();
  return startServer(
    async (_, writer) => {
      recording.note('server', 'told to stop');
      stop.abort();
      for (;;) {
        writer.write('x'.repeat(65_536));
        await writer.drain();
      }
    },
    { signal: stop.signal, deadline: 50, log },
  );
}

/** What the server's log says of its client, but for its coming and going. */
function log(line: string): void {
  const [, text] = line.match(/^\S+ (.*(?:failed|dropped).*)$/) ?? [];
  if (text !== undefined) recording.note('server', `log: ${text}`);
}
