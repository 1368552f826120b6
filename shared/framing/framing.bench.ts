/**
 * The length-prefix decoder beside a plain `Buffer.concat` one and beside packages that read the
 * same wire format. Ratios of one run: 2.0 means twice as fast as the other one.
 */
import { decode as frameStream } from 'frame-stream';
import { decode as itLengthPrefixed } from 'it-length-prefixed';
// @ts-expect-error It has no types.
import PacketReader from 'packet-reader';
import { Bench } from 'tinybench';
import { encodeLengthPrefix, LengthPrefixDecoder } from './framing.ts';

const TOTAL = 1024 * 1024;
const ROUNDS = 7;

type Count = (chunks: Buffer[]) => number | Promise<number>;

const decoders: Record<string, Count> = {
  'shared/framing': (chunks) => {
    const decoder = new LengthPrefixDecoder();
    let messages = 0;
    for (const chunk of chunks) for (const _ of decoder.push(chunk)) messages++;
    return messages;
  },
  'Buffer.concat': (chunks) => {
    let buffer = Buffer.alloc(0);
    let messages = 0;
    for (const chunk of chunks) {
      buffer = Buffer.concat([buffer, chunk]);
      while (buffer.length >= 4) {
        const end = 4 + buffer.readUInt32BE(0);
        if (buffer.length < end) break;
        buffer.subarray(4, end);
        buffer = buffer.subarray(end);
        messages++;
      }
    }
    return messages;
  },
  'packet-reader': (chunks) => {
    const reader = new PacketReader();
    let messages = 0;
    for (const chunk of chunks) {
      reader.addChunk(chunk);
      while (reader.read() !== false) messages++;
    }
    return messages;
  },
  'frame-stream': async (chunks) => {
    const stream = frameStream();
    let messages = 0;
    stream.on('data', () => messages++);
    for (const chunk of chunks) stream.write(chunk);
    await new Promise((resolve) => stream.on('end', resolve).end());
    return messages;
  },
  'it-length-prefixed': (chunks) => {
    let messages = 0;
    for (const message of itLengthPrefixed(chunks, { lengthDecoder: readLength })) {
      message.subarray(); // the message in one piece, as the others give it
      messages++;
    }
    return messages;
  },
};

const readLength = Object.assign(
  (list: { getUint32(offset: number): number }) => list.getUint32(0),
  { bytes: 4 },
);

const ratio = (value: number) => (Number.isNaN(value) ? '(takes minutes)' : value.toFixed(2));

const [ours = '', ...others] = Object.keys(decoders);
console.log(`message  chunk   MB/s   ${others.map((name) => `× ${name}`.padStart(20)).join('')}`);
for (const size of [16, 1024, 65536]) {
  const frame = encodeLengthPrefix(Buffer.alloc(size, 'x'));
  const wire = Buffer.concat(Array<Buffer>(Math.ceil(TOTAL / size)).fill(frame));
  for (const cut of [16, 1400, 65536]) {
    const chunks: Buffer[] = [];
    for (let at = 0; at < wire.length; at += cut)
      chunks.push(Buffer.from(wire.subarray(at, at + cut)));
    const tasks = new Map<string, Count>();
    for (const [name, decode] of Object.entries(decoders)) {
      // Quadratic ones would take minutes here.
      if (size / cut > 1000 && ['Buffer.concat', 'frame-stream'].includes(name)) continue;
      const messages = await decode(chunks);
      if (messages !== wire.length / frame.length) throw new Error(`${name}: ${messages} messages`);
      tasks.set(name, decode);
    }
    const rounds: Record<string, number>[] = [];
    // By turns, since no machine is equally fast all the time.
    for (let n = 0; n < ROUNDS; n++) rounds.push(await speeds(tasks, chunks, wire.length));
    const speed = (name: string) => median(rounds.map((round) => round[name] ?? Number.NaN));
    const faster = (name: string) =>
      median(rounds.map((round) => (round[ours] ?? Number.NaN) / (round[name] ?? Number.NaN)));
    console.log(
      String(size).padStart(7) +
        String(cut).padStart(7) +
        speed(ours).toFixed(0).padStart(7) +
        '   ' +
        others.map((name) => ratio(faster(name)).padStart(20)).join(''),
    );
  }
}

/** Megabytes a second of each decoder. */
async function speeds(
  tasks: Map<string, Count>,
  chunks: Buffer[],
  bytes: number,
): Promise<Record<string, number>> {
  const bench = new Bench({ time: 60, warmupTime: 20, iterations: 3, warmupIterations: 1 });
  for (const [name, decode] of tasks) {
    bench.add(name, async () => {
      await decode(chunks);
    });
  }
  await bench.run();
  const result: Record<string, number> = {};
  for (const { name, result: r } of bench.tasks) {
    if ('latency' in r) result[name] = bytes / r.latency.p50 / 1000;
  }
  return result;
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}
