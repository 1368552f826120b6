/** What `npm start 11` plays: a conversation as a stranger on the wire sees it, then each failure. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { PassThrough } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { program } from '@shared/program';
import { type Entry, Recording, tapTcp } from '@shared/wiretap';
import { createAuthority } from './authority.ts';
import { connectTo, converse } from './client.ts';
import { FAILURES, provoke } from './failures.ts';
import { readRecords } from './records.ts';
import { createTlsEchoServer } from './server.ts';

const TEXT = 'Hello, TLS!';

program(import.meta, {
  about: 'Plays a conversation over TLS, and the ways in which there is none.',
  options: {},
  async run() {
    console.log('What crosses the wire');
    const entries = await play();
    console.log(rows(entries).join('\n'));

    console.log('\nWhat a stranger on the wire can read');
    const wire = Buffer.concat(entries.map(({ bytes }) => bytes ?? Buffer.alloc(0)));
    for (const text of ['localhost', 'net-by-example CA', TEXT, TEXT.toUpperCase()]) {
      console.log(`  ${JSON.stringify(text).padEnd(19)}  ${wire.includes(text) ? 'yes' : 'no'}`);
    }

    console.log('\nWhom the client does not talk to, or is not served by');
    for (const name of FAILURES) {
      const { code = '(the server just ends)' } = await provoke(name);
      console.log(`  ${name.padEnd(24)}  ${code}`);
    }
  },
});

/** One question and its answer. */
async function play(): Promise<Entry[]> {
  const recording = new Recording();
  const authority = await createAuthority('net-by-example CA');
  const server = createTlsEchoServer(await authority.issue({ name: 'localhost' }));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await using tap = await tapTcp({ port, recording });
  const socket = await connectTo({ host: 'localhost', port: tap.port, ca: authority.cert });
  recording.note('client', `verified: ${socket.getPeerX509Certificate()?.subject}`);
  const keyboard = new PassThrough();
  const screen = new PassThrough();
  const conversation = converse(socket, keyboard, screen);
  // The tickets with which it could come back sooner: the server's last word on the handshake.
  await once(socket, 'session');
  // Not in the same turn: up to Node 24, what is written while OpenSSL reads is not sent.
  await nextTurn();
  recording.note('client', `writes ${JSON.stringify(TEXT)}`);
  keyboard.write(TEXT);
  const [answer] = await once(screen, 'data');
  recording.note('client', `reads ${JSON.stringify(String(answer))}, and has no more to say`);
  keyboard.end();
  await conversation;
  await once(server.close(), 'close');
  return recording.entries;
}

/** A line for all that goes in one direction before something else happens. */
function rows(entries: Entry[]): string[] {
  const runs: Entry[] = [];
  // Not the FINs: behind a close_notify they come when they like, and not the same every time.
  const said = entries.filter(({ event }) => event === 'data' || event === 'note');
  for (const { bytes, ...entry } of said) {
    const last = runs.at(-1);
    if (bytes !== undefined && last?.bytes !== undefined && last.from === entry.from) {
      last.bytes = Buffer.concat([last.bytes, bytes]);
    } else runs.push({ ...entry, ...(bytes && { bytes }) });
  }
  return runs.map(({ event, from, to, bytes, detail }) => {
    const who = event === 'note' ? from : `${from} ──▶ ${to}`;
    const what = bytes === undefined ? detail : contents(bytes);
    return `  ${who.padEnd(17)}  ${what}`;
  });
}

function contents(bytes: Buffer): string {
  const types = [...readRecords(bytes)].map(({ type }) => type);
  const readable = types.filter((type) => type !== 'encrypted');
  const hidden = types.length - readable.length;
  return [...readable, ...(hidden > 0 ? [`${hidden} encrypted`] : [])].join(', ');
}
