import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { promises as dns } from 'node:dns';
import { Resolver } from 'node:dns/promises';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import {
  bind,
  dial,
  listen,
  readAll,
  reset,
  run,
  sendPieces,
  testReadme,
  testServer,
  testUsage,
} from '@shared/testing';
import { decode, encode } from 'dns-packet';
import { createUdpServer, serveDns } from './dns-server.ts';
import { createDualStackServer, listenAddresses, plainAddress } from './dual-stack-server.ts';
import { EXAMPLE_ZONE as zone } from './example-zone.ts';
import { explainFrame, FRAME } from './layers.ts';
import { lookup, oneName } from './lookup.ts';
import { kernelLimits, rangeOf, state } from './ports.ts';
import { resolve, reverseName, server as serverOption, type Type, type } from './resolve.ts';
import { answerFor, interfaceLines, scope, sourceAddress } from './whoami.ts';
import { createZone, type ZoneRecord } from './zone.ts';

const file = (name: string) => join(import.meta.dirname, name);
const own = Object.values(networkInterfaces()).flatMap((all = []) => all);
const noIPv6 = own.some(({ address }) => address === '::1') ? false : 'this machine has no ::1';
const noProc = process.platform === 'linux' ? false : 'only Linux has /proc';

/** A DNS server of our own on a free port, UDP only unless `tcp` is said. */
async function serveZone(t: TestContext, { tcp = false, from = zone } = {}) {
  const log: string[] = [];
  const options = { zone: from, log: (line: string) => log.push(line.replace(/ 127\S+/, '')) };
  if (!tcp) {
    const port = await bind(t, createUdpServer('udp4', options));
    return { server: `127.0.0.1:${port}`, port, log };
  }
  const udp = await serveDns({ host: '127.0.0.1', port: 0, ...options }, async (server, port) => {
    await once(server.listen(port, '127.0.0.1'), 'listening');
    t.after(() => server.close());
  });
  t.after(() => udp.close());
  const { port } = udp.address();
  return { server: `127.0.0.1:${port}`, port, log };
}

/** A server that answers every question with this code, or with nothing. */
async function serveCode(t: TestContext, rcode?: number) {
  const socket = createSocket('udp4');
  const questions: Buffer[] = [];
  socket.on('message', (query, { port, address }) => {
    questions.push(query);
    if (rcode === undefined) return;
    const { id = 0, questions: asked = [] } = decode(query);
    socket.send(encode({ type: 'response', id, flags: rcode, questions: asked }), port, address);
  });
  const port = await bind(t, socket);
  return { server: `127.0.0.1:${port}`, socket, questions };
}

// Before the others: a timer that was set without the mock would not be cleared with it.
test('the dual-stack server drops a client that never leaves, even if it talks', {
  timeout: 20_000,
}, async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const server = createDualStackServer({ timeout: 1000 });
  const port = await listen(t, server);
  const accepted = once(server, 'connection');
  const client = await dial(t, port);
  const [receiver] = (await accepted) as [Socket];
  t.mock.timers.tick(999);
  await sendPieces(client, receiver, [Buffer.from('more')]);
  assert.equal(receiver.destroyed, false);
  t.mock.timers.tick(1);
  assert.equal(receiver.destroyed, true);
});

