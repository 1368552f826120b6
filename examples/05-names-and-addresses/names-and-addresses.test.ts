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
  cuts,
  dial,
  listen,
  readAll,
  readBytes,
  reset,
  run,
  sendPieces,
  testReadme,
  testServer,
  testUsage,
} from '@shared/testing';
import { type Answer, type DecodedPacket, decode, encode, type Packet } from 'dns-packet';
import { answer, MAX_QUERY } from './answer.ts';
import { createTcpServer, serveDns, type TcpOptions } from './dns-server.ts';
import { createDualStackServer, listenAddresses, plainAddress } from './dual-stack-server.ts';
import { EXAMPLE_ZONE as zone } from './example-zone.ts';
import { explainFrame, FRAME } from './layers.ts';
import { lookup, oneName } from './lookup.ts';
import { kernelLimits, parsePorts, report as portReport, rangeOf, state } from './ports.ts';
import {
  resolve as ask,
  type ResolveOptions,
  reverseName,
  server as serverOption,
  type Type,
  type,
  usualType,
} from './resolve.ts';
import { answerFor, interfaceLines, scope, sourceAddress, report as whoAmI } from './whoami.ts';
import { createZone, type ZoneRecord } from './zone.ts';

type Reply = DecodedPacket & { rcode: string; answers: Answer[]; additionals: Answer[] };
type Question = NonNullable<Packet['questions']>[number];

/** Side by side; whatever waits for something that never comes fails, instead of waiting on. */
const together = { concurrency: true, timeout: 60_000 };
const file = (name: string) => join(import.meta.dirname, name);
const own = Object.values(networkInterfaces()).flatMap((all = []) => all);
const noIPv6 = own.some(({ address }) => address === '::1') ? false : 'this machine has no ::1';
const noProc = process.platform === 'linux' ? false : 'only Linux has /proc';
const limits = await kernelLimits();
const mayAll =
  limits === undefined || limits.unprivileged === 0 || process.getuid?.() === 0
    ? 'this user may listen on every port'
    : false;

const ID = 0x0710;
const RD = 0x0100; // recursion desired
const WWW = 'NOERROR; www.example.test A 192.0.2.80';
const SOA = { name: 'test', type: 'SOA', data: { mname: 'ns.test', rname: 'a.test' } } as const;

function query(name: string, type = 'A', more: Packet = {}): Buffer {
  const question = { name, type, class: 'IN' } as Question;
  return encode({ type: 'query', id: ID, flags: RD, questions: [question], ...more });
}

function edns(udpPayloadSize: number, ednsVersion = 0): Packet {
  const opt = { udpPayloadSize, ednsVersion, extendedRcode: 0, flags: 0, flag_do: false };
  return { additionals: [{ type: 'OPT', name: '.', options: [], ...opt }] };
}

/** Changes two bytes of a packet: its flags, or one of its counts. */
function patch(packet: Buffer, at: number, value: number): Buffer {
  packet.writeUInt16BE(value, at);
  return packet;
}

function tell(packet: Buffer, from = zone): Reply {
  return decode(answer(packet, from, 'udp')?.packet ?? assert.fail('no answer')) as Reply;
}

function ttls(records: Answer[] = []): (number | undefined)[] {
  return records.map((record) => ('ttl' in record ? record.ttl : undefined));
}

/** What the answer says, shortly: its code, then its records. */
function say(reply: Reply): string {
  const records = reply.answers.map((record) => {
    const data = 'data' in record ? record.data : '';
    return `${record.name} ${record.type} ${typeof data === 'string' ? data : JSON.stringify(data)}`;
  });
  return [reply.rcode, ...records].join('; ');
}

