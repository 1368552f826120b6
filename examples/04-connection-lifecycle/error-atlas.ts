/**
 * Provokes network errors for real, and explains each: what has happened, and what to do.
 * The texts are in errors.ts, and how it is done in provoke.ts.
 */
import { flag, type Option, ProgramError, program, UsageError } from '@shared/program';
import { CODES, type Code, ERRORS, LANGUAGES, type Language } from './errors.ts';
import { provoke } from './provoke.ts';

const LABELS: Record<Language, { error: string; how: string; means: string; cure: string }> = {
  en: { error: 'error', how: 'how  ', means: 'means', cure: 'do   ' },
  zh: { error: '错误', how: '起因', means: '含义', cure: '对策' },
};
const HEADER: Record<Language, string> = {
  en: '| Error | What has happened | What to do |',
  zh: '| 错误 | 发生了什么 | 怎么办 |',
};

/** One page of the atlas: the error that has been provoked, or why it could not be, and the texts. */
export function page(code: Code, error: Error, language: Language = 'en'): string {
  const { how, means, cure } = ERRORS[code][language];
  const label = LABELS[language];
  // An AggregateError has no message of its own.
  const errors: Error[] = error instanceof AggregateError ? error.errors : [error];
  return [
    code,
    ...errors.map(({ message }) => `  ${label.error}  ${withoutPort(message)}`),
    `  ${label.how}  ${how}`,
    `  ${label.means}  ${means}`,
    `  ${label.cure}  ${cure}`,
  ].join('\n');
}

/** Ports are the kernel's choice, and others each time. */
function withoutPort(message: string): string {
  return message.replace(/:\d+$/, ':PORT');
}

/** The table of the README. */
export function markdown(language: Language): string {
  const rows = CODES.map((code) => {
    const { means, cure } = ERRORS[code][language];
    return `| \`${code}\` | ${means} | ${cure} |`;
  });
  return [HEADER[language], '| --- | --- | --- |', ...rows].join('\n');
}

/** The codes as people write them, or all. Throws a {@link UsageError} for one that there is not. */
export function findCodes(args: string[]): Code[] {
  if (args.length === 0) return CODES;
  return args.map((text) => {
    const code = CODES.find((known) => known.toUpperCase() === text.toUpperCase());
    if (code !== undefined) return code;
    throw new UsageError(`unknown error ${text}; there are ${CODES.join(', ')}`);
  });
}

const lang: Option<Language> = {
  help: 'the language, en or zh',
  default: 'en',
  placeholder: 'LANG',
  parse(value, name) {
    const language = LANGUAGES.find((known) => known === value);
    if (language !== undefined) return language;
    throw new UsageError(`${name} must be en or zh, not ${JSON.stringify(value)}`);
  },
};

program(import.meta, {
  about: 'Provokes network errors, all of them or those that are named, and explains each.',
  args: '[CODE...]',
  options: { lang, markdown: flag('print the table of the README instead') },
  async run({ lang, markdown: table }, { args, signal }) {
    if (table) return console.log(markdown(lang));
    for (const code of findCodes(args)) {
      const error = await provoke(code, { signal }).catch((reason) => {
        if (reason instanceof ProgramError) return reason; // not on this machine
        throw reason;
      });
      console.log(page(code, error, lang));
    }
  },
});