describe('resolve()', { concurrency: true, timeout: 20_000 }, () => {
  const found: [Type, string, string[]][] = [
    ['A', 'www.example.test', ['192.0.2.80']],
    ['A', 'WWW.EXAMPLE.TEST', ['192.0.2.80']],
    ['AAAA', 'www.example.test', ['2001:db8::80']],
    ['A', 'ftp.example.test', ['192.0.2.80']],
    ['CNAME', 'ftp.example.test', ['www.example.test']],
    ['MX', 'example.test', ['10 mail.example.test', '20 backup.example.test']],
    ['NS', 'example.test', ['ns.example.test']],
    ['TXT', 'example.test', ['"v=spf1 mx -all"']],
    ['PTR', '192.0.2.80', ['www.example.test']],
    ['PTR', '2001:db8::80', ['www.example.test']],
    ['PTR', '80.2.0.192.in-addr.arpa', ['www.example.test']],
  ];
  for (const [type, name, wanted] of found) {
    test(`${type} of ${name} is ${wanted.join(', ')}`, async (t) => {
      const { server } = await serveZone(t);
      assert.deepEqual(await resolve(name, type, { server }), wanted);
    });
  }

  const failures: [Type, string, string][] = [
    ['A', 'nowhere.example.test', 'there is no such name (NXDOMAIN)'],
    ['MX', 'www.example.test', 'the name has no such record (NODATA)'],
    ['A', 'loop.example.test', 'the name has no such record (NODATA)'],
    ['A', 'away.example.test', 'the name has no such record (NODATA)'],
    ['A', 'www.example.com', 'the server does not answer for this name (REFUSED)'],
    // The hosts file knows this one, and is not asked.
    ['PTR', '127.0.0.1', 'the server does not answer for this name (REFUSED)'],
    ['A', 'a..b', 'DNS can have no such name'],
  ];
  for (const [type, name, reason] of failures) {
    test(`${type} of ${name}: ${reason}`, async (t) => {
      const { server } = await serveZone(t);
      await assert.rejects(resolve(name, type, { server }), {
        message: `cannot resolve ${type} ${name} at ${server}: ${reason}`,
      });
    });
  }

  const codes: [number, string][] = [
    [1, 'the server did not understand the question (FORMERR)'],
    [2, 'the server failed (SERVFAIL)'],
    [4, 'the server does not know such questions (NOTIMP)'],
  ];
  for (const [rcode, reason] of codes) {
    test(`code ${rcode}: ${reason}`, async (t) => {
      const { server } = await serveCode(t, rcode);
      await assert.rejects(resolve('x.test', 'A', { server }), {
        message: `cannot resolve A x.test at ${server}: ${reason}`,
      });
    });
  }

  test('garbage: the answer cannot be read', async (t) => {
    const { server, socket } = await serveCode(t);
    socket.on('message', (_, { port, address }) => socket.send('garbage', port, address));
    await assert.rejects(resolve('x.test', 'A', { server }), {
      message: `cannot resolve A x.test at ${server}: the answer cannot be read`,
    });
  });

  test('a port where nobody listens: no DNS server listens there', async (t) => {
    const { server, socket } = await serveCode(t);
    await new Promise<void>((closed) => socket.close(closed));
    await assert.rejects(resolve('x.test', 'A', { server }), {
      message: `cannot resolve A x.test at ${server}: no DNS server listens there`,
    });
  });

  for (const tries of [1, 2]) {
    test(`a server that says nothing is asked ${tries === 1 ? 'once' : 'twice'}`, async (t) => {
      const { server, socket, questions } = await serveCode(t);
      const timeout = 150 * (2 ** tries - 1);
      await assert.rejects(resolve('x.test', 'A', { server, timeout, tries }), {
        message: `cannot resolve A x.test at ${server}: no answer within ${timeout / 1000} s`,
      });
      // They were sent; this process may not have read them yet.
      while (questions.length < tries) await once(socket, 'message');
      assert.equal(questions.length, tries);
    });
  }

  test('gives up when it is told to', async (t) => {
    const { server, socket } = await serveCode(t);
    const stop = new AbortController();
    const asked = resolve('x.test', 'A', { server, timeout: 60_000, signal: stop.signal });
    socket.once('message', () => stop.abort());
    await assert.rejects(asked, { name: 'AbortError' });
  });

  test('an answer that is truncated is asked for again over TCP', async (t) => {
    const { server, log } = await serveZone(t, { tcp: true });
    const [big] = await resolve('big.example.test', 'TXT', { server });
    assert.equal(big, `"${'x'.repeat(1500)}"`);
    assert.deepEqual(log, [
      'udp TXT big.example.test: truncated, 34 bytes',
      'tcp TXT big.example.test: NOERROR, 1568 bytes',
    ]);
  });

  test('a text cannot write to the terminal', async (t) => {
    const records: ZoneRecord[] = [
      { name: 'test', type: 'SOA', data: { mname: 'ns.test', rname: 'a.test' } },
      { name: 'test', type: 'TXT', data: 'a\u001b[2J\u009b2J\u202e"网络🎉' },
    ];
    const { server } = await serveZone(t, { from: createZone(records) });
    assert.deepEqual(await resolve('test', 'TXT', { server }), [
      String.raw`"a\u001b[2J\u{9b}2J\u{202e}\"网络🎉"`,
    ]);
  });

  const reverse: [string, string][] = [
    ['192.0.2.80', '80.2.0.192.in-addr.arpa'],
    ['::1', `1.${'0.'.repeat(31)}ip6.arpa`],
    ['2001:DB8::80', `0.8.${'0.'.repeat(22)}8.b.d.0.1.0.0.2.ip6.arpa`],
    ['::ffff:192.0.2.1', `1.0.2.0.0.0.0.c.f.f.f.f.${'0.'.repeat(20)}ip6.arpa`],
    ['fe80::1%eth0', `1.${'0.'.repeat(27)}0.8.e.f.ip6.arpa`],
    ['www.example.test', 'www.example.test'],
  ];
  for (const [address, name] of reverse) {
    test(`the reverse name of ${address}`, () => assert.equal(reverseName(address), name));
  }
});

