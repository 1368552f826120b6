/** Finds the options that npm has taken for settings of its own: `npm start 01 server --port 9000`. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './examples.ts';

const ALWAYS_SET = [
  'allow-scripts',
  'cache',
  'global-prefix',
  'globalconfig',
  'init-module',
  'local-prefix',
  'node-gyp',
  'noproxy',
  'npm-version',
  'prefix',
  'user-agent',
  'userconfig',
];

/**
 * npm's settings as a script sees them (`npm_config_rate_limit` → `rate-limit`), without those
 * that it always sets and those from its configuration files: hence from the command line, or from
 * the environment.
 */
export function npmSettings(env: NodeJS.ProcessEnv): Map<string, string> {
  const usual = new Set(ALWAYS_SET);
  const files = [env.npm_config_userconfig, env.npm_config_globalconfig, join(root, '.npmrc')];
  for (const file of files) {
    if (file === undefined || !existsSync(file)) continue;
    for (const [, name = ''] of readFileSync(file, 'utf8').matchAll(/^\s*([\w-]+)/gm)) {
      usual.add(name.toLowerCase().replaceAll('_', '-'));
    }
  }
  const settings = new Map<string, string>();
  for (const [key, value = ''] of Object.entries(env)) {
    const name = key.match(/^npm_config_(.+)$/)?.[1]?.replaceAll('_', '-');
    if (name !== undefined && !usual.has(name)) settings.set(name, value);
  }
  return settings;
}

/**
 * The options of a program that are among npm's settings, and the arguments, as they should have
 * been typed.
 *
 * @param help what the program prints for `--help`
 * @param args what npm has left; a value that stood after a space is among them
 */
export function swallowedOptions(
  settings: Map<string, string>,
  help: string,
  args: string[],
): string[] {
  const options: string[] = [];
  const lacking: number[] = [];
  for (const [, name = '', placeholder] of help.matchAll(/^ +--([a-z][a-z0-9-]*)(?: (\S+))?/gm)) {
    if (name.startsWith('no-') && settings.get(name.slice(3)) === '') options.push(`--${name}`);
    const value = settings.get(name);
    if (value === undefined) continue;
    options.push(`--${name}`);
    if (placeholder === undefined) continue;
    if (value === 'true') lacking.push(options.length);
    options.push(value === 'true' ? placeholder : value);
  }
  if (options.length === 0) return [];
  const [index] = lacking;
  if (index === undefined) return [...options, ...args];
  // npm does not keep the order, so several values cannot be told apart: their names must do.
  const [value, ...rest] = args;
  if (lacking.length > 1 || value === undefined) return options;
  return [...options.with(index, value), ...rest];
}
