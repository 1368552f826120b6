/** Runs a program as a learner would, and checks what every program has promised. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { basename, dirname, resolve } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileOf } from './scripts.ts';

/** A program that runs. It is killed when its test ends. */
export interface Running {
  readonly child: ChildProcess;
  readonly stdin: NodeJS.WritableStream;
  /** What it has printed so far. */
  readonly stdout: string;
  readonly stderr: string;
  /** Waits until the standard output matches. Rejects if the program ends before. */
  printed(pattern: RegExp): Promise<RegExpMatchArray>;
  /** The same for the standard error. */
  complained(pattern: RegExp): Promise<RegExpMatchArray>;
  /** The port of the ready line. */
  ready(): Promise<number>;
  /** Sends SIGTERM and waits for the end. */
  stop(): Promise<number | null>;
  /** Waits for the end: the exit code, or `null` if a signal ended it. */
  exit(): Promise<number | null>;
}

/** Not `tsx`, which a file outside of the repository could not find. */
const TSX = import.meta.resolve('tsx');

/** Starts a TypeScript file with these arguments. */
export function run(t: TestContext, file: string, args: string[] = []): Running {
  const child = spawn(process.execPath, ['--import', TSX, file, ...args], {
    cwd: dirname(file),
    env: withoutColor(),
  });
  const gone = once(child, 'close');
  t.after(async () => {
    child.kill('SIGKILL');
    await gone;
  });
  const output = { stdout: '', stderr: '' };
  // Not child.exitCode: that is set while the last of the output is still on its way.
  let over = false;
  const waiting = new Set<() => void>();
  const changed = () => {
    for (const check of waiting) check();
  };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
      changed();
    });
  }
  child.stdin.on('error', () => {}); // it may end without reading all of its input
  child.on('close', () => {
    over = true;
    changed();
  });

  const matched = (name: 'stdout' | 'stderr', pattern: RegExp) =>
    new Promise<RegExpMatchArray>((resolve, reject) => {
      const check = () => {
        const match = output[name].match(pattern);
        if (match === null && !over) return;
        waiting.delete(check);
        if (match !== null) return resolve(match);
        const all = output.stdout + output.stderr;
        reject(new Error(`${basename(file)} ended before ${name} matched ${pattern}:\n${all}`));
      };
      waiting.add(check);
      check();
    });
  const exit = async () => (await gone)[0] as number | null;
  return {
    child,
    stdin: child.stdin,
    get stdout() {
      return output.stdout;
    },
    get stderr() {
      return output.stderr;
    },
    printed: (pattern) => matched('stdout', pattern),
    complained: (pattern) => matched('stderr', pattern),
    ready: async () => Number((await matched('stdout', /^listening on .*:(\d+)$/m))[1]),
    stop: () => {
      child.kill('SIGTERM');
      return exit();
    },
    exit,
  };
}

function withoutColor(): NodeJS.ProcessEnv {
  const { FORCE_COLOR, NODE_TEST_CONTEXT, ...env } = process.env;
  return { ...env, NO_COLOR: '1' };
}

/**
 * An unknown option is an error, the usage, and exit 2. For one program of each example, and for
 * those that no other test starts: `npm run check` holds all of them to program(), and a process
 * costs up to half a second.
 */
export function testUsage(file: string): void {
  test(`${basename(file)}: an unknown option shows the usage and exits with 2`, async (t) => {
    const program = run(t, file, ['--no-such-option']);
    assert.equal(await program.exit(), 2, program.stderr);
    assert.equal(program.stdout, '');
    const [, command = ''] =
      program.stderr.match(/^error: unknown option --no-such-option\nusage: (.+) -- \[options\]/) ??
      assert.fail(`not the error and the usage:\n${program.stderr}`);
    assert.equal(fileOf(command, dirname(file)).file, resolve(file), `\`${command}\` runs it`);
  });
}

/**
 * What every server has promised: the ready line, a port that is in use, SIGTERM. `talk` has the
 * conversation that it must be able to hold, over a plain socket to its port.
 */
export function testServer(
  file: string,
  talk: (t: TestContext, port: number) => Promise<void>,
): void {
  test(`${basename(file)}: is a good server`, async (t) => {
    // Said out loud, since some default to localhost or to all addresses.
    const args = ['--host', '127.0.0.1', '--port'];
    const program = run(t, file, [...args, '0']);
    const port = await program.ready();

    await t.test('it says where it listens, and talks', (t) => talk(t, port));

    await t.test('a port in use is one line on stderr and exit 1', async (t) => {
      const second = run(t, file, [...args, String(port)]);
      assert.equal(await second.exit(), 1, second.stdout);
      assert.equal(
        second.stderr,
        `error: cannot listen on 127.0.0.1:${port}: the port is in use; stop the program that holds it, or choose another with --port\n`,
      );
    });

    await t.test('SIGTERM stops it with exit 0', { skip: noSignals }, async () => {
      assert.equal(await program.stop(), 0, program.stderr);
      assert.doesNotMatch(program.stderr, /error/i);
    });
  });
}

/** Windows has no signals: a kill there is always a hard one. */
const noSignals = process.platform === 'win32' ? 'Windows cannot send SIGTERM' : false;
