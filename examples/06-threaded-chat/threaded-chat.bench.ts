/**
 * A full room: 100 clients in it at once, each with its thread, and a line from each to all the
 * others. It counts what they hear, and fails if a line is missing or comes twice. The clients are
 * in a process of their own. `-- 50` behind the command takes 50.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { createChatServer } from './server.ts';

const [argument = '100', port] = process.argv.slice(2);
const count = Number(argument);
if (port === undefined) await holdRoom();
else await beClients(Number(port));

async function holdRoom(): Promise<void> {
  const server = createChatServer({ maxClients: count });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const before = process.memoryUsage.rss();
  const clients = fork(import.meta.filename, [
    argument,
    String((server.address() as AddressInfo).port),
  ]);
  clients.on('exit', (code) => {
    if (code !== 0) process.exit(1);
  });

  const entering = performance.now();
  await once(clients, 'message');
  const memory = (process.memoryUsage.rss() - before) / count / 1024 ** 2;
  console.log(`clients   ${count} in ${seconds(performance.now() - entering)}`);
  console.log(`memory    ${memory.toFixed(1)} MiB for each`);

  const talking = performance.now();
  clients.send('talk');
  await once(clients, 'message');
  console.log(
    `a line from each, heard by all others   ${seconds(performance.now() - talking)}, ${count * (count - 1)} lines`,
  );
  clients.send('leave');
  await once(server.close(), 'close');
}

async function beClients(port: number): Promise<void> {
  process.on('disconnect', () => process.exit());
  const guests: Guest[] = [];
  for (let n = 0; n < count; n++) guests.push(await enter(port));
  process.send?.('in');
  await once(process, 'message');
  const heard = guests.map((guest, n) => guest.hear(count - 1, `client ${n}`));
  for (const [n, { socket }] of guests.entries()) socket.write(`I am client ${n}\n`);
  await Promise.all(heard);
  process.send?.('heard');
  await once(process, 'message');
  for (const { socket } of guests) socket.end();
  process.disconnect();
}

interface Guest {
  socket: Socket;
  /** Waits for a line from so many others; fails if one comes twice, or one's own comes back. */
  hear(others: number, own: string): Promise<void>;
}

async function enter(port: number): Promise<Guest> {
  const socket = connect({ port, host: '127.0.0.1' });
  const lines = createInterface({ input: socket });
  await once(lines, 'line'); // its thread greets it when it is in the room
  return {
    socket,
    hear: (others, own) =>
      new Promise((resolve) => {
        const heard = new Set<string>();
        lines.on('line', (line) => {
          const [, who] = line.match(/: I am (client \d+)$/) ?? [];
          if (who === undefined) return;
          if (who === own || heard.has(who)) fail(`${own} has heard ${who} once too often`);
          if (heard.add(who).size === others) resolve();
        });
        socket.on('close', () => fail(`${own} was dropped after ${heard.size} of ${others} lines`));
      }),
  };
}

function fail(why: string): never {
  console.error(`error: ${why}`);
  process.exit(1);
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(2)} s`;
}
