/**
 * `urllib.request.urlopen` on node:http alone: one GET, and all that is left to you without a
 * library. Read example 12 before; then session.ts, to see what a library does for it.
 */
import { once } from 'node:events';
import * as http from 'node:http';
import * as https from 'node:https';
import { milliseconds, ProgramError, program } from '@shared/program';

export interface UrlopenOptions {
  /** How long all of it may take, in milliseconds. Default 10,000. */
  timeout?: number;
  /** The largest body, in bytes. Default 1 MiB. */
  maxSize?: number;
  /** Gives up when it is aborted. Default: never. */
  signal?: AbortSignal;
}

/** The body of a URL. Rejects for a status other than 200 to 299. (Tutorial 001 §3.1) */
export async function urlopen(url: string, options: UrlopenOptions = {}): Promise<Buffer> {
  const { timeout = 10_000, maxSize = 1024 * 1024, signal } = options;
  if (!/^https?:/.test(url) || !URL.canParse(url)) {
    throw new ProgramError(`cannot open ${JSON.stringify(url)}: want http://… or https://…`);
  }
  const late = AbortSignal.timeout(timeout);
  const stop = AbortSignal.any(signal === undefined ? [late] : [late, signal]);
  const { get } = url.startsWith('https:') ? https : http;
  // Without an agent it says `Connection: close`, as urllib does: there is no second request for it.
  const request = get(url, { agent: false, signal: stop });
  try {
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    const { statusCode: status = 0 } = response;
    if (status < 200 || status > 299) {
      throw new ProgramError(`HTTP Error ${status}: ${http.STATUS_CODES[status] ?? 'unknown'}`);
    }
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of response) {
      size += chunk.length;
      // node:http has no limit: an endless body would fill the memory until the time is over.
      if (size > maxSize)
        throw new ProgramError(
          `cannot read ${url}: the limit is ${maxSize.toLocaleString('en-US')} bytes`,
        );
      chunks.push(chunk);
    }
    return Buffer.concat(chunks, size);
  } catch (error) {
    if (late.aborted) throw new ProgramError(`cannot get ${url} within ${timeout / 1000} s`);
    throw error;
  } finally {
    request.destroy();
  }
}

program(import.meta, {
  about: 'Prints what a URL has.',
  args: '[URL]',
  options: {
    timeout: milliseconds(10_000, 'how long it may take'),
  },
  async run({ timeout }, { args, signal }) {
    const [url = 'http://127.0.0.1:8000/get'] = args;
    process.stdout.write(await urlopen(url, { timeout, signal }));
  },
});
