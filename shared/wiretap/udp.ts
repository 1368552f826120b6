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
  /** Passes datagrams on so many milliseconds late. */
  delay?: number;
}

export interface UdpTapOptions extends Omit<TapOptions, 'faults'> {
  faults?: UdpFaults;
}

const REORDER_WAIT = 50;

/** Puts a tap in front of a UDP server. */
export async function tapUdp(options: UdpTapOptions): Promise<Tap> {
  const { host = '127.0.0.1', port, client = 'client', server = 'server', faults = {} } = options;
  const recording = options.recording ?? new Recording();
  const near = createSocket('udp4');
  /** By the client's address: what takes its datagrams. */
  const clients = new Map<string, (bytes: Buffer) => void>();
  const sockets = new Set<Socket>([near]);
  const timers = new Set<NodeJS.Timeout>();
  const later = (ms: number, act: () => void) => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      act();
    }, ms);
    timers.add(timer);
    return timer;
  };

  /** One direction: decides for each datagram what becomes of it, records that, and sends it. */
  const lane = (from: string, to: string, connection: number, send: (bytes: Buffer) => void) => {
    const towards = to === server ? 'server' : 'client';
    const spoil = (faults.towards ?? towards) === towards ? faults : {};
    const chance = random((spoil.seed ?? 1) + connection * 2 + (towards === 'server' ? 0 : 1));
    const pass = (event: 'datagram' | 'duplicate' | 'reordered', bytes: Buffer) => {
      recording.add({ event, from, to, connection, bytes });
      send(bytes);
    };
    let release: (() => void) | undefined;
    const arrive = (bytes: Buffer) => {
      // Three draws for every datagram, so that one fault's share does not change another's choice.
      const [lose, duplicate, reorder] = [chance(), chance(), chance()] as const;
      if (lose < (spoil.lose ?? 0)) {
        recording.add({ event: 'lost', from, to, connection, bytes });
      } else if (release === undefined && reorder < (spoil.reorder ?? 0)) {
        const timer = later(REORDER_WAIT, () => release?.());
        release = () => {
          release = undefined;
          clearTimeout(timer);
          timers.delete(timer);
          pass('reordered', bytes);
        };
        return;
      } else {
        pass('datagram', bytes);
        if (duplicate < (spoil.duplicate ?? 0)) pass('duplicate', bytes);
      }
      release?.();
    };
    const { delay } = spoil;
    return delay === undefined ? arrive : (bytes: Buffer) => later(delay, () => arrive(bytes));
  };

  near.on('message', (bytes, sender) => {
    const key = `${sender.address}:${sender.port}`;
    let deliver = clients.get(key);
    if (deliver === undefined) {
      const connection = clients.size + 1;
      const name = typeof client === 'string' ? client : client(connection);
      const far = createSocket('udp4');
      sockets.add(far);
      far.on('error', () => {}); // as on a network: what cannot be delivered is lost
      deliver = lane(name, server, connection, (bytes) => far.send(bytes, port, host, () => {}));
      const answer = lane(server, name, connection, (bytes) =>
        near.send(bytes, sender.port, sender.address, () => {}),
      );
      far.on('message', answer);
      clients.set(key, deliver);
    }
    deliver(bytes);
  });
  near.bind(0, '127.0.0.1');
  await once(near, 'listening');
  near.on('error', () => {}); // an unreachable client is no reason to stop

  const close = async () => {
    for (const timer of timers) clearTimeout(timer);
    await Promise.all(
      [...sockets].map((socket) => {
        sockets.delete(socket);
        const closed = once(socket, 'close');
        socket.close();
        return closed;
      }),
    );
  };
  return { port: near.address().port, recording, close, [Symbol.asyncDispose]: close };
}
