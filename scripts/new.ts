/** Makes a new example from scripts/template: `npm run new 24-my-lesson`. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findExamples, root } from './examples.ts';

const TEMPLATE = join(import.meta.dirname, 'template');

/**
 * Writes the folder of a new example and returns its path.
 *
 * @throws {Error} if the name is not like 24-my-lesson, or its number or folder is taken
 */
export function makeExample(name: string, directory: string = root): string {
  const [, number, title] = name.match(/^(\d\d)-([a-z][a-z0-9]*(?:-[a-z0-9]+)*)$/) ?? [];
  if (number === undefined || title === undefined) {
    throw new Error(`cannot make ${JSON.stringify(name)}: the name must be like 24-my-lesson`);
  }
  const taken = findExamples(directory).find((example) => example.number === number);
  if (taken !== undefined) throw new Error(`cannot make ${name}: ${taken.name} has that number`);
  const folder = join(directory, 'examples', name);
  if (existsSync(folder)) throw new Error(`cannot make ${name}: the folder exists`);

  const pascal = title.replace(/(?:^|-)([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
  mkdirSync(folder, { recursive: true });
  for (const file of readdirSync(TEMPLATE)) {
    const text = readFileSync(join(TEMPLATE, file), 'utf8')
      .replaceAll('00-template', name)
      .replaceAll('template.test.ts', `${title}.test.ts`)
      .replaceAll('TemplateServer', `${pascal}Server`)
      .replaceAll('npm start 00', `npm start ${number}`)
      .replace(/^# 00 /, `# ${number} `);
    writeFileSync(join(folder, file.replace('template.test.ts', `${title}.test.ts`)), text);
  }
  return folder;
}

if (process.argv[1] === import.meta.filename) {
  try {
    const name = process.argv[2] ?? '';
    makeExample(name);
    // Makes the example a workspace and puts it into the lockfile, which npm ci compares.
    const { status } = spawnSync('npm install --loglevel=error', {
      shell: true,
      cwd: root,
      stdio: 'inherit',
    });
    console.log(
      `examples/${name} is there. Write what says TODO, then: npm run fix && npm run check`,
    );
    process.exitCode = status ?? 1;
  } catch (error) {
    console.error(`error: ${(error as Error).message}`);
    process.exitCode = 2;
  }
}
