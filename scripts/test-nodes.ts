/**
 * Runs the whole suite on every supported Node, whatever is installed: `npm run test:nodes`, or
 * `npm run test:nodes -- 22 26`. The npm packages node-<platform>-<arch> carry the binaries; they
 * go into .nodes/, which git ignores.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { root } from './examples.ts';
import { type Counts, runTask, summary } from './turbo.ts';

const versions = process.argv.length > 2 ? process.argv.slice(2) : ['20', '22', '24', '26'];

const total: Counts = { passed: 0, failed: 0, skipped: 0 };
const results: string[] = [];
for (const version of versions) {
  const bin = install(version);
  const node = join(bin, process.platform === 'win32' ? 'node.exe' : 'node');
  const exact = execFileSync(node, ['--version'], { encoding: 'utf8' }).trim();
  console.log(`\n== Node ${exact} ==\n`);
  const env = { ...process.env, NODE_VERSION: exact, ...withFirst(bin) };
  const { code, counts } = await runTask('test', [], env);
  results.push(`Node ${exact}: ${summary(counts)}`);
  for (const key of ['passed', 'failed', 'skipped'] as const) total[key] += counts[key];
  if (code !== 0) process.exitCode = 1;
}
console.log(`\n${results.join('\n')}\n\n${summary(total)}`);

/** Installs one version, unless it is there, and returns the folder of its binary. */
function install(version: string): string {
  const { platform, arch } = process;
  // The package for Apple's processors goes by another name from Node 18 on.
  const bin = platform === 'darwin' && arch === 'arm64' ? 'node-bin' : 'node';
  const name = `${bin}-${platform === 'win32' ? 'win' : platform}-${arch}`;
  const prefix = join(root, '.nodes', version);
  mkdirSync(prefix, { recursive: true });
  // npm has a .cmd file on Windows, which only a shell can run; every word here is our own.
  const command = `npm install --prefix "${prefix}" --no-save --loglevel=error ${name}@${version}`;
  const { status } = spawnSync(command, { shell: true, cwd: prefix, stdio: 'inherit' });
  if (status !== 0) {
    console.error(`error: cannot install Node ${version}: npm has no ${name}@${version} here`);
    process.exit(1);
  }
  return join(prefix, 'node_modules', name, 'bin');
}

/** The environment's PATH, which Windows spells `Path`, with one folder before all others. */
function withFirst(folder: string): NodeJS.ProcessEnv {
  const name = Object.keys(process.env).find((key) => key.toUpperCase() === 'PATH') ?? 'PATH';
  return { [name]: `${folder}${delimiter}${process.env[name] ?? ''}` };
}
