/**
 * Refuses what a reviewer would otherwise have to look for: `npm run check`. With `--write` it
 * makes the catalogues of the root READMEs anew before.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { join, normalize, relative, resolve, sep } from 'node:path';
import { type Example, findExamples, root } from './examples.ts';
import { checkTutorials } from './tutorials.ts';

const HEADINGS = {
  'README.md': [
    'Run it',
    'What to notice',
    'How it works',
    'Beside the tutorial',
    'What goes wrong',
    'Try it',
    'What it leaves out',
  ],
  'README.zh-CN.md': ['运行', '注意看', '工作原理', '对照教程', '常见错误', '动手改', '没讲的'],
};
const REQUIRED = ['package.json', 'demo.ts', ...Object.keys(HEADINGS)];
/** What a lesson may consist of: programs, a worker's entry, a page for the browser. */
const EXPECTED =
  /^(package\.json|README(\.zh-CN)?\.md|[a-z0-9-]+(\.test|\.bench)?\.ts|[a-z0-9-]+\.(mjs|html))$/;
/** Made at run time, and ignored by git. */
const IGNORED = /^(node_modules|\..*|.*\.(pem|key|crt|p12|pcap))$/;

interface Package {
  name?: string;
  private?: boolean;
  type?: string;
  description?: string;
  scripts?: Record<string, string>;
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
}

/** Everything that is wrong, one sentence each; empty if nothing is. */
export function checkStructure(directory: string = root): string[] {
  const examples = findExamples(directory);
  const packages = ['examples', 'shared']
    .flatMap((folder) => folders(join(directory, folder)))
    .concat(join(directory, 'scripts'))
    .filter(existsSync);
  const seen = new Map<string, string>();
  return [
    ...folders(join(directory, 'examples'))
      .map((path) => relative(directory, path))
      .filter((path) => !/^\d\d-[a-z0-9]+(-[a-z0-9]+)*$/.test(path.slice('examples/'.length)))
      .map((path) => `${path}: the name must be like 01-tcp-echo`),
    ...examples.flatMap(({ number, name }) => {
      const other = seen.get(number);
      seen.set(number, name);
      return other === undefined ? [] : [`examples/${name}: ${other} has the same number`];
    }),
    ...packages.flatMap((path) => checkPackage(directory, path)),
    ...examples.flatMap((example) => checkExample(example)),
    ...checkCatalogues(directory, examples),
    ...checkTutorials(directory),
  ];
}

function folders(path: string): string[] {
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !IGNORED.test(entry.name))
    .map((entry) => join(path, entry.name));
}

/** What holds for every package: scripts that point somewhere, tests that run, honest imports. */
function checkPackage(directory: string, path: string): string[] {
  const where = relative(directory, path).replaceAll(sep, '/');
  const files = readdirSync(path).filter((name) => !IGNORED.test(name));
  if (!files.includes('package.json')) return [`${where}: no package.json`];
  const manifest = JSON.parse(read(path, 'package.json')) as Package;
  const problems: string[] = [];
  const refuse = (problem: string) => problems.push(`${where}/${problem}`);

  const named = new Map<string, string[]>();
  for (const [script, command] of Object.entries(manifest.scripts ?? {})) {
    const scripts = command.split(' ').filter((word) => word.endsWith('.ts'));
    named.set(script, scripts);
    if (scripts.length === 0) refuse(`package.json: the script ${script} runs no file`);
    for (const file of scripts) {
      if (!existsSync(join(path, file))) {
        refuse(`package.json: the script ${script} runs ${file}, which does not exist`);
      }
    }
  }
  const tests = files.filter((name) => name.endsWith('.test.ts'));
  if (tests.length === 0) refuse('package.json: no test');
  for (const file of tests) {
    if (!named.get('test')?.includes(file)) refuse(`${file}: the script test does not run it`);
  }
  return [...problems, ...checkImports(directory, path, where, files, manifest)];
}

