/** Finds the examples: the folders examples/NN-name. No script lists them by hand. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import leven from 'leven';

/** The root of the repository. */
export const root: string = fileURLToPath(new URL('..', import.meta.url));

export interface Example {
  /** The folder and the workspace: `01-tcp-echo`. */
  name: string;
  /** `01` */
  number: string;
  /** The name without the number: `tcp-echo`. */
  title: string;
  /** The folder's absolute path. */
  directory: string;
  /** The line of the catalogue, from package.json. */
  description: string;
  /** Script name → the file it runs, in the order of package.json. `start` is the demo. */
  programs: Record<string, string>;
}

/** An example that cannot be used or found. The message says which one, and what to do about it. */
export class ExampleError extends Error {
  override name = 'ExampleError';
  readonly exitCode: number;

  /** @param exitCode 2 if the command line is to blame, 1 otherwise. */
  constructor(message: string, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

/**
 * All examples, in the order of their numbers.
 *
 * @throws {ExampleError} if a folder has no package.json, or one that cannot be used
 */
export function findExamples(directory: string = root): Example[] {
  const folder = join(directory, 'examples');
  if (!existsSync(folder)) throw new ExampleError(`cannot find examples: there is no ${folder}`);
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && /^\d{2,}-./.test(entry.name))
    .map((entry) => readExample(join(folder, entry.name), entry.name))
    .sort((a, b) => Number(a.number) - Number(b.number) || (a.name < b.name ? -1 : 1));
}

function readExample(directory: string, name: string): Example {
  const { description, scripts } = readPackage(directory, name);
  if (typeof description !== 'string' || description === '') {
    throw new ExampleError(`cannot use examples/${name}/package.json: it has no description`);
  }
  const dash = name.indexOf('-');
  return {
    name,
    number: name.slice(0, dash),
    title: name.slice(dash + 1),
    directory,
    description,
    programs: findPrograms(scripts),
  };
}

function readPackage(
  directory: string,
  name: string,
): { description?: unknown; scripts?: unknown } {
  let text: string;
  try {
    text = readFileSync(join(directory, 'package.json'), 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT') {
      throw new ExampleError(`cannot read examples/${name}/package.json: ${code}`);
    }
    throw new ExampleError(
      `cannot use examples/${name}: it has no package.json; restore it, or remove the folder`,
    );
  }
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value;
  } catch (error) {
    throw new ExampleError(
      `cannot read examples/${name}/package.json: ${(error as Error).message}`,
    );
  }
  throw new ExampleError(`cannot use examples/${name}/package.json: it is not an object`);
}

/** `node --import tsx FILE.ts`. The tests and benchmarks have scripts of their own. */
function findPrograms(scripts: unknown): Record<string, string> {
  const programs: Record<string, string> = {};
  for (const [script, command] of Object.entries(scripts ?? {})) {
    if (script === 'test' || script === 'bench' || typeof command !== 'string') continue;
    const file = command.match(/^node --import tsx ([^\s-]\S*\.ts)$/)?.[1];
    if (file !== undefined) programs[script] = file;
  }
  return programs;
}

/**
 * The example that a person means by `01`, `1`, `tcp-echo`, `01-tcp-echo` or, as the Tab key
 * completes it, `examples/01-tcp-echo/`.
 *
 * @throws {ExampleError} with the nearest one, if there is none
 */
export function findExample(examples: Example[], word: string): Example {
  const wanted = word.toLowerCase().replace(/^.*[/\\](?=.)|[/\\]$/g, '');
  const found = examples.find(
    ({ name, title, number }) =>
      wanted === name ||
      wanted === title ||
      (isNumber(wanted) && Number(wanted) === Number(number)),
  );
  if (found !== undefined) return found;
  const near = nearest(examples, (example) => distance(wanted, example));
  const hint = near === undefined ? '' : `; did you mean ${near.name}?`;
  throw new ExampleError(
    `no example ${JSON.stringify(word)}${hint} \`npm start\` lists them all`,
    2,
  );
}

function distance(wanted: string, { name, number, title }: Example): number {
  if (isNumber(wanted)) return Math.abs(Number(wanted) - Number(number));
  // `udp` is meant for 05-udp-echo, however many letters are missing.
  if (name.includes(wanted)) return 0;
  return Math.min(leven(wanted, name), leven(wanted, title));
}

function isNumber(text: string): boolean {
  return /^\d+$/.test(text);
}

/** The item with the least distance, the first of those if there are several. */
export function nearest<T>(items: T[], distanceOf: (item: T) => number): T | undefined {
  const [first] = items
    .map((item) => ({ item, distance: distanceOf(item) }))
    .sort((a, b) => a.distance - b.distance);
  return first?.item;
}
