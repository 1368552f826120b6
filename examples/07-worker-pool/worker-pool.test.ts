import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import type { Worker } from 'node:worker_threads';
import {
  cuts,
  dial,
  listen,
  readAll,
  readBytes,
  reset,
  run as runProgram,
  sendPieces,
  testReadme,
  testServer,
  testUsage,
  until,
} from '@shared/testing';
import { measureDelay } from './delay.ts';
import { createLineServer } from './line-server.ts';
import { createPool, type PoolOptions } from './pool.ts';
import { countPrimes } from './primes.ts';
import { createPoolServer, type PoolServerOptions } from './server.ts';

/** What waits for ever here has failed. */
const together = { concurrency: true, timeout: 60_000 };
const LINE_SERVER = join(import.meta.dirname, 'line-server.ts');
const KiB = 1024;
const MiB = 1024 * KiB;
const never = new AbortController().signal;
/** One thread, since each costs a test more than all else; on a busy machine it may take seconds to start. */
const PATIENT: PoolOptions = { threads: 1, taskTimeout: 60_000 };

/** A server that listens, and a way to send it commands and read all that it answers. */
async function start(t: TestContext, options: PoolServerOptions = {}) {
  const log: string[] = [];
  const server = createPoolServer({ ...PATIENT, log: (line) => log.push(line), ...options });
  const port = await listen(t, server);
  const say = async (commands: string) => {
    const client = await dial(t, port);
    client.end(commands);
    return (await readAll(client)).toString();
  };
  return { server, port, log, say };
}

/** Once it is closed, with or without an error. */
function closing(socket: Socket): Promise<unknown> {
  return new Promise((resolve) => socket.once('close', resolve));
}

