/**
 * What the DNS server knows: names and their records, as plain data, and how a question is answered
 * from it. Nothing here touches the network. Read answer.ts after.
 */
import {
  type Answer,
  decode,
  encode,
  type OptAnswer,
  type Question,
  type StringAnswer,
} from 'dns-packet';

/** One record: `{ name: 'www.example.test', type: 'A', data: '192.0.2.80' }`. */
export type ZoneRecord = Exclude<Answer, OptAnswer>;

/** Records by their name in lower case. */
export type Zone = ReadonlyMap<string, readonly ZoneRecord[]>;

/** How it went. (RFC 1035 §4.1.1, RFC 6891 §9) */
export const RCODE = { NOERROR: 0, FORMERR: 1, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5, BADVERS: 16 };

export interface Found {
  rcode: number;
  answers: ZoneRecord[];
  /** The SOA record where there is no answer: it says for how long that may be remembered (RFC 2308). */
  authorities: ZoneRecord[];
}

/** For how many seconds a record may be remembered if it does not say so itself. */
const TTL = 300;

/** Makes a zone of records. Throws if one of them does not fit into a DNS packet. */
export function createZone(records: readonly ZoneRecord[]): Zone {
  const zone = new Map<string, ZoneRecord[]>();
  for (const record of records) {
    check(record);
    const more = { ttl: TTL, ...record };
    zone.set(key(record.name), [...(zone.get(key(record.name)) ?? []), more]);
  }
  // A name also exists if only a name below it has a record. (RFC 8020)
  for (const name of [...zone.keys()].flatMap(upwards)) zone.set(name, zone.get(name) ?? []);
  return zone;
}

/** What whoever asks for ANY gets. (RFC 8482 §4.2) */
const MINIMAL = { type: 'HINFO', ttl: 3600, data: { cpu: 'RFC8482', os: '' } } as const;

/** Answers one question, aliases followed. (RFC 1034 §4.3.2) */
export function find(zone: Zone, { name, type }: Question): Found {
  const answers: ZoneRecord[] = [];
  const seen = new Set<string>();
  let alias = name;
  // An alias can be an alias of itself, over others.
  while (!seen.has(key(alias))) {
    seen.add(key(alias));
    const soa = upwards(key(alias))
      .flatMap((above) => zone.get(above) ?? [])
      .find((record) => record.type === 'SOA');
    // Not ours: nothing to say, or not about where the last alias leads.
    if (soa === undefined) {
      return {
        rcode: answers.length > 0 ? RCODE.NOERROR : RCODE.REFUSED,
        answers,
        authorities: [],
      };
    }
    const records = zone.get(key(alias));
    // With the letters as they were asked: clients mix them on purpose, and compare.
    const here = (records ?? []).map((record) => ({ ...record, name: alias }));
    // Everything at once would be a large answer to a small packet whose sender may be forged.
    if (String(type) === 'ANY' && here.length > 0) {
      return { rcode: RCODE.NOERROR, answers: [{ ...MINIMAL, name }], authorities: [] };
    }
    const wanted = here.filter((record) => record.type === type);
    const cname = here.find((record): record is StringAnswer => record.type === 'CNAME');
    if (wanted.length === 0 && cname !== undefined) {
      answers.push(cname);
      alias = cname.data;
      continue;
    }
    const rcode = records === undefined ? RCODE.NXDOMAIN : RCODE.NOERROR;
    return { rcode, answers: [...answers, ...wanted], authorities: wanted.length > 0 ? [] : [soa] };
  }
  return { rcode: RCODE.NOERROR, answers, authorities: [] };
}

/** Names are equal whatever the case of their letters. */
function key(name: string): string {
  return name.toLowerCase().replace(/\.$/, '');
}

/** The name itself, and each above it: `a.b.c`, `b.c`, `c`. */
function upwards(name: string): string[] {
  const labels = name.split('.');
  return labels.map((_, at) => labels.slice(at).join('.'));
}

/** The library writes a label over 63 bytes, or a text over 255, without a word, and wrong. */
function check(record: ZoneRecord): void {
  const wire = encode({ type: 'response', answers: [record] });
  let again: Buffer | undefined;
  try {
    again = encode(decode(wire));
  } catch {} // what it wrote it cannot read
  if (again?.equals(wire)) return;
  throw new RangeError(`cannot serve ${record.type} ${record.name}: too long for a DNS packet`);
}