describe('the options of resolve.ts', () => {
  const servers: [string, string][] = [
    ['127.0.0.1', '127.0.0.1:53'],
    ['127.0.0.1:5300', '127.0.0.1:5300'],
    ['::1', '[::1]:53'],
    ['[::1]', '[::1]:53'],
    ['[::1]:5300', '[::1]:5300'],
  ];
  for (const [value, wanted] of servers) {
    test(`--server ${value} is ${wanted}`, () => {
      assert.equal(serverOption.parse(value, '--server'), wanted);
    });
  }

  for (const value of ['127.0.0.1:0', '127.0.0.1:65536', '127.0.0.1:', '[::1', 'localhost', '']) {
    test(`--server ${value} is refused`, () => {
      assert.throws(() => serverOption.parse(value, '--server'), {
        name: 'UsageError',
        message: `--server must be like 127.0.0.1:53 or [::1]:53, not ${JSON.stringify(value)}`,
      });
    });
  }

  test('--type is one of those that are known, in any case', () => {
    assert.equal(type.parse('mx', '--type'), 'MX');
    assert.throws(() => type.parse('x', '--type'), {
      name: 'UsageError',
      message: '--type must be one of A, AAAA, CNAME, MX, NS, PTR, TXT, not "x"',
    });
  });
});

test('resolve() leaves nothing open that nobody waits for', async (t) => {
  const { server } = await serveCode(t);
  const cancel = t.mock.method(Resolver.prototype, 'cancel');
  await assert.rejects(resolve('x.test', 'A', { server, timeout: 1 }));
  assert.equal(cancel.mock.callCount(), 1);
});