/** A DNS server of our own on a free port, and its log without the clients. */
async function serveZone(t: TestContext, from = zone) {
  const log: string[] = [];
  const options = { zone: from, log: (line: string) => log.push(line.replace(/ 127\S+/, '')) };
  const udp = await serveDns({ host: '127.0.0.1', port: 0, ...options }, async (tcp, port) => {
    await once(tcp.listen(port, '127.0.0.1'), 'listening');
    t.after(() => tcp.close());
  });
  t.after(() => udp.close());
  const { port } = udp.address();
  return { server: `127.0.0.1:${port}`, port, udp, log };
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

/** What a UDP client that sends these packets gets back. */
async function exchange(t: TestContext, port: number, packets: Buffer[]): Promise<Buffer> {
  const client = createSocket('udp4');
  await bind(t, client);
  const answered = once(client, 'message');
  for (const packet of packets) client.send(packet, port, '127.0.0.1');
  return (await answered)[0];
}

/** As it goes over TCP: 2 bytes of length in front. */
function frame(packet: Buffer): Buffer {
  const prefix = Buffer.alloc(2);
  prefix.writeUInt16BE(packet.length);
  return Buffer.concat([prefix, packet]);
}

async function readFrame(socket: Socket): Promise<Reply> {
  const length = (await readBytes(socket, 2)).readUInt16BE();
  return decode(await readBytes(socket, length)) as Reply;
}

async function startTcp(t: TestContext, options: Partial<TcpOptions> = {}) {
  const log: string[] = [];
  const add = (line: string) => log.push(line);
  const server = createTcpServer({ zone, idleTimeout: 600_000, log: add, ...options });
  const port = await listen(t, server);
  const open = async (): Promise<[Socket, Socket]> => {
    const accepted = once(server, 'connection');
    return [await dial(t, port), (await accepted)[0] as Socket];
  };
  return { server, port, log, open };
}

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

// Before the others: a timer that was set without the mock would not be cleared with it.
test('over TCP a client has a while for each question, however it spends it', {
  timeout: together.timeout,
}, async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { open } = await startTcp(t, { idleTimeout: 1000 });
  const [client, receiver] = await open();
  const question = frame(query('www.example.test'));
  t.mock.timers.tick(900);
  client.write(question);
  await readFrame(client);
  t.mock.timers.tick(900);
  assert.equal(receiver.destroyed, false, 'a question is a new beginning');
  await sendPieces(client, receiver, [question.subarray(0, 9)]);
  t.mock.timers.tick(100);
  assert.equal(receiver.destroyed, true, 'some bytes of one are not');
  assert.equal((await readAll(client)).length, 0);
});

