/** One sentence for a network condition: what could not be done, why, and what to do about it. */
import { isIPv6, type Socket } from 'node:net';

/** An error whose text is meant for the person at the terminal, who gets it without a stack trace. */
export class ProgramError extends Error {
  override name = 'ProgramError';
}

/** What the system tells of a failed call. */
type SystemError = Error & {
  code: string;
  syscall?: string;
  address?: string;
  hostname?: string;
  port?: number;
  /** OpenSSL's own words; the message has its source files in it, and a line's end. */
  reason?: string;
};

const LISTEN: Record<string, string> = {
  EADDRINUSE: 'the port is in use; stop the program that holds it, or choose another with --port',
  EACCES: 'not permitted; choose a port from 1024 with --port',
  EADDRNOTAVAIL: 'this machine has no such address; choose another with --host',
  ENOTFOUND: 'unknown host; check the name given with --host',
  EAI_AGAIN: 'the name cannot be looked up now; check the name given with --host',
};

const CONNECT: Record<string, string> = {
  ECONNREFUSED: 'connection refused; is the server running there?',
  ETIMEDOUT: 'no answer; is the address right, and does a firewall let it through?',
  ENETUNREACH: 'the network cannot be reached',
  EHOSTUNREACH: 'the host cannot be reached',
  EADDRNOTAVAIL: 'not an address that can be connected to',
  ENOTFOUND: 'unknown host; check the name',
  EAI_AGAIN: 'the name cannot be looked up now; check the name and the network',
};

const ACCEPT: Record<string, string> = {
  EMFILE: 'this process may open no more files; raise the limit with ulimit -n',
  ENFILE: 'this machine can open no more files',
};

const ESTABLISHED: Record<string, string> = {
  ECONNRESET: 'the peer reset the connection (RST)',
  EPIPE: 'cannot write: the peer has closed the connection',
  ETIMEDOUT: 'the peer stopped answering',
};

/** How undici, Node's HTTP parser and OpenSSL name a peer that keeps to no protocol, gives no answer or cannot be trusted. */
const PEER =
  /^(UND_ERR_(\w+_TIMEOUT|SOCKET|HEADERS_OVERFLOW|RES_\w+)|HPE_|ERR_SSL_|ERR_TLS_CERT_|(CERT|CRL|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO|ERROR_IN)_|(INVALID_CA|INVALID_PURPOSE|PATH_LENGTH_EXCEEDED|HOSTNAME_MISMATCH|UNSPECIFIED)$)/;

/** The sentence for a network condition or a {@link ProgramError}; `undefined` for anything else, which is a bug and keeps its stack trace. */
export function explain(error: unknown): string | undefined {
  if (error instanceof AggregateError && error.errors.length > 0) {
    // One error for each address that a name stands for.
    const texts = error.errors.map(explain);
    return texts.includes(undefined) ? undefined : texts.join(' / ');
  }
  if (!(error instanceof Error)) return undefined;
  if (error instanceof ProgramError || error.name === 'FramingError') return error.message;
  // fetch() throws a TypeError for a network condition, with the true error inside.
  if (error.message === 'fetch failed') return explain(error.cause);
  if (!isSystemError(error)) return undefined;
  const { code, syscall } = error;
  if (syscall === 'listen' || syscall === 'bind') {
    return `cannot listen on ${endpoint(error)}: ${LISTEN[code] ?? code}`;
  }
  if (syscall === 'connect' || syscall === 'getaddrinfo') {
    return `cannot connect to ${endpoint(error)}: ${CONNECT[code] ?? code}`;
  }
  if (syscall === 'accept') return `cannot accept a connection: ${ACCEPT[code] ?? code}`;
  // An ECONNRESET of node:http and node:tls names no syscall: its text says more than ours.
  return (syscall && ESTABLISHED[code]) ?? error.reason ?? error.message;
}

function isSystemError(error: Error): error is SystemError {
  if (!('code' in error)) return false;
  const code = String(error.code);
  return 'syscall' in error || code in ESTABLISHED || PEER.test(code);
}

function endpoint({ address, hostname, port }: SystemError): string {
  const name = address ?? hostname ?? 'the address';
  return port === undefined ? name : formatAddress(name, port);
}

/** `127.0.0.1:8888`, `[::1]:8888`: how a host and a port are written together. */
export function formatAddress(host: string, port: number): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The other end of a connection: `127.0.0.1:50412`, or `unknown` if it has reset before it was accepted. */
export function peerName({ remoteAddress, remotePort = 0 }: Socket): string {
  return remoteAddress === undefined ? 'unknown' : formatAddress(remoteAddress, remotePort);
}
