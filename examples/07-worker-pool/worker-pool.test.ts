import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, describe, type TestContext, test } from 'node:test';
import {
  cuts,
  dial,
  listen,
  readAll,
  reset,
  sendPieces,
  testReadme,
  testServer,
  testUsage,
} from '@shared/testing';
import { measureDelay } from './delay.ts';
import { createPool } from './pool.ts';
import { countPrimes } from './primes.ts';
import { createPoolServer, type PoolServerOptions } from './server.ts';

const never = new AbortController().signal;

/** A server that listens, and a way to send it commands and read all that it answers. */
async function start(t: TestContext, options: PoolServerOptions = {}) {
  const log: string[] = [];
  // On a machine that is busy with other tests a thread may take seconds to start.
  const server = createPoolServer({
    taskTimeout: 60_000,
    log: (line) => log.push(line),
    ...options,
  });
  const port = await listen(t, server);
  const say = async (commands: string) => {
    const client = await dial(t, port);
    client.end(commands);
    return (await readAll(client)).toString();
  };
  return { server, port, log, say };
}

describe('the server', { concurrency: true }, () => {
  test('answers every command, in order, and the client that has ended its half', async (t) => {
    const { say } = await start(t, { now: () => new Date(2026, 0, 31, 23, 59, 59) });
    const answers = await say('time\necho  two  words\nclients\nprimes 100\n');
    assert.equal(
      answers,
      'Welcome, you are client 1.\n2026-01-31 23:59:59\n two  words\n1 connected\n25 primes up to 100\n',
    );
  });

  test('answers the same however the bytes arrive', async (t) => {
    const { server, port } = await start(t);
    for (const { name, pieces } of cuts('echo 网\r\nexit\n')) {
      const accepted = once(server, 'connection');
      const client = await dial(t, port);
      const [receiver] = await accepted;
      await sendPieces(client, receiver, pieces);
      client.end();
      assert.match((await readAll(client)).toString(), /\n网\nGoodbye!\n$/, name);
    }
  });

  test('says what it can do to a command that it cannot, also one that every object has', async (t) => {
    const { say } = await start(t);
    for (const command of ['dance', 'toString', '__proto__', '']) {
      const help = 'commands: time, echo, clients, primes, exit\n';
      assert.ok((await say(`${command}\n`)).endsWith(`.\n${help}`), command);
    }
  });

  test('reads nothing behind exit', async (t) => {
    const { say } = await start(t);
    assert.equal(await say('exit\necho more\n'), 'Welcome, you are client 1.\nGoodbye!\n');
  });

  test('refuses an N that is none, or too large', async (t) => {
    const { say } = await start(t);
    for (const n of ['', '0', '-1', '1.5', '1e3', 'x', '10000001']) {
      const refusal = 'error: N must be a whole number from 1 to 10,000,000\n';
      assert.ok((await say(`primes ${n}\n`)).endsWith(refusal), n);
    }
  });

  test('refuses a line that is too long, and says so', async (t) => {
    const { port } = await start(t);
    const client = await dial(t, port);
    client.write(Buffer.alloc(100_000, 'x'));
    const answers = (await readAll(client)).toString();
    assert.match(
      answers,
      /\nerror: cannot accept message: [\d,]+ bytes and no delimiter, the limit is 65,536\n$/,
    );
  });

  test('answers the others while a thread computes, and ends the task of a client that has left', async (t) => {
    const { server, port, log, say } = await start(t, { threads: 1, maxQueue: 1 });
    const closed: Promise<unknown>[] = [];
    server.on('connection', (socket) => {
      closed.push(new Promise((resolve) => socket.once('close', resolve)));
    });
    const busy = [await dial(t, port), await dial(t, port)];
    let answers = '';
    for (const client of busy) {
      client.setEncoding('utf8').on('data', (text: string) => {
        answers += text;
      });
      client.write('primes 10000000\n');
    }
    for (let n = 3; n <= 12; n++) assert.match(await say('echo hello\n'), /\nhello\n$/);
    assert.equal(answers, 'Welcome, you are client 1.\nWelcome, you are client 2.\n');

    busy.forEach(reset);
    await Promise.all(closed);
    // If one of the two still had the thread, and the other one the queue, this would be refused.
    assert.match(await say('primes 10\n'), /\n4 primes up to 10\n$/);
    assert.ok(log.includes('client 1 failed: read ECONNRESET'), log.join('\n'));
    assert.ok(log.includes('client 1 left'));
  });

  test('refuses a task when too many wait, and goes on', async (t) => {
    const { port, say } = await start(t, { threads: 1, maxQueue: 1 });
    const clients = await Promise.all([dial(t, port), dial(t, port)]);
    const answered = Promise.all(clients.map((client) => once(client, 'data')));
    await answered;
    for (const client of clients) client.write('primes 10000000\n');
    let answers = '';
    while (!answers.includes('busy')) answers = await say('primes 10\n');
    assert.match(answers, /\nerror: busy: 1 tasks are waiting, try again later\n$/);
    assert.match(await say('echo hello\n'), /\nhello\n$/);
  });

  test('gives up a task that takes too long', async (t) => {
    const { say } = await start(t, { taskTimeout: 50 });
    const answers = await say('primes 10000000\necho next\n');
    assert.match(answers, /\nerror: primes took longer than 0.05 s\nnext\n$/);
  });

  test('drops a client that is idle for too long', async (t) => {
    const { port } = await start(t, { idleTimeout: 20 });
    const client = await dial(t, port);
    assert.equal((await readAll(client)).toString(), 'Welcome, you are client 1.\n');
  });

  test('serves no more clients than it may', async (t) => {
    const { port } = await start(t, { maxConnections: 1 });
    await once(await dial(t, port), 'data');
    assert.equal((await readAll(await dial(t, port))).length, 0);
  });
});