function checkImports(
  directory: string,
  path: string,
  where: string,
  files: string[],
  manifest: Package,
): string[] {
  const problems: string[] = [];
  const used = new Set<string>();
  for (const file of files.filter((name) => /\.(ts|mjs)$/.test(name))) {
    const forTests = /\.(test|bench)\.ts$/.test(file);
    const declared = { ...manifest.dependencies, ...(forTests && manifest.devDependencies) };
    for (const target of imports(read(path, file))) {
      if (isBuiltin(target)) continue;
      if (target.startsWith('.')) {
        const found = resolve(path, target);
        if (!found.startsWith(path + sep)) {
          const outside = relative(directory, found).replaceAll(sep, '/');
          problems.push(`${where}/${file}: imports ${outside}, which is outside of its package`);
        } else if (!existsSync(found)) {
          problems.push(`${where}/${file}: imports ${target}, which does not exist`);
        }
        continue;
      }
      const name = target.match(/^(@[^/]+\/)?[^/]+/)?.[0] ?? target;
      used.add(name);
      if (/^\d\d-/.test(name)) problems.push(`${where}/${file}: imports the example ${name}`);
      else if (!(name in declared)) {
        problems.push(`${where}/${file}: imports ${name}, which its package.json does not declare`);
      }
    }
  }
  const declared = { ...manifest.dependencies, ...manifest.devDependencies };
  for (const name of Object.keys(declared)) {
    if (!used.has(name) && !used.has(name.replace('@types/', ''))) {
      problems.push(`${where}/package.json: declares ${name}, which nothing imports`);
    }
  }
  return problems;
}

