/**
 * A tap on TCP: listens on a port of its own, connects every client to the real server, and passes
 * on what each side does: bytes in the same chunks, half-close, reset, and a reader that is slow.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { openLane, type TcpFaults } from './lane.ts';
import { random } from './random.ts';
import { type Entry, Recording } from './recording.ts';

/** A tap that stands. `await using` closes it. */
export interface Tap extends AsyncDisposable {
  /** The port on 127.0.0.1 that clients use instead of the server's. */
  readonly port: number;
  readonly recording: Recording;
  /** Cuts off what still runs through the tap, and frees the port. */
  close(): Promise<void>;
}

export interface TapOptions {
  /** Where the real server listens. The host is 127.0.0.1 by default. */
  host?: string;
  port: number;
  /** Where the entries go. Default: a recording of the tap's own. */
  recording?: Recording;
  /** What the ends are called. Default `client` and `server`; a function gives each connection's client its own name. */
  client?: string | ((connection: number) => string);
  server?: string;
  /** What the network does wrong. Default: nothing. */
  faults?: TcpFaults;
}

/** Puts a tap in front of a server. Rejects if there is no port to listen on. */
export async function tapTcp(options: TapOptions): Promise<Tap> {
  const { host = '127.0.0.1', port, client = 'client', server = 'server', faults = {} } = options;
  const recording = options.recording ?? new Recording();
  const sockets = new Set<Socket>();
  const listener = createServer({
    allowHalfOpen: true,
    // Nothing is read before there is a server to pass it on to: a reset then would go unseen.
    pauseOnConnect: true,
    // Nagle's algorithm would let a small chunk wait for the receiver's acknowledgement, 40 ms or more.
    noDelay: true,
  });
  let connections = 0;

  listener.on('connection', (near) => {
    const connection = ++connections;
    const name = typeof client === 'string' ? client : client(connection);
    const far = connect({ host, port, allowHalfOpen: true, noDelay: true });
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => {}); // 'close' follows, and says the same
      socket.on('close', () => sockets.delete(socket));
    }
    let over = false;
    const record = (entry: Omit<Entry, 'at' | 'connection'>) => {
      if (!over) recording.add({ connection, ...entry });
    };
    const reset = (from: string, to: string) => {
      record({ event: 'rst', from, to });
      over = true;
      tearDown(near);
      tearDown(far);
    };
    const lane = (towards: 'server' | 'client') => {
      const [from, to] = towards === 'server' ? [name, server] : [server, name];
      const spoilt = (faults.towards ?? towards) === towards;
      const chance = random(faults.seed ?? 1, connection * 2 + (towards === 'server' ? 0 : 1));
      const [source, target] = towards === 'server' ? [near, far] : [far, near];
      openLane(source, target, spoilt ? faults : {}, chance, {
        record: (event, bytes) => record({ event, from, to, ...(bytes && { bytes }) }),
        reset: (by) => (by === 'sender' ? reset(from, to) : reset('network', 'both')),
      });
    };
    const refused = (error: NodeJS.ErrnoException) => {
      record({ event: 'refused', from: name, to: server, detail: error.code ?? error.message });
      near.resetAndDestroy();
    };
    far.once('error', refused);
    far.once('connect', () => {
      far.off('error', refused);
      record({ event: 'open', from: name, to: server });
      lane('server');
      lane('client');
    });
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  listener.on('error', () => {});

  const { port: own } = listener.address() as AddressInfo;
  const closed = new Promise<void>((resolve) => listener.once('close', resolve));
  const close = () => {
    listener.close();
    for (const socket of sockets) socket.destroy();
    return closed;
  };
  return { port: own, recording, close, [Symbol.asyncDispose]: close };
}

/** Resets a connection. While its FIN is on the way that is an error (EINVAL), and would leave it open. */
function tearDown(socket: Socket): void {
  if (socket.writableEnded && !socket.writableFinished) {
    socket.once('finish', () => socket.resetAndDestroy());
  } else socket.resetAndDestroy();
}
