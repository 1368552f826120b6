import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { run } from '@shared/testing';
import { findExample, findExamples } from './examples.ts';
import { npmSettings, swallowedOptions } from './npm-options.ts';
import { catalogue, pick, play, understand } from './start.ts';

const start = fileURLToPath(new URL('start.ts', import.meta.url));
const noSignals = process.platform === 'win32' ? 'Windows cannot send SIGTERM' : false;

/** A repository with these files in its examples folder. */
async function repository(t: TestContext, files: Record<string, string>): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'net-by-example-'));
  t.after(() => rm(directory, { recursive: true }));
  await mkdir(join(directory, 'examples'));
  for (const [path, content] of Object.entries(files)) {
    await mkdir(join(directory, 'examples', path, '..'), { recursive: true });
    await writeFile(join(directory, 'examples', path), content);
  }
  return directory;
}

function manifest(description: string, scripts: Record<string, string> = {}): string {
  return JSON.stringify({ description, scripts });
}

const demo = { start: 'node --import tsx demo.ts' };

async function threeExamples(t: TestContext) {
  return findExamples(
    await repository(t, {
      '10-tls/package.json': manifest('Secret.', demo),
      '02-udp-echo/package.json': manifest('A UDP server.', {
        ...demo,
        server: 'node --import tsx server.ts',
        'raw-client': 'node --import tsx raw/client.ts',
        test: 'node --import tsx --test udp-echo.test.ts',
        bench: 'node --import tsx bench.ts',
        build: 'tsc',
      }),
      '01-tcp-echo/package.json': manifest('A TCP server.', demo),
      'shared/package.json': manifest('No example.'),
      'README.md': 'no example either',
    }),
  );
}

test('the examples are the numbered folders, in order, with the programs of package.json', async (t) => {
  const examples = await threeExamples(t);
  assert.deepEqual(
    examples.map(({ name }) => name),
    ['01-tcp-echo', '02-udp-echo', '10-tls'],
  );
  const { directory, ...udp } = examples[1] ?? assert.fail();
  assert.match(directory, /02-udp-echo$/);
  assert.deepEqual(udp, {
    name: '02-udp-echo',
    number: '02',
    title: 'udp-echo',
    description: 'A UDP server.',
    programs: { start: 'demo.ts', server: 'server.ts', 'raw-client': 'raw/client.ts' },
  });
  assert.deepEqual(Object.keys(udp.programs), ['start', 'server', 'raw-client']);
});

test('a folder that is no example says what is wrong with it', async (t) => {
  const message = async (files: Record<string, string>) => {
    const directory = await repository(t, files);
    try {
      findExamples(directory);
    } catch (error) {
      return (error as Error).message;
    }
    return assert.fail('no error');
  };
  assert.equal(
    await message({ '01-left/demo.ts': '' }),
    'cannot use examples/01-left: it has no package.json; restore it, or remove the folder',
  );
  assert.match(
    await message({ '01-cut/package.json': '{"description": ' }),
    /^cannot read examples\/01-cut\/package\.json: Unexpected end of JSON input$/,
  );
  assert.equal(
    await message({ '01-null/package.json': 'null' }),
    'cannot use examples/01-null/package.json: it is not an object',
  );
  assert.equal(
    await message({ '01-bare/package.json': '{}' }),
    'cannot use examples/01-bare/package.json: it has no description',
  );
});

test('an example is found by its number, its title, its name and its folder', async (t) => {
  const examples = await threeExamples(t);
  const words = ['02', '2', 'udp-echo', 'UDP-Echo', '02-udp-echo', 'examples/02-udp-echo/'];
  for (const word of [...words, 'examples\\02-udp-echo']) {
    assert.equal(findExample(examples, word).name, '02-udp-echo', word);
  }
});

test('an unknown example names the nearest', async (t) => {
  const examples = await threeExamples(t);
  const nearest = { udp: '02-udp-echo', tsl: '10-tls', '01-tcp-ecko': '01-tcp-echo', 99: '10-tls' };
  for (const [word, name] of Object.entries(nearest)) {
    assert.throws(() => findExample(examples, word), {
      message: `no example "${word}"; did you mean ${name}? \`npm start\` lists them all`,
      exitCode: 2,
    });
  }
});

test('the words after the example are a program and its arguments', async (t) => {
  const examples = await threeExamples(t);
  const meaning = (...argv: string[]) => {
    const { example, program, args } = understand(examples, argv);
    return [example.number, program, ...args];
  };
  assert.deepEqual(meaning('2'), ['02', 'start']);
  assert.deepEqual(meaning('2', '--help'), ['02', 'start', '--help']);
  assert.deepEqual(meaning('2', 'start', 'hello'), ['02', 'start', 'hello']);
  assert.deepEqual(meaning('2', 'server', '--port', '9000'), ['02', 'server', '--port', '9000']);
  assert.deepEqual(meaning('2', 'raw-client', 'a', 'b c'), ['02', 'raw-client', 'a', 'b c']);
  assert.throws(() => meaning('2', 'sever'), {
    message:
      '02-udp-echo has no program "sever"; did you mean server? It has: start, server, raw-client',
    exitCode: 2,
  });
  assert.throws(() => meaning('2', 'constructor'), /has no program "constructor"/);
});

test('options that npm has swallowed are told from its own settings', async (t) => {
  const directory = await repository(t, { npmrc: 'registry=https://example.org\nstrict-ssl = no' });
  const settings = npmSettings({
    npm_config_userconfig: join(directory, 'examples', 'npmrc'),
    npm_config_registry: 'https://example.org',
    npm_config_strict_ssl: '',
    npm_config_cache: '/tmp/cache',
    npm_config_rate_limit: 'true',
    npm_config_port: '9000',
    npm_package_name: 'net-by-example',
    PATH: '/bin',
  });
  assert.deepEqual(
    [...settings],
    [
      ['rate-limit', 'true'],
      ['port', '9000'],
    ],
  );
});

