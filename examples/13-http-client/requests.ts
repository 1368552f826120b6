/**
 * The tutorial's tour of `requests` with `fetch`, which Node has built in; where `fetch` has nothing
 * to offer (cookies, retries, a proxy) ClientSession steps in. Read session.ts before.
 */
import { explain, milliseconds, ProgramError, program, text } from '@shared/program';
import { buildUrl } from './request.ts';
import { ClientSession } from './session.ts';

export interface TourOptions {
  /** A service like httpbin. */
  baseUrl: string;
  /** `http://host:port`. Default: none, and its step is left out. */
  proxy?: string;
  /** How long one request may take, in milliseconds. Default 3,000. */
  timeout?: number;
  /** The largest body, in bytes. Default 1 MiB. */
  maxSize?: number;
  /** Gives up when it is aborted. */
  signal: AbortSignal;
}

/** Does one thing after the other, and yields a line about each. (Tutorials 001 §3.1, 002 §2.1, 003 §06) */
export async function* tour(options: TourOptions): AsyncGenerator<string> {
  const { proxy, timeout = 3000, maxSize = 1024 * 1024, signal } = options;
  const baseUrl = buildUrl(options.baseUrl);
  const request = async (path: string, init: RequestInit = {}, ms = timeout) => {
    const url = new URL(path, baseUrl);
    // fetch has no timeout of its own but undici's five minutes.
    const late = AbortSignal.timeout(ms);
    try {
      const response = await fetch(url, { ...init, signal: AbortSignal.any([late, signal]) });
      // And it has no limit: response.json() would take whatever comes.
      return { url, status: response.status, body: await readAll(response, maxSize) };
    } catch (error) {
      throw late.aborted ? new ProgramError(`cannot get ${url} within ${ms / 1000} s`) : error;
    }
  };
  const json = async (path: string, init?: RequestInit) => {
    const answer = await request(path, init);
    raiseForStatus(answer);
    return parseJson(answer);
  };

  const query = new URLSearchParams({ name: '张三', age: '25' });
  yield line('GET with parameters', (await json(`/get?${query}`)).args);

  const form = new URLSearchParams({ username: 'testuser', password: 'testpass' });
  yield line('POST a form', (await json('/post', { method: 'POST', body: form })).form);

  const article = JSON.stringify({ title: '测试文章', content: '这是一篇测试文章的内容' });
  const headers = { 'content-type': 'application/json' };
  yield line('POST JSON', (await json('/post', { method: 'POST', body: article, headers })).json);

  const upload = new FormData();
  upload.set('file', new Blob(['This is test file content']), 'test.txt');
  yield line('upload a file', (await json('/post', { method: 'POST', body: upload })).files);

  await using session = new ClientSession({ baseUrl, maxSize, timeout: { total: timeout } });
  await (await session.get('/cookies/set/sessionid/123456', { signal })).release();
  yield line('a session', await (await session.get('/cookies', { signal })).json());

  yield line('/delay/5', await request('/delay/5', {}, 200).then(raiseForStatus).catch(failure));

  const flaky = { params: { fail: 2, key: String(process.hrtime.bigint()) }, signal };
  yield line('retries', `${(await session.get('/flaky', flaky)).status} after two of 503`);

  if (proxy !== undefined) {
    await using proxied = new ClientSession({ baseUrl, proxy, maxSize });
    yield line('by a proxy', (await proxied.get('/get', { signal })).status);
  }

  for (const url of [
    '/status/200',
    '/status/404',
    '/status/500',
    'http://does-not-exist.invalid',
  ]) {
    const outcome = await request(url).then(raiseForStatus).catch(failure);
    yield line(url, outcome);
  }
}

type Answer = { url: URL; status: number; body: string };

/** A bad status is no error for fetch: only what kept the answer from coming is. */
function raiseForStatus({ url, status }: Answer): number {
  if (status >= 400) throw new ProgramError(`HTTP error ${status}: ${url}`);
  return status;
}

function parseJson({ url, body }: Answer): Record<string, unknown> {
  try {
    return Object(JSON.parse(body));
  } catch {
    throw new ProgramError(`cannot read ${url}: that is not JSON`);
  }
}

/** What `except RequestException as e` tells; a bug goes on being one. */
function failure(error: unknown): string {
  const text = explain(error);
  if (text === undefined) throw error;
  return text;
}

async function readAll(response: Response, maxSize: number): Promise<string> {
  const decoder = new TextDecoder();
  let [size, body] = [0, ''];
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > maxSize)
      throw new ProgramError(`cannot read ${response.url}: over ${maxSize} bytes`);
    body += decoder.decode(chunk, { stream: true });
  }
  return body + decoder.decode();
}

function line(what: string, outcome: unknown): string {
  const text = typeof outcome === 'string' ? outcome : JSON.stringify(outcome);
  return `${what.padEnd(30)} ${text}`;
}

program(import.meta, {
  about: 'Shows what fetch does where the tutorial has requests, against a service like httpbin.',
  options: {
    baseUrl: text('http://127.0.0.1:8000', 'the service'),
    proxy: text('', 'http://host:port of a proxy to try'),
    timeout: milliseconds(3000, 'how long one request may take'),
  },
  async run({ baseUrl, proxy, timeout }, { signal }) {
    for await (const text of tour({ baseUrl, timeout, signal, ...(proxy && { proxy }) }))
      console.log(text);
  },
});
