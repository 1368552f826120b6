/**
 * Both servers under the same load: text messages of 64 B and of 64 KiB, answered as the tutorial
 * does. The clients are in a second process and do as little as they can: a frame that is masked
 * once, sent again and again, and bytes that are only counted. The servers take turns.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import type { Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tutorialReply } from './echo.ts';
import { encodeFrame, TEXT } from './frames.ts';
import { createFromScratchServer } from './from-scratch.ts';
import { clientFrame, openingHandshake } from './raw-client.ts';
import { createEchoServer } from './server.ts';

const ROUNDS = 9;
const MEASURE = 700;
const SIZES = [
  { name: '64 B', size: 64, clients: 32 },
  { name: '64 KiB', size: 64 * 1024, clients: 8 },
];

interface Order {
  port: number;
  size: number;
  clients: number;
}

if (process.send === undefined) await measure();
else process.on('message', (order: Order) => void load(order));

async function measure(): Promise<void> {
  const servers = [createEchoServer(), createFromScratchServer()];
  const ports = await Promise.all(servers.map(open));
  const clients = fork(import.meta.filename);
  for (const { name, ...order } of SIZES) {
    const rates: number[][] = [[], []];
    for (let round = -1; round < ROUNDS; round++) {
      for (const [i, port] of ports.entries()) {
        clients.send({ port, ...order } satisfies Order);
        const [rate] = (await once(clients, 'message')) as [number];
        // Round -1 is for the compiler.
        if (round >= 0) rates[i]?.push(rate);
      }
    }
    const [ws = [], scratch = []] = rates;
    const ratios = scratch.map((rate, i) => rate / (ws[i] as number));
    console.log(
      `${name.padEnd(6)}  ws ${count(median(ws))}/s  from scratch ${count(median(scratch))}/s  ratio ${median(ratios).toFixed(2)} (${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)})`,
    );
  }
  clients.disconnect();
  for (const server of servers) server.close();
}

async function open(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** Each client sends its next message when the answer to the one before is there. */
async function load({ port, size, clients }: Order): Promise<void> {
  const text = 'x'.repeat(size);
  const frame = clientFrame(TEXT, text);
  const answer = encodeFrame(TEXT, tutorialReply(text)).length;
  let answers = 0;
  const sockets = Array.from({ length: clients }, async () => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    socket.write(openingHandshake());
    await once(socket, 'data');
    let waiting = answer;
    socket.on('data', ({ length }: Buffer) => {
      waiting -= length;
      if (waiting > 0) return;
      answers++;
      waiting = answer;
      socket.write(frame);
    });
    return socket;
  });
  const open = await Promise.all(sockets);
  const started = performance.now();
  for (const socket of open) socket.write(frame);
  setTimeout(() => {
    const rate = (answers * 1000) / (performance.now() - started);
    for (const socket of open) socket.resetAndDestroy();
    process.send?.(rate);
  }, MEASURE);
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

function count(rate: number): string {
  return Math.round(rate).toLocaleString('en-US').padStart(7);
}