describe('lookup()', { timeout: 20_000 }, () => {
  test('gives what the system has for localhost: loopback addresses', async () => {
    const addresses = await lookup('localhost');
    assert.ok(addresses.length > 0);
    for (const address of addresses) assert.equal(scope(address), 'loopback: this machine only');
  });

  test('gives an address as it is', async () => {
    assert.deepEqual(await lookup('192.0.2.80'), ['192.0.2.80']);
  });

  test('gives each address once', async (t) => {
    const twice = { address: '192.0.2.1', family: 4 };
    t.mock.method(dns, 'lookup', async () => [twice, twice]);
    assert.deepEqual(await lookup('twice.test'), ['192.0.2.1']);
  });

  const failures: [string, string][] = [
    ['ENOTFOUND', 'the system knows no such name'],
    ['EAI_AGAIN', 'the system cannot ask now (EAI_AGAIN)'],
  ];
  for (const [code, reason] of failures) {
    test(`${code}: ${reason}`, async (t) => {
      t.mock.method(dns, 'lookup', async () => {
        throw Object.assign(new Error('what Node says'), { code });
      });
      await assert.rejects(lookup('x.test'), { message: `cannot look up x.test: ${reason}` });
      assert.equal(
        await answerFor('x.test', new AbortController().signal),
        `cannot look up x.test: ${reason}`,
      );
    });
  }

  test('waits no longer than it may, and gives up when it is told to', async (t) => {
    t.mock.method(dns, 'lookup', () => new Promise(() => {}));
    const keepAlive = createServer();
    await listen(t, keepAlive);
    await assert.rejects(lookup('x.test', { timeout: 10 }), {
      message: 'cannot look up x.test: no answer within 0.01 s',
    });
    const stop = new AbortController();
    const asked = lookup('x.test', { signal: stop.signal });
    stop.abort();
    await assert.rejects(asked, { name: 'AbortError' });
  });
});

test('lookup.ts and resolve.ts want one name', () => {
  assert.equal(oneName(['x.test']), 'x.test');
  for (const args of [[], [''], ['x.test', 'y.test']]) {
    assert.throws(() => oneName(args), { name: 'UsageError', message: 'one name is needed' });
  }
});

describe('whoami', { concurrency: true }, () => {
  test('has a line for each address of each interface, and how far it reaches', () => {
    const lines = interfaceLines();
    assert.equal(lines.length, own.length);
    for (const [name, addresses = []] of Object.entries(networkInterfaces())) {
      for (const { address, cidr, internal } of addresses) {
        const line = lines.find(
          (text) => text.startsWith(`${name} `) && text.includes(` ${cidr ?? address} `),
        );
        assert.ok(line, `${name} ${address} is missing in ${lines.join('\n')}`);
        if (internal && isLoopback(address)) assert.match(line, /loopback: this machine only$/);
      }
    }
  });

  const scopes: [string, string][] = [
    ['127.0.0.1', 'loopback'],
    ['127.255.255.255', 'loopback'],
    ['::1', 'loopback'],
    ['169.254.1.1', 'link-local'],
    ['fe80::1', 'link-local'],
    ['fe80::1%eth0', 'link-local'],
    ['10.1.2.3', 'private'],
    ['172.31.255.255', 'private'],
    ['172.32.0.0', 'global'],
    ['192.168.0.1', 'private'],
    ['fd12:3456::1', 'private'],
    ['100.64.0.1', 'shared'],
    ['192.0.2.1', 'documentation'],
    ['2001:db8::1', 'documentation'],
    ['8.8.8.8', 'global'],
    ['2606:4700::1111', 'global'],
  ];
  for (const [address, wanted] of scopes) {
    test(`${address} is ${wanted}`, () => assert.equal(scope(address).split(':')[0], wanted));
  }

  test('a packet to this machine comes from the loopback address', async () => {
    assert.equal(await sourceAddress('127.0.0.1'), '127.0.0.1');
  });

  test('a packet to the outside comes from an address of this machine, if there is a way', async () => {
    for (const destination of ['192.0.2.1', '2001:db8::1']) {
      const from = await sourceAddress(destination);
      if (from === undefined) continue;
      assert.ok(
        own.some(({ address }) => address === from),
        `${from} is not ours`,
      );
    }
  });

  test('there is no way to a port of nowhere, and that is no error', async () => {
    assert.equal(await sourceAddress('not an address'), undefined);
  });
});

function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.');
}

const limits = await kernelLimits();
const mayAll =
  limits === undefined || limits.unprivileged === 0 || process.getuid?.() === 0
    ? 'this user may listen on every port'
    : false;

