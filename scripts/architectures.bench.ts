/**
 * One service, a line for a line in upper case, as many architectures as there are examples with a
 * line-server.ts, one and the same load client. `npm run bench -w scripts` prints the table, and
 * with `-- --write` puts it into the READMEs of those examples.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { findExamples } from './examples.ts';

const PLAIN = join(import.meta.dirname, 'plain.ts');
/** How many connections are held at once. */
const CONNECTIONS = [100, 1000];
/** How often and how long they ask, in milliseconds. */
const ROUNDS = 7;
const DURATION = 400;
const LINE = 'the quick brown fox jumps over the lazy dog\n';

/** A server that runs, and the clients it has. */
interface Contender extends AsyncDisposable {
  sockets: Socket[];
  /** Bytes of memory that a connection costs the server; NaN where this system does not say. */
  memory: number;
}

/** Starts a server and connects so many clients; rejects if it does not want that many. */
async function start(file: string, connections: number): Promise<Contender> {
  const server = spawn(process.execPath, ['--import', 'tsx', file, '--port', '0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const sockets: Socket[] = [];
  const stop = async () => {
    for (const socket of sockets) socket.destroy();
    const closed = once(server, 'close');
    server.kill('SIGKILL');
    await closed;
  };
  try {
    const port = await readyPort(server);
    const idle = resident(server);
    for (let n = 0; n < connections; n++) {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true });
      socket.on('error', () => {}); // 'close' follows, and is what counts
      sockets.push(socket);
      if (!(await ask(socket))) throw new Error(`refuses client ${n + 1}`);
    }
    const memory = (resident(server) - idle) / connections;
    return { sockets, memory, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** How many lines are answered while all clients ask, each one line after the other. */
async function round({ sockets }: Contender): Promise<number> {
  let answers = 0;
  const end = performance.now() + DURATION;
  const asking = sockets.map(async (socket) => {
    while (performance.now() < end && (await ask(socket))) answers++;
  });
  await Promise.all(asking);
  return answers;
}

/** The rate beside that of node:net: the median of rounds in turn, since no machine is equally fast all the time. */
async function compare(file: string, connections: number): Promise<[number, number]> {
  await using plain = await start(PLAIN, connections);
  await using other = await start(file, connections);
  const ratios: number[] = [];
  for (let n = 0; n < ROUNDS; n++) {
    const [one, two] = [await round(plain), await round(other)];
    if (n > 0) ratios.push(two / one); // the first round is for the compilers
  }
  ratios.sort((a, b) => a - b);
  return [ratios[Math.floor(ratios.length / 2)] ?? Number.NaN, other.memory];
}

/** The port of the ready line; everything else that a server prints is read and dropped. */
function readyPort(server: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('close', () => reject(new Error('the server ended before it was ready')));
    createInterface({ input: server.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      const port = line.match(/^listening on .*:(\d+)$/)?.[1];
      if (port !== undefined) resolve(Number(port));
    });
  });
}

/** One line there and one back; false if the server does not want this client. */
function ask(socket: Socket): Promise<boolean> {
  return new Promise((resolve) => {
    let length = 0;
    const done = (answered: boolean) => {
      socket.off('data', read).off('close', gone);
      resolve(answered);
    };
    const gone = () => done(false);
    const read = (chunk: Buffer) => {
      length += chunk.length;
      if (length >= LINE.length) done(true);
    };
    socket.on('data', read).on('close', gone);
    socket.write(LINE);
  });
}

/** The resident memory of a process in bytes. */
function resident({ pid }: ChildProcess): number {
  try {
    return Number(execFileSync('ps', ['-o', 'rss=', '-p', `${pid}`], { encoding: 'utf8' })) * 1024;
  } catch {
    return Number.NaN; // Windows has no ps
  }
}

const architectures = findExamples()
  .map(({ name, directory }) => ({ name, directory, file: join(directory, 'line-server.ts') }))
  .filter(({ file }) => existsSync(file));
const rows: string[] = [];
for (const { name, file } of [{ name: 'node:net', file: PLAIN }, ...architectures]) {
  for (const connections of CONNECTIONS) {
    const result = await compare(file, connections).catch((error: Error) => {
      console.log(`${name}: ${error.message}`);
    });
    const cells = [
      name,
      connections.toLocaleString('en-US'),
      result === undefined ? '—' : result[0].toFixed(2),
      result === undefined ? '—' : size(result[1]),
    ];
    console.log(cells.map((cell, at) => cell.padEnd([26, 8, 8, 0][at] as number)).join(''));
    rows.push(`| ${cells.join(' | ')} |`);
  }
}

function size(bytes: number): string {
  if (Number.isNaN(bytes)) return '?';
  return bytes < 1e6 ? `${Math.round(bytes / 1024)} KiB` : `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
}

const HEADERS = {
  'README.md': '| | connections | requests/s, × node:net | memory per connection |',
  'README.zh-CN.md': '| | 连接数 | 每秒请求数（node:net 为 1） | 每个连接的内存 |',
};
if (process.argv.includes('--write')) {
  for (const { directory } of architectures) {
    for (const [readme, header] of Object.entries(HEADERS)) {
      const path = join(directory, readme);
      const table = [header, '| --- | ---: | ---: | ---: |', ...rows].join('\n');
      const text = readFileSync(path, 'utf8').replace(
        /(<!-- comparison -->\n)[\s\S]*?(<!-- \/comparison -->)/,
        (_, start, end) => `${start}${table}\n${end}`,
      );
      writeFileSync(path, text);
    }
  }
}
