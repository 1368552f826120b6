/** What `npm start 12` plays: requests to three servers, and what of the answers is worth a look. */
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { program } from '@shared/program';
import { type Entry, tapTcp } from '@shared/wiretap';
import { BaseHTTPRequestHandler, HTTPServer } from './http-server.ts';
import { createRawServer } from './raw-server.ts';
import { createFileServer } from './server.ts';

/** The tutorial's handler. */
class Hello extends BaseHTTPRequestHandler {
  doGET() {
    this.sendResponse(200);
    this.sendHeader('Content-type', 'text/html');
    this.endHeaders();
    this.wfile.write('Hello, World!');
  }
}

/** `Date` and what else is no part of the story is not shown. */
const SHOWN = /^(Host |Content-Range|Transfer-Encoding|Location|ETag|If-None-Match|Range):/i;

program(import.meta, {
  about: 'Plays requests to a handler, to a folder, and to the server by hand.',
  options: {},
  async run() {
    const folder = mkdtempSync(join(tmpdir(), 'http-server-'));
    try {
      writeFileSync(join(folder, 'hello.txt'), 'Hello, World!\n');
      utimesSync(join(folder, 'hello.txt'), 0, 0);
      mkdirSync(join(folder, 'docs'));
      writeFileSync(join(folder, 'docs', '50% off.txt'), '');
      writeFileSync(join(folder, 'docs', '#1 & #2.txt'), '');

      console.log('A handler: doGET() answers GET, and there is nothing else');
      await play(new HTTPServer(Hello), [get('/'), get('/').replace('GET', 'DELETE')]);
      console.log('\nA folder, as python -m http.server serves it');
      await play(createFileServer(folder), [
        get('/docs'),
        get('/docs/'),
        get('/hello.txt'),
        get('/hello.txt', 'If-None-Match: "e-0"\r\n'),
        get('/hello.txt', 'Range: bytes=7-11\r\n'),
        get('/docs/..%2f..%2f..%2fetc/passwd'),
      ]);
      console.log('\nThe server by hand: strict');
      await play(createRawServer(), [get('/'), get('/').replace('Host:', 'Host :')]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
});

function get(path: string, headers = ''): string {
  return `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${headers}\r\n`;
}

/** Sends the requests one after another, through a tap, and shows what crossed the wire. */
async function play(server: Server, requests: string[]): Promise<void> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  await using tap = await tapTcp({ port: (server.address() as AddressInfo).port });
  for (const request of requests) {
    const client = connect({ port: tap.port, host: '127.0.0.1', allowHalfOpen: true });
    client.write(request);
    await once(client.resume(), 'end');
    client.end();
    show(tap.recording.take());
  }
  await once(server.close(), 'close');
}

/** The first line of a message, the headers that are SHOWN, and its body if that is short. */
function show(entries: Entry[]): void {
  for (const from of ['client', 'server']) {
    const bytes = entries.flatMap((entry) => (entry.from === from ? (entry.bytes ?? []) : []));
    const [head = '', body = ''] = Buffer.concat(bytes)
      .toString()
      .split(/\r\n\r\n(.*)/s);
    const [first, ...headers] = head.split('\r\n');
    console.log(`  ${from} ──▶ ${from === 'client' ? 'server' : 'client'}  ${first}`);
    const lines = headers.filter((header) => SHOWN.test(header));
    if (body.length < 100) lines.push(...(body === '' ? [] : [JSON.stringify(body)]));
    else lines.push(...(body.match(/<li>.*/g) ?? []));
    for (const line of lines) console.log(`                     ${line}`);
  }
}
