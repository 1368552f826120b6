/** Holds a README to its word: what it shows as output is what the program prints. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { run } from './programs.ts';

/**
 * Runs the commands of all `console` blocks of the example's README and compares. A block is a
 * command, `$ npm start 01` or `$ npm run sticky -w 02-message-framing`, and all that it prints.
 * The structure check sees to it that the Chinese README has the same blocks.
 */
export function testReadme(directory: string): void {
  const readme = readFileSync(join(directory, 'README.md'), 'utf8').replaceAll('\r\n', '\n');
  const blocks = [...readme.matchAll(/^```console\n\$ (.+)\n([\s\S]*?)^```$/gm)];
  assert.ok(blocks.length > 0, 'the README shows no output');
  for (const [, command = '', output = ''] of blocks) {
    test(`README: what it shows for \`${command}\` is what that prints`, async (t) => {
      const [script, ...args] = parseCommand(command, basename(directory));
      const program = run(t, join(directory, script), args);
      program.stdin.end();
      assert.equal(await program.exit(), 0, program.stderr);
      assert.equal(program.stdout, output);
    });
  }
}

/** The file and the arguments that a command of a README stands for. */
function parseCommand(command: string, example: string): [string, ...string[]] {
  const number = example.slice(0, 2);
  const [, script, rest] =
    command.match(new RegExp(`^npm start ${number}(?: (?!--)(\\S+))?(?: --(.*))?$`)) ??
    command.match(new RegExp(`^npm run (\\S+) -w ${example}(?: --(.*))?$`)) ??
    assert.fail(`not a command of ${example}: ${command}`);
  return [`${script ?? 'demo'}.ts`, ...(rest ?? '').split(' ').filter((word) => word !== '')];
}
