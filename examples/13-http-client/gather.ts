/**
 * Many URLs at once, though not all of them: `asyncio.gather` with a limit. One that fails does not
 * lose the others, and the results come in the order of the URLs. Read session.ts before.
 */

import { explain, integer, ProgramError, program, text } from '@shared/program';
import pLimit from 'p-limit';
import type { ClientResponse } from './response.ts';
import { ClientSession } from './session.ts';

export interface GatherOptions {
  /** How many are under way at the same time. Default 10. */
  limit?: number;
  signal?: AbortSignal;
}

export interface Fetched {
  response: ClientResponse;
  body: Buffer;
}

/** What became of each URL, as `Promise.allSettled` tells it. (Tutorial 001 §4.2) */
export function gather(
  session: ClientSession,
  urls: readonly string[],
  { limit = 10, signal }: GatherOptions = {},
): Promise<PromiseSettledResult<Fetched>[]> {
  const queue = pLimit(limit);
  return Promise.allSettled(
    urls.map((url) =>
      // The body too: there is an answer as soon as its headers are there, and the next would begin.
      queue(async () => {
        const response = await session.get(url, {
          raiseForStatus: true,
          ...(signal && { signal }),
        });
        return { response, body: await response.read() };
      }),
    ),
  );
}

program(import.meta, {
  about: 'Fetches URLs at the same time, and prints a line about each in their order.',
  args: '[URL...]',
  options: {
    baseUrl: text('http://127.0.0.1:8000', 'what relative URLs are relative to'),
    limit: integer(10, { min: 1 }, 'how many at the same time'),
  },
  async run({ baseUrl, limit }, { args, signal }) {
    const urls = args.length > 0 ? args : ['/anything/data1', '/anything/data2'];
    await using session = new ClientSession({ baseUrl });
    const results = await gather(session, urls, { limit, signal });
    signal.throwIfAborted();
    for (const [index, result] of results.entries()) {
      if (result.status === 'fulfilled') {
        const { response, body } = result.value;
        console.log(
          `${response.status}  ${body.length.toLocaleString('en-US').padStart(9)} bytes  ${urls[index]}`,
        );
      } else console.log(`failed  ${explain(result.reason) ?? result.reason}`);
    }
    const failed = results.filter(({ status }) => status === 'rejected').length;
    if (failed > 0) throw new ProgramError(`${failed} of ${urls.length} URLs could not be fetched`);
  },
});
