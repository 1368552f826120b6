/**
 * One DNS packet in, one out, or none: the part that strangers talk to. Read zone.ts before, and
 * dns-server.ts after. A question and its answer have one shape (RFC 1035 §4.1):
 *
 *     |  2 |   2   |    2    |   2   |    2    |    2    | name, type, class | records … |
 *     | id | flags | 1 quest.| answ. | author. | additl. |
 *
 *     flags: QR, 4 bits opcode, AA, TC, RD, RA, 3 bits 0, 4 bits rcode
 */
import {
  AUTHORITATIVE_ANSWER,
  type DecodedPacket,
  decode,
  encode,
  type OptAnswer,
  type Packet,
  type Question,
  TRUNCATED_RESPONSE,
} from 'dns-packet';
import { type Found, find, RCODE, type Zone } from './zone.ts';

/** The largest question that is read: no honest one is longer. */
export const MAX_QUERY = 1232;
/** What a UDP answer may have if the client says nothing (RFC 1035), and the most it may have if it does: more is cut in pieces by many networks (RFC 9715). */
const UDP_SIZE = { least: 512, most: 1232 };
/** What is too large here is truncated over TCP as well: the length in front has two bytes. */
const TCP_SIZE = 65_535;

const RESPONSE = 0x8000;
const OPCODE = 0x7800;
const RECURSION_DESIRED = 0x0100;
/** Questions for the whole zone, which is nobody's business. */
const TRANSFERS = ['AXFR', 'IXFR'];

/** What goes back, and a line about it for the log. */
export interface Reply {
  packet: Buffer;
  log: string;
}

/** The answer to what came in; `undefined` if that deserves none. Never throws. */
export function answer(query: Buffer, zone: Zone, transport: 'udp' | 'tcp'): Reply | undefined {
  if (query.length < 12 || query.length > MAX_QUERY) return undefined;
  const flags = query.readUInt16BE(2);
  // Two servers that answer answers would keep each other busy for ever, over one forged packet.
  if (flags & RESPONSE) return undefined;

  const head = { type: 'response', id: query.readUInt16BE(0) } as const;
  const kept = flags & (OPCODE | RECURSION_DESIRED);
  const refuse = (code: keyof typeof RCODE): Reply => ({
    packet: encode({ ...head, flags: kept | RCODE[code] }),
    log: code,
  });
  if (flags & OPCODE) return refuse('NOTIMP');

  const asked = read(query);
  if (asked === undefined) return refuse('FORMERR');
  const { question, edns } = asked;
  const size = Math.max(UDP_SIZE.least, Math.min(edns?.udpPayloadSize ?? 0, UDP_SIZE.most));
  const limit = transport === 'udp' ? size : TCP_SIZE;
  const { rcode, answers, authorities } = look(zone, question, edns);
  const ours = rcode === RCODE.NOERROR || rcode === RCODE.NXDOMAIN;
  const reply = (records: Packet, truncated = 0): Buffer =>
    encode({
      ...head,
      flags: kept | (ours ? AUTHORITATIVE_ANSWER : 0) | truncated | (rcode & 15),
      questions: [question],
      ...records,
      // Also with a refusal: without it a client takes us for a server that has never heard of EDNS.
      ...(edns && { additionals: [{ ...OPT, extendedRcode: rcode >> 4 }] }),
    });
  const whole = reply({ answers, authorities });
  const fits = whole.length <= limit;
  // Without the flag a client would take the part for the whole; with it, it asks again over TCP.
  const packet = fits ? whole : reply({}, TRUNCATED_RESPONSE);
  const outcome = fits ? (NAMES[rcode] ?? rcode) : 'truncated';
  // A name can hold any byte: in a log it must not move the cursor of a terminal.
  const name = question.name.replace(/[^!-~]/g, '?');
  return { packet, log: `${question.type} ${name}: ${outcome}, ${packet.length} bytes` };
}

const NAMES = Object.fromEntries(Object.entries(RCODE).map(([name, code]) => [code, name]));

/** What EDNS says of us, in an answer to a client that uses it. (RFC 6891) */
const OPT: OptAnswer = {
  type: 'OPT',
  name: '.',
  udpPayloadSize: UDP_SIZE.most,
  extendedRcode: 0,
  ednsVersion: 0,
  flags: 0,
  flag_do: false,
  options: [],
};

/** What there is to say to a question that can be read. */
function look(zone: Zone, question: Question, edns?: OptAnswer): Found {
  const none = { answers: [], authorities: [] };
  if (edns?.ednsVersion) return { rcode: RCODE.BADVERS, ...none };
  if (question.class !== 'IN' || TRANSFERS.includes(question.type)) {
    return { rcode: RCODE.REFUSED, ...none };
  }
  return find(zone, question);
}

/** The one question of a packet, and its EDNS record; `undefined` if it is not exactly that. */
function read(query: Buffer) {
  // Nobody asks two questions at once (RFC 9619). And before decoding: the library makes an array
  // of the size that a stranger claims.
  const counts = [4, 6, 8, 10].map((at) => query.readUInt16BE(at));
  if (String(counts) !== '1,0,0,0' && String(counts) !== '1,0,0,1') return undefined;
  let packet: DecodedPacket;
  try {
    packet = decode(query);
  } catch {
    return undefined;
  }
  const [question] = packet.questions as [Question];
  // Bytes that are no UTF-8, or a dot inside a label: as text this is another name, and the answer
  // would be about that one.
  const again = encode({ questions: [question] }).subarray(12);
  if (!query.subarray(12).subarray(0, again.length).equals(again)) return undefined;
  return { question, edns: packet.additionals?.find((record) => record.type === 'OPT') };
}