/** What a file imports, comments left out. */
function imports(code: string): string[] {
  const bare = code.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');
  const statements = /(?:^(?:import|export)\s(?:[^'";]*?\sfrom\s)?|\bimport\()\s*'([^']+)'/gm;
  return [...bare.matchAll(statements)].map(([, target]) => target as string);
}

/** What holds for an example beyond that. */
function checkExample({ name, number, directory: path }: Example): string[] {
  const files = readdirSync(path).filter((file) => !IGNORED.test(file));
  const manifest = JSON.parse(read(path, 'package.json')) as Package;
  const { description = '', scripts = {} } = manifest;
  const problems: string[] = [];
  const refuse = (problem: string) => problems.push(`examples/${name}/${problem}`);

  for (const file of REQUIRED) if (!files.includes(file)) refuse(`${file}: missing`);
  for (const file of files) if (!EXPECTED.test(file)) refuse(`${file}: unexpected`);
  if (manifest.name !== name) refuse(`package.json: the name must be ${name}`);
  if (manifest.private !== true) refuse('package.json: must be private');
  if (manifest.type !== 'module') refuse('package.json: the type must be module');
  if (!/^[^\n]{10,100}\.$/.test(description) || description.includes('TODO')) {
    refuse('package.json: the description must be one written line of up to 100 characters');
  }
  for (const [script, command] of Object.entries({ start: '', ...scripts })) {
    if (script === 'test' || script === 'bench') continue;
    const file = script === 'start' ? 'demo.ts' : `${script}.ts`;
    if (command !== `node --import tsx ${file}`) {
      refuse(`package.json: the script ${script} must be "node --import tsx ${file}"`);
    } else if (files.includes(file) && !/^program\(import\.meta, \{$/m.test(read(path, file))) {
      refuse(`${file}: is run, and does not call program(import.meta, {`);
    }
  }
  const texts = files.filter((file) => /\.(ts|mjs|html|json)$/.test(file));
  for (const file of texts.filter((text) => /(?<!\.test)\.(ts|mjs|html)$/.test(text))) {
    const others = texts.filter((other) => other !== file).map((other) => read(path, other));
    if (!others.some((text) => text.includes(file))) refuse(`${file}: nothing runs or imports it`);
  }
  if (!REQUIRED.every((file) => files.includes(file))) return problems;

  const english = read(path, 'README.md');
  const chinese = read(path, 'README.zh-CN.md');
  for (const [file, text] of [
    ['README.md', english],
    ['README.zh-CN.md', chinese],
  ] as const) {
    if (!text.startsWith(`# ${number} · `)) refuse(`${file}: the title must be "# ${number} · …"`);
    const headings = [...prose(text).matchAll(/^## (.+)$/gm)].map(([, heading]) => heading);
    const wanted = HEADINGS[file];
    if (headings.join() !== wanted.join()) {
      refuse(`${file}: the sections must be ${wanted.join(', ')}`);
    }
    if (text.includes('TODO')) refuse(`${file}: has text that is still to be written (TODO)`);
    for (const link of brokenLinks(path, text))
      refuse(`${file}: links to ${link}, which does not exist`);
  }
  const translated = blocks(chinese);
  const differing = blocks(english).findIndex((block, at) => block !== translated[at]);
  if (differing !== -1) {
    refuse(`README.zh-CN.md: code block ${differing + 1} is not the one of README.md`);
  } else if (translated.length > blocks(english).length) {
    refuse(
      `README.zh-CN.md: has ${translated.length} code blocks, README.md ${blocks(english).length}`,
    );
  }
  if (!english.includes('```console\n$ npm start ')) {
    refuse('README.md: shows no output of npm start in a console block');
  }
  return problems;
}

const BLOCK = /^```[\s\S]*?^```$/gm;

function blocks(markdown: string): string[] {
  return markdown.match(BLOCK) ?? [];
}

function prose(markdown: string): string {
  return markdown.replace(BLOCK, '');
}

/** Relative links that lead nowhere. */
function brokenLinks(path: string, markdown: string): string[] {
  return [...prose(markdown).matchAll(/\]\((?!https?:|#)([^)#\s]+)[^)]*\)/g)]
    .map(([, target]) => target as string)
    .filter((target) => !existsSync(join(path, target)));
}

const CATALOGUE = /(<!-- catalogue -->\n)[\s\S]*?(<!-- \/catalogue -->)/;

/** The table of all examples, from their own words. */
function catalogue(readme: string, examples: Example[]): string {
  const rows = examples.map(({ name, number, title, description, directory }) => {
    const chinese = readme === 'README.zh-CN.md';
    const text = chinese ? promise(read(directory, readme)) : description;
    const link = chinese ? `examples/${name}/${readme}` : `examples/${name}`;
    return `| ${number} | [${title}](${link}) | ${text} |`;
  });
  return ['| | | |', '| --- | --- | --- |', ...rows, ''].join('\n');
}

/** The first sentence of a Chinese README. */
function promise(readme: string): string {
  const [, text = ''] = readme.match(/^\[English\]\(README\.md\)\n\n([\s\S]+?[。！])/m) ?? [];
  return text.replaceAll('\n', '');
}

function checkCatalogues(directory: string, examples: Example[]): string[] {
  return Object.keys(HEADINGS).flatMap((readme) => {
    const path = join(directory, readme);
    if (!existsSync(path)) return [`${readme}: missing`];
    const text = read(directory, readme);
    const links = brokenLinks(directory, text).map(
      (link) => `${readme}: links to ${link}, which does not exist`,
    );
    if (!CATALOGUE.test(text)) return [`${readme}: has no <!-- catalogue -->`, ...links];
    if (withCatalogue(readme, text, examples) === text) return links;
    return [
      `${readme}: the catalogue is not that of the examples; npm run fix writes it`,
      ...links,
    ];
  });
}

function withCatalogue(readme: string, text: string, examples: Example[]): string {
  return text.replace(CATALOGUE, (_, start, end) => start + catalogue(readme, examples) + end);
}

function read(...path: [string, string]): string {
  const file = normalize(join(...path));
  return existsSync(file) ? readFileSync(file, 'utf8').replaceAll('\r\n', '\n') : '';
}

/** Makes the catalogues of the root READMEs anew. */
export function writeCatalogues(directory: string = root): void {
  for (const readme of Object.keys(HEADINGS)) {
    const text = withCatalogue(readme, read(directory, readme), findExamples(directory));
    writeFileSync(join(directory, readme), text);
  }
}

if (process.argv[1] === import.meta.filename) {
  if (process.argv.includes('--write')) writeCatalogues();
  const problems = checkStructure();
  for (const problem of problems) console.error(`error: ${problem}`);
  if (problems.length > 0) process.exitCode = 1;
  else console.log(`The structure of ${findExamples().length} examples is as it should be.`);
}
