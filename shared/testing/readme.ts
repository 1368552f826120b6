/** Holds a README to its word: what it shows as output is what the program prints. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { run } from './programs.ts';
import { fileOf } from './scripts.ts';

/**
 * Runs the commands of all `console` blocks of the example's README and compares. A block is a
 * command, `$ npm start 01` or `$ npm run sticky -w 02-message-framing -- --size 9`, and all that
 * it prints. The structure check sees to it that the Chinese README has the same blocks.
 */
export function testReadme(directory: string): void {
  test('README: what it shows is what its commands print', async (t) => {
    const readme = readFileSync(join(directory, 'README.md'), 'utf8').replaceAll('\r\n', '\n');
    const blocks = [...readme.matchAll(/^```console\n\$ (.+)\n([\s\S]*?)^```$/gm)];
    // A block that is indented, or that does not begin with a command, would never be run.
    const written = readme.match(/```console/g) ?? [];
    assert.equal(blocks.length, written.length, 'console blocks that begin with `$ command`');
    assert.ok(blocks.length > 0, 'the README shows no output: it has no console block');

    for (const [, command = '', output = ''] of blocks) {
      await t.test(`$ ${command}`, async (t) => {
        const { file, args } = fileOf(command, directory);
        const program = run(t, file, args);
        program.stdin.end();
        assert.equal(await program.exit(), 0, program.stderr);
        assert.equal(program.stdout, output);
      });
    }
  });
}