describe('ports', { concurrency: true }, () => {
  const ranges: [number, string | undefined][] = [
    [0, 'system'],
    [1023, 'system'],
    [1024, 'user'],
    [49_151, 'user'],
    [49_152, 'dynamic'],
    [65_535, 'dynamic'],
    [65_536, undefined],
  ];
  for (const [port, wanted] of ranges) {
    test(`${port} is ${wanted}`, () => assert.equal(rangeOf(port), wanted));
  }

  test('a port is free, or in use, or another reason has a code', async (t) => {
    const server = createServer();
    const port = await listen(t, server);
    assert.equal(await state(port), 'in use');
    await once(server.close(), 'close');
    assert.equal(await state(port), 'free');
    assert.equal(await state(port, '198.51.100.1'), 'EADDRNOTAVAIL');
  });

  test('the limits are those of the kernel', { skip: noProc }, () => {
    const read = (name: string) => readFileSync(`/proc/sys/net/ipv4/${name}`, 'latin1').trim();
    assert.equal(`${limits?.unprivileged}`, read('ip_unprivileged_port_start'));
    assert.equal(`${limits?.first}\t${limits?.last}`, read('ip_local_port_range'));
  });

  test('a system port is not permitted to a user', { skip: mayAll }, async () => {
    assert.equal(await state(1), 'not permitted');
  });
});

describe('layers', { concurrency: true }, () => {
  test('the frame is a question that the DNS server answers', async (t) => {
    const { server, log } = await serveZone(t);
    const client = createSocket('udp4');
    await bind(t, client);
    client.send(FRAME.subarray(42), Number(server.split(':')[1]), '127.0.0.1');
    const [reply] = await once(client, 'message');
    assert.equal(decode(reply).id, FRAME.readUInt16BE(42));
    assert.deepEqual(log, ['udp A www.example.test: NOERROR, 66 bytes']);
  });

  test('the lengths are those of the bytes, and both checksums are right', () => {
    assert.equal(FRAME.readUInt16BE(16), FRAME.length - 14);
    assert.equal(FRAME.readUInt16BE(38), FRAME.length - 34);
    assert.equal(explainFrame(FRAME).filter((line) => line.endsWith(': right')).length, 2);
  });

  test('every byte is in one line, in order', () => {
    const bytes = explainFrame(FRAME).map(
      (line) => line.match(/^ +\d+ {2}((?:[\da-f]{2} )+)/)?.[1],
    );
    assert.equal(bytes.join('').replaceAll(' ', ''), FRAME.toString('hex'));
  });

  test('a bit that has changed shows in the checksum that covers it', () => {
    const wrong = (at: number) => {
      const frame = Buffer.from(FRAME);
      frame[at] = (frame[at] ?? 0) ^ 1;
      const lines = explainFrame(frame).filter((line) => line.endsWith(': wrong'));
      return lines.map((line) => line.trim().split(' ')[0]);
    };
    assert.deepEqual(wrong(22), ['24'], 'TTL');
    assert.deepEqual(wrong(33), ['24', '40'], 'the address, which both cover');
    assert.deepEqual(wrong(60), ['40'], 'the name');
  });

  const bad: [string, Buffer, string][] = [
    ['cut off', FRAME.subarray(0, 50), 'it ends at byte 50, inside a field'],
    ['cut off in the name', FRAME.subarray(0, 71), 'it ends at byte 71, inside a field'],
    ['empty', Buffer.alloc(0), 'it ends at byte 0, inside a field'],
    ['IPv6', changed(12, 0x86), 'the type of what is inside is 0x8600, not 0x800'],
    ['TCP', changed(23, 6), 'the protocol is 0x6, not 0x11'],
    ['an answer', changed(44, 0x85), 'what DNS is to do is 0x8500, not 0x100'],
  ];
  for (const [what, frame, reason] of bad) {
    test(`a frame that is ${what}: ${reason}`, () => {
      assert.throws(() => explainFrame(frame), { message: `cannot read frame: ${reason}` });
    });
  }
});

function changed(at: number, value: number): Buffer {
  const frame = Buffer.from(FRAME);
  frame[at] = value;
  return frame;
}