test('the dual-stack server drops a client that never leaves, even if it talks', {
  timeout: together.timeout,
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

/** As `resolve()`, but a slow machine is no server that says nothing. */
function resolve(name: string, type: Type, options: ResolveOptions): Promise<string[]> {
  return ask(name, type, { timeout: 50_000, ...options });
}

function sentence(server: string, reason: string, what = 'A x.test') {
  return { name: 'ProgramError', message: `cannot resolve ${what} at ${server}: ${reason}` };
}

describe('resolve()', together, () => {
  const found: [Type, string, string][] = [
    ['A', 'WWW.EXAMPLE.TEST', '192.0.2.80'],
    ['AAAA', 'www.example.test', '2001:db8::80'],
    ['CNAME', 'ftp.example.test', 'www.example.test'],
    ['MX', 'example.test', '10 mail.example.test, 20 backup.example.test'],
    ['NS', 'example.test', 'ns.example.test'],
    ['TXT', 'example.test', '"v=spf1 mx -all"'],
    ['PTR', '192.0.2.80', 'www.example.test'],
    ['PTR', '2001:db8::80', 'www.example.test'],
  ];
  for (const [type, name, wanted] of found) {
    test(`${type} of ${name} is ${wanted}`, async (t) => {
      const { server } = await serveZone(t);
      assert.equal((await resolve(name, type, { server })).join(', '), wanted);
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
      const wanted = sentence(server, reason, `${type} ${name}`);
      await assert.rejects(resolve(name, type, { server }), wanted);
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
      await assert.rejects(resolve('x.test', 'A', { server }), sentence(server, reason));
    });
  }

  test('garbage: the answer cannot be read', async (t) => {
    const { server, socket } = await serveCode(t);
    socket.on('message', (_, { port, address }) => socket.send('garbage', port, address));
    const reason = 'the answer cannot be read';
    await assert.rejects(resolve('x.test', 'A', { server }), sentence(server, reason));
  });

  test('a port where nobody listens: no DNS server listens there', async (t) => {
    const { server, socket } = await serveCode(t);
    await new Promise<void>((closed) => socket.close(closed));
    const reason = 'no DNS server listens there';
    await assert.rejects(resolve('x.test', 'A', { server }), sentence(server, reason));
  });

  for (const tries of [1, 2]) {
    test(`a server that says nothing is asked ${tries === 1 ? 'once' : 'twice'}`, async (t) => {
      const { server, socket, questions } = await serveCode(t);
      const timeout = 150 * (2 ** tries - 1);
      await assert.rejects(
        resolve('x.test', 'A', { server, timeout, tries }),
        sentence(server, `no answer within ${timeout / 1000} s`),
      );
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
    const { server, log } = await serveZone(t);
    const [big] = await resolve('big.example.test', 'TXT', { server });
    assert.equal(big, `"${'x'.repeat(1500)}"`);
    assert.deepEqual(log, [
      'udp TXT big.example.test: truncated, 34 bytes',
      'tcp TXT big.example.test: NOERROR, 1568 bytes',
    ]);
  });

  test('a text cannot write to the terminal', async (t) => {
    const data = 'a\u001b[2J\u009b2J\u202e"网络🎉';
    const from = createZone([SOA, { name: 'test', type: 'TXT', data }]);
    const { server } = await serveZone(t, from);
    assert.deepEqual(await resolve('test', 'TXT', { server }), [
      String.raw`"a\u001b[2J\u{9b}2J\u{202e}\"网络🎉"`,
    ]);
  });

  test('the reverse name of an address is its parts backwards', () => {
    const names: Record<string, string> = {
      '192.0.2.80': '80.2.0.192.in-addr.arpa',
      '2001:DB8::80': `0.8.${'0.'.repeat(22)}8.b.d.0.1.0.0.2.ip6.arpa`,
      '::ffff:192.0.2.1': `1.0.2.0.0.0.0.c.f.f.f.f.${'0.'.repeat(20)}ip6.arpa`,
      'fe80::1%eth0': `1.${'0.'.repeat(27)}0.8.e.f.ip6.arpa`,
      'www.example.test': 'www.example.test',
    };
    for (const [address, name] of Object.entries(names)) assert.equal(reverseName(address), name);
  });
});

describe('the options', () => {
  test('--server is an address, with a port or without', () => {
    const servers: Record<string, string> = {
      '127.0.0.1': '127.0.0.1:53',
      '127.0.0.1:5300': '127.0.0.1:5300',
      '::1': '[::1]:53',
      '[::1]': '[::1]:53',
      '[::1]:5300': '[::1]:5300',
    };
    for (const [value, wanted] of Object.entries(servers)) {
      assert.equal(serverOption.parse(value, '--server'), wanted);
    }
  });

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

  test('without --type an address is asked for its name', () => {
    assert.equal(usualType('www.example.test'), 'A');
    for (const address of ['192.0.2.80', '2001:db8::80']) assert.equal(usualType(address), 'PTR');
  });

  test('lookup.ts and resolve.ts want one name', () => {
    assert.equal(oneName(['x.test']), 'x.test');
    for (const args of [[], [''], ['x.test', 'y.test']]) {
      assert.throws(() => oneName(args), { name: 'UsageError', message: 'one name is needed' });
    }
  });

  test('a port is a number from 1 to 65,535', () => {
    assert.deepEqual(parsePorts(['1', '65535']), [1, 65_535]);
    for (const text of ['0', '65536', 'http', '']) {
      assert.throws(() => parsePorts([text]), {
        name: 'UsageError',
        message: `a port is 1 to 65,535, not ${JSON.stringify(text)}`,
      });
    }
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

describe('whoami', together, () => {
  test('shows the host name, and every address of each interface', async () => {
    const lines: string[] = [];
    for await (const line of whoAmI(new AbortController().signal)) lines.push(line);
    assert.equal(lines[0], `host name ${hostname()}\n\ninterfaces`);
    assert.equal(interfaceLines().length, own.length);
    for (const [name, addresses = []] of Object.entries(networkInterfaces())) {
      for (const { address, cidr } of addresses) {
        const words = [name, cidr ?? address, ...scope(address).split(' ')].join(' ');
        const found = lines.some((line) => line.trim().replaceAll(/ +/g, ' ') === words);
        assert.ok(found, `${words} is missing in\n${lines.join('\n')}`);
      }
    }
    assert.ok(lines.some((line) => line.startsWith('  localhost is ')));
    assert.match(lines.at(-1) ?? '', /^ {2}to 2001:db8::1 {2}/);
  });

  test('knows how far an address reaches', () => {
    const reach: Record<string, string[]> = {
      loopback: ['127.0.0.1', '127.255.255.255', '::1'],
      'link-local': ['169.254.1.1', 'fe80::1', 'fe80::1%eth0'],
      private: ['10.1.2.3', '172.31.255.255', '192.168.0.1', 'fd12:3456::1'],
      shared: ['100.64.0.1'],
      documentation: ['192.0.2.1', '2001:db8::1'],
      global: ['172.32.0.0', '8.8.8.8', '2606:4700::1111'],
    };
    for (const [wanted, addresses] of Object.entries(reach)) {
      for (const address of addresses) assert.equal(scope(address).split(':')[0], wanted, address);
    }
  });

  test('a packet comes from an address of this machine, if there is a way', async () => {
    assert.equal(await sourceAddress('127.0.0.1'), '127.0.0.1');
    assert.equal(await sourceAddress('not an address'), undefined);
    const from = await sourceAddress('192.0.2.1');
    if (from !== undefined) assert.ok(own.map(({ address }) => address).includes(from), from);
  });
});

describe('ports', together, () => {
  test('every port is in one range', () => {
    const ports = [0, 1023, 1024, 49_151, 49_152, 65_535, 65_536];
    const [system, user, dynamic] = ['system', 'user', 'dynamic'];
    const wanted = [system, system, user, user, dynamic, dynamic, undefined];
    assert.deepEqual(ports.map(rangeOf), wanted);
  });

  test('a port is free, or in use, or another reason has a code', async (t) => {
    const server = createServer();
    const port = await listen(t, server);
    assert.equal(await state(port), 'in use');
    await once(server.close(), 'close');
    assert.equal(await state(port), 'free');
    assert.equal(await state(port, '198.51.100.1'), 'EADDRNOTAVAIL');
  });

  test('shows the ranges first', async () => {
    const lines: string[] = [];
    for await (const line of portReport()) lines.push(line);
    const starts = ['system   0–1023 ', 'user     1024–49151 ', 'dynamic  49152–65535 '];
    for (const [n, start] of starts.entries()) assert.ok(lines[n]?.startsWith(start), lines[n]);
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

describe('layers', together, () => {
  test('the frame is a question that the DNS server answers', async (t) => {
    const { port, log } = await serveZone(t);
    await exchange(t, port, [FRAME.subarray(42)]);
    assert.deepEqual(log, ['udp A www.example.test: NOERROR, 66 bytes']);
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

describe('the zone', () => {
  const cases: [string, string, string][] = [
    ['www.example.test', 'A', 'NOERROR; www.example.test A 192.0.2.80'],
    ['wWw.EXAMPLE.tEsT', 'A', 'NOERROR; wWw.EXAMPLE.tEsT A 192.0.2.80'],
    ['ftp.example.test', 'CNAME', 'NOERROR; ftp.example.test CNAME www.example.test'],
    [
      'ftp.example.test',
      'A',
      'NOERROR; ftp.example.test CNAME www.example.test; www.example.test A 192.0.2.80',
    ],
    ['away.example.test', 'A', 'NOERROR; away.example.test CNAME www.example.com'],
    [
      'loop.example.test',
      'A',
      'NOERROR; loop.example.test CNAME pool.example.test; pool.example.test CNAME loop.example.test',
    ],
    ['www.example.test', 'MX', 'NOERROR'],
    ['down.example.test', 'A', 'NOERROR'],
    ['www.example.test', 'UNKNOWN_65', 'NOERROR'],
    ['nowhere.example.test', 'A', 'NXDOMAIN'],
    ['notexample.test', 'A', 'REFUSED'],
    ['example.com', 'A', 'REFUSED'],
    ['localhost', 'A', 'REFUSED'],
    ['.', 'NS', 'REFUSED'],
  ];
  for (const [name, type, wanted] of cases) {
    test(`${type} of ${name}: ${wanted.split(';')[0]}`, () => {
      assert.equal(say(tell(query(name, type))), wanted);
    });
  }

  test('an answer without records says by its SOA that the name is ours, and a refusal does not', () => {
    for (const name of ['www.example.test', 'nowhere.example.test']) {
      const reply = tell(query(name, 'MX'));
      assert.equal(reply.authorities?.[0]?.type, 'SOA');
      assert.equal(reply.flag_aa, true);
    }
    const refusal = tell(query('example.com'));
    assert.deepEqual(refusal.authorities, []);
    assert.equal(refusal.flag_aa, false);
  });

  test('a record may be written with a dot at the end, and in any case', () => {
    const from = createZone([
      { ...SOA, name: 'Example.TEST.' },
      { name: 'WWW.example.test.', type: 'CNAME', data: 'Mail.Example.Test.' },
      { name: 'mail.example.test', type: 'A', data: '192.0.2.25' },
    ]);
    assert.equal(tell(query('www.example.test'), from).answers[1]?.type, 'A');
  });

  test('a record lives for 5 minutes unless it says something else', () => {
    assert.deepEqual(ttls(tell(query('www.example.test')).answers), [300]);
    assert.deepEqual(ttls(tell(query('nowhere.example.test')).authorities), [60]);
  });

  test('what does not fit is refused, not cut', () => {
    const label = { name: `${'x'.repeat(64)}.test`, type: 'A', data: '192.0.2.1' } as const;
    const text = { name: 'long.test', type: 'TXT', data: 'x'.repeat(256) } as const;
    for (const record of [label, text]) {
      assert.throws(() => createZone([record]), {
        message: `cannot serve ${record.type} ${record.name}: too long for a DNS packet`,
      });
    }
  });
});

describe('a packet', () => {
  test('is answered under its own id, and with the question that it asked', () => {
    const reply = tell(query('www.example.test'));
    assert.equal(reply.id, ID);
    assert.equal(reply.type, 'response');
    assert.equal(reply.flag_rd, true);
    assert.equal(reply.flag_ra, false);
    assert.deepEqual(reply.questions, [{ name: 'www.example.test', type: 'A', class: 'IN' }]);
  });

  const silent: [string, Buffer][] = [
    ['of nothing', Buffer.alloc(0)],
    ['that is shorter than a header', query('www.example.test').subarray(0, 11)],
    ['that is an answer itself', patch(query('www.example.test'), 2, 0x8100)],
    ['that is too long', Buffer.concat([query('www.example.test'), Buffer.alloc(MAX_QUERY)])],
  ];
  for (const [what, packet] of silent) {
    test(`${what} gets no answer`, () => {
      assert.equal(answer(packet, zone, 'udp'), undefined);
    });
  }

  const two = { name: 'www.example.test', type: 'A' } as const;
  /** A question of type A, with this as its name. */
  const raw = (name: string) => Buffer.from(`071001000001000000000000${name}00010001`, 'hex');
  const bad: [string, Buffer, string][] = [
    ['with another opcode', patch(query('www.example.test'), 2, 0x2800), 'NOTIMP'],
    ['with no question', patch(query('www.example.test'), 4, 0), 'FORMERR'],
    ['with two questions', query('x', 'A', { questions: [two, two] }), 'FORMERR'],
    ['that claims 65,535 questions', patch(query('www.example.test'), 4, 65_535), 'FORMERR'],
    ['that claims 65,535 answers', patch(query('www.example.test'), 6, 65_535), 'FORMERR'],
    ['that is cut off', query('www.example.test').subarray(0, 20), 'FORMERR'],
    ['of garbage', raw('ffffffff'), 'FORMERR'],
    ['whose name points to itself', raw('c00c'), 'FORMERR'],
    ['with a dot inside a label', raw('0b7777772e6578616d706c65047465737400'), 'FORMERR'],
    ['with a name that is not UTF-8', raw('01ff076578616d706c65047465737400'), 'FORMERR'],
  ];
  for (const [what, packet, wanted] of bad) {
    test(`${what} gets ${wanted}, in a small packet`, () => {
      const reply = answer(packet, zone, 'udp');
      assert.equal(reply?.packet.length, 12);
      assert.equal(reply.packet.readUInt16BE(0), packet.readUInt16BE(0));
      assert.equal((decode(reply.packet) as Reply).rcode, wanted);
      assert.equal(reply.log, wanted);
    });
  }

  const refused: [string, Packet][] = [
    ['of another class', { questions: [{ ...two, class: 'CH' }] }],
    ['that asks for the whole zone', { questions: [{ name: 'example.test', type: 'AXFR' }] }],
  ];
  for (const [what, more] of refused) {
    test(`${what} is refused, and gets its EDNS back`, () => {
      const reply = tell(query('x', 'A', { ...more, ...edns(1232) }));
      assert.equal(reply.rcode, 'REFUSED');
      assert.equal(reply.questions?.[0]?.name, more.questions?.[0]?.name);
      assert.equal(reply.additionals[0]?.type, 'OPT');
    });
  }

  test('that asks for everything gets a small answer, and none about a name without records', () => {
    const [record, ...more] = tell(query('example.test', 'ANY')).answers;
    assert.ok(record?.type === 'HINFO' && record.data.cpu === 'RFC8482');
    assert.deepEqual(more, []);
    assert.equal(say(tell(query('down.example.test', 'ANY'))), 'NOERROR');
    assert.equal(say(tell(query('nowhere.example.test', 'ANY'))), 'NXDOMAIN');
  });

  /** A zone whose answer to this question has exactly so many bytes. */
  function zoneFor(question: Buffer, length: number) {
    const room = length - question.length - (8 + 10); // name, type, class, TTL and length
    const pieces = Array(Math.ceil(room / 256)).fill('x'.repeat(255));
    pieces[0] = 'x'.repeat(room - 256 * (pieces.length - 1) - 1);
    return createZone([SOA, { name: 'a.test', type: 'TXT', data: pieces }]);
  }

  const sizes: [string, 'udp' | 'tcp', Packet, number][] = [
    ['over UDP gets at most 512 bytes without EDNS', 'udp', {}, 512],
    ['over UDP gets at most 512 bytes if EDNS says less', 'udp', edns(1), 512],
    ['over UDP gets at most as many bytes as EDNS says', 'udp', edns(700), 700],
    ['over UDP gets at most 1,232 bytes if EDNS says more', 'udp', edns(65_535), 1232],
    ['over TCP gets at most 65,535 bytes: the length in front has no more', 'tcp', {}, 65_535],
  ];
  for (const [what, transport, more, limit] of sizes) {
    test(`${what}; an answer with one more is truncated, and says so`, () => {
      const question = query('a.test', 'TXT', more);
      const [fits, over] = [limit, limit + 1].map((length) => {
        const reply = answer(question, zoneFor(question, length), transport);
        return reply?.packet ?? assert.fail('no answer');
      }) as [Buffer, Buffer];
      assert.equal(fits.length, limit);
      assert.equal((decode(fits) as Reply).flag_tc, false);
      assert.equal(over.length, question.length);
      assert.equal((decode(over) as Reply).flag_tc, true);
    });
  }

  test('with EDNS gets EDNS back, and BADVERS for a version that is not known', () => {
    assert.equal(tell(query('www.example.test')).additionals.length, 0);
    const [opt] = tell(query('www.example.test', 'A', edns(4096))).additionals;
    assert.ok(opt?.type === 'OPT' && opt.udpPayloadSize === 1232);
    const reply = tell(query('www.example.test', 'A', edns(4096, 1)));
    const [bad] = reply.additionals;
    assert.ok(bad?.type === 'OPT' && bad.extendedRcode === 1);
    assert.deepEqual(reply.answers, []);
  });

  test('cannot write to the terminal through the log', () => {
    const name = '\u001b[2J\u0007.example.test';
    assert.equal(
      answer(query(name), zone, 'udp')?.log,
      'A ?[2J?.example.test: NXDOMAIN, 117 bytes',
    );
  });

  test('of random or damaged bytes never throws, and no answer is an error to read', () => {
    let seed = 5;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    const good = [
      query('www.example.test', 'A', edns(1232)),
      query('big.example.test', 'TXT'),
      query('loop.example.test', 'CNAME'),
    ];
    let answered = 0;
    for (let n = 0; n < 1000; n++) {
      const packet = Buffer.from(good[n % good.length] as Buffer);
      for (let times = random(4); times >= 0; times--) packet[random(packet.length)] = random(256);
      const cut = packet.subarray(0, packet.length - random(3) * random(20));
      const reply = answer(cut, zone, 'udp')?.packet;
      if (reply === undefined) continue;
      answered++;
      const { id, type } = decode(reply);
      assert.equal(`${type} ${id}`, `response ${cut.readUInt16BE(0)}`);
      assert.ok(reply.length <= 1232);
    }
    assert.ok(answered > 500, `${answered} were answered`);
  });
});

describe('over UDP', together, () => {
  test('the answer behind garbage and answers is the first that comes back', async (t) => {
    const { port, log } = await serveZone(t);
    const answerItself = patch(query('www.example.test'), 2, 0x8100);
    const packets = [Buffer.alloc(0), Buffer.from('garbage'), answerItself];
    const reply = await exchange(t, port, [...packets, query('www.example.test')]);
    assert.equal(say(decode(reply) as Reply), WWW);
    assert.deepEqual(log, ['udp A www.example.test: NOERROR, 66 bytes']);
  });

  test('a datagram from port 0, which cannot be answered, does not end the server', async (t) => {
    const { udp, port } = await serveZone(t);
    const sender = { address: '127.0.0.1', family: 'IPv4', port: 0, size: 34 };
    udp.emit('message', query('www.example.test'), sender);
    await exchange(t, port, [query('www.example.test')]);
  });

  test('answers that the kernel does not take are lost, not kept', async (t) => {
    const { udp, port, log } = await serveZone(t);
    const waiting = t.mock.method(udp, 'getSendQueueSize', () => 2 ** 30);
    const seen = once(udp, 'message');
    await Promise.race([exchange(t, port, [query('big.example.test')]), seen]);
    assert.deepEqual(log, []);
    waiting.mock.restore();
    await exchange(t, port, [query('www.example.test')]);
  });

  test('an error of the socket is a line in the log', async (t) => {
    const { udp, log } = await serveZone(t);
    udp.emit('error', new Error('what Node says'));
    assert.deepEqual(log, ['udp: what Node says']);
  });
});

describe('over TCP', together, () => {
  test('questions are answered however their bytes arrive', async (t) => {
    const { open } = await startTcp(t);
    const both = Buffer.concat([frame(query('www.example.test')), frame(query('x.example.test'))]);
    const [client, receiver] = await open();
    for (const { name, pieces } of cuts(both)) {
      await sendPieces(client, receiver, pieces);
      assert.equal(say(await readFrame(client)), WWW, name);
      assert.equal(say(await readFrame(client)), 'NXDOMAIN', name);
    }
  });

  test('a client that never reads costs little memory, and gets every answer once it does', async (t) => {
    const text: ZoneRecord = { name: 'test', type: 'TXT', data: Array(240).fill('x'.repeat(250)) };
    const from = createZone([SOA, text]);
    const { length } = frame(answer(query('test', 'TXT'), from, 'tcp')?.packet ?? Buffer.alloc(0));
    assert.ok(length > 60_000);
    const { open } = await startTcp(t, { zone: from });
    const [client, receiver] = await open();
    client.end(Buffer.concat(Array(160).fill(frame(query('test', 'TXT')))));
    // The server holds the client back; one that does not reads to the end.
    const first = ['pause', 'end'].map((event) => once(receiver, event).then(() => event));
    assert.equal(await Promise.race(first), 'pause');
    const waiting = receiver.writableLength;
    assert.ok(waiting < 200_000, `${waiting} bytes wait in the server`);
    assert.equal((await readAll(client)).length, 160 * length);
  });

  test('a client that ends while answers wait gets them all', async (t) => {
    const { open } = await startTcp(t);
    const [client, receiver] = await open();
    receiver.cork(); // as if the network took nothing
    client.end(Buffer.concat(Array(20).fill(frame(query('big.example.test', 'TXT')))));
    await once(receiver, 'end');
    receiver.uncork();
    assert.equal((await readAll(client)).length, 20 * 1570);
  });

  const hostile: [string, Buffer][] = [
    ['garbage', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['an answer', frame(patch(query('www.example.test'), 2, 0x8100))],
    ['an empty message', Buffer.alloc(2)],
    ['a length over the limit', Buffer.concat([Buffer.from('04d1', 'hex'), query('example.test')])],
  ];
  for (const [what, bytes] of hostile) {
    test(`${what} ends the conversation, and the others are served`, async (t) => {
      const { open } = await startTcp(t);
      const [[bad], [good]] = [await open(), await open()];
      bad.write(bytes);
      assert.equal((await readAll(bad)).length, 0);
      good.write(frame(query('www.example.test')));
      assert.equal(say(await readFrame(good)), WWW);
    });
  }

  test('a client that resets is a line in the log, and the others are served', async (t) => {
    const { open, log } = await startTcp(t);
    const [[bad, receiver], [good]] = [await open(), await open()];
    const closed = once(receiver, 'close').catch(() => {});
    reset(bad);
    await closed;
    good.write(frame(query('www.example.test')));
    assert.equal(say(await readFrame(good)), WWW);
    assert.match(log[0] ?? '', /^tcp 127\.0\.0\.1:\d+ failed: read ECONNRESET$/);
  });

  test('serves no more clients than it may', async (t) => {
    const { open, port } = await startTcp(t, { maxConnections: 1 });
    const [first] = await open();
    const second = await dial(t, port);
    assert.equal((await readAll(second)).length, 0);
    first.write(frame(query('www.example.test')));
    assert.equal(say(await readFrame(first)), WWW);
  });

  test('a port that is free for UDP and taken for TCP is not the one', async (t) => {
    let tries = 0;
    const udp = await serveDns({ zone, host: '127.0.0.1', port: 0 }, async () => {
      if (++tries < 3) throw Object.assign(new Error(), { code: 'EADDRINUSE' });
    });
    t.after(() => udp.close());
    assert.equal(tries, 3);
  });

  test('a port that was asked for and is taken is an error, and leaves nothing open', async (t) => {
    const port = await listen(t, createServer());
    const listenOn = async (server: Server, port: number) => {
      await once(server.listen(port, '127.0.0.1'), 'listening');
    };
    const serving = serveDns({ zone, host: '127.0.0.1', port }, listenOn);
    await assert.rejects(serving, { code: 'EADDRINUSE', syscall: 'listen' });
    const again = createSocket('udp4');
    t.after(() => again.close());
    again.bind(port, '127.0.0.1');
    await once(again, 'listening');
  });
});

describe('the dual-stack server', together, () => {
  async function start(t: TestContext, host: string, options = {}) {
    const log: string[] = [];
    const server = createDualStackServer({
      log: (line) => log.push(line.replace(/:\d+ /, ':PORT ')),
      ...options,
    });
    const port = await listenOn(t, server, host);
    return { server, port, log };
  }

  for (const [address, family, skip] of [
    ['127.0.0.1', 'IPv4', false],
    ['::1', 'IPv6', noIPv6],
  ] as const) {
    test(`tells an ${family} client so`, { skip }, async (t) => {
      const { port, log } = await start(t, address);
      const hello = `hello ${address}, you came over ${family}\n`;
      assert.equal(await greeting(t, address, port), hello);
      const client = address === '::1' ? '[::1]' : address;
      assert.deepEqual(log, [`${client}:PORT came over ${family}`]);
    });
  }

  test('on :: one socket serves both, and knows them apart', { skip: noIPv6 }, async (t) => {
    const { port, log } = await start(t, '::');
    assert.equal(await greeting(t, '127.0.0.1', port), 'hello 127.0.0.1, you came over IPv4\n');
    assert.equal(await greeting(t, '::1', port), 'hello ::1, you came over IPv6\n');
    assert.deepEqual(log, [
      '127.0.0.1:PORT came over IPv4, seen as ::ffff:127.0.0.1',
      '[::1]:PORT came over IPv6',
    ]);
  });

  test('one address has one text', () => {
    const texts: Record<string, string> = {
      '::ffff:192.0.2.1': '192.0.2.1',
      '::FFFF:192.0.2.1': '192.0.2.1',
      '192.0.2.1': '192.0.2.1',
      '2001:db8::ffff:1': '2001:db8::ffff:1',
      '::ffff:0': '::ffff:0',
    };
    for (const [address, plain] of Object.entries(texts))
      assert.equal(plainAddress(address), plain);
  });

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

describe('the programs', { ...together, timeout: 120_000 }, () => {
  testUsage(file('whoami.ts'));
  testServer(file('dns-server.ts'), async (_t, port) => {
    const server = `127.0.0.1:${port}`;
    assert.deepEqual(await resolve('www.example.test', 'A', { server }), ['192.0.2.80']);
    const [big = ''] = await resolve('big.example.test', 'TXT', { server });
    assert.equal(big.length, 1502);
  });

  test('dual-stack-server.ts is a good server, on one port of both loopback addresses', async (t) => {
    const server = run(t, file('dual-stack-server.ts'), ['--port', '0']);
    const port = await server.ready();
    if (!noIPv6) await server.printed(new RegExp(`^listening on \\[::1\\]:${port}$`, 'm'));
    assert.match(await greeting(t, '127.0.0.1', port), /IPv4\n$/);
    if (!noIPv6) assert.match(await greeting(t, '::1', port), /IPv6\n$/);

    const second = run(t, file('dual-stack-server.ts'), ['--port', String(port)]);
    assert.equal(await second.exit(), 1, second.stdout);
    const why = 'the port is in use; stop the program that holds it, or choose another with --port';
    assert.equal(second.stderr, `error: cannot listen on 127.0.0.1:${port}: ${why}\n`);

    const code = await server.stop();
    if (process.platform !== 'win32') assert.equal(code, 0, server.stderr);
  });

  test('resolve.ts prints a line for each record', async (t) => {
    const { server } = await serveZone(t);
    const options = ['--server', server, '--type', 'mx'];
    const program = run(t, file('resolve.ts'), [...options, 'example.test']);
    assert.equal(await program.exit(), 0, program.stderr);
    assert.equal(program.stdout, '10 mail.example.test\n20 backup.example.test\n');
  });

  test('lookup.ts prints the addresses, and does not stay for its timeout', async (t) => {
    const program = run(t, file('lookup.ts'), ['--timeout', '60000', '192.0.2.80']);
    assert.equal(await program.exit(), 0, program.stderr);
    assert.equal(program.stdout, '192.0.2.80\n');
  });

  test('ports.ts shows the state of the ports that are given', async (t) => {
    const port = await listen(t, createServer());
    const program = run(t, file('ports.ts'), [String(port)]);
    assert.equal(await program.exit(), 0, program.stderr);
    assert.match(program.stdout, new RegExp(`^${port} +(user|dynamic) +in use\n$`));
  });
});

if (noIPv6) test('README', { skip: `its output shows ::1, and ${noIPv6}` }, () => {});
else testReadme(import.meta.dirname);
