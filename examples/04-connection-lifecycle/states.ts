/**
 * One connection from the first SYN to TIME_WAIT, and what the kernel says about both ends of it
 * at each step. Read kernel.ts before.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { program } from '@shared/program';
import { canTell, type Endpoint, findEnd, type TcpEnd, until } from './kernel.ts';
import { openSilentServer } from './silent-server.ts';

/** What the program just did, and the state of both ends then: `undefined` if the kernel does not tell. */
export interface Step {
  did: string;
  client: TcpEnd | undefined;
  server: TcpEnd | undefined;
}

export interface LifecycleOptions {
  /** Gives up when it is aborted. Default: never. */
  signal?: AbortSignal;
  /** Whether to ask the kernel. Default: if it can tell. */
  ask?: boolean;
}

/** One end, by its own and by its peer's address. A server that listens has no peer. */
type End = [local: Endpoint, remote?: Endpoint];

const HOST = '127.0.0.1';

/** Opens, half-closes and closes one connection. (Tutorials 000 §5.17 and §5.18, RFC 9293 §3.3.2) */
export async function* lifecycle(options: LifecycleOptions = {}): AsyncGenerator<Step> {
  const { signal, ask = canTell } = options;
  const see = async (did: string, [client, server]: [End, End], want: string): Promise<Step> => {
    if (!ask) return { did, client: undefined, server: undefined };
    const look = (table: string) => ({
      did,
      client: findEnd(table, ...client),
      server: findEnd(table, ...server),
    });
    const there = (step: { client: TcpEnd; server: TcpEnd }) =>
      `${step.client.state}, ${step.server.state}` === want;
    return until(look, there, { what: `${did}: want ${want}`, signal });
  };

  if (ask) {
    await using silent = await openSilentServer();
    await using client = connect(silent.port, silent.address).on('error', () => {});
    await nextTurn(); // its port is the kernel's choice, and unknown before the SYN is out
    const ends: [End, End] = [[addressOf(client), silent], [silent]];
    yield await see('connect() to a server whose queue is full', ends, 'SYN_SENT, LISTEN');
  }

  // Whoever is not paused takes some bytes from the kernel: later, that would let the FIN pass.
  await using listener = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  listener.listen(0, HOST);
  await once(listener, 'listening');
  const at = listener.address() as AddressInfo;
  const accepted = once(listener, 'connection') as Promise<[Socket]>;
  await using client = connect({ port: at.port, host: HOST }).pause();
  client.on('error', () => {});
  await once(client, 'connect');
  await using server = (await accepted)[0].on('error', () => {});
  const ends: [End, End] = [
    [addressOf(client), at],
    [at, addressOf(client)],
  ];
  yield await see("'connect' here, 'connection' there", ends, 'ESTABLISHED, ESTABLISHED');

  if (ask) await fill(client, ends[0], signal);
  const behind = ask ? ', behind unread bytes' : '';
  client.end();
  yield await see(`client.end()${behind}`, ends, 'FIN_WAIT_1, ESTABLISHED');

  await once(server.resume(), 'end');
  yield await see("the server reads on to 'end'", ends, 'FIN_WAIT_2, CLOSE_WAIT');

  if (ask) await fill(server, ends[1], signal);
  server.end();
  yield await see(`server.end()${behind}`, ends, 'FIN_WAIT_2, LAST_ACK');

  await once(client.resume(), 'end');
  yield await see("the client reads on to 'end'", ends, 'TIME_WAIT, CLOSED');
}

/** The steps as lines of text. */
export async function* report(options: LifecycleOptions = {}): AsyncGenerator<string> {
  const { ask = canTell } = options;
  if (!ask) yield "cannot show the kernel's states: only Linux has /proc/net/tcp";
  else yield line('what the program did', 'client', 'server');
  for await (const { did, client, server } of lifecycle(options)) {
    yield line(did, client?.state, server?.state);
    if (client?.state === 'TIME_WAIT') {
      const minutes = Math.round(client.seconds / 60);
      yield `  (and the kernel's timer for TIME_WAIT says: ${minutes} minute)`;
    }
  }
}

function line(did: string, client = '', server = ''): string {
  return `  ${did.padEnd(42)} ${client.padEnd(12)} ${server}`.trimEnd();
}

/**
 * Writes until the kernel holds bytes that the peer has no room for. A FIN comes after all bytes,
 * so it has to wait behind these, and we can see the states that otherwise last microseconds.
 */
async function fill(socket: Socket, end: End, signal?: AbortSignal): Promise<void> {
  let timer: TcpEnd['timer'];
  do {
    await new Promise((taken) => socket.write(Buffer.alloc(64 * 1024), taken));
    const look = (table: string) => findEnd(table, ...end);
    const arrived = (seen: TcpEnd) => seen.timer !== 'retransmit';
    ({ timer } = await until(look, arrived, { what: 'want the bytes to arrive', signal }));
  } while (timer !== 'probe');
}

function addressOf({ localAddress: address = HOST, localPort: port = 0 }: Socket): Endpoint {
  return { address, port };
}

program(import.meta, {
  about: "Opens and closes one connection, and shows the kernel's own states of both ends.",
  options: {},
  async run(_, { signal }) {
    for await (const text of report({ signal })) console.log(text);
  },
});
