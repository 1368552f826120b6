import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { root } from './examples.ts';
import { makeExample } from './new.ts';
import { checkStructure, writeCatalogues } from './structure.ts';

/** A repository with one example, 03-lesson, all of whose text is written. */
function repository(t: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), 'structure-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = (file: string) => join(directory, file);
  const write = (file: string, text: string) => writeFileSync(path(file), text);
  const edit = (file: string, from: string | RegExp, to: string) => {
    const text = readFileSync(path(file), 'utf8');
    const edited = text.replaceAll(from, to);
    assert.notEqual(edited, text, `${file} has no ${from}`);
    write(file, edited);
  };
  for (const folder of ['examples', 'shared', 'scripts']) mkdirSync(path(folder));
  cpSync(join(root, 'scripts/package.json'), path('scripts/package.json'));
  write('scripts/package.json', '{ "scripts": { "test": "node --test a.test.ts" } }');
  write('scripts/a.test.ts', '');
  write(
    'scripts/tutorials.json',
    '[{ "id": "000", "title": "T", "sections": ["1 One", "2 Two"] }]',
  );
  write(
    'TUTORIALS.md',
    `## 000 · T\n
| Section | Example | Answer |
| --- | --- | --- |
| 1 One | 03-lesson | [server.ts](examples/03-lesson/server.ts) |
| 2 Two | 04-later | planned |
`,
  );
  for (const readme of ['README.md', 'README.zh-CN.md']) {
    write(readme, '<!-- catalogue -->\n<!-- /catalogue -->\n');
  }
  makeExample('03-lesson', directory);
  const written = ['package.json', 'README.md', 'README.zh-CN.md', 'server.ts'];
  for (const file of written) edit(`examples/03-lesson/${file}`, 'TODO', 'Well written.');
  edit('examples/03-lesson/README.zh-CN.md', 'Well written. 一句话', '一句话。');
  writeCatalogues(directory);
  return { directory, write, edit, remove: (file: string) => rmSync(path(file)) };
}

test('has nothing to say against a new example once its text is written', (t) => {
  const { directory } = repository(t);
  assert.deepEqual(checkStructure(directory), []);
  const [english, chinese] = ['README.md', 'README.zh-CN.md'].map((readme) =>
    readFileSync(join(directory, readme), 'utf8'),
  );
  assert.match(
    english ?? '',
    /^\| 03 \| \[lesson\]\(examples\/03-lesson\) \| Well written\. .+ \|$/m,
  );
  assert.match(
    chinese ?? '',
    /^\| 03 \| \[lesson\]\(examples\/03-lesson\/README\.zh-CN\.md\) \| 一句话。 \|$/m,
  );
});

test('has nothing to say against this repository', () => {
  assert.deepEqual(checkStructure(), []);
});

