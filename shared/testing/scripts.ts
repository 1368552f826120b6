/** Which file of an example a command of its README starts. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

/** The file and the arguments of `npm start 01 client -- hi`, or of `npm run client -w 01-tcp-echo -- hi`. */
export function fileOf(command: string, directory: string): { file: string; args: string[] } {
  const example = basename(directory);
  const number = example.split('-')[0];
  const [, script = 'start', rest = ''] =
    command.match(new RegExp(`^npm start ${number}(?: ([^-\\s]\\S*))?(?: -- (.+))?$`)) ??
    command.match(new RegExp(`^npm (?:start|run (\\S+)) -w ${example}(?: -- (.+))?$`)) ??
    assert.fail(
      `want \`npm start ${number} [script] [-- args]\` or \`npm run script -w ${example} [-- args]\`, not \`${command}\``,
    );

  const { scripts } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'));
  const line: string =
    scripts[script] ??
    assert.fail(`${example} has no script "${script}", only ${Object.keys(scripts).join(', ')}`);
  const [, file = ''] =
    line.match(/^node --import tsx (\S+\.ts)$/) ??
    assert.fail(`want \`node --import tsx FILE.ts\` as script "${script}", not \`${line}\``);
  return { file: join(directory, file), args: words(rest) };
}

/** As a shell takes them: what stands in quotes is one word. */
function words(line: string): string[] {
  return [...line.matchAll(/"([^"]*)"|'([^']*)'|\S+/g)].map(
    ([word, double, single]) => double ?? single ?? word,
  );
}
