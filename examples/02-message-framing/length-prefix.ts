/**
 * Messages with their length in front: a server that answers each in upper case, and its client.
 * The one to choose when programs talk to programs. Read delimiter.ts before.
 *
 *     00 00 00 0b | H  e  l  l  o  ,     T  C  P  !     4 bytes, big-endian, then so many bytes
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { pipeline } from 'node:stream/promises';
import { encodeLengthPrefix, LengthPrefixDecoder, MAX_LENGTH, readMessages } from '@shared/framing';
import {
  host,
  integer,
  ProgramError,
  peerName,
  port,
  program,
  serve,
  UsageError,
} from '@shared/program';

export interface MessageOptions {
  /** The longest message to accept, in bytes. Default 1 MiB. */
  maxLength?: number;
}

export interface MessageServerOptions extends MessageOptions {
  /** How long a client may neither send nor read before it is dropped, in milliseconds. Default 5 minutes. */
  idleTimeout?: number;
  /** How many clients are served at once; one more is closed as soon as it connects. Default 10,000. */
  maxConnections?: number;
  /** Where a line about each client and message goes. Default: nowhere. */
  log?: (line: string) => void;
}

/** Builds the server; the caller lets it listen, and closes it. (Tutorial 000 §4.5.4, fixed_server.py) */
export function createMessageServer(options: MessageServerOptions = {}): Server {
  const { idleTimeout = 5 * 60_000, maxConnections = 10_000, log = () => {} } = options;

  // Without noDelay the second of two answers waits for the client's ACK of the first (nagle.ts).
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const client = peerName(socket);
    log(`${client} connected`);
    socket.on('error', (error) => log(`${client} failed: ${error.message}`));
    socket.on('close', () => log(`${client} closed`));
    socket.setTimeout(idleTimeout, () => {
      log(`${client} idle for ${idleTimeout / 1000} s`);
      socket.destroy();
    });
    // Reads no further while answers wait to be sent, and ends our half after the last of them.
    // Whatever fails here destroys the socket, and 'error' has logged it.
    pipeline(answers(socket, client, options), socket).catch(() => {});
  });
  server.maxConnections = maxConnections;
  return server;
}

async function* answers(
  socket: Socket,
  client: string,
  { log = () => {}, maxLength = MAX_LENGTH }: MessageServerOptions,
): AsyncGenerator<Buffer> {
  // The plain iterator destroys the socket at the client's FIN, with the last answers unsent.
  const chunks = socket.iterator({ destroyOnReturn: false });
  for await (const message of readMessages(chunks, new LengthPrefixDecoder({ maxLength }))) {
    log(`${client} message of length ${message.length}`);
    yield encodeLengthPrefix(message.toString().toUpperCase());
  }
}

/**
 * Sends each message, then ends our half. Yields the answers as they come, until the server ends
 * its half. Throws if the connection or the framing breaks, or if the server ends too early.
 */
export async function* converse(
  socket: Socket,
  messages: Iterable<string> | AsyncIterable<string>,
  { maxLength = MAX_LENGTH }: MessageOptions = {},
): AsyncGenerator<string, void, undefined> {
  let [asked, answered, done] = [0, 0, false];
  async function* frames() {
    for await (const message of messages) {
      asked++;
      yield encodeLengthPrefix(message);
    }
    done = true;
  }
  // What fails here destroys the socket, and the loop below throws the same.
  pipeline(frames, socket).catch(() => {});
  for await (const answer of readMessages(socket, new LengthPrefixDecoder({ maxLength }))) {
    answered++;
    yield answer.toString();
  }
  // A server that gives up on us ends its half as if all were well.
  if (answered < asked) {
    throw new ProgramError(`the server ended after ${answered} of ${asked} answers`);
  }
  // Else a client at a keyboard would wait for its next line, and send it to nobody.
  if (!done) throw new ProgramError('the server ended before the input did');
}

program(import.meta, {
  about: 'Messages with their length in front: the server or, with "client", its client.',
  args: '[client [TEXT...]]',
  options: {
    host: host(),
    port: port(8888),
    maxLength: integer(MAX_LENGTH, {}, 'the longest message to accept, in bytes'),
  },
  async run({ host, port, maxLength }, { args: [role, ...texts], signal }) {
    if (role === undefined) {
      const server = createMessageServer({ maxLength, log: console.log });
      return serve(server, { host, port, signal });
    }
    if (role !== 'client') throw new UsageError(`unexpected argument ${JSON.stringify(role)}`);
    const socket = connect({ host, port, noDelay: true, signal });
    const messages = texts.length > 0 ? texts : createInterface({ input: process.stdin, signal });
    for await (const answer of converse(socket, messages, { maxLength })) console.log(answer);
  },
});
