import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { run } from '@shared/testing';
import { root } from './examples.ts';
import { makeExample } from './new.ts';

function emptyRepository(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'new-'));
  t.after(() => rmSync(directory, { recursive: true }));
  mkdirSync(join(directory, 'examples'));
  symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'), 'junction');
  return directory;
}

test('makes an example whose own tests pass', async (t) => {
  const folder = makeExample('42-my-lesson', emptyRepository(t));
  const tests = run(t, join(folder, 'my-lesson.test.ts'));
  assert.equal(await tests.exit(), 0, tests.stdout);
  assert.match(tests.stdout, /^[#ℹ] pass [1-9]/m);
});

test('refuses a name that is none, a number that is taken', (t) => {
  const directory = emptyRepository(t);
  makeExample('42-my-lesson', directory);
  for (const name of ['', 'lesson', '7-lesson', '07-My-Lesson', '07-../x', '07-']) {
    assert.throws(() => makeExample(name, directory), {
      message: `cannot make ${JSON.stringify(name)}: the name must be like 24-my-lesson`,
    });
  }
  assert.throws(() => makeExample('42-other', directory), {
    message: 'cannot make 42-other: 42-my-lesson has that number',
  });
});