describe('the dual-stack server', { concurrency: true, timeout: 20_000 }, () => {
  async function start(t: TestContext, host: string, options = {}) {
    const log: string[] = [];
    const server = createDualStackServer({
      log: (line) => log.push(line.replace(/:\d+ /, ':PORT ')),
      ...options,
    });
    const port = await listenOn(t, server, host);
    return { server, port, log };
  }

  test('tells an IPv4 client so', async (t) => {
    const { port, log } = await start(t, '127.0.0.1');
    assert.equal(await greeting(t, '127.0.0.1', port), 'hello 127.0.0.1, you came over IPv4\n');
    assert.deepEqual(log, ['127.0.0.1:PORT came over IPv4']);
  });

  test('tells an IPv6 client so', { skip: noIPv6 }, async (t) => {
    const { port, log } = await start(t, '::1');
    assert.equal(await greeting(t, '::1', port), 'hello ::1, you came over IPv6\n');
    assert.deepEqual(log, ['[::1]:PORT came over IPv6']);
  });

  test('on :: one socket serves both, and knows them apart', { skip: noIPv6 }, async (t) => {
    const { port, log } = await start(t, '::');
    assert.equal(await greeting(t, '127.0.0.1', port), 'hello 127.0.0.1, you came over IPv4\n');
    assert.equal(await greeting(t, '::1', port), 'hello ::1, you came over IPv6\n');
    assert.deepEqual(log, [
      '127.0.0.1:PORT came over IPv4, seen as ::ffff:127.0.0.1',
      '[::1]:PORT came over IPv6',
    ]);
  });

  const texts: [string, string][] = [
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::FFFF:192.0.2.1', '192.0.2.1'],
    ['192.0.2.1', '192.0.2.1'],
    ['2001:db8::ffff:1', '2001:db8::ffff:1'],
    ['::ffff:0', '::ffff:0'],
    ['fe80::1%eth0', 'fe80::1%eth0'],
  ];
  for (const [address, plain] of texts) {
    test(`${address} is ${plain}`, () => assert.equal(plainAddress(address), plain));
  }

  test('a client that talks gets the hello too, and the end of the connection', async (t) => {
    const { server, port } = await start(t, '127.0.0.1', { timeout: 600_000 });
    const accepted = once(server, 'connection');
    const client = await dial(t, port);
    const [receiver] = (await accepted) as [Socket];
    client.end('x'.repeat(1_000_000));
    assert.equal((await readAll(client)).toString(), 'hello 127.0.0.1, you came over IPv4\n');
    if (!receiver.destroyed) await once(receiver, 'close');
    assert.equal(receiver.errored, null);
  });

  test('a client that resets is a line in the log, and the others are served', async (t) => {
    const { server, port, log } = await start(t, '127.0.0.1');
    const accepted = once(server, 'connection');
    const bad = await dial(t, port);
    const [receiver] = (await accepted) as [Socket];
    const closed = once(receiver, 'close').catch(() => {});
    reset(bad);
    await closed;
    assert.match(await greeting(t, '127.0.0.1', port), /^hello/);
    assert.equal(log[1], '127.0.0.1:PORT failed: read ECONNRESET');
  });

  test('serves no more clients than it may', async (t) => {
    const { port } = await start(t, '127.0.0.1', { maxConnections: 1 });
    await dial(t, port);
    assert.equal(await greeting(t, '127.0.0.1', port), '');
  });

  test('localhost is 127.0.0.1 and ::1, whatever the hosts file says', async (t) => {
    t.mock.method(dns, 'lookup', () => assert.fail('asked the system'));
    const wanted = noIPv6 ? ['127.0.0.1'] : ['127.0.0.1', '::1'];
    assert.deepEqual(await listenAddresses('localhost'), wanted);
    assert.deepEqual(await listenAddresses('::'), ['::']);
  });
});

test('any other name is all its addresses', async (t) => {
  const addresses = ['192.0.2.1', '2001:db8::1'];
  t.mock.method(dns, 'lookup', async () => addresses.map((address) => ({ address })));
  assert.deepEqual(await listenAddresses('both.test'), addresses);
});

