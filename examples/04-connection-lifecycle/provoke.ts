/**
 * Makes each error of the atlas happen for real, on this machine alone and in less than a second.
 * Read states.ts before, for why a RST comes when it comes.
 */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import {
  type AddressInfo,
  connect,
  createServer,
  type LookupFunction,
  type Server,
  type Socket,
} from 'node:net';
import { ProgramError } from '@shared/program';
import type { Code } from './errors.ts';
import { openSilentServer } from './silent-server.ts';

export interface ProvokeOptions {
  /** Gives up when it is aborted. Default: never. */
  signal?: AbortSignal;
  /** How long to wait for the error, in milliseconds; it usually takes a few. Default 20,000. */
  timeout?: number;
}

/** The error itself. Rejects if this machine does not make it. (Tutorials 000 §4.2 and §5, 004 §5.4) */
export async function provoke(code: Code, options: ProvokeOptions = {}): Promise<Error> {
  const { signal, timeout = 20_000 } = options;
  const late = AbortSignal.timeout(timeout);
  try {
    return await WAYS[code](AbortSignal.any(signal === undefined ? [late] : [late, signal]));
  } catch (error) {
    if (!late.aborted) throw error;
    throw new ProgramError(`no ${code} within ${timeout / 1000} s`);
  }
}

const HOST = '127.0.0.1';

const WAYS: Record<Code, (signal: AbortSignal) => Promise<Error>> = {
  async ECONNREFUSED(signal) {
    return failure(connect({ port: await freePort(), host: HOST }), signal);
  },

  async ECONNRESET(signal) {
    await using server = await serve((peer) => peer.once('data', () => peer.resetAndDestroy()));
    const client = connect({ port: portOf(server), host: HOST });
    client.write('hello');
    // With `return` alone the server would be closed before the client has reached it.
    return await failure(client, signal);
  },

  async EPIPE(signal) {
    await using server = await serve((peer) => peer.destroy());
    // With `allowHalfOpen` we may write on after the peer's FIN, which says only that no more comes.
    const client = connect({ port: portOf(server), host: HOST, allowHalfOpen: true });
    client.resume().once('end', function write() {
      if (client.destroyed) return;
      client.write('hello'); // the first is answered with RST, and then there is nowhere to write to
      setImmediate(write);
    });
    return await failure(client, signal);
  },

  async ETIMEDOUT(signal) {
    await using silent = await openSilentServer();
    // Without a second address Node waits as long as the kernel does: one to two minutes.
    const lookup = addresses(silent.address, '127.0.0.2');
    const options = { port: silent.port, host: 'two-addresses', lookup };
    const client = connect({ ...options, autoSelectFamilyAttemptTimeout: 100 });
    const { errors } = (await failure(client, signal)) as AggregateError;
    return errors[0];
  },

  async EADDRINUSE(signal) {
    await using first = await serve(() => {});
    return await failure(createServer().listen(portOf(first), HOST), signal);
  },

  EADDRNOTAVAIL: (signal) => failure(createServer().listen(0, '203.0.113.1'), signal),

  async EACCES() {
    const socket = createSocket('udp4').bind(0, HOST);
    await once(socket, 'listening');
    return sendFailure(socket, Buffer.from('hello'), '255.255.255.255');
  },

  ENOTFOUND: () => lookup('no..name').then(unexpected, (error) => error),

  EMSGSIZE: () => sendFailure(createSocket('udp4'), Buffer.alloc(65_508), HOST),

  async ERR_STREAM_WRITE_AFTER_END(signal) {
    await using server = await serve((peer) => peer.resume());
    const client = connect({ port: portOf(server), host: HOST });
    client.end('the last word');
    client.write('and another');
    return await failure(client, signal);
  },

  async AggregateError(signal) {
    const options = { port: await freePort(), host: 'two-addresses' };
    return failure(connect({ ...options, lookup: addresses('::1', HOST) }), signal);
  },
};

/** The 'error' that a socket or a server ends with. Destroys or closes it if there is none. */
async function failure(emitter: Socket | Server, signal: AbortSignal): Promise<Error> {
  try {
    const [error] = await once(emitter, 'error', { signal });
    return error;
  } finally {
    if ('destroy' in emitter) emitter.destroy();
    else emitter.close();
  }
}

async function sendFailure(socket: UdpSocket, bytes: Buffer, address: string): Promise<Error> {
  const error = await new Promise<Error | null>((sent) => socket.send(bytes, 9, address, sent));
  socket.close();
  return error ?? unexpected();
}

function unexpected(): never {
  throw new ProgramError('it worked');
}

async function serve(onConnection: (peer: Socket) => void): Promise<Server> {
  const server = createServer((peer) => {
    peer.on('error', () => {});
    onConnection(peer);
  });
  server.listen(0, HOST);
  await once(server, 'listening');
  return server;
}

async function freePort(): Promise<number> {
  await using server = await serve(() => {});
  return portOf(server);
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

/** A name with these addresses, as a DNS server might give them. */
function addresses(...all: string[]): LookupFunction {
  const found = all.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
  return (_name, _options, callback) => callback(null, found);
}
