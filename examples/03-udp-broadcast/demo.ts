/** What `npm start 03` plays: a real broadcast, and requests on a network that loses and repeats. */
import { createSocket, type Socket } from 'node:dgram';
import { on, once } from 'node:events';
import { program } from '@shared/program';
import { format, Recording, tapUdp, type UdpTapOptions } from '@shared/wiretap';
import { request } from './client.ts';
import { bindTo } from './datagram.ts';
import { createReceiver } from './receiver.ts';
import { send } from './sender.ts';
import { createUdpServer } from './server.ts';
import { createSubscriber } from './subscriber.ts';

const LOCAL = { host: '127.0.0.1', port: 0 };

program(import.meta, {
  about: 'Plays a broadcast, and requests on a network that loses and repeats datagrams.',
  options: {},
  async run() {
    console.log('One datagram to 127.255.255.255: whoever has bound the port gets it');
    await broadcast();

    console.log('\nA network that loses and repeats: the client asks again');
    const bad = { lose: 0.4, duplicate: 0.4, seed: 223 };
    await play({ faults: bad }, async (port, say) => say(`ping: ${await ask('ping', port)}`));

    console.log('\nOne socket for all questions, and the next datagram is the answer');
    await play({ faults: { duplicate: 1, towards: 'client' } }, async (port, say) => {
      await using socket = createSocket('udp4');
      const datagrams = on(socket, 'message');
      const next = async () => String((await datagrams.next()).value[0]);
      socket.send('one', port, '127.0.0.1');
      const first = await next();
      socket.send('two', port, '127.0.0.1');
      const second = await next();
      await next(); // what it should have waited for
      await next();
      say(`one: ${first}`);
      say(`two: ${second}   <- wrong`);
    });

    console.log('\nThe server passes a broadcast on to every other client it remembers');
    const client = (connection: number) => (connection === 1 ? 'subscriber' : 'client');
    await play({ client }, async (port) => {
      let heard = (_: string) => {};
      const broadcast = new Promise((resolve) => {
        heard = resolve;
      });
      await using subscriber = createSubscriber({ heard });
      subscriber.connect(port, '127.0.0.1');
      await once(subscriber, 'message');
      await ask('broadcast', port);
      await broadcast;
    });
  },
});

function ask(text: string, port: number): Promise<string> {
  return request(text, { host: '127.0.0.1', port, timeout: 500, retries: 5 });
}

/** Lets two receivers hear one datagram. */
async function broadcast(): Promise<void> {
  const recording = new Recording();
  await using first = createReceiver();
  await bindTo(first, { host: '0.0.0.0', port: 0 });
  const { port } = first.address();
  await using second = createReceiver();
  await bindTo(second, { host: '0.0.0.0', port });
  const all = Promise.all([hear(first), hear(second)]);
  await send('Hello, UDP Broadcast!', { host: '127.255.255.255', port }).catch((error) =>
    recording.note('sender', error.message),
  );
  for (const [n, bytes] of (await all).entries()) {
    const to = `receiver ${n + 1}`;
    if (bytes === undefined) recording.note(to, 'heard nothing: is this a Linux machine?');
    else recording.add({ event: 'datagram', from: 'sender', to, connection: 1, bytes });
  }
  console.log(format(recording.entries));
}

/** The next datagram, or nothing where the loopback knows no broadcasts. */
async function hear(socket: Socket): Promise<Buffer | undefined> {
  const [bytes] = await once(socket, 'message', { signal: AbortSignal.timeout(2000) }).catch(
    () => [],
  );
  return bytes;
}

/** Lets somebody talk to a new server through such a network, and prints the datagrams. */
async function play(
  options: Pick<UdpTapOptions, 'faults' | 'client'>,
  talk: (port: number, say: (text: string) => void) => Promise<void>,
): Promise<void> {
  const recording = new Recording();
  await using server = createUdpServer({ now: () => new Date(2026, 0, 31, 12, 0, 0) });
  await bindTo(server, LOCAL);
  await using tap = await tapUdp({ port: server.address().port, recording, ...options });
  await talk(tap.port, (text) => recording.note('client', text));
  // The client's port is another one each time.
  console.log(format(recording.entries).replace(/\d{5}/, 'PORT'));
}
