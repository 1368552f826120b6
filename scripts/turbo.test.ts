import assert from 'node:assert/strict';
import { test } from 'node:test';
import { count, summary } from './turbo.ts';

test("adds up the runners' own summaries, coloured or not, and nothing else", () => {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const line of [
    'ℹ tests 5',
    'ℹ pass 3',
    'ℹ fail 1',
    'ℹ cancelled 1',
    'ℹ skipped 0',
    '\u001b[34mℹ pass 4\u001b[39m',
    '  ✔ says ℹ pass 9',
    'ℹ pass 9 of 10',
  ]) {
    count(counts, line);
  }
  assert.deepEqual(counts, { passed: 7, failed: 2, skipped: 0 });
  assert.equal(summary(counts), '7 passed, 2 failed');
  assert.equal(summary({ ...counts, skipped: 1 }), '7 passed, 2 failed, 1 skipped');
});
