/** `npm start`: shows the examples, plays their demos, and runs their programs. */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { constants } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { autocomplete, intro, isCancel, log, outro } from '@clack/prompts';
import leven from 'leven';
import { type Example, ExampleError, findExample, findExamples, nearest } from './examples.ts';
import { npmSettings, swallowedOptions } from './npm-options.ts';

const USAGE = `usage: npm start [EXAMPLE [PROGRAM] [ARGUMENT...]] [-- OPTION...]

  npm start                             pick an example from a list
  npm start 01                          play its demo (also: 1, tcp-echo, 01-tcp-echo)
  npm start 01 server                   run one of its programs
  npm start 01 client hello             give it arguments
  npm start 01 server -- --port 9000    give it options: they stand after --
  npm start 01 server -- --help         ask it which options it has`;

/** A program of an example, with its arguments. */
export interface Command {
  example: Example;
  program: string;
  args: string[];
}

async function main(argv: string[]): Promise<number> {
  const [word] = argv;
  if (word === '--help' || word === '-h' || word === 'help') {
    console.log(USAGE);
    return 0;
  }
  if (word?.startsWith('-')) {
    throw new ExampleError(`unknown option ${word}; an example comes first\n${USAGE}`, 2);
  }
  const examples = findExamples();
  if (word === undefined) {
    if (process.stdin.isTTY && process.stdout.isTTY) return browse(examples);
    console.log(catalogue(examples));
    return 0;
  }
  await refuseSwallowedOptions(examples, argv);
  return play(understand(examples, argv));
}

/** The list of all examples as plain text. */
export function catalogue(examples: Example[]): string {
  return `${lines(examples).join('\n')}\n\n\`npm start 01\` plays the demo of 01; \`npm start help\` shows what else there is.`;
}

function lines(examples: Example[]): string[] {
  const width = Math.max(...examples.map(({ title }) => title.length));
  return examples.map(
    ({ number, title, description }) => `${number}  ${title.padEnd(width)}  ${description}`,
  );
}

/**
 * The program that the words of a command line mean: an example, perhaps one of its programs
 * (otherwise the demo), and the arguments.
 *
 * @throws {ExampleError} with the nearest name, if there is no such example or program
 */
export function understand(examples: Example[], argv: string[]): Command {
  const [word = '', program, ...args] = argv;
  const example = findExample(examples, word);
  if (program === undefined || program.startsWith('-')) {
    return { example, program: 'start', args: argv.slice(1) };
  }
  if (Object.hasOwn(example.programs, program)) return { example, program, args };
  const names = Object.keys(example.programs);
  const near = nearest(names, (name) => leven(program, name));
  const hint = near === undefined ? '' : `; did you mean ${near}? It has: ${names.join(', ')}`;
  throw new ExampleError(`${example.name} has no program ${JSON.stringify(program)}${hint}`, 2);
}

/**
 * npm takes `--port 9000` for a setting of its own unless `--` stands before it, and the program
 * would run on another port without a word.
 */
async function refuseSwallowedOptions(examples: Example[], argv: string[]): Promise<void> {
  const settings = npmSettings(process.env);
  if (settings.size === 0) return;
  const [word = '', second = '', ...rest] = argv;
  const example = findExample(examples, word);
  const named = Object.hasOwn(example.programs, second);
  // Only the program knows its options: `registry` may well be a setting that npm was meant to have.
  const program = named ? second : 'start';
  const help = await helpOf({ example, program, args: ['--help'] });
  const options = swallowedOptions(settings, help, named ? rest : argv.slice(1));
  if (options.length === 0) return;
  const line = ['npm start', word, ...(named ? [second] : []), '--', ...options].join(' ');
  throw new ExampleError(`put -- before the options: ${line}`, 2);
}

async function helpOf(command: Command): Promise<string> {
  const { stdout } = spawnProgram(command, ['ignore', 'pipe', 'ignore']);
  return stdout === null ? '' : text(stdout);
}

