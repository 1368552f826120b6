/**
 * What createTlsEchoServer adds to node:tls: the same service in the five lines that it takes
 * without any care, in the same process, by turns. 1.00 is as fast, 0.90 a tenth slower. The client
 * is a process of its own, since encryption costs the same at both ends.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type Server } from 'node:tls';
import { createAuthority, type Identity } from './authority.ts';
import { createTlsEchoServer } from './server.ts';

const ROUNDS = 15;
const HANDSHAKES = 150;
/** So many at a time. */
const BATCH = 10;
const BULK = 48 * 1024 * 1024;

/** What the client is asked to do. */
interface Order {
  what: 'handshakes' | 'bulk';
  port: number;
  ca: string;
}

if (process.send === undefined) await beServers();
else process.on('message', async (order: Order) => process.send?.(await beClient(order)));

async function beServers(): Promise<void> {
  const authority = await createAuthority('bench CA');
  const identity = await authority.issue({ name: 'localhost' });
  const servers = [createBareServer(identity), createTlsEchoServer(identity)];
  const ports: number[] = [];
  for (const server of servers) {
    await once(server.listen(0, 'localhost'), 'listening');
    ports.push((server.address() as AddressInfo).port);
  }
  const client = fork(import.meta.filename);
  client.on('exit', (code) => process.exit(code === 0 ? 0 : 1));

  for (const what of ['handshakes', 'bulk'] as const) {
    const times: number[][] = [[], []];
    for (let round = -1; round < ROUNDS; round++) {
      // Each goes first as often as second.
      for (const at of round % 2 === 0 ? [0, 1] : [1, 0]) {
        client.send({ what, port: ports[at] ?? 0, ca: authority.cert } satisfies Order);
        const [milliseconds] = await once(client, 'message');
        if (round >= 0) times[at]?.push(milliseconds); // the first is to warm up
      }
    }
    const [bare, ours] = times.map(median) as [number, number];
    const rate = what === 'bulk' ? BULK / 1e3 / ours : (HANDSHAKES * 1e3) / ours;
    const unit = what === 'bulk' ? 'MB/s there and back' : 'a second';
    const ratio = `${(bare / ours).toFixed(2)} × bare node:tls`;
    console.log(
      `${what.padEnd(10)}  ${ratio}   ${Math.round(rate).toLocaleString('en-US')} ${unit}`,
    );
  }
  client.disconnect();
  for (const server of servers) server.close();
}

function createBareServer(identity: Identity): Server {
  return createServer(identity, (socket) => {
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => socket.write(text.toUpperCase()));
    socket.on('error', () => {});
  });
}

async function beClient({ what, port, ca }: Order): Promise<number> {
  const start = performance.now();
  if (what === 'bulk') await echoBulk(port, ca);
  else {
    for (let done = 0; done < HANDSHAKES; done += BATCH) {
      await Promise.all(Array.from({ length: BATCH }, () => shakeHands(port, ca)));
    }
  }
  return performance.now() - start;
}

/** A handshake, and one answer: in TLS 1.3 the client alone thinks that it is done before. */
async function shakeHands(port: number, ca: string): Promise<void> {
  const socket = connect({ host: 'localhost', port, ca });
  await once(socket, 'secureConnect');
  socket.write('x');
  await once(socket, 'data');
  socket.end();
  await once(socket, 'close');
}

async function echoBulk(port: number, ca: string): Promise<void> {
  const socket = connect({ host: 'localhost', port, ca });
  await once(socket, 'secureConnect');
  const chunk = Buffer.alloc(64 * 1024, 'x');
  let [sent, received] = [0, 0];
  const send = () => {
    while (sent < BULK) {
      sent += chunk.length;
      if (!socket.write(chunk)) break;
    }
  };
  socket.on('drain', send);
  send();
  for await (const bytes of socket) {
    received += bytes.length;
    if (received === BULK) break;
  }
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