describe('the server', together, () => {
  test('answers every command, in order, and the client that has ended its half', async (t) => {
    // The queue has room for one: a hundred commands at once are still one task at a time.
    const { say } = await start(t, { maxQueue: 1, now: () => new Date(2026, 0, 31, 23, 59, 59) });
    const answers = await say(`time\necho  two  words\nCLIENTS\n${'primes  100 \n'.repeat(100)}`);
    const words = 'Welcome, you are client 1.\n2026-01-31 23:59:59\n two  words\n1 connected\n';
    assert.equal(answers, words + '25 primes up to 100\n'.repeat(100));
  });

  test('answers the same however the bytes arrive', async (t) => {
    const { server, port } = await start(t);
    const accepted = once(server, 'connection');
    const client = await dial(t, port);
    const [receiver] = (await accepted) as [Socket];
    const all = [...cuts('echo 网\r\n')];
    for (const { pieces } of all) await sendPieces(client, receiver, pieces);
    client.end();
    const expected = `Welcome, you are client 1.\n${'网\n'.repeat(all.length)}`;
    assert.equal((await readAll(client)).toString(), expected);
  });

  test('says what it can do to a command that it cannot, also one that every object has', async (t) => {
    const { say } = await start(t);
    const help = 'commands: time, echo, clients, primes, exit\n';
    const answers = await say('dance\ntoString\n__proto__\n\n');
    assert.equal(answers, `Welcome, you are client 1.\n${help.repeat(4)}`);
  });

  test('reads no further while its answers wait for the client, and loses none', async (t) => {
    const { server, port, say } = await start(t);
    const accepted = once(server, 'connection');
    const client = await dial(t, port);
    const [receiver] = (await accepted) as [Socket];
    await readBytes(client, 'Welcome, you are client 1.\n'.length);
    receiver.cork(); // as if the kernel took no more
    client.end(`echo ${'x'.repeat(KiB - 6)}\n`.repeat(KiB));
    await until(() => receiver.writableNeedDrain || receiver.readableEnded);
    for (let n = 0; n < 3; n++) assert.match(await say('echo hello\n'), /\nhello\n$/);
    assert.ok(receiver.writableLength < 256 * KiB, `${receiver.writableLength} bytes wait`);
    receiver.uncork();
    assert.equal((await readAll(client)).length, KiB * (KiB - 'echo '.length));
  });

  test('reads nothing behind exit', async (t) => {
    const { say } = await start(t);
    assert.equal(await say('exit\necho more\n'), 'Welcome, you are client 1.\nGoodbye!\n');
  });

  test('lets a client hear the end that is still sending', async (t) => {
    const { port } = await start(t, { linger: 10_000 });
    const client = await dial(t, port);
    const closed = once(client, 'close'); // rejects if the client is reset
    client.write('exit\n');
    client.end(Buffer.alloc(4 * MiB));
    assert.equal((await readAll(client)).toString(), 'Welcome, you are client 1.\nGoodbye!\n');
    await closed;
  });

  test('cuts off a client that goes on behind exit', async (t) => {
    const { server, port } = await start(t, { linger: 20 });
    const accepted = once(server, 'connection');
    const client = await dial(t, port);
    const [receiver] = (await accepted) as [Socket];
    const closed = once(receiver, 'close');
    client.write('exit\n');
    assert.match((await readAll(client)).toString(), /\nGoodbye!\n$/);
    await closed;
  });

  test('tells a client that ends inside a command', async (t) => {
    const { say } = await start(t);
    const error = 'error: the stream ended inside a message: 4 bytes had arrived, and no delimiter';
    assert.equal(await say('time'), `Welcome, you are client 1.\n${error}\n`);
  });

  test('refuses an N that is none, or too large', async (t) => {
    const { say } = await start(t);
    const refusal = 'error: N must be a whole number from 1 to 10,000,000\n';
    const wrong = ['', '0', '-1', '1.5', '1e3', 'x', '10 10', '10000001', '9'.repeat(1000)];
    const answers = await say(wrong.map((n) => `primes ${n}\n`).join(''));
    assert.equal(answers, `Welcome, you are client 1.\n${refusal.repeat(wrong.length)}`);
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

  test('two that want much of one thread, with room for one task to wait', async (t) => {
    const { server, port, log, say } = await start(t, { maxQueue: 1 });
    const receivers: Socket[] = [];
    server.on('connection', (socket) => receivers.push(socket));
    const busy = [await dial(t, port), await dial(t, port)];
    let answers = '';
    for (const client of busy) {
      client.setEncoding('utf8').on('data', (text: string) => {
        answers += text;
      });
      client.write('primes 10000000\n');
    }
    // Until the thread has one of the two tasks, and the queue the other.
    await until(() => receivers.filter(({ bytesRead }) => bytesRead > 0).length === 2);

    await t.test('answers the others while a thread computes', async () => {
      for (let n = 0; n < 3; n++) assert.match(await say('echo hello\n'), /\nhello\n$/);
      assert.equal(answers, 'Welcome, you are client 1.\nWelcome, you are client 2.\n');
    });

    await t.test('refuses a task when too many wait', async () => {
      const refusal = /\nerror: busy: the queue is full \(1\), try again later\nhello\n$/;
      assert.match(await say('primes 10\necho hello\n'), refusal);
    });

    await t.test('ends the task of a client that has left', async () => {
      const closed = receivers.slice(0, 2).map((receiver) => closing(receiver));
      busy.forEach(reset);
      await Promise.all(closed);
      // If one of the two still had the thread, and the other one the queue, this would be refused.
      assert.match(await say('primes 10\n'), /\n4 primes up to 10\n$/);
      assert.ok(log.includes('client 1 failed: read ECONNRESET'), log.join('\n'));
      assert.ok(log.includes('client 1 left'));
    });
  });

  test('gives up a task that takes too long', async (t) => {
    const { say } = await start(t, { taskTimeout: 1 });
    const answers = await say('primes 10000000\necho next\n');
    assert.match(answers, /\nerror: primes took longer than 0.001 s\nnext\n$/);
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

describe('the pool', { timeout: together.timeout }, () => {
  // One for all of these tests: a thread costs more than what they do with it.
  const log: string[] = [];
  const { run, destroy } = createPool({ ...PATIENT, log: (line) => log.push(line) });
  let thread: Worker;
  before(async () => {
    const started = once(process, 'worker');
    await run('primes', 1, never);
    [thread] = (await started) as [Worker];
  });
  after(destroy);

  test('counts primes as arithmetic does', () => {
    assert.deepEqual([1, 2, 3, 4, 10, 100, 10_000].map(countPrimes), [0, 1, 2, 2, 4, 25, 1229]);
  });

  test('survives a task that fails', async () => {
    await assert.rejects(run('upperCase', undefined, never), { name: 'TypeError' });
    assert.equal(await run('upperCase', 'ß', never), 'SS');
  });

  test('outlives a thread that fails while it has nothing to do', async () => {
    thread.emit('error', new Error('a bug'));
    assert.deepEqual(log, ['a thread failed: a bug']);
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

  test('ends a task that runs when it is told to, and begins the one behind it', async () => {
    const stop = new AbortController();
    const task = run('primes', 10_000_000, stop.signal);
    const next = run('primes', 10, never);
    stop.abort();
    await assert.rejects(task, { name: 'AbortError' });
    assert.equal(await next, 4);
    await assert.rejects(run('primes', 10, stop.signal), { name: 'AbortError' });
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

describe('the line server', together, () => {
  const open = async (t: TestContext, options: PoolOptions = {}) => {
    const server = createLineServer({ ...PATIENT, ...options });
    const port = await listen(t, server);
    const accepted = once(server, 'connection');
    return { client: await dial(t, port), receiver: (await accepted)[0] as Socket };
  };

  test('answers each line in upper case, however the bytes arrive, and not half a line', async (t) => {
    const { client, receiver } = await open(t);
    const all = [...cuts('straße 网络 🎉\n\nhi\n')];
    for (const { pieces } of all) await sendPieces(client, receiver, pieces);
    client.end('half');
    const expected = 'STRASSE 网络 🎉\n\nHI\n'.repeat(all.length);
    assert.equal((await readAll(client)).toString(), expected);
  });

  test('refuses a line that is too long, after the lines before it', async (t) => {
    const { client } = await open(t);
    client.write(`hi\n${'x'.repeat(64 * KiB)}`);
    client.write('x');
    assert.equal(
      (await readAll(client)).toString(),
      'HI\nerror: cannot accept message: 65,537 bytes and no delimiter, the limit is 65,536\n',
    );
  });

  test('says that a task has taken too long', async (t) => {
    const { client } = await open(t, { taskTimeout: 1 });
    client.write('hi\n');
    const answer = 'error: upperCase took longer than 0.001 s\n';
    assert.equal((await readAll(client)).toString(), answer);
  });
});

describe('the programs', { ...together, timeout: 120_000 }, () => {
  testUsage(join(import.meta.dirname, 'delay.ts'));
  testServer(join(import.meta.dirname, 'server.ts'), async (t, port) => {
    const client = await dial(t, port);
    client.end('echo hello\nexit\n');
    const answers = 'Welcome, you are client 1.\nhello\nGoodbye!\n';
    assert.equal((await readAll(client)).toString(), answers);
  });

  test('line-server.ts answers on the port that it says', async (t) => {
    const client = await dial(t, await runProgram(t, LINE_SERVER, ['--port', '0']).ready());
    client.end('hello\n');
    assert.equal((await readAll(client)).toString(), 'HELLO\n');
  });
});

testReadme(import.meta.dirname);