type Repository = ReturnType<typeof repository>;
const lesson = 'examples/03-lesson';
const refusals: [string, (repository: Repository) => void][] = [
  [`${lesson}/README.zh-CN.md: missing`, ({ remove }) => remove(`${lesson}/README.zh-CN.md`)],
  [`${lesson}/demo.ts: missing`, ({ remove }) => remove(`${lesson}/demo.ts`)],
  [`${lesson}/package.json: no test`, ({ remove }) => remove(`${lesson}/lesson.test.ts`)],
  [
    `${lesson}/package.json: the script server runs serve.ts, which does not exist`,
    ({ edit }) => edit(`${lesson}/package.json`, 'server.ts', 'serve.ts'),
  ],
  [
    `${lesson}/package.json: the script other runs no file`,
    ({ edit }) => edit(`${lesson}/package.json`, '"server":', '"other": "echo", "server":'),
  ],
  [
    `${lesson}/package.json: the script start must be "node --import tsx demo.ts"`,
    ({ edit }) => edit(`${lesson}/package.json`, 'tsx demo.ts', 'tsx server.ts'),
  ],
  [
    `${lesson}/package.json: the script server must be "node --import tsx server.ts"`,
    ({ edit }) => edit(`${lesson}/package.json`, 'tsx server.ts', 'tsx demo.ts'),
  ],
  [
    `${lesson}/server.ts: is run, and does not call program(import.meta, {`,
    ({ edit }) => edit(`${lesson}/server.ts`, 'program(import.meta, {', 'void ({'),
  ],
  [
    `${lesson}/package.json: the name must be 03-lesson`,
    ({ edit }) => edit(`${lesson}/package.json`, '"03-lesson"', '"03-listen"'),
  ],
  [
    `${lesson}/package.json: the description must be one written line of up to 100 characters`,
    ({ edit }) =>
      edit(`${lesson}/package.json`, /"description": ".*"/g, '"description": "TODO me."'),
  ],
  [
    `${lesson}/more.test.ts: the script test does not run it`,
    ({ write }) => write(`${lesson}/more.test.ts`, ''),
  ],
  [`${lesson}/notes.txt: unexpected`, ({ write }) => write(`${lesson}/notes.txt`, '')],
  [
    `${lesson}/orphan.ts: nothing runs or imports it`,
    ({ write }) => write(`${lesson}/orphan.ts`, ''),
  ],
  [
    `${lesson}/server.ts: imports examples/01-tcp-echo/server.ts, which is outside of its package`,
    ({ edit }) => edit(`${lesson}/server.ts`, 'node:net', '../01-tcp-echo/server.ts'),
  ],
  [
    `${lesson}/server.ts: imports the example 01-tcp-echo`,
    ({ edit }) => edit(`${lesson}/server.ts`, 'node:net', '01-tcp-echo/server.ts'),
  ],
  [
    `${lesson}/server.ts: imports ./nowhere.ts, which does not exist`,
    ({ edit }) => edit(`${lesson}/server.ts`, 'node:net', './nowhere.ts'),
  ],
  [
    `${lesson}/server.ts: imports ws, which its package.json does not declare`,
    ({ edit }) => edit(`${lesson}/server.ts`, 'node:net', 'ws'),
  ],
  [
    `${lesson}/server.ts: imports @shared/testing, which its package.json does not declare`,
    ({ edit }) => edit(`${lesson}/server.ts`, 'node:net', '@shared/testing'),
  ],
  [
    `${lesson}/package.json: declares ws, which nothing imports`,
    ({ edit }) =>
      edit(`${lesson}/package.json`, '"dependencies": {', '"dependencies": { "ws": "^8",'),
  ],
  [
    `${lesson}/README.zh-CN.md: code block 1 is not the one of README.md`,
    ({ edit }) => edit(`${lesson}/README.zh-CN.md`, 'listening', 'listens'),
  ],
  [
    `${lesson}/README.zh-CN.md: has 2 code blocks, README.md 1`,
    ({ edit }) => edit(`${lesson}/README.zh-CN.md`, '## 没讲的', '```\nmore\n```\n\n## 没讲的'),
  ],
  [
    `${lesson}/README.md: shows no output of npm start in a console block`,
    ({ edit }) => {
      for (const file of ['README.md', 'README.zh-CN.md']) {
        edit(`${lesson}/${file}`, '```console', '```text');
      }
    },
  ],
  [
    `${lesson}/README.md: has text that is still to be written (TODO)`,
    ({ edit }) => edit(`${lesson}/README.md`, /Well written/g, 'TODO'),
  ],
  [
    `${lesson}/README.md: the title must be "# 03 · …"`,
    ({ edit }) => edit(`${lesson}/README.md`, '# 03 ·', '# 3 ·'),
  ],
  [
    `${lesson}/README.md: the sections must be Run it, What to notice, How it works, Beside the tutorial, What goes wrong, Try it, What it leaves out`,
    ({ edit }) => edit(`${lesson}/README.md`, '## Try it', '## Exercises'),
  ],
  [
    `${lesson}/README.md: links to ../02-nothing, which does not exist`,
    ({ edit }) => edit(`${lesson}/README.md`, '## Try it', '[02](../02-nothing)\n\n## Try it'),
  ],
  [
    'README.md: the catalogue is not that of the examples; npm run fix writes it',
    ({ edit }) => edit('README.md', 'lesson', 'listen'),
  ],
  ['README.md: has no <!-- catalogue -->', ({ write }) => write('README.md', '')],
  [
    'TUTORIALS.md: 000, 2 Two: has no row where it should be, but the table ends',
    ({ edit }) => edit('TUTORIALS.md', '| 2 Two | 04-later | planned |\n', ''),
  ],
  [
    'TUTORIALS.md: 000: 3 Three is no section of it',
    ({ edit }) => edit('TUTORIALS.md', /$/g, '| 3 Three | 04-later | planned |\n'),
  ],
  [
    'TUTORIALS.md: 000, 1 One: links to examples/03-lesson/nowhere.ts, which does not exist',
    ({ edit }) => edit('TUTORIALS.md', '/server.ts', '/nowhere.ts'),
  ],
  [
    'TUTORIALS.md: 000, 1 One: 03-lesson exists, and no file of it is named',
    ({ edit }) => edit('TUTORIALS.md', '[server.ts](examples/03-lesson/server.ts)', 'planned'),
  ],
  [
    'TUTORIALS.md: 000, 2 Two: must end with planned',
    ({ edit }) => edit('TUTORIALS.md', '04-later | planned', '04-later | [it](TUTORIALS.md)'),
  ],
  [
    "TUTORIALS.md: 000, 2 Two: soon is no example's name",
    ({ edit }) => edit('TUTORIALS.md', '04-later', 'soon'),
  ],
];

for (const [problem, spoil] of refusals) {
  test(`refuses: ${problem}`, (t) => {
    const made = repository(t);
    spoil(made);
    const problems = checkStructure(made.directory);
    assert.ok(problems.includes(problem), problems.join('\n'));
  });
}

test('refuses a folder whose name is not that of an example, and a number that is taken', (t) => {
  const { directory } = repository(t);
  cpSync(join(directory, lesson), join(directory, 'examples/03-again'), { recursive: true });
  mkdirSync(join(directory, 'examples/Misc'));
  const problems = checkStructure(directory);
  assert.ok(problems.includes('examples/Misc: the name must be like 01-tcp-echo'));
  assert.ok(problems.includes('examples/03-lesson: 03-again has the same number'));
});