test('swallowed options are put back behind --', () => {
  const help = [
    'usage: npm run server -w 01-tcp-echo -- [options]',
    '',
    '  --host HOST  the address, as in --verbose VALUE (default 127.0.0.1)',
    '  --port PORT  the port (default 8888)',
    '  --no-delay   send at once',
    '  --quiet      say nothing',
  ].join('\n');
  const line = (settings: Record<string, string>, ...args: string[]) =>
    swallowedOptions(new Map(Object.entries(settings)), help, args).join(' ');
  assert.equal(line({ port: 'true' }, '9000', 'hello'), '--port 9000 hello');
  assert.equal(line({ port: '9000' }, 'hello'), '--port 9000 hello');
  assert.equal(line({ port: 'true' }), '--port PORT');
  assert.equal(line({ port: 'true', host: 'true' }, '9000', '::1'), '--host HOST --port PORT');
  assert.equal(line({ quiet: 'true', delay: '' }, 'hello'), '--no-delay --quiet hello');
  assert.equal(line({ registry: 'x', verbose: 'true' }, '9000'), '');
});

test('the catalogue is aligned and ends with how to run one', async (t) => {
  assert.equal(
    catalogue(await threeExamples(t)),
    [
      '01  tcp-echo  A TCP server.',
      '02  udp-echo  A UDP server.',
      '10  tls       Secret.',
      '',
      '`npm start 01` plays the demo of 01; `npm start help` shows what else there is.',
    ].join('\n'),
  );
});

/** Picks with these keys at a terminal of 40 columns: the choice, and all that the screen showed. */
async function pickWith(t: TestContext, keys: string[], last?: number) {
  const examples = await threeExamples(t);
  examples[1] = { ...(examples[1] ?? assert.fail()), description: 'A long story. '.repeat(9) };
  const input = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => {} });
  const output = Object.assign(new PassThrough(), { isTTY: true, columns: 40, rows: 24 });
  let screen = '';
  output.setEncoding('utf8').on('data', (text: string) => {
    screen += text;
  });
  const choice = pick(examples, last === undefined ? undefined : examples[last], { input, output });
  for (const key of keys) input.write(key);
  return { name: (await choice)?.name, screen };
}

const [DOWN, ENTER, CTRL_C] = ['\x1b[B', '\r', '\x03'];

test('the picker takes the arrows, a search, and the last one again', async (t) => {
  assert.equal((await pickWith(t, [ENTER])).name, '01-tcp-echo');
  assert.equal((await pickWith(t, [DOWN, ENTER])).name, '02-udp-echo');
  assert.equal((await pickWith(t, ['s', 'e', 'c', 'r', ENTER])).name, '10-tls');
  assert.equal((await pickWith(t, [ENTER], 2)).name, '10-tls');
});

test('the picker is left with Ctrl+C, also where nothing matches', async (t) => {
  assert.equal((await pickWith(t, [CTRL_C])).name, undefined);
  const { name, screen } = await pickWith(t, ['z', 'z', ENTER, CTRL_C]);
  assert.equal(name, undefined);
  assert.match(screen, /Change the search, or leave with Esc\./);
});

test('the picker keeps every example on one line', async (t) => {
  const { screen } = await pickWith(t, [CTRL_C]);
  const line = screen.split('\n').find((text) => text.includes('02  udp-echo')) ?? assert.fail();
  assert.match(line, /02 {2}udp-echo {2}A long story\. A lon…$/);
});

/** Plays a demo of this code. */
async function playDemo(t: TestContext, code: string): Promise<number> {
  const [example = assert.fail()] = findExamples(
    await repository(t, {
      '01-demo/package.json': manifest('A demo.', demo),
      '01-demo/demo.ts': code,
    }),
  );
  return play({ example, program: 'start', args: ['a b'] });
}

test('a demo runs in its folder with its arguments, and gives its exit code', async (t) => {
  const code =
    "if (process.cwd().endsWith('01-demo') && process.argv[2] === 'a b') process.exit(7);";
  assert.equal(await playDemo(t, code), 7);
});

test('a demo that a signal ends gives 128 + n', { skip: noSignals }, async (t) => {
  assert.equal(await playDemo(t, "process.kill(process.pid, 'SIGKILL');"), 128 + 9);
});

test('npm start without a terminal prints the catalogue', async (t) => {
  const program = run(t, start);
  assert.equal(await program.exit(), 0);
  assert.equal(program.stdout, `${catalogue(findExamples())}\n`);
  assert.equal(program.stderr, '');
});

test('npm start 1 plays the demo of 01', async (t) => {
  const program = run(t, start, ['1']);
  assert.equal(await program.exit(), 0);
  assert.match(program.stdout, /^ *server +listening\n(.*\n)+ *server ──▶ client +FIN\n$/);
});

test('npm start with an unknown example is one line on stderr and exit 2', async (t) => {
  const program = run(t, start, ['tcp-ecko']);
  assert.equal(await program.exit(), 2);
  assert.equal(
    program.stderr,
    'error: no example "tcp-ecko"; did you mean 01-tcp-echo? `npm start` lists them all\n',
  );
  assert.equal(program.stdout, '');
});

test('SIGTERM reaches the program, whose exit code comes back', { skip: noSignals }, async (t) => {
  const program = run(t, start, ['01', 'server', '--port', '0']);
  await program.ready();
  assert.equal(await program.stop(), 0);
});
