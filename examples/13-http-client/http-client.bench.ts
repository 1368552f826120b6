/**
 * A session beside bare undici: 2,000 requests, one at a time and fifty at once, by turns in rounds
 * of one run. The server is in a process of its own. 1.00 means that the session costs nothing.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Agent, request } from 'undici';
import { ClientSession } from './session.ts';

const REQUESTS = 2000;
const ROUNDS = 25;
const BODY = JSON.stringify({
  args: { name: '张三', age: '25' },
  origin: '127.0.0.1',
  url: '/get',
});

if (process.argv[2] === 'server') serve();
else await measure();

function serve(): void {
  process.on('disconnect', () => process.exit());
  const server = createServer((_, response) => {
    response.setHeader('content-type', 'application/json').end(BODY);
  });
  server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
}

async function measure(): Promise<void> {
  const server = fork(import.meta.filename, ['server']);
  const [port] = (await once(server, 'message')) as [number];
  const baseUrl = `http://127.0.0.1:${port}`;
  const agent = new Agent({ connections: 100 });
  await using session = new ClientSession({ baseUrl });
  const bare = async () => (await request(`${baseUrl}/get`, { dispatcher: agent })).body.json();
  const ours = async () => (await session.get('/get')).json();

  for (const [name, workers] of [
    ['one at a time', 1],
    ['fifty at once', 50],
  ] as const) {
    const [ratios, micros]: number[][] = [[], []];
    for (let round = 0; round <= ROUNDS; round++) {
      // By turns who is first: what the machine does besides hits both.
      const first = await pace(round % 2 === 0 ? bare : ours, workers);
      const second = await pace(round % 2 === 0 ? ours : bare, workers);
      if (round === 0) continue; // until both are compiled
      const [own, other] = round % 2 === 0 ? [second, first] : [first, second];
      ratios?.push(own / other);
      micros?.push(other);
    }
    console.log(
      `${name}  session × undici ${median(ratios).toFixed(2)}  (undici ${median(micros).toFixed(0)} µs a request)`,
    );
  }
  await agent.destroy();
  server.disconnect();
}

/** Microseconds for one of so many requests, made by so many at the same time. */
async function pace(get: () => Promise<unknown>, workers: number): Promise<number> {
  let left = REQUESTS;
  const start = performance.now();
  await Promise.all(
    Array.from({ length: workers }, async () => {
      while (left-- > 0) await get();
    }),
  );
  return ((performance.now() - start) / REQUESTS) * 1000;
}

function median(values: number[] = []): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}
