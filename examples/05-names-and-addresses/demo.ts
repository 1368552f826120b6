/** What `npm start 05` plays: names and their records, an answer that is too large, both families. */
import { once } from 'node:events';
import { type AddressInfo, connect, type Server } from 'node:net';
import { text } from 'node:stream/consumers';
import { program } from '@shared/program';
import { serveDns } from './dns-server.ts';
import { createDualStackServer, loopbacks } from './dual-stack-server.ts';
import { EXAMPLE_ZONE } from './example-zone.ts';
import { resolve, type Type } from './resolve.ts';

const QUESTIONS: [Type, string][] = [
  ['A', 'www.example.test'],
  ['AAAA', 'WWW.Example.TEST'],
  ['CNAME', 'ftp.example.test'],
  ['MX', 'example.test'],
  ['PTR', '192.0.2.80'],
];

program(import.meta, {
  about: 'Asks the DNS server, and the server for IPv4 and IPv6.',
  options: {},
  async run() {
    const log: string[] = [];
    const options = { zone: EXAMPLE_ZONE, log: (line: string) => log.push(line) };
    let tcp: Server | undefined;
    const udp = await serveDns({ host: '127.0.0.1', port: 0, ...options }, async (server, port) => {
      tcp = server.listen(port, '127.0.0.1');
      await once(server, 'listening');
    });
    const { port } = udp.address();
    const server = `127.0.0.1:${port}`;

    console.log('Asked of a DNS server of our own:');
    for (const [type, name] of QUESTIONS) {
      const found = await resolve(name, type, { server });
      console.log(`  ${type.padEnd(5)}  ${name.padEnd(16)}  ${found.join(', ')}`);
    }
    for (const name of ['nowhere.example.test', 'www.example.test']) {
      await resolve(name, 'MX', { server }).catch((error: Error) =>
        console.log(`  ${error.message.replace(` at ${server}`, '')}`),
      );
    }

    console.log('\nAn answer that is too large for a datagram:');
    log.length = 0;
    const [big = ''] = await resolve('big.example.test', 'TXT', { server });
    for (const line of log) console.log(`  ${line.replace(/ 127\S+/, '')}`);
    console.log(`  resolve.ts has all ${big.length - 2} of its characters`);
    udp.close();
    tcp?.close();

    console.log('\nOne service on every loopback address:');
    for (const address of loopbacks()) {
      console.log(`  to ${address.padEnd(9)}  ${await greeting(address)}`);
    }
  },
});

async function greeting(host: string): Promise<string> {
  const server = createDualStackServer().listen(0, host);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const greeting = await text(connect({ port, host }));
  await once(server.close(), 'close');
  return greeting.trim();
}
