/**
 * Many connections in one process: what they cost in memory, what they cost while nothing happens,
 * and how long it takes to answer all of them. The clients are in a second process, since every
 * connection is an open file at both ends. `-- 1000` behind the command holds 1,000.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { DefaultSelector } from './selectors.ts';
import { type Client, createMultiplexer } from './server.ts';

/** So many files a process has open besides: modules, pipes, the event loop's own. */
const SPARE = 100;
/** So many clients connect at once: the kernel has room for 511 that wait to be accepted. */
const BATCH = 200;
const IDLE = 2000;

const [argument = '10000', clientsOf] = process.argv.slice(2);
const count = Number(argument);
if (!Number.isInteger(count) || count < 1) {
  fail(`the number of connections must be a whole number from 1, not ${argument}`);
}
if (clientsOf === undefined) await holdConnections();
else await beClients(Number(clientsOf));

async function holdConnections(): Promise<void> {
  const limit = openFiles();
  if (limit < count + SPARE) {
    fail(
      `cannot hold ${number(count)} connections: a process may open ${number(limit)} files, ${number(count + SPARE)} are needed; raise the limit with ulimit -n, or hold fewer: npm run bench -w 08-selectors-multiplexer -- ${Math.max(1, limit - SPARE)}`,
    );
  }
  let selects = 0;
  class CountingSelector extends DefaultSelector<Client> {
    override select(timeout: number | null = null) {
      selects++;
      return super.select(timeout);
    }
  }
  const server = createMultiplexer({ selector: new CountingSelector(), maxConnections: count });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const before = process.memoryUsage.rss();

  const clients = fork(import.meta.filename, [String(count), String(port)]);
  clients.on('error', (error) => fail(error.message));
  clients.on('exit', (code) => {
    if (code !== 0) fail('the process with the clients has failed');
  });
  const opening = performance.now();
  await once(clients, 'message');
  const memory = process.memoryUsage.rss() - before;
  console.log(`connections          ${number(count)} in ${seconds(performance.now() - opening)}`);
  console.log(`memory               ${(memory / count / 1024).toFixed(1)} KiB for each`);

  await sleep(500); // the garbage of all that
  selects = 0;
  const cpu = process.cpuUsage();
  await sleep(IDLE);
  const { user, system } = process.cpuUsage(cpu);
  const share = (user + system) / 1000 / IDLE;
  console.log(
    `idle for ${IDLE / 1000} s         ${(share * 100).toFixed(1)} % of a core, ${selects} wake-ups`,
  );

  const asking = performance.now();
  clients.send('ask');
  await once(clients, 'message');
  console.log(
    `an echo for everyone ${seconds(performance.now() - asking)}, ${number(selects)} wake-ups`,
  );
  clients.send('leave');
  await once(server.close(), 'close');
}

/** How many files a process may open. Node itself raises the soft limit to the hard one. */
function openFiles(): number {
  const { userLimits } = process.report.getReport() as {
    userLimits?: { open_files?: { soft: number | 'unlimited' } };
  };
  // Windows has no such limit, and no such line.
  return Number(userLimits?.open_files?.soft ?? Infinity) || Infinity;
}

async function beClients(port: number): Promise<void> {
  process.on('disconnect', () => process.exit());
  const sockets: Socket[] = [];
  while (sockets.length < count) {
    const batch = Array.from({ length: Math.min(BATCH, count - sockets.length) }, async () => {
      const socket = connect({ port, host: '127.0.0.1' });
      socket.on('error', (error) => fail(error.message));
      await echo(socket); // for a client is connected as soon as the kernel knows of it
      return socket;
    });
    sockets.push(...(await Promise.all(batch)));
  }
  process.send?.('connected');
  await once(process, 'message');
  await Promise.all(sockets.map(echo));
  process.send?.('answered');
  await once(process, 'message');
  // Not end(): 10,000 of these ports would be in TIME_WAIT, and missing at the next run.
  for (const socket of sockets) socket.resetAndDestroy();
  process.disconnect();
}

async function echo(socket: Socket): Promise<void> {
  socket.write('hello');
  await once(socket, 'data');
}

function fail(why: string): never {
  console.error(`error: ${why}`);
  process.exit(1);
}

function number(value: number): string {
  return value.toLocaleString('en-US');
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(2)} s`;
}
