import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { bind, cuts, dial, listen, readAll, readBytes, reset, sendPieces } from '@shared/testing';
import { type Answer, type DecodedPacket, decode, encode, type Packet } from 'dns-packet';
import { answer, MAX_QUERY } from './answer.ts';
import { createTcpServer, createUdpServer, serveDns, type TcpOptions } from './dns-server.ts';
import { EXAMPLE_ZONE as zone } from './example-zone.ts';
import { createZone, type ZoneRecord } from './zone.ts';

type Reply = DecodedPacket & { rcode: string; answers: Answer[]; additionals: Answer[] };
type Question = NonNullable<Packet['questions']>[number];

const ID = 0x0710;
const RECURSION_DESIRED = 0x0100;

function query(name: string, type = 'A', more: Packet = {}): Buffer {
  const question = { name, type, class: 'IN' } as Question;
  return encode({
    type: 'query',
    id: ID,
    flags: RECURSION_DESIRED,
    questions: [question],
    ...more,
  });
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

function tell(packet: Buffer, transport: 'udp' | 'tcp' = 'udp', from = zone): Reply {
  const reply = answer(packet, from, transport) ?? assert.fail('no answer');
  return decode(reply.packet) as Reply;
}

/** What the answer says, shortly: its code, then its records. */
function say(reply: Reply): string {
  const records = reply.answers.map((record) => {
    const data = 'data' in record ? record.data : '';
    return `${record.name} ${record.type} ${typeof data === 'string' ? data : JSON.stringify(data)}`;
  });
  return [reply.rcode, ...records].join('; ');
}

describe('the zone', () => {
  const PTR6 = '0.8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa';
  const cases: [string, string, string][] = [
    ['www.example.test', 'A', 'NOERROR; www.example.test A 192.0.2.80'],
    ['www.example.test', 'AAAA', 'NOERROR; www.example.test AAAA 2001:db8::80'],
    ['wWw.EXAMPLE.tEsT', 'A', 'NOERROR; wWw.EXAMPLE.tEsT A 192.0.2.80'],
    ['80.2.0.192.in-addr.arpa', 'PTR', 'NOERROR; 80.2.0.192.in-addr.arpa PTR www.example.test'],
    [PTR6, 'PTR', `NOERROR; ${PTR6} PTR www.example.test`],
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
    const own = createZone([
      { name: 'Example.TEST.', type: 'SOA', data: { mname: 'ns.example.test', rname: 'a.b' } },
      { name: 'WWW.example.test.', type: 'CNAME', data: 'Mail.Example.Test.' },
      { name: 'mail.example.test', type: 'A', data: '192.0.2.25' },
    ]);
    const reply = tell(query('www.example.test'), 'udp', own);
    assert.equal(reply.answers[1]?.type, 'A');
  });

  const unfit: [string, ZoneRecord][] = [
    ['a label over 63 bytes', { name: `${'x'.repeat(64)}.test`, type: 'A', data: '192.0.2.1' }],
    ['a text over 255 bytes', { name: 'long.test', type: 'TXT', data: 'x'.repeat(256) }],
  ];
  for (const [what, record] of unfit) {
    test(`${what} is refused, not cut`, () => {
      assert.throws(() => createZone([record]), {
        message: `cannot serve ${record.type} ${record.name}: too long for a DNS packet`,
      });
    });
  }
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
  const bad: [string, Buffer, string][] = [
    ['with another opcode', patch(query('www.example.test'), 2, 0x2800), 'NOTIMP'],
    ['of another class', query('x', 'A', { questions: [{ ...two, class: 'CH' }] }), 'REFUSED'],
    ['that asks for everything', query('example.test', 'ANY'), 'NOTIMP'],
    ['that asks for the whole zone', query('example.test', 'AXFR'), 'NOTIMP'],
    ['with no question', patch(query('www.example.test'), 4, 0), 'FORMERR'],
    ['with two questions', query('x', 'A', { questions: [two, two] }), 'FORMERR'],
    ['that claims 65,535 questions', patch(query('www.example.test'), 4, 65_535), 'FORMERR'],
    ['that claims 65,535 answers', patch(query('www.example.test'), 6, 65_535), 'FORMERR'],
    ['that is cut off', query('www.example.test').subarray(0, 20), 'FORMERR'],
    ['of garbage', Buffer.from('0710010000010000000000ffffffffff', 'hex'), 'FORMERR'],
    [
      'whose name points to itself',
      Buffer.from('071001000001000000000000c00c00010001', 'hex'),
      'FORMERR',
    ],
    [
      'with a dot inside a label',
      Buffer.from('0710010000010000000000000b7777772e6578616d706c6504746573740000010001', 'hex'),
      'FORMERR',
    ],
    [
      'with a name that is not UTF-8',
      Buffer.from('07100100000100000000000001ff076578616d706c6504746573740000010001', 'hex'),
      'FORMERR',
    ],
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

  const sizes: [string, Packet, number][] = [
    ['512 bytes without EDNS', {}, 512],
    ['512 bytes if EDNS says less', edns(1), 512],
    ['as many as EDNS says', edns(700), 700],
    ['1,232 bytes if EDNS says more', edns(65_535), 1232],
  ];
  for (const [what, more, limit] of sizes) {
    test(`over UDP gets at most ${what}; more is truncated, and says so`, () => {
      // The longest answer that fits, and one that has a byte more.
      const extra = more.additionals === undefined ? 0 : 11;
      for (const [over, truncated] of [
        [0, false],
        [1, true],
      ] as const) {
        const name = 'a.test';
        const room = limit - extra - (12 + 12) - (8 + 10) + over;
        const pieces = Math.ceil(room / 256);
        const bytes = room - pieces;
        const data = Array.from({ length: pieces }, (_, at) =>
          'x'.repeat(Math.floor((bytes + at) / pieces)),
        );
        const own = createZone([
          { name: 'test', type: 'SOA', data: { mname: 'ns.test', rname: 'a.test' } },
          { name, type: 'TXT', data },
        ]);
        const reply = answer(query(name, 'TXT', more), own, 'udp')?.packet ?? Buffer.alloc(0);
        assert.equal((decode(reply) as Reply).flag_tc, truncated, `${reply.length} bytes`);
        assert.equal((decode(reply) as Reply).answers?.length, truncated ? 0 : 1);
        assert.ok(reply.length <= limit);
        if (!truncated) assert.equal(reply.length, limit);
        assert.equal(tell(query(name, 'TXT', more), 'tcp', own).flag_tc, false);
      }
    });
  }

  test('over TCP is truncated behind 65,535 bytes: the length in front has no more', () => {
    const record = { name: 'x.test', type: 'TXT', data: 'x'.repeat(250) } as const;
    const soa = { mname: 'ns.test', rname: 'a.test' };
    const own = createZone([
      { name: 'test', type: 'SOA', data: soa },
      ...Array<ZoneRecord>(300).fill(record),
    ]);
    const reply = tell(query('x.test', 'TXT'), 'tcp', own);
    assert.equal(reply.flag_tc, true);
    assert.deepEqual(reply.answers, []);
  });

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
    for (let n = 0; n < 2000; n++) {
      const packet = Buffer.from(good[n % good.length] as Buffer);
      for (let times = random(4); times >= 0; times--) packet[random(packet.length)] = random(256);
      const cut = packet.subarray(0, packet.length - random(3) * random(20));
      const reply = answer(cut, zone, 'udp')?.packet;
      if (reply === undefined) continue;
      answered++;
      const { id, type } = decode(reply);
      assert.deepEqual({ id, type }, { id: cut.readUInt16BE(0), type: 'response' });
      assert.ok(reply.length <= 1232);
    }
    assert.ok(answered > 1000, `${answered} were answered`);
  });
});

