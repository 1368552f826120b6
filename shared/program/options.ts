/** The options of a command line: what `--help` shows, what is parsed, what a bad value is told. */
import { parseArgs } from 'node:util';

/** One option. `parse` throws a {@link UsageError} for a value that it cannot take. */
export interface Option<T> {
  help: string;
  default: T;
  /** The name of the value in `--help`; none for a flag. */
  placeholder?: string;
  parse(value: string, name: string): T;
}

export type Options = Record<string, Option<unknown>>;

export type Values<O extends Options> = {
  [K in keyof O]: O[K] extends Option<infer T> ? T : never;
};

/** What was typed cannot be done. The program shows the text and its usage, and exits with 2. */
export class UsageError extends Error {
  override name = 'UsageError';
}

/** A text, such as `--host 127.0.0.1`. */
export function text(defaultValue: string, help: string): Option<string> {
  return { help, default: defaultValue, placeholder: 'TEXT', parse: (value) => value };
}

/** The address to listen on or to connect to. */
export function host(defaultValue = '127.0.0.1', help = 'the address'): Option<string> {
  return {
    ...text(defaultValue, help),
    placeholder: 'HOST',
    parse(value, name) {
      // Node would listen on every address of the machine: `--host "$UNSET"` must not do that.
      if (value === '') throw new UsageError(`${name} must not be empty`);
      return value;
    },
  };
}

/** A port, 0 to 65,535. A server that is given 0 takes any free one. */
export function port(defaultValue: number, help = 'the port'): Option<number> {
  return { ...integer(defaultValue, { max: 65_535 }, help), placeholder: 'PORT' };
}

/** A whole number from `min` (default 0) to `max` (default 2^53 - 1). */
export function integer(
  defaultValue: number,
  { min = 0, max = Number.MAX_SAFE_INTEGER }: { min?: number; max?: number },
  help: string,
): Option<number> {
  return {
    help,
    default: defaultValue,
    placeholder: 'N',
    parse(value, name) {
      const number = /^-?\d+$/.test(value) ? Number(value) : Number.NaN;
      if (number >= min && number <= max) return number;
      // Not before it is needed: the first toLocaleString() of a process takes 25 ms.
      const upTo = max === Number.MAX_SAFE_INTEGER ? '' : ` to ${max.toLocaleString('en-US')}`;
      const range = `from ${min.toLocaleString('en-US')}${upTo}`;
      throw new UsageError(`${name} must be a whole number ${range}, not ${JSON.stringify(value)}`);
    },
  };
}

/** The longest time for which Node can set a timer, in milliseconds: 24.8 days. Of a longer one it makes 1 ms. */
const LONGEST = 2 ** 31 - 1;

/** How long something may take, in milliseconds, from `min` (default 1) to what a timer can take. */
export function milliseconds(
  defaultValue: number,
  help: string,
  { min = 1, max = LONGEST }: { min?: number; max?: number } = {},
): Option<number> {
  const option = integer(defaultValue, { min, max }, `${help}, in milliseconds`);
  return { ...option, placeholder: 'MS' };
}

/** A switch: off unless it is given. */
export function flag(help: string): Option<boolean> {
  return { help, default: false, parse: () => true };
}

/** Splits a command line into the options' values and the other arguments. Throws a {@link UsageError}. */
export function parse<O extends Options>(
  options: O,
  argv: string[],
): { values: Values<O>; args: string[]; help: boolean } {
  const names = new Map(Object.keys(options).map((key) => [kebab(key), key]));
  const { tokens } = parseArgs({
    args: argv,
    strict: false,
    tokens: true,
    options: Object.fromEntries(
      [...names].map(([name, key]) => [
        name,
        { type: options[key]?.placeholder === undefined ? 'boolean' : 'string' },
      ]),
    ),
  });
  const values = Object.fromEntries(
    Object.entries(options).map(([key, option]) => [key, option.default]),
  );
  const args: string[] = [];
  let help = false;
  for (const token of tokens) {
    if (token.kind === 'positional') args.push(token.value);
    if (token.kind !== 'option') continue;
    const { name, rawName, value = '' } = token;
    // `--host --port 9000` has forgotten the host; a value that looks so is written `--host=--port`.
    const given = token.value !== undefined && (token.inlineValue || !/^-./.test(value));
    const key = names.get(name);
    const option = key === undefined ? undefined : options[key];
    if (name === 'help' || rawName === '-h') help = true;
    else if (key === undefined || option === undefined) {
      throw new UsageError(`unknown option ${rawName}`);
    } else if (option.placeholder !== undefined && !given) {
      throw new UsageError(`${rawName} needs a value`);
    } else if (option.placeholder === undefined && token.value !== undefined) {
      throw new UsageError(`${rawName} takes no value`);
    } else values[key] = option.parse(value, rawName);
  }
  return { values: values as Values<O>, args, help };
}

/** The options as `--help` lists them. */
export function describe(options: Options): string {
  const rows = Object.entries(options).map(([key, { placeholder, help, default: value }]) => [
    `--${kebab(key)}${placeholder === undefined ? '' : ` ${placeholder}`}`,
    placeholder === undefined || value === '' ? help : `${help} (default ${value})`,
  ]);
  rows.push(['--help', 'show this and exit']);
  const width = Math.max(...rows.map(([option = '']) => option.length));
  return rows.map(([option = '', help]) => `  ${option.padEnd(width)}  ${help}`).join('\n');
}

function kebab(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
