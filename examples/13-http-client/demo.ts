/** What `npm start 13` plays: what a session does by itself, and where it draws the line. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { program } from '@shared/program';
import { type Entry, format, Recording, tapTcp } from '@shared/wiretap';
import { gather } from './gather.ts';
import { createHttpbin } from './httpbin.ts';
import type { RequestOptions } from './options.ts';
import { ClientSession } from './session.ts';

program(import.meta, {
  about: 'Plays a session against httpbin, and shows its connections, its work and its limits.',
  options: {},
  async run() {
    const httpbin = createHttpbin();
    const port = await listen(httpbin);
    const baseUrl = `http://127.0.0.1:${port}`;
    console.log('Three requests with a session each, then three with one session');
    await playConnections(port);

    await using session = new ClientSession({ baseUrl, retry: { backoff: 10 } });
    const json = async (method: string, path: string, options?: RequestOptions) =>
      (await (await session.request(method, path, options)).json()) as Record<string, unknown>;

    console.log('\nWhat is sent, as httpbin saw it');
    show('params', (await json('GET', '/get', { params: { name: '张三', age: 25 } })).args);
    show('data', (await json('POST', '/post', { data: { username: 'testuser' } })).form);
    show('json', (await json('POST', '/post', { json: { title: '测试文章' } })).json);
    const form = new FormData();
    form.set('file', new Blob(['This is test file content']), 'test.txt');
    show('FormData', (await json('POST', '/post', { data: form })).files);

    console.log('\nWhat the session does by itself');
    show('a cookie', (await json('GET', '/cookies/set/sessionid/123456')).cookies);
    show(
      'redirects',
      (await session.get('/redirect/3')).history.map(({ status }) => status),
    );
    show('retries', `status ${(await session.get('/flaky')).status} after two of 503`);
    show('gzip', `decoded: ${(await json('GET', '/gzip')).gzipped}`);
    const urls = [1, 2, 3, 4, 5, 6].map((n) => `/anything/data${n}`);
    const gathered = await gather(session, urls, { limit: 3 });
    show('gather', `${gathered.length} URLs, 3 at a time`);

    console.log('\nWhere it draws the line');
    const headers = { Authorization: 'Bearer secret' };
    const elsewhere = { url: `http://localhost:${port}/headers` };
    const seen = await json('GET', '/redirect-to', { params: elsewhere, headers });
    show(
      'a redirect elsewhere',
      `${'Authorization' in Object(seen.headers) ? 'has' : 'has no'} Authorization`,
    );
    show(
      'POST to /flaky',
      `status ${(await session.post('/flaky?key=post')).status}, not tried again`,
    );
    await fails('/delay/5 for 0.1 s', session.get('/delay/5', { timeout: { total: 100 } }));
    await fails('/status/404', session.get('/status/404', { raiseForStatus: true }));
    const bomb = gzipSync(Buffer.alloc(10 * 1024 * 1024));
    const bomber = createServer((_, response) => {
      response.setHeader('content-encoding', 'gzip').end(bomb);
    });
    const bombUrl = `http://127.0.0.1:${await listen(bomber)}`;
    const small = await session.get(bombUrl, { maxSize: 100_000 });
    await fails('10 MiB in 10 KiB', small.read());

    for (const server of [httpbin, bomber]) server.close();
  },
});

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** Three requests over three connections, then three over one, and the wire says so. */
async function playConnections(port: number): Promise<void> {
  const recording = new Recording();
  const client = (connection: number) => `connection ${connection}`;
  await using tap = await tapTcp({ port, recording, client, server: 'httpbin' });
  const baseUrl = `http://127.0.0.1:${tap.port}`;
  for (const n of [1, 2, 3]) {
    await using session = new ClientSession({ baseUrl });
    await (await session.get(`/anything/${n}`)).read();
  }
  await using session = new ClientSession({ baseUrl });
  for (const n of [4, 5, 6]) await (await session.get(`/anything/${n}`)).read();
  const requests = recording.entries.filter(
    ({ event, to }) => event === 'data' && to === 'httpbin',
  );
  console.log(format(requests.map(firstLine), { chunks: true }));
}

/** The headers name the port, which is another one each time. */
function firstLine(entry: Entry): Entry {
  const [line = ''] = String(entry.bytes).split('\r\n');
  return { ...entry, bytes: Buffer.from(line) };
}

function show(what: string, value: unknown): void {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  console.log(`  ${what.padEnd(20)}  ${text}`);
}

async function fails(what: string, request: Promise<unknown>): Promise<void> {
  await request.catch(({ name, message }: Error) => {
    const [, end = ''] = message.match(/((?:within|\d{3} [A-Z]|the limit).*)$/) ?? [];
    show(what, `${name}: ${end}`);
  });
}