/** What a UDP client that sends these packets gets back. */
async function exchange(t: TestContext, port: number, packets: Buffer[]): Promise<Buffer> {
  const client = createSocket('udp4');
  await bind(t, client);
  const answered = once(client, 'message');
  for (const packet of packets) client.send(packet, port, '127.0.0.1');
  return (await answered)[0];
}

// Before the others: a timer that was set without the mock would not be cleared with it.
test('over TCP a client has a while for each question, however it spends it', {
  timeout: 20_000,
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

describe('over UDP', { concurrency: true, timeout: 20_000 }, () => {
  async function start(t: TestContext) {
    const log: string[] = [];
    const server = createUdpServer('udp4', { zone, log: (line) => log.push(line) });
    return { server, port: await bind(t, server), log };
  }

  test('the answer behind garbage and answers is the first that comes back', async (t) => {
    const { port, log } = await start(t);
    const answerItself = patch(query('www.example.test'), 2, 0x8100);
    const packets = [Buffer.alloc(0), Buffer.from('garbage'), answerItself];
    const reply = await exchange(t, port, [...packets, query('www.example.test')]);
    assert.equal(say(decode(reply) as Reply), 'NOERROR; www.example.test A 192.0.2.80');
    assert.equal(
      log.join().replace(/127\.0\.0\.1:\d+/, 'CLIENT'),
      'udp CLIENT A www.example.test: NOERROR, 66 bytes',
    );
  });

  test('a datagram from port 0, which cannot be answered, does not end the server', async (t) => {
    const { server, port } = await start(t);
    server.emit('message', query('www.example.test'), {
      address: '127.0.0.1',
      family: 'IPv4',
      port: 0,
      size: 34,
    });
    await exchange(t, port, [query('www.example.test')]);
  });

  test('answers that the kernel does not take are lost, not kept', async (t) => {
    const { server, port, log } = await start(t);
    const waiting = t.mock.method(server, 'getSendQueueSize', () => 2 ** 30);
    const seen = once(server, 'message');
    await Promise.race([exchange(t, port, [query('big.example.test')]), seen]);
    assert.deepEqual(log, []);
    waiting.mock.restore();
    await exchange(t, port, [query('www.example.test')]);
  });

  test('an error of the socket is a line in the log', async (t) => {
    const { server, log } = await start(t);
    server.emit('error', new Error('what Node says'));
    assert.deepEqual(log, ['udp: what Node says']);
  });
});

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
  const server = createTcpServer({
    zone,
    idleTimeout: 600_000,
    log: (line) => log.push(line),
    ...options,
  });
  const port = await listen(t, server);
  const open = async (): Promise<[Socket, Socket]> => {
    const accepted = once(server, 'connection');
    return [await dial(t, port), (await accepted)[0] as Socket];
  };
  return { server, port, log, open };
}

describe('over TCP', { concurrency: true, timeout: 20_000 }, () => {
  const A = 'NOERROR; www.example.test A 192.0.2.80';

  test('questions are answered however their bytes arrive', async (t) => {
    const { open } = await startTcp(t);
    const both = Buffer.concat([frame(query('www.example.test')), frame(query('x.example.test'))]);
    const [client, receiver] = await open();
    for (const { name, pieces } of cuts(both)) {
      await sendPieces(client, receiver, pieces);
      assert.equal(say(await readFrame(client)), A, name);
      assert.equal(say(await readFrame(client)), 'NXDOMAIN', name);
    }
  });

  test('a large answer comes whole', async (t) => {
    const { open } = await startTcp(t);
    const [client] = await open();
    client.write(frame(query('big.example.test', 'TXT')));
    assert.equal((await readFrame(client)).answers.length, 1);
  });

  test('a client that never reads costs little memory, and gets every answer once it does', async (t) => {
    const own = createZone([
      { name: 'test', type: 'SOA', data: { mname: 'ns.test', rname: 'a.test' } },
      { name: 'test', type: 'TXT', data: Array(240).fill('x'.repeat(250)) },
    ]);
    const { length } = frame(answer(query('test', 'TXT'), own, 'tcp')?.packet ?? Buffer.alloc(0));
    assert.ok(length > 60_000);
    const { open } = await startTcp(t, { zone: own });
    const [client, receiver] = await open();
    let waiting = 0;
    const look = () => {
      waiting = Math.max(waiting, receiver.writableLength);
    };
    receiver.on('data', look);
    client.end(Buffer.concat(Array(160).fill(frame(query('test', 'TXT')))));
    // The server holds the client back; one that does not reads to the end.
    const first = ['pause', 'end'].map((event) => once(receiver, event).then(() => event));
    assert.equal(await Promise.race(first), 'pause');
    look();
    assert.ok(waiting < 200_000, `${waiting} bytes waited in the server`);
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
      assert.equal(say(await readFrame(good)), A);
    });
  }

  test('a client that resets is a line in the log, and the others are served', async (t) => {
    const { open, log } = await startTcp(t);
    const [[bad, receiver], [good]] = [await open(), await open()];
    const closed = once(receiver, 'close').catch(() => {});
    reset(bad);
    await closed;
    good.write(frame(query('www.example.test')));
    assert.equal(say(await readFrame(good)), A);
    assert.match(log[0] ?? '', /^tcp 127\.0\.0\.1:\d+ failed: read ECONNRESET$/);
  });

  test('serves no more clients than it may', async (t) => {
    const { open, port } = await startTcp(t, { maxConnections: 1 });
    const [first] = await open();
    const second = await dial(t, port);
    assert.equal((await readAll(second)).length, 0);
    first.write(frame(query('www.example.test')));
    assert.equal(say(await readFrame(first)), A);
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
