/**
 * Every way in which a handshake fails, on purpose: with its code, and with what that means.
 * Read client.ts before; the sentences are in explain.ts.
 */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { PassThrough } from 'node:stream';
import { createServer, type Server } from 'node:tls';
import { program, UsageError } from '@shared/program';
import {
  type Authority,
  createAuthority,
  createSelfSigned,
  type Identity,
  type LeafOptions,
} from './authority.ts';
import { connectTo, converse } from './client.ts';
import { createTlsEchoServer } from './server.ts';

/** A client and a server that do not come together. */
interface Setup {
  /** The server's identity. */
  server: Identity;
  /** The client's, if it has one. */
  client?: Identity;
  /** Whether the server wants one of our CA. */
  mutual?: boolean;
  /** Whether the server is one of 2006: TLS 1.1 and nothing later. */
  old?: boolean;
}

/** What either end has to say about it. */
export interface Outcome {
  /** The code of the client's error, if it has one. */
  code?: string;
  /** The client's sentence, and the server's log, without the addresses. */
  client: string;
  server: string[];
}

/** A server called localhost, as the client expects. */
const leaf = (more: Partial<LeafOptions> = {}) => ({ name: 'localhost', ...more });
/** A client as the server expects it. */
const user = { name: 'client', usage: 'client' } as const;

/** The client trusts `ours`, and so does the server; `theirs` is another authority. */
const SETUPS: Record<string, (ours: Authority, theirs: Authority) => Promise<Setup>> = {
  'unknown-ca': async (_, theirs) => ({ server: await theirs.issue(leaf()) }),
  'self-signed': async () => ({ server: await createSelfSigned('localhost') }),
  'wrong-name': async (ours) => ({ server: await ours.issue(leaf({ names: ['other.example'] })) }),
  expired: async (ours) => ({
    server: await ours.issue(leaf({ notBefore: day(2019), notAfter: day(2020) })),
  }),
  'not-yet-valid': async (ours) => ({
    server: await ours.issue(leaf({ notBefore: day(2100), notAfter: day(2101) })),
  }),
  'old-protocol': async (ours) => ({ server: await ours.issue(leaf()), old: true }),
  'no-client-certificate': async (ours) => ({ server: await ours.issue(leaf()), mutual: true }),
  'wrong-client-certificate': async (ours, theirs) => ({
    server: await ours.issue(leaf()),
    client: await theirs.issue(user),
    mutual: true,
  }),
};

export const FAILURES = Object.keys(SETUPS);

let authorities: Promise<[Authority, Authority]> | undefined;

/** Brings one of {@link FAILURES} about. Rejects if nothing fails. */
export async function provoke(name: string): Promise<Outcome> {
  const setup = FAILURES.includes(name) ? SETUPS[name] : undefined;
  if (setup === undefined) throw new UsageError(`want ${FAILURES.join(', ')}`);
  authorities ??= Promise.all([createAuthority('our CA'), createAuthority('their CA')]);
  const [ours, theirs] = await authorities;
  const { server: identity, client, mutual, old } = await setup(ours, theirs);
  const log: string[] = [];
  const server = old
    ? createOldServer(identity)
    : createTlsEchoServer({
        ...identity,
        ...(mutual && { clientCa: ours.cert }),
        log: (line) => log.push(line.replace(/^\S+:\d+ /, '')),
      });
  server.listen(0, 'localhost');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  try {
    const socket = await connectTo({ host: 'localhost', port, ca: ours.cert, ...client });
    await converse(socket, ['hello'], new PassThrough().resume());
    throw new Error(`${name}: nothing has failed`);
  } catch (error) {
    const { message, cause } = error as Error & { cause?: { code: string } };
    const sentence = message.replace(/^cannot connect to \S+: /, '').replace(/ \([A-Z_\d]+\)$/, '');
    return { ...(cause && { code: cause.code }), client: sentence, server: mutual ? log : [] };
  } finally {
    await once(server.close(), 'close');
  }
}

function createOldServer(identity: Identity): Server {
  const server = createServer({
    ...identity,
    minVersion: 'TLSv1',
    maxVersion: 'TLSv1.1',
  });
  return server.on('tlsClientError', (_, socket) => socket.destroy());
}

function day(year: number): Date {
  return new Date(Date.UTC(year, 0, 1));
}

program(import.meta, {
  about: 'Provokes failures of the handshake, all of them or those that are named.',
  args: '[FAILURE...]',
  options: {},
  async run(_, { args }) {
    for (const name of args.length > 0 ? args : FAILURES) {
      const { code = '(no code)', client, server } = await provoke(name);
      console.log(`${name.padEnd(26)}${code}`);
      console.log(`  client: ${client}`);
      for (const line of server) console.log(`  server: ${line}`);
    }
  },
});
