/**
 * A small certificate authority (CA): signs certificates for servers and clients with a key that
 * nobody else ever sees. Read server.ts before; certificates.ts keeps in files what is made here.
 */
import { KeyObject, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';
import { generate } from 'selfsigned';

const DAY = 24 * 60 * 60_000;
const HOUR = DAY / 24;
const KEY = { name: 'ECDSA', namedCurve: 'P-256' };
const SIGNATURE = { name: 'ECDSA', hash: 'SHA-256' };

/** A certificate and the private key that belongs to it, both as PEM. */
export interface Identity {
  cert: string;
  key: string;
}

export interface LeafOptions {
  /** Who it is, the subject's common name. */
  name: string;
  /** Whether it proves a server or a client. Default server. */
  usage?: 'server' | 'client';
  /** The host names and addresses that it is good for. Default: `name`. */
  names?: string[];
  /** The first moment at which it is valid. Default an hour ago. */
  notBefore?: Date;
  /** The last. Default in 90 days. */
  notAfter?: Date;
}

export interface Authority {
  /** The certificate that others trust, PEM. */
  readonly cert: string;
  /** Makes a key, and a certificate for it that this authority has signed. */
  issue(options: LeafOptions): Promise<Identity>;
}

/** Makes an authority. Its private key lives in this closure, and ends with it. (RFC 5280) */
export async function createAuthority(name: string): Promise<Authority> {
  const keys = await webcrypto.subtle.generateKey(KEY, false, ['sign', 'verify']);
  const cert = await sign({ name }, keys.publicKey, { name, keys }, [
    // critical: who does not understand it must not use the certificate. And pathLen 0: an
    // authority for leaves only, never for further authorities.
    new BasicConstraintsExtension(true, 0, true),
    new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
  ]);
  return { cert, issue: (options) => issue(options, { name, keys }) };
}

/**
 * A certificate that nobody but its own key vouches for, as `openssl req -x509` makes it: good for
 * 365 days, for this one name. (Tutorial 000 §10.2)
 */
export async function createSelfSigned(name: string): Promise<Identity> {
  const subject = [{ name: 'commonName', value: name }];
  const { cert, private: key } = await generate(subject, { keyType: 'ec', algorithm: 'sha256' });
  return { cert, key };
}

interface Issuer {
  name: string;
  keys: webcrypto.CryptoKeyPair;
}

async function issue(options: LeafOptions, issuer: Issuer): Promise<Identity> {
  const { name, usage = 'server', names = [name] } = options;
  const keys = await webcrypto.subtle.generateKey(KEY, true, ['sign', 'verify']);
  const purpose = usage === 'server' ? ExtendedKeyUsage.serverAuth : ExtendedKeyUsage.clientAuth;
  const cert = await sign(options, keys.publicKey, issuer, [
    new BasicConstraintsExtension(false, undefined, true),
    new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
    new ExtendedKeyUsageExtension([purpose]),
    // Browsers compare nothing else. Node, curl and Python would take the subject's common name
    // where these are missing. (RFC 9525 §2)
    new SubjectAlternativeNameExtension(
      names.map((value) => ({ type: isIP(value) ? 'ip' : 'dns', value })),
    ),
  ]);
  const key = KeyObject.from(keys.privateKey).export({ type: 'pkcs8', format: 'pem' });
  return { cert, key: key.toString() };
}

async function sign(
  { name, notBefore, notAfter }: Pick<LeafOptions, 'name' | 'notBefore' | 'notAfter'>,
  publicKey: webcrypto.CryptoKey,
  issuer: Issuer,
  extensions: Extension[],
): Promise<string> {
  const certificate = await X509CertificateGenerator.create({
    subject: [{ CN: [name] }],
    issuer: [{ CN: [issuer.name] }],
    // An hour ago: the clocks of two machines do not agree to the second.
    notBefore: notBefore ?? new Date(Date.now() - HOUR),
    notAfter: notAfter ?? new Date(Date.now() + 90 * DAY),
    publicKey,
    signingKey: issuer.keys.privateKey,
    signingAlgorithm: SIGNATURE,
    extensions: [
      ...extensions,
      // Which key has signed, and which is certified: whoever checks strictly (Python from 3.13)
      // refuses a certificate without them. The package selfsigned cannot write these two.
      await SubjectKeyIdentifierExtension.create(publicKey),
      await AuthorityKeyIdentifierExtension.create(issuer.keys.publicKey),
    ],
  });
  return `${certificate.toString('pem')}\n`;
}
