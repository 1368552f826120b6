/** What `npm start 08` plays: what select() returns, what waiting costs, and a client that never reads. */
import { EventEmitter, once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { program } from '@shared/program';
import { format, Recording, tapTcp } from '@shared/wiretap';
import { isWritable } from './nonblocking.ts';
import { DefaultSelector, EVENT_READ, EVENT_WRITE } from './selectors.ts';
import { type Client, createMultiplexer } from './server.ts';

const SIZE = 16 * 1024 * 1024;

/** Notes in between the bytes what it says and is told. */
class NotingSelector extends DefaultSelector<Client> {
  readonly #recording: Recording;

  constructor(recording: Recording) {
    super();
    this.#recording = recording;
  }

  override async select(timeout: number | null = null) {
    const ready = await super.select(timeout);
    for (const [{ data }, mask] of ready) {
      this.#recording.note('select', `${data === null ? 'server' : 'client'} ${names(mask)}`);
    }
    return ready;
  }

  override modify(fileobj: Socket, events: number, data: Client) {
    const changed = events !== this.getKey(fileobj).events;
    if (changed) this.#recording.note('modify', `client ${names(events)}`);
    return super.modify(fileobj, events, data);
  }
}

async function playConversation(): Promise<void> {
  const recording = new Recording();
  const accepted = new EventEmitter();
  const server = createMultiplexer({
    selector: new NotingSelector(recording),
    log: () => accepted.emit('log'),
  });
  const port = await listen(server);
  await using tap = await tapTcp({ port, recording });
  const socket = connect(tap.port, '127.0.0.1');
  await once(accepted, 'log');
  socket.write('hello');
  await once(socket, 'data');
  socket.end();
  await once(socket, 'close');
  await once(server.close(), 'close');
  console.log(format(recording.entries));
}

function names(events: number): string {
  const read = events & EVENT_READ ? ['READ'] : [];
  const write = events & EVENT_WRITE ? ['WRITE'] : [];
  return [...read, ...write].join(' | ');
}

/** A client that is connected and says nothing, registered for these events. */
async function countWakeUps(events: number): Promise<number> {
  const server = createServer();
  const socket = connect(await listen(server), '127.0.0.1');
  const [conn] = (await once(server, 'connection')) as [Socket];
  using sel = new DefaultSelector();
  sel.register(conn, events);
  let wakeUps = 0;
  for (let n = 0; n < 5; n++) if ((await sel.select(0.02)).length > 0) wakeUps++;
  socket.destroy();
  conn.destroy();
  await once(server.close(), 'close');
  return wakeUps;
}

async function playSlowReader(): Promise<void> {
  const selector = new DefaultSelector<Client>();
  const server = createMultiplexer({ selector });
  const socket = connect(await listen(server), '127.0.0.1');
  const [conn] = (await once(server, 'connection')) as [Socket];
  socket.end(Buffer.alloc(SIZE));
  const waitsFor = () => selector.getMap()?.get(conn)?.events;
  while (waitsFor() !== EVENT_WRITE || isWritable(conn)) await nextTurn();
  const { outb } = selector.getKey(conn).data as Client;
  const held = conn.readableLength + outb.length + conn.writableLength;
  const little = held < 512 * 1024 ? 'less than half a MiB' : `${held} bytes`;
  console.log('  the server waits for  WRITE only: it reads no more');
  console.log(`  it holds              ${little}`);
  let received = 0;
  for await (const chunk of socket) received += chunk.length;
  console.log(
    `  the client then gets  ${received / SIZE === 1 ? 'all of it' : `${received} bytes`}`,
  );
  await once(server.close(), 'close');
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

program(import.meta, {
  about: 'Plays a conversation with the server, and shows what its selector says.',
  options: {},
  async run() {
    console.log('One client: what select() returns, and what the server waits for next (modify)');
    await playConversation();

    console.log('\nAn idle client, select(0.02) five times: how often does something wake it up?');
    const asNeeded = await countWakeUps(EVENT_READ);
    const always = await countWakeUps(EVENT_READ | EVENT_WRITE);
    console.log(`  READ          ${asNeeded} times`);
    console.log(`  READ | WRITE  ${always} times`);

    console.log('\nA client that sends 16 MiB and reads nothing at first');
    await playSlowReader();
  },
});
