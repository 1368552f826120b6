/**
 * An echo server with one loop for everybody: it asks which sockets are ready, and does with each
 * what can be done without waiting. Read selectors.ts before.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { FramingError } from '@shared/framing';
import { formatAddress, host, port, program, serve } from '@shared/program';
import { accept, recv, send } from './nonblocking.ts';
import { DefaultSelector, EVENT_READ, EVENT_WRITE } from './selectors.ts';

/** Answers what has arrived. A {@link FramingError} is told to the client, and the last it hears. */
export type Protocol = (received: Buffer) => Iterable<Buffer>;

/** What belongs to one client: the tutorial's `types.SimpleNamespace`. */
export interface Client {
  answer: Protocol;
  /** Answers that are still to be sent. */
  outb: Buffer;
  /** Nothing more is read: the client has ended its half, or was refused. */
  over: boolean;
}

export interface MultiplexerOptions {
  /** Makes the protocol of a new client. Default: an echo. */
  createProtocol?: () => Protocol;
  /** With so many bytes of answers to send, no more is read from a client; 1 or more. Default 64 KiB. */
  maxPending?: number;
  /** How long a client may neither send nor read before it is dropped, in milliseconds. Default 5 minutes. */
  idleTimeout?: number;
  /** How long a client that was refused may go on sending, in milliseconds. Default 1,000. */
  linger?: number;
  /** How many clients are served at once; one more is closed as soon as it connects. Default 10,000. */
  maxConnections?: number;
  /** What waits for the sockets; closed with the server. Default: one of its own. */
  selector?: DefaultSelector<Client>;
  /** Where a line about each client goes. Default: nowhere. */
  log?: (line: string) => void;
}

const BUFSIZE = 64 * 1024;

/** Builds the server and its loop; the caller lets it listen, and closes it. (Tutorials 002 §1.2, 004 §5.2) */
export function createMultiplexer(options: MultiplexerOptions = {}): Server {
  const { createProtocol = () => (received) => [received] } = options;
  const { maxPending = 64 * 1024, maxConnections = 10_000, log = () => {} } = options;
  const { idleTimeout = 5 * 60_000, linger = 1000 } = options;
  const { selector: sel = new DefaultSelector<Client>() } = options;

  const server = createServer({ allowHalfOpen: true, noDelay: true });
  server.maxConnections = maxConnections;
  server.on('close', () => sel.close());
  sel.register(server, EVENT_READ);
  void serveForever();
  return server;

  async function serveForever(): Promise<void> {
    while (sel.getMap() !== null) {
      for (const [{ fileobj, data }, mask] of await sel.select()) {
        if (data === null) acceptWrapper();
        else serviceConnection(fileobj as Socket, data, mask);
      }
    }
  }

  function acceptWrapper(): void {
    const [conn, address] = accept(server);
    const addr = formatAddress(...address);
    log(`${addr} connected`);
    conn.on('error', (error) => log(`${addr} failed: ${error.message}`));
    conn.on('close', () => log(`${addr} closed`));
    // A client that vanished without a FIN would stay for ever, and ready for nothing.
    conn.setTimeout(idleTimeout, () => {
      conn.destroy(new Error(`idle for ${idleTimeout / 1000} s`));
    });
    sel.register(conn, EVENT_READ, {
      answer: createProtocol(),
      outb: Buffer.alloc(0),
      over: false,
    });
  }

  function serviceConnection(sock: Socket, data: Client, mask: number): void {
    try {
      if (mask & EVENT_READ) receive(sock, data);
      if (mask & EVENT_WRITE) data.outb = data.outb.subarray(send(sock, data.outb));
      // A socket is nearly always ready for EVENT_WRITE: waited for without need, select() would
      // return at once, again and again. And an end is ready for EVENT_READ, again and again.
      const reading = !data.over && data.outb.length < maxPending ? EVENT_READ : 0;
      const writing = data.outb.length > 0 ? EVENT_WRITE : 0;
      if (data.over && data.outb.length === 0) hangUp(sock);
      else sel.modify(sock, reading | writing, data);
    } catch (error) {
      // One client's reset is no reason to leave the loop, which is everybody's.
      sel.unregister(sock);
      sock.destroy(error as Error);
    }
  }

  function receive(sock: Socket, data: Client): void {
    const received = recv(sock, BUFSIZE);
    data.over = received.length === 0;
    const answers: Buffer[] = [];
    try {
      for (const answer of data.answer(received)) answers.push(answer);
    } catch (error) {
      if (!(error instanceof FramingError)) throw error;
      answers.push(Buffer.from(`error: ${error.message}\n`));
      data.over = true;
    }
    data.outb = Buffer.concat([data.outb, ...answers]);
  }

  /** What was sent still goes out; the client's own end may be still to come. */
  function hangUp(sock: Socket): void {
    sel.unregister(sock);
    sock.end();
    if (sock.readableEnded) return;
    // Closed with bytes unread, the kernel would send a RST, and the client lose what we said last.
    sock.resume();
    const cut = setTimeout(() => sock.destroy(), linger);
    sock.once('close', () => clearTimeout(cut));
  }
}

program(import.meta, {
  about: 'Sends back what it gets, to many clients from one loop.',
  options: { host: host(), port: port(8080) },
  run: ({ host, port }, { signal }) =>
    serve(createMultiplexer({ log: console.log }), { host, port, signal }),
});
