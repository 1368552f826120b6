/**
 * A chat room in which every connection has a thread of its own. The main thread accepts, moves the
 * bytes, and keeps the list of names; the room is a BroadcastChannel. Read 01-tcp-echo before, and
 * connection.ts after this.
 */
import { randomUUID } from 'node:crypto';
import { createServer, type Server } from 'node:net';
import { host, integer, port, program, serve } from '@shared/program';
import type { ConnectionData, Reply, Request } from './connection.ts';
import { bundle, hangUp, startThread } from './thread.ts';

export interface ChatServerOptions {
  /** How many clients, and so threads, there may be; one more is told so and closed. Default 100. */
  maxClients?: number;
  /** How long a client may neither send nor be sent anything before it is dropped, in milliseconds. Default 15 minutes. */
  idleTimeout?: number;
  /** The longest line of a client, in bytes; with a longer one it is dropped. Default 1,024. */
  maxLength?: number;
  /** How many lines of a client are taken each second; more wait. Default 10. */
  rate?: number;
  /** How many lines of a client may wait; with more it is dropped. Default 100. */
  maxQueue?: number;
  /** How many bytes may wait for a client that does not read; with more it is dropped. Default 1 MiB. */
  maxWaiting?: number;
  /** What each thread runs, as JavaScript. Default: connection.ts. */
  code?: string;
  /** Where the room's lines go, and those about threads. Default: nowhere. */
  log?: (line: string) => void;
}

/** Not with letters that show nothing, such as the Hangul fillers: two names would look the same. */
const NAME = /^(?!.*\p{DI})[\p{L}\p{N}_-]{1,20}$/u;

/** What our own lines begin with: as a name, `error: you were dropped` could be what a client says. */
const RESERVED = new Set(['error', 'here']);

/** Builds the server; the caller lets it listen, and closes it. (Tutorials 003 §03, 004 §3.1) */
export function createChatServer(options: ChatServerOptions = {}): Server {
  const { maxClients = 100, idleTimeout = 15 * 60_000, log = () => {} } = options;
  const { maxLength = 1024, rate = 10, maxQueue = 100, maxWaiting = 1024 * 1024 } = options;
  const { code = bundle('./connection.ts') } = options;
  // A channel is open to the whole process: a second server must not have the same.
  const room = new BroadcastChannel(`chat-${randomUUID()}`);
  room.onmessage = (event) => log((event as MessageEvent).data);
  const announce = (line: string) => {
    log(line);
    room.postMessage(line);
  };
  /** Everybody's name, by what makes it the same name as another. */
  const names = new Map<string, string>();
  let threads = 0;
  let count = 0;

  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    socket.on('error', () => {}); // 'close' follows
    if (threads >= maxClients) {
      return hangUp(socket, `error: the room is full: ${maxClients} clients; try again later`);
    }
    threads++;
    let name = '';
    do name = `guest${++count}`;
    while (names.has(key(name)));
    names.set(key(name), name);
    let joined = false;
    let left = false;

    const data: ConnectionData = { room: room.name, name, maxLength, rate, maxQueue, maxWaiting };
    const thread = startThread(socket, code, data, log);
    // Whatever ends a conversation comes by here, and often more than one thing does.
    const leave = (how: string) => {
      if (left) return;
      left = true;
      names.delete(key(name));
      if (joined) announce(`* ${name} ${how}`);
    };
    socket.on('finish', () => leave('left'));
    socket.on('close', (failed) => leave(failed ? 'left: the connection broke' : 'left'));
    socket.setTimeout(idleTimeout, () => {
      leave('left: idle for too long');
      hangUp(socket, 'error: you were idle for too long');
    });
    thread.on('exit', () => {
      threads--;
      leave('left: its thread crashed');
      closeRoom();
    });
    thread.on('message', (request: Request) => {
      if (left) return;
      if (request.type === 'join') {
        joined = true;
        announce(`* ${name} joined`);
      } else if (request.type === 'drop') {
        leave(`was dropped: ${request.why}`);
        hangUp(socket, `error: you were dropped: ${request.why}`);
        void thread.terminate();
      } else thread.postMessage(request.type === 'who' ? who() : rename(request.name));
    });

    const who = (): Reply => ({ line: `here: ${[...names.values()].join(', ')}` });
    const rename = (wanted: string): Reply => {
      if (!NAME.test(wanted)) {
        return { line: 'error: a name must be 1 to 20 letters, digits, _ or -' };
      }
      // Only one thread can say which names are taken: two that looked for themselves at the same
      // time would both find theirs free.
      const taken = key(wanted) !== key(name) && names.get(key(wanted));
      if (taken || RESERVED.has(key(wanted))) {
        return { line: `error: the name ${taken || wanted} is taken` };
      }
      names.delete(key(name));
      names.set(key(wanted), wanted);
      announce(`* ${name} is now ${wanted}`);
      name = wanted;
      return { name };
    };
  });
  // More than the room takes, since one that is told so needs a socket for it.
  server.maxConnections = maxClients + 100;
  // An open channel keeps the process; but while threads end there may still be a leave to announce.
  const closeRoom = () => {
    if (threads === 0 && !server.listening) room.close();
  };
  server.on('close', closeRoom);
  return server;
}

/** Ann, ann and ＡＮＮ are the same name. */
function key(name: string): string {
  return name.normalize('NFKC').toLowerCase();
}

program(import.meta, {
  about: 'A chat room: a line for everybody, /nick NAME, /who, exit.',
  options: {
    host: host(),
    port: port(8888),
    maxClients: integer(100, { min: 1 }, 'how many clients, each with a thread of its own'),
  },
  run: ({ host, port, maxClients }, { signal }) =>
    serve(createChatServer({ maxClients, log: console.log }), { host, port, signal }),
});
