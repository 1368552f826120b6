/** The names that the example's own DNS server knows. Change them, and ask again. */
import { createZone, type ZoneRecord } from './zone.ts';

const SOA = {
  mname: 'ns.example.test',
  rname: 'admin.example.test',
  serial: 1,
  refresh: 3600,
  retry: 600,
  expire: 86_400,
  // For so long a client may remember that there is no such name (RFC 2308 §5).
  minimum: 60,
};

/** The end of the reverse name of each 2001:db8:: address here. */
const ZEROS = `${'0.'.repeat(22)}8.b.d.0.1.0.0.2.ip6.arpa`;

// .test, 192.0.2.0/24 and 2001:db8::/32 are nobody's, for ever: RFC 6761, RFC 5737, RFC 3849.
const RECORDS: ZoneRecord[] = [
  { name: 'example.test', type: 'SOA', ttl: SOA.minimum, data: SOA },
  { name: 'example.test', type: 'NS', data: 'ns.example.test' },
  { name: 'example.test', type: 'MX', data: { preference: 20, exchange: 'backup.example.test' } },
  { name: 'example.test', type: 'MX', data: { preference: 10, exchange: 'mail.example.test' } },
  { name: 'example.test', type: 'TXT', data: 'v=spf1 mx -all' },
  { name: 'ns.example.test', type: 'A', data: '192.0.2.53' },
  { name: 'mail.example.test', type: 'A', data: '192.0.2.25' },
  { name: 'backup.example.test', type: 'A', data: '192.0.2.26' },
  { name: 'www.example.test', type: 'A', data: '192.0.2.80' },
  { name: 'www.example.test', type: 'AAAA', data: '2001:db8::80' },
  { name: 'ftp.example.test', type: 'CNAME', data: 'www.example.test' },
  { name: 'away.example.test', type: 'CNAME', data: 'www.example.com' },
  { name: 'loop.example.test', type: 'CNAME', data: 'pool.example.test' },
  { name: 'pool.example.test', type: 'CNAME', data: 'loop.example.test' },
  { name: 'deep.down.example.test', type: 'A', data: '192.0.2.99' },
  // One text has at most 255 bytes; a record may have many. These do not fit into a UDP answer.
  { name: 'big.example.test', type: 'TXT', data: Array(6).fill('x'.repeat(250)) },

  { name: '2.0.192.in-addr.arpa', type: 'SOA', ttl: SOA.minimum, data: SOA },
  { name: '80.2.0.192.in-addr.arpa', type: 'PTR', data: 'www.example.test' },
  { name: '8.b.d.0.1.0.0.2.ip6.arpa', type: 'SOA', ttl: SOA.minimum, data: SOA },
  { name: `0.8.${ZEROS}`, type: 'PTR', data: 'www.example.test' },
];

export const EXAMPLE_ZONE = createZone(RECORDS);
