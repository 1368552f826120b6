/**
 * Downloads a file of any size in little memory: chunk by chunk from the socket to the disk, with a
 * progress bar. Read session.ts before.
 */
import { createWriteStream } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { integer, program, text, UsageError } from '@shared/program';
import { type Terminal, withProgress } from './progress.ts';
import { buildUrl } from './request.ts';
import { ClientSession } from './session.ts';

export interface DownloadOptions {
  /** Where the file goes; one that is there already is replaced. */
  file: string;
  /** The largest file, in bytes. Default 1 GiB. */
  maxSize?: number;
  /** Where the bar is drawn, if it is a terminal. Default: nowhere. */
  terminal?: Terminal;
  signal?: AbortSignal;
}

/** Downloads a URL into a file. Rejects if it does not come, or not whole; then there is no file either. */
export async function download(
  session: ClientSession,
  url: string,
  options: DownloadOptions,
): Promise<void> {
  const { file, maxSize = 1024 ** 3, terminal = { write: () => {} }, signal } = options;
  // As it comes into /dev/null and the like: a rename would put a file in the place of the device.
  const device = await stat(file)
    .then((is) => !is.isFile())
    .catch(() => false);
  const response = await session.get(url, { raiseForStatus: true, ...(signal && { signal }) });
  // Of a compressed body it is the compressed length.
  const length = response.headers.has('content-encoding')
    ? null
    : response.headers.get('content-length');
  const total = length === null ? undefined : Number(length);
  // Under its own name only when it is whole: half a file looks like a file.
  const part = device ? file : `${file}.part`;
  try {
    await pipeline(
      withProgress(response.content, { total, maxSize, terminal }),
      createWriteStream(part),
    );
    if (!device) await rename(part, file);
  } catch (error) {
    if (!device) await rm(part, { force: true });
    throw error;
  }
}

/** The last part of the path, as a name that is safe on every system. The server has no say in it. */
export function fileName(url: string): string {
  const last = buildUrl(url).pathname.split('/').at(-1) ?? '';
  return last.replace(/[^\w.-]/g, '_').replace(/^\.+/, '') || 'index.html';
}

program(import.meta, {
  about: 'Downloads a URL into a file of the same name.',
  args: 'URL',
  options: {
    output: text('', 'the file; without it, the last part of the URL'),
    maxSize: integer(1024 ** 3, { min: 1 }, 'the largest file, in bytes'),
  },
  async run({ output, maxSize }, { args, signal }) {
    const [url] = args;
    if (url === undefined || args.length > 1) throw new UsageError('want one URL');
    await using session = new ClientSession();
    const file = output || fileName(url);
    await download(session, url, { file, maxSize, terminal: process.stderr, signal });
    console.log(file);
  },
});
