/**
 * A tap on UDP: passes datagrams on between clients and the real server. Every client has a socket
 * of its own towards the server, so that the server can tell clients apart by their address.
 */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { random } from './random.ts';
import { Recording } from './recording.ts';
import type { Tap, TapOptions } from './tcp.ts';

/** What the network does to datagrams, the same way every time for one seed. Without options: nothing. */
export interface UdpFaults {
  /** Chooses which datagrams are hit. Default 1. */
  seed?: number;
  /** In which direction. Default both. */
  towards?: 'server' | 'client';
  /** The share of datagrams that vanish, 0 to 1. */
  lose?: number;
  /** The share that arrives twice, 0 to 1. */
  duplicate?: number;
  /** The share that arrives behind the one sent next, 0 to 1; after 50 ms if there is no next one. */
  reorder?: number;
  /** Passes datagrams on so many milliseconds late. At most 1,000 are under way; what comes on top is lost. */
  delay?: number;
}

export interface UdpTapOptions extends Omit<TapOptions, 'faults'> {
  /** What the network does wrong. Default: nothing. */
  faults?: UdpFaults;
}

/** UDP has no close: of more clients than this, the one silent for longest is forgotten. */
export const MAX_CLIENTS = 1_000;
const MAX_DELAYED = 1_000;
const REORDER_WAIT = 50;

/** Puts a tap in front of a UDP server. Rejects if there is no port to bind. */
export async function tapUdp(options: UdpTapOptions): Promise<Tap> {
  const { host = '127.0.0.1', port, client = 'client', server = 'server', faults = {} } = options;
  const recording = options.recording ?? new Recording();
  const near = createSocket('udp4');
  const open = new Set([near]);
  /** By the client's address, the one silent for longest first. */
  const clients = new Map<string, Client>();
  const queue = { length: 0 };
  let connections = 0;

  const welcome = (address: string, clientPort: number): Client => {
    const connection = ++connections;
    const name = typeof client === 'string' ? client : client(connection);
    const far = createSocket('udp4');
    open.add(far);
    far.on('error', () => {});

    const lane = (towards: 'server' | 'client', send: (bytes: Buffer) => void) => {
      const [from, to] = towards === 'server' ? [name, server] : [server, name];
      const spoilt = (faults.towards ?? towards) === towards;
      const chance = random(faults.seed ?? 1, connection * 2 + (towards === 'server' ? 0 : 1));
      return openLane(spoilt ? faults : {}, chance, queue, (event, bytes) => {
        if (!open.has(far)) return; // forgotten, or the tap closed, while the datagram was under way
        recording.add({ event, from, to, connection, bytes });
        if (event !== 'lost') send(bytes);
      });
    };
    const deliver = lane('server', (bytes) => far.send(bytes, port, host, () => {}));
    const answer = lane('client', (bytes) => near.send(bytes, clientPort, address, () => {}));
    far.on('message', (bytes, sender) => {
      // Anybody can send to this socket; only what comes from the server is an answer.
      if (sender.port === port) answer(bytes);
    });
    return { far, deliver };
  };

  near.on('message', (bytes, sender) => {
    const key = `${sender.address}:${sender.port}`;
    const known = clients.get(key) ?? welcome(sender.address, sender.port);
    clients.delete(key); // and last again: the first is the one silent for longest
    clients.set(key, known);
    if (clients.size > MAX_CLIENTS) {
      const [oldest, { far }] = clients.entries().next().value as [string, Client];
      clients.delete(oldest);
      open.delete(far);
      far.close();
    }
    known.deliver(bytes);
  });
  near.bind(0, '127.0.0.1');
  await once(near, 'listening');
  near.on('error', () => {});

  const { port: own } = near.address();
  const closed = new Promise<void>((resolve) => near.once('close', resolve));
  const close = () => {
    for (const socket of open) socket.close();
    open.clear();
    return closed;
  };
  return { port: own, recording, close, [Symbol.asyncDispose]: close };
}

interface Client {
  /** The client's socket towards the server. */
  far: Socket;
  /** Takes what the client sends. */
  deliver: (bytes: Buffer) => void;
}

type Fate = 'datagram' | 'duplicate' | 'reordered' | 'lost';

/** One direction of one client: decides for each datagram what becomes of it. */
function openLane(
  { lose = 0, duplicate = 0, reorder = 0, delay }: UdpFaults,
  chance: () => number,
  queue: { length: number },
  pass: (fate: Fate, bytes: Buffer) => void,
): (bytes: Buffer) => void {
  let held: Buffer | undefined;
  let wait: NodeJS.Timeout | undefined;
  const release = () => {
    clearTimeout(wait);
    if (held !== undefined) pass('reordered', held);
    held = undefined;
  };
  const arrive = (bytes: Buffer) => {
    // Three draws for every datagram, so that one fault's share does not change another's choice.
    const [lost, twice, late] = [chance() < lose, chance() < duplicate, chance() < reorder];
    if (late && !lost && held === undefined) {
      held = bytes;
      wait = setTimeout(release, REORDER_WAIT).unref();
      return;
    }
    pass(lost ? 'lost' : 'datagram', bytes);
    if (twice && !lost) pass('duplicate', bytes);
    release();
  };
  if (delay === undefined) return arrive;
  return (bytes) => {
    if (queue.length >= MAX_DELAYED) return pass('lost', bytes);
    queue.length++;
    setTimeout(() => {
      queue.length--;
      arrive(bytes);
    }, delay).unref();
  };
}
