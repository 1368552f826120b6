/**
 * Keeps the certificates of this example in files: makes them at the first start, and anew before
 * they expire. Read authority.ts before.
 */
import { createPrivateKey, randomUUID, X509Certificate } from 'node:crypto';
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ProgramError, program, text } from '@shared/program';
import type { Identity } from './authority.ts';

/** The authority's certificate, and an identity for each side, all as PEM. */
export interface Certificates {
  ca: string;
  server: Identity;
  client: Identity;
}

/** Where they are unless a program is told otherwise: beside the code, and ignored by git. */
export const DIRECTORY = import.meta.dirname;

const AUTHORITY = 'net-by-example CA';
/** Certificates that end sooner than this are made anew, in milliseconds: 30 of their 90 days. */
const RENEWAL = 30 * 24 * 60 * 60_000;
/** So long nobody takes to write five files, in milliseconds: a lock that is older was left by a crash. */
const STALE = 10_000;
/** The authority first: what has been interrupted is then known as ours. Its key is in no file. */
const FILES = ['ca.crt', 'server.crt', 'server.key', 'client.crt', 'client.key'] as const;

/**
 * The certificates of a directory, made if there are none, or if they are about to expire. Rejects
 * if what it finds there was made by somebody else. (Tutorial 000 §10.2)
 */
export async function loadCertificates(directory: string = DIRECTORY): Promise<Certificates> {
  const found = await find(directory);
  if (found !== undefined) return found;
  // Whoever can write to the folder can put his own key there.
  await mkdir(directory, { recursive: true, mode: 0o755 });
  const made = await make();
  // Two programs that start together would each write their own, and one's key could end beside
  // the other's certificate. So the second waits, and takes what the first has made.
  return await locked(join(directory, '.lock.key'), async () => {
    return (await find(directory)) ?? (await save(made, directory));
  });
}

/** What is there if all of it is, fits together and is fresh; `undefined` if it is to be made. */
async function find(directory: string): Promise<Certificates | undefined> {
  const pems: (string | undefined)[] = [];
  // The last first: then all that another program has just made has its ca.crt when we come to it.
  for (const file of FILES.toReversed()) {
    pems.unshift(await readFile(join(directory, file), 'utf8').catch(ifThere));
  }
  if (pems.every((pem) => pem === undefined)) return undefined;
  for (const [at, file] of FILES.entries()) {
    const pem = pems[at];
    // A certificate that cost somebody money or work must not be overwritten by ours.
    if (file.endsWith('.crt') && (pem === undefined ? file === 'ca.crt' : !isOurs(pem))) {
      throw new ProgramError(
        `cannot use ${directory}: ${file} is ${pem === undefined ? 'missing' : 'not made by this example'}; move what is there away, or name another folder with --certs`,
      );
    }
  }
  const [ca = '', cert = '', key = '', clientCert = '', clientKey = ''] = pems;
  const certificates = {
    ca,
    server: { cert, key },
    client: { cert: clientCert, key: clientKey },
  };
  return isGood(certificates) ? certificates : undefined;
}

function ifThere(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}

function isOurs(pem: string): boolean {
  try {
    return new X509Certificate(pem).issuer === `CN=${AUTHORITY}`;
  } catch {
    return false; // not a certificate
  }
}

function isGood({ ca, server, client }: Certificates): boolean {
  try {
    const { publicKey, validTo } = new X509Certificate(ca);
    return [server, client].every(({ cert, key }) => {
      const leaf = new X509Certificate(cert);
      const end = Math.min(Date.parse(leaf.validTo), Date.parse(validTo));
      return (
        end - Date.now() > RENEWAL &&
        leaf.verify(publicKey) &&
        leaf.checkPrivateKey(createPrivateKey(key))
      );
    });
  } catch {
    return false; // one is missing or damaged
  }
}

/** A new authority each time, for the key of the old one is gone: nobody can steal what is not kept. */
async function make(): Promise<Certificates> {
  // Only here: who finds certificates, or just asks where they are, need not wait for the library.
  const { createAuthority } = await import('./authority.ts');
  const authority = await createAuthority(AUTHORITY);
  const names = ['localhost', '127.0.0.1', '::1'];
  const server = await authority.issue({ name: 'localhost', names });
  const client = await authority.issue({ name: 'client', usage: 'client' });
  return { ca: authority.cert, server, client };
}

async function save(made: Certificates, directory: string): Promise<Certificates> {
  const { ca, server, client } = made;
  const pems = [ca, server.cert, server.key, client.cert, client.key];
  for (const [at, file] of FILES.entries()) {
    const path = join(directory, file);
    const draft = `${path}.${randomUUID()}.key`;
    // The mode at once, not by a chmod behind it: in between others could open the file.
    await writeFile(draft, pems[at] ?? '', {
      mode: file.endsWith('.key') ? 0o600 : 0o644,
    });
    // And not into the file itself: whoever reads it just then would get half a key.
    await rename(draft, path);
  }
  return made;
}

/** Does the work while nobody else, in any process, does it under the same lock. */
async function locked<T>(lock: string, work: () => Promise<T>): Promise<T> {
  for (;;) {
    const taken = await writeFile(lock, '', { flag: 'wx' }).catch((error) => error);
    if (taken === undefined) break;
    if (taken.code !== 'EEXIST') throw taken;
    const made = await stat(lock).catch(ifThere);
    if (made !== undefined && Date.now() - made.mtimeMs > STALE) await rm(lock, { force: true });
    else await sleep(20);
  }
  try {
    return await work();
  } finally {
    await rm(lock, { force: true });
  }
}

program(import.meta, {
  about: 'Makes the certificates if need be, and shows them.',
  options: { certs: text(DIRECTORY, 'the folder of the certificates') },
  async run({ certs }) {
    const { ca, server, client } = await loadCertificates(certs);
    for (const pem of [ca, server.cert, client.cert]) {
      const { subject, issuer, validTo, fingerprint256 } = new X509Certificate(pem);
      console.log(`${subject}, signed by ${issuer}, until ${validTo}`);
      console.log(`  SHA-256 ${fingerprint256}`);
    }
  },
});