describe('the pool', () => {
  // One for all of these tests: a thread costs more than what they do with it.
  const { run, destroy } = createPool({ threads: 1, taskTimeout: 60_000 });
  after(destroy);

  test('counts primes as arithmetic does', () => {
    assert.deepEqual([1, 2, 3, 4, 10, 100, 10_000].map(countPrimes), [0, 1, 2, 2, 4, 25, 1229]);
  });

  test('survives a task that fails', async () => {
    await assert.rejects(run('upperCase', undefined, never), { name: 'TypeError' });
    assert.equal(await run('upperCase', 'ß', never), 'SS');
  });

  test('keeps the event loop free, which the loop cannot do for itself', async (t) => {
    let turns = 0;
    const count = () => {
      turns++;
      next = setImmediate(count);
    };
    let next = setImmediate(count);
    t.after(() => clearImmediate(next));
    await run('primes', 300_000, never);
    assert.ok(turns > 1, `${turns} turns`);
    const before = turns;
    countPrimes(300_000);
    assert.equal(turns, before);
  });

  test('ends a task that runs when it is told to', async () => {
    const stop = new AbortController();
    const task = run('primes', 10_000_000, stop.signal);
    stop.abort();
    await assert.rejects(task, { name: 'AbortError' });
    assert.equal(await run('primes', 10, never), 4);
  });

  test('measures the delay of the work that it is given', async () => {
    let took = 0;
    const { max, mean } = await measureDelay(() => {
      const start = performance.now();
      countPrimes(300_000);
      took = performance.now() - start;
    });
    assert.ok(max > mean && took > 0 && max > took / 2, `${mean} ${max} ${took}`);
  });
});

describe('the programs', { concurrency: true }, () => {
  testUsage(join(import.meta.dirname, 'delay.ts'));
  testServer(join(import.meta.dirname, 'server.ts'), async (t, port) => {
    const client = await dial(t, port);
    client.end('primes 10\nexit\n');
    assert.match((await readAll(client)).toString(), /\n4 primes up to 10\nGoodbye!\n$/);
  });
  testServer(join(import.meta.dirname, 'line-server.ts'), async (t, port) => {
    const client = await dial(t, port);
    client.end('one\n\nzwei: ß\n');
    assert.equal((await readAll(client)).toString(), 'ONE\n\nZWEI: SS\n');
  });
});

testReadme(import.meta.dirname);