async function listenOn(t: TestContext, server: Server, host: string): Promise<number> {
  t.after(() => server.close());
  server.listen(0, host);
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** All that a server says to a client that says nothing. */
async function greeting(t: TestContext, host: string, port: number): Promise<string> {
  const client = connect({ host, port });
  t.after(() => client.destroy());
  return (await readAll(client)).toString();
}

describe('the programs', { concurrency: true, timeout: 60_000 }, () => {
  testUsage(file('whoami.ts'));
  testServer(file('dns-server.ts'), async (_t, port) => {
    const server = `127.0.0.1:${port}`;
    assert.deepEqual(await resolve('www.example.test', 'A', { server }), ['192.0.2.80']);
    const [big = ''] = await resolve('big.example.test', 'TXT', { server });
    assert.equal(big.length, 1502);
  });
  testServer(file('dual-stack-server.ts'), async (t, port) => {
    assert.equal(await greeting(t, '127.0.0.1', port), 'hello 127.0.0.1, you came over IPv4\n');
  });

  test('dual-stack-server.ts listens on one port of both loopback addresses', {
    skip: noIPv6,
  }, async (t) => {
    const server = run(t, file('dual-stack-server.ts'), ['--port', '0']);
    await server.printed(/^listening on \[::1\]:\d+$/m);
    const port = await server.ready();
    assert.equal(server.stdout, `listening on 127.0.0.1:${port}\nlistening on [::1]:${port}\n`);
    assert.match(await greeting(t, '127.0.0.1', port), /IPv4\n$/);
    assert.match(await greeting(t, '::1', port), /IPv6\n$/);
  });

  test('resolve.ts prints a line for each record', async (t) => {
    const { server } = await serveZone(t);
    const program = run(t, file('resolve.ts'), [
      '--server',
      server,
      '--type',
      'mx',
      'example.test',
    ]);
    assert.equal(await program.exit(), 0, program.stderr);
    assert.equal(program.stdout, '10 mail.example.test\n20 backup.example.test\n');
  });

  test('resolve.ts asks for the name of an address, and says in one line that there is none', async (t) => {
    const { server } = await serveZone(t);
    const program = run(t, file('resolve.ts'), ['--server', server, '192.0.2.1']);
    assert.equal(await program.exit(), 1);
    assert.equal(
      program.stderr,
      `error: cannot resolve PTR 192.0.2.1 at ${server}: there is no such name (NXDOMAIN)\n`,
    );
  });

  test('lookup.ts prints the addresses, and does not stay for its timeout', async (t) => {
    const program = run(t, file('lookup.ts'), ['--timeout', '60000', '192.0.2.80']);
    assert.equal(await program.exit(), 0, program.stderr);
    assert.equal(program.stdout, '192.0.2.80\n');
  });

  test('whoami.ts shows the host name and every address', async (t) => {
    const program = run(t, file('whoami.ts'));
    assert.equal(await program.exit(), 0, program.stderr);
    assert.ok(program.stdout.startsWith(`host name ${hostname()}\n`));
    for (const { address } of own) assert.ok(program.stdout.includes(address), address);
  });

  test('ports.ts shows the ranges, or the state of the ports that are given', async (t) => {
    const port = await listen(t, createServer());
    const [all, one] = [run(t, file('ports.ts')), run(t, file('ports.ts'), [String(port)])];
    assert.equal(await all.exit(), 0, all.stderr);
    assert.match(
      all.stdout,
      /^system {3}0–1023 .*\nuser {5}1024–49151 .*\ndynamic {2}49152–65535 /,
    );
    assert.equal(await one.exit(), 0, one.stderr);
    assert.match(one.stdout, new RegExp(`^${port} +(user|dynamic) +in use\n$`));
  });
});

if (noIPv6) test('README', { skip: `its output shows ::1, and ${noIPv6}` }, () => {});
else testReadme(import.meta.dirname);
