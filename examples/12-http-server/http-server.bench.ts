/**
 * Our file server beside the simplest correct one on plain node:http and beside serve-static: one
 * small file and one of 100 MB. Ratios of one run: 2.0 means twice as fast as plain node:http.
 * The servers are in a second process, and each is asked by turns.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import serveStatic from 'serve-static';
import { createFileServer } from './server.ts';

const LARGE = 100 * 1000 * 1000;
const SMALL = 1000;
const ROUNDS = 11;
const CONNECTIONS = 8;
/** What each server is asked for in one round: how often, and on how many connections at once. */
const LOADS = [
  { name: 'small', path: '/small.bin', size: SMALL, requests: 2000, connections: CONNECTIONS },
  { name: '100 MB', path: '/large.bin', size: LARGE, requests: 2, connections: 1 },
];

/** The simplest correct equivalent: it promises a length, and sends that many bytes. */
function createPlainServer(directory: string): Server {
  return createServer(async (request, response) => {
    const path = join(directory, request.url ?? '');
    const { size } = await stat(path);
    response.writeHead(200, {
      'Content-Type': 'application/octet-stream',
      'Content-Length': size,
    });
    createReadStream(path).pipe(response);
  });
}

function createStaticServer(directory: string): Server {
  const serve = serveStatic(directory);
  return createServer((request, response) => serve(request, response, () => response.end()));
}

const SERVERS: Record<string, (directory: string) => Server> = {
  'plain node:http': createPlainServer,
  'serve-static': createStaticServer,
  'http-server.ts': createFileServer,
};

const [, , folder] = process.argv;
if (folder === undefined) await measure();
else await beServers(folder);

async function beServers(directory: string): Promise<void> {
  process.on('disconnect', () => process.exit());
  const ports: number[] = [];
  for (const create of Object.values(SERVERS)) {
    const server = create(directory);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    ports.push((server.address() as AddressInfo).port);
  }
  process.send?.(ports);
}

async function measure(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'http-server-'));
  writeFileSync(join(directory, 'small.bin'), Buffer.alloc(SMALL, 'x'));
  writeFileSync(join(directory, 'large.bin'), Buffer.alloc(LARGE, 'x'));
  const servers = fork(import.meta.filename, [directory]);
  try {
    const [ports] = (await once(servers, 'message')) as [number[]];
    const names = Object.keys(SERVERS);
    for (const { name, path, size, requests, connections } of LOADS) {
      const times = names.map(() => [] as number[]);
      for (let round = -1; round < ROUNDS; round++) {
        for (const [at, port] of ports.entries()) {
          const start = performance.now();
          await Promise.all(
            Array.from({ length: connections }, () =>
              ask(port, path, size, Math.ceil(requests / connections)),
            ),
          );
          // The first round is to warm up.
          if (round >= 0) times[at]?.push(performance.now() - start);
        }
      }
      const [plain = 0, ...others] = times.map(median);
      const rate = (requests * 1000) / plain;
      console.log(
        `${name.padEnd(8)} plain node:http      ${rate.toFixed(name === 'small' ? 0 : 1)}/s`,
      );
      for (const [at, time] of others.entries()) {
        console.log(`${''.padEnd(8)} ${names[at + 1]?.padEnd(20)} × ${(plain / time).toFixed(2)}`);
      }
    }
  } finally {
    servers.disconnect();
    rmSync(directory, { recursive: true });
  }
}

/** Asks for a file so many times on one connection, each time when the last answer is complete. */
function ask(port: number, path: string, size: number, requests: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
    let answers = 0;
    let left = 0;
    const read = (length: number, bytes: Uint8Array) => {
      if (left === 0) {
        const start = Buffer.from(bytes.buffer, 0, Math.min(length, 2000)).toString('latin1');
        left = start.indexOf('\r\n\r\n') + 4 + size;
      }
      left -= length;
      if (left === 0) {
        if (++answers < requests) socket.write(request);
        else socket.end();
      }
      return true;
    };
    // One buffer for all that comes: what is measured should not be the client.
    const onread = { buffer: Buffer.alloc(1024 * 1024), callback: read };
    const socket = connect({ port, host: '127.0.0.1', onread });
    socket.on('error', reject).on('close', () => resolve());
    socket.write(request);
  });
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}