/** Runs the program in this terminal. Resolves with its exit code, 128 + n if signal n ended it. */
export async function play(command: Command): Promise<number> {
  const child = spawnProgram(command, 'inherit');
  // Ctrl+C reaches the program by itself; without a listener it would end us here, and leave the
  // program to write over the shell's prompt.
  const ignore = () => {};
  const forward = (signal: NodeJS.Signals) => child.kill(signal);
  process.on('SIGINT', ignore).on('SIGTERM', forward).on('SIGHUP', forward);
  try {
    return await new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, signal) =>
        resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
      );
    });
  } finally {
    process.off('SIGINT', ignore).off('SIGTERM', forward).off('SIGHUP', forward);
  }
}

function spawnProgram({ example, program, args }: Command, stdio: StdioOptions): ChildProcess {
  // understand() has checked the program; the demo of an example need not exist.
  const file = example.programs[program];
  if (file === undefined) {
    throw new ExampleError(
      `cannot play ${example.name}: its package.json has no script ${program}`,
    );
  }
  const tsx = import.meta.resolve('tsx');
  return spawn(process.execPath, ['--import', tsx, file, ...args], {
    stdio,
    cwd: example.directory,
  });
}

/** The exit code after Ctrl+C, which is how a person ends a demo that would go on. */
const STOPPED = 128 + constants.signals.SIGINT;

/** Lets the person pick examples and plays them, until they have seen enough. */
async function browse(examples: Example[]): Promise<number> {
  const stop = new AbortController();
  const { signal } = stop;
  const leave = () => stop.abort();
  process.once('SIGTERM', leave).once('SIGHUP', leave);
  intro('net-by-example');
  let last: Example | undefined;
  while (!signal.aborted) {
    const example = await pick(examples, last, { signal });
    if (example === undefined) break;
    last = example;
    log.step(`npm start ${example.number}`);
    console.log();
    const code = await play({ example, program: 'start', args: [] });
    console.log();
    if (code !== 0 && code !== STOPPED) log.warn(`ended with exit code ${code}`);
  }
  outro('Bye!');
  return 0;
}

/** Where the picker is, and what ends it as Esc does. */
interface Terminal {
  input?: Readable;
  output?: Writable & { columns?: number };
  signal?: AbortSignal;
}

/** Asks for an example; `undefined` if the person leaves with Esc or Ctrl+C. */
export async function pick(
  examples: Example[],
  last?: Example,
  { input = process.stdin, output = process.stdout, signal }: Terminal = {},
): Promise<Example | undefined> {
  const width = (output.columns ?? 80) - PICKER_MARGIN;
  const choice = await autocomplete({
    message: 'Which example? (Esc leaves)',
    options: lines(examples).map((line, index) => ({ value: index, label: truncate(line, width) })),
    ...(last !== undefined && { initialValue: examples.indexOf(last) }),
    filter: (search, { value }) => matches(search, examples[value]),
    validate: (value) =>
      value === undefined ? 'Change the search, or leave with Esc.' : undefined,
    // A shorter list after a demo, so that what it printed stays in sight above.
    maxItems: last === undefined ? 12 : 6,
    input,
    output,
    ...(signal && { signal }),
  });
  return isCancel(choice) ? undefined : examples[choice];
}

/** What the picker prints around a line: `│  ● ` before it, and one column that stays free. */
const PICKER_MARGIN = 6;

function truncate(line: string, width: number): string {
  return line.length <= width ? line : `${line.slice(0, width - 1).trimEnd()}…`;
}

/** Every word that was typed is somewhere in the example. */
function matches(search: string, example: Example | undefined): boolean {
  const line = `${example?.name} ${example?.description}`.toLowerCase();
  return search
    .toLowerCase()
    .split(' ')
    .every((word) => line.includes(word));
}

if (
  process.argv[1] !== undefined &&
  realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)
) {
  // The reader of our output went away (`npm start | head -1`): nobody is left to tell anything.
  process.stdout.on('error', () => process.exit(0));
  try {
    process.exitCode = await main(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof ExampleError)) throw error;
    console.error(`error: ${error.message}`);
    process.exitCode = error.exitCode;
  }
}
