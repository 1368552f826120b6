/**
 * One real packet, layer by layer: the question of `resolve.ts www.example.test`, as the kernel gave
 * it to the network card. Each layer puts its header in front of what the layer above gave it.
 */
import { ProgramError, program, UsageError } from '@shared/program';

/** Recorded between 192.0.2.10 and dns-server.ts on 192.0.2.53. */
export const FRAME = Buffer.from(
  '02000000003502000000000a0800' + // Ethernet
    '4500003e3ed440004011779bc000020ac0000235' + // IPv4
    'c31d0035002afd81' + // UDP
    '07100100000100000000000003777777076578616d706c6504746573740000010001', // DNS
  'hex',
);

/** The frame as lines: where, which bytes, what they mean. Throws for anything but a DNS question over UDP, IPv4 and Ethernet. */
export function explainFrame(frame: Buffer): string[] {
  const lines: string[] = [];
  let at = 0;
  /** Takes the next bytes, and says what they mean. */
  const field = (length: number, meaning: (bytes: Buffer) => string | number): Buffer => {
    const bytes = frame.subarray(at, at + length);
    if (bytes.length < length) {
      throw new ProgramError(`cannot read frame: it ends at byte ${frame.length}, inside a field`);
    }
    const pairs = bytes.toString('hex').replace(/..(?!$)/g, '$& ');
    lines.push(`${String(at).padStart(4)}  ${pairs.padEnd(24)}  ${meaning(bytes)}`);
    at += length;
    return bytes;
  };
  const demand = (what: string, is: number, wanted: number) => {
    if (is !== wanted)
      throw new ProgramError(`cannot read frame: ${what} is ${hex(is)}, not ${hex(wanted)}`);
  };
  const hex = (value: number) => `0x${value.toString(16)}`;
  const number = (bytes: Buffer) => bytes.readUIntBE(0, bytes.length);
  const mac = (bytes: Buffer) => bytes.toString('hex').replace(/..(?!$)/g, '$&:');
  const ip = (bytes: Buffer) => bytes.join('.');

  lines.push('Ethernet: to the next machine on the cable      TCP/IP link, OSI 2');
  field(6, (bytes) => `to ${mac(bytes)}`);
  field(6, (bytes) => `from ${mac(bytes)}`);
  demand('the type of what is inside', number(field(2, () => 'inside: IPv4')), 0x0800);

  const start = at;
  lines.push('IPv4: to a machine anywhere                     TCP/IP internet, OSI 3');
  demand('the first byte', number(field(1, () => 'version 4, header of 5 × 4 bytes')), 0x45);
  field(1, () => 'priority and congestion (DSCP, ECN)');
  field(2, (bytes) => `${number(bytes)} bytes, this header included`);
  field(2, () => 'identification, if it is cut into fragments');
  field(
    2,
    (bytes) =>
      `${number(bytes) & 0x4000 ? 'do not' : 'may be'} cut; fragment offset ${number(bytes) & 0x1fff}`,
  );
  field(1, (bytes) => `TTL: ${number(bytes)} routers at most`);
  demand('the protocol', number(field(1, () => 'inside: UDP')), 17);
  const header = frame.subarray(start, start + 20);
  field(2, () => `checksum of this header: ${isRight(header)}`);
  field(4, (bytes) => `from ${ip(bytes)}`);
  field(4, (bytes) => `to ${ip(bytes)}`);

  // The checksum of UDP goes over the addresses too: a packet must not pass at a wrong machine.
  const udp = frame.subarray(at);
  const sums = Buffer.concat([header.subarray(12), Buffer.from([0, 17]), udp.subarray(4, 6), udp]);
  lines.push('UDP: to a program on that machine               TCP/IP transport, OSI 4');
  field(2, (bytes) => `from port ${number(bytes)}`);
  field(2, (bytes) => `to port ${number(bytes)}`);
  field(2, (bytes) => `${number(bytes)} bytes, this header included`);
  field(2, () => `checksum of addresses, header and data: ${isRight(sums)}`);

  lines.push('DNS: the question                               TCP/IP application, OSI 5 to 7');
  field(2, () => 'id, for the answer to repeat');
  const flags = number(field(2, () => 'a question, recursion desired'));
  demand('what DNS is to do', flags, 0x0100);
  demand('the number of questions', number(field(2, () => '1 question')), 1);
  field(6, () => 'no answers, authorities, additionals');
  while (frame[at] !== 0) {
    const length = frame[at] ?? 0;
    field(
      1 + length,
      (bytes) => `${length}: ${bytes.toString('latin1', 1).replace(/[^!-~]/g, '?')}`,
    );
  }
  field(1, () => '0: the end of the name');
  field(2, (bytes) => `type ${number(bytes)}${number(bytes) === 1 ? ': A' : ''}`);
  field(2, (bytes) => `class ${number(bytes)}${number(bytes) === 1 ? ': internet' : ''}`);
  return lines;
}

/** Whether the 16-bit words, the checksum among them, add up to all ones. (RFC 1071) */
function isRight(bytes: Buffer): string {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2)
    sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum === 0xffff ? 'right' : 'wrong';
}

program(import.meta, {
  about: 'Shows a recorded DNS question, or the frame that is given in hex, layer by layer.',
  options: {},
  args: '[HEX]',
  run(_, { args }) {
    const hex = args.join('').replaceAll(/[\s:]/g, '');
    if (!/^([\da-f]{2})*$/i.test(hex)) throw new UsageError('a frame is given in hex');
    for (const line of explainFrame(hex === '' ? FRAME : Buffer.from(hex, 'hex')))
      console.log(line);
  },
});
