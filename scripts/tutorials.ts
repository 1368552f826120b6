/**
 * Checks TUTORIALS.md: every section of the tutorials (tutorials.json has their titles) has a row,
 * in order, and every row has files that exist, or `planned` for an example that does not yet.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

interface Tutorial {
  id: string;
  title: string;
  sections: string[];
}

/** Everything that is wrong, one sentence each; empty if nothing is. */
export function checkTutorials(directory: string): string[] {
  const list = readFileSync(join(directory, 'scripts', 'tutorials.json'), 'utf8');
  const tutorials = JSON.parse(list) as Tutorial[];
  const file = join(directory, 'TUTORIALS.md');
  if (!existsSync(file)) return ['TUTORIALS.md: missing'];
  const text = readFileSync(file, 'utf8').replaceAll('\r\n', '\n');
  const parts = text.split(/^## /m).slice(1);
  const titles = parts.map((part) => part.slice(0, part.indexOf('\n')));
  const wanted = tutorials.map(({ id, title }) => `${id} · ${title}`);
  if (titles.join('\n') !== wanted.join('\n')) {
    return [`TUTORIALS.md: the headings must be ${wanted.join(', ')}`];
  }
  return tutorials.flatMap(({ id, sections }, at) => {
    const rows = [...(parts[at] as string).matchAll(/^\| (.+?) \| (.+?) \| (.+?) \|$/gm)].slice(2);
    const problems: string[] = [];
    for (const [n, section] of sections.entries()) {
      const [, title, example = '', answer = ''] = rows[n] ?? [];
      const refuse = (problem: string) =>
        problems.push(`TUTORIALS.md: ${id}, ${section}: ${problem}`);
      if (title !== section) {
        refuse(`has no row where it should be, but ${title ?? 'the table ends'}`);
        break;
      }
      for (const problem of checkRow(directory, example, answer)) refuse(problem);
    }
    if (rows.length > sections.length && problems.length === 0) {
      problems.push(`TUTORIALS.md: ${id}: ${rows[sections.length]?.[1]} is no section of it`);
    }
    return problems;
  });
}

function checkRow(directory: string, example: string, answer: string): string[] {
  // Sections such as an introduction, which no program could answer.
  if (example.startsWith('— no program: ')) return answer === '—' ? [] : ['must be answered by —'];
  const problems: string[] = [];
  const names = example.split(', ');
  const built = names.filter((name) => existsSync(join(directory, 'examples', name)));
  const links = [...answer.matchAll(/\]\(([^)]+)\)/g)].map(([, target]) => target as string);
  for (const link of links) {
    if (!existsSync(join(directory, link))) problems.push(`links to ${link}, which does not exist`);
  }
  for (const name of names) {
    if (!/^\d\d-[a-z0-9-]+$/.test(name)) problems.push(`${name} is no example's name`);
  }
  for (const name of built) {
    if (!links.some((link) => link.startsWith(`examples/${name}/`))) {
      problems.push(`${name} exists, and no file of it is named`);
    }
  }
  const planned = built.length < names.length;
  if (answer.endsWith('planned') !== planned) {
    problems.push(planned ? 'must end with planned' : 'is planned, and its examples exist');
  }
  return problems;
}
