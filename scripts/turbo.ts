/**
 * Runs one task of all packages, in parallel and cached: `npm test`, `npm run bench`. Further
 * arguments are turbo's, such as `npm test -- --force`.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { stripVTControlCharacters } from 'node:util';
import { root } from './examples.ts';

/** How many tests the runners say they have run. */
export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** Adds what one line of a runner's own summary says, such as `ℹ pass 12`. */
export function count(counts: Counts, line: string): void {
  const [, name, number] = stripVTControlCharacters(line).match(/^ℹ (\w+) (\d+)$/) ?? [];
  if (name === 'pass') counts.passed += Number(number);
  if (name === 'fail' || name === 'cancelled') counts.failed += Number(number);
  if (name === 'skipped') counts.skipped += Number(number);
}

/** `12 passed, 0 failed`, and how many were skipped if any were. */
export function summary({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

/** Runs the task with this Node, prints what the packages print, and returns the exit code and the sum. */
export async function runTask(
  task: string,
  args: string[] = [],
  env: NodeJS.ProcessEnv = process.env,
): Promise<{ code: number; counts: Counts }> {
  const turbo = createRequire(import.meta.url).resolve('turbo/bin/turbo');
  const options = ['--log-prefix=none', '--log-order=grouped', '--output-logs=full', '--continue'];
  // Half as many again as there are cores, since tests also wait; turbo's ten at once would only make
  // each slower, and timeouts of programs run out.
  if (!args.some((arg) => arg.startsWith('--concurrency'))) options.push('--concurrency=150%');
  const child = spawn(process.execPath, [turbo, 'run', task, ...options, ...args], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...env,
      TURBO_TELEMETRY_DISABLED: '1',
      // Part of the cache's key: what passed on one version of Node proves nothing for another.
      NODE_VERSION: env.NODE_VERSION ?? process.version,
    },
  });
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
  const exited = once(child, 'exit');
  for await (const line of createInterface({ input: child.stdout })) {
    console.log(line);
    count(counts, line);
  }
  const [code] = (await exited) as [number | null];
  return { code: code ?? 1, counts };
}

if (process.argv[1] === import.meta.filename) {
  const [task = 'test', ...args] = process.argv.slice(2);
  const { code, counts } = await runTask(task, args);
  if (task === 'test') console.log(`\n${summary(counts)}`);
  // A runner that was killed counts nothing; one that failed without a test has failed all the same.
  process.exitCode = code;
}
