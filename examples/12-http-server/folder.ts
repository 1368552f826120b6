/**
 * From the path of a URL to a file in a folder, and never out of the folder: not by `..`, nor by a
 * link. What decides is where a file really lies, not what its path looks like.
 */
import { constants, type Stats } from 'node:fs';
import { type FileHandle, open, readdir, readlink, realpath, stat } from 'node:fs/promises';
import { join, resolve, sep } from 'node:path';

/**
 * The names in the path of a URL, as Python's `translate_path` takes them: decoded once, and `..`
 * ends at the root. `undefined` for a path that is no file's here.
 */
export function namesOf(path: string, windows = sep === '\\'): string[] | undefined {
  const names: string[] = [];
  for (const name of decode(path).split('/')) {
    if (name === '..') names.pop();
    else if (name !== '' && name !== '.') names.push(name);
  }
  const impossible = windows ? RESERVED : /\0/;
  return names.some((name) => impossible.test(name)) ? undefined : names;
}

/** Separators, drives, streams (`a.txt::$DATA`), devices, and other spellings of a name (`a.txt.`). */
const RESERVED = /[\0\\:]|[. ]$|^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[\d¹²³]) *(\.|$)/i;

function decode(path: string): string {
  try {
    // A % that is none stands for itself, as in Python.
    return decodeURIComponent(path.replace(/%(?![\da-f]{2})/gi, '%25'));
  } catch {
    return '\0'; // not UTF-8
  }
}

/** What a path leads to, links followed. `undefined` for nothing, and for what cannot be served. */
export async function kindOf(path: string): Promise<'file' | 'folder' | undefined> {
  const stats = await ifThere(stat(path));
  if (stats?.isDirectory()) return 'folder';
  // The rest are devices, sockets and pipes: to open one may wait for ever, or do something.
  return stats?.isFile() ? 'file' : undefined;
}

/** Opens a file inside of `root`. `undefined` if that is not possible, or if it lies outside. */
export async function openInside(
  root: string,
  path: string,
): Promise<[FileHandle, Stats] | undefined> {
  // Without O_NONBLOCK a pipe that has just taken the file's place would keep us waiting.
  const file = await ifThere(open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)));
  if (file === undefined) return undefined;
  const [stats, inside] = await Promise.all([file.stat(), isInside(root, path, file)]);
  if (stats.isFile() && inside) return [file, stats];
  await file.close();
  return undefined;
}

/** Whether a folder lies in `root`, or is it, or a file does that is open already. */
export async function isInside(root: string, path: string, file?: FileHandle): Promise<boolean> {
  const real = await whereIs(path, file);
  if (real === undefined) return false;
  if (isBelow(resolve(root), real)) return true;
  // The folder that is served may have a link in its own path.
  const top = await ifThere(realpath(root));
  return top !== undefined && isBelow(top, real);
}

function isBelow(top: string, path: string): boolean {
  return `${path}${sep}`.startsWith(top.endsWith(sep) ? top : top + sep);
}

/**
 * Where a path really leads, without links. Before a file is open, whoever may write in the folder
 * could still put a link in its place; afterwards Linux knows what it is that we have opened.
 */
async function whereIs(path: string, file?: FileHandle): Promise<string | undefined> {
  const opened = file && (await ifThere(readlink(`/proc/self/fd/${file.fd}`)));
  return opened ?? (await ifThere(realpath(path)));
}

/** An entry of a folder, with the mark that Python shows: `/` for a folder, `@` for a link. */
export interface Entry {
  name: string;
  isFolder: boolean;
  isLink: boolean;
}

/** What is in a folder, in Python's order. `undefined` if it may not be read, or is not in `root`. */
export async function listInside(root: string, path: string): Promise<Entry[] | undefined> {
  const dirents = await ifThere(readdir(path, { withFileTypes: true }));
  if (dirents === undefined || !(await isInside(root, path))) return undefined;
  const entries: Entry[] = [];
  for (const dirent of dirents) {
    const { name } = dirent;
    // Not UTF-8: no link could lead there.
    if (name.includes('\ufffd')) continue;
    const isLink = dirent.isSymbolicLink();
    const target = isLink ? await ifThere(stat(join(path, name))) : dirent;
    entries.push({ name, isLink, isFolder: target?.isDirectory() === true });
  }
  return entries.sort((one, other) => compare(one.name, other.name));
}

/** As Python: lower case against lower case, by the numbers of the characters, as UTF-8 does. */
function compare(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one.toLowerCase()), Buffer.from(other.toLowerCase()));
}

/** The result, or `undefined` where Python answers 404. Other errors are ours: too many open files. */
async function ifThere<T>(result: Promise<T>): Promise<T | undefined> {
  try {
    return await result;
  } catch (error) {
    if (NOT_THERE.has((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

const NOT_THERE = new Set(
  'EACCES EINVAL EISDIR ELOOP ENAMETOOLONG ENODEV ENOENT ENOTDIR ENXIO EPERM EBUSY'.split(' '),
);
