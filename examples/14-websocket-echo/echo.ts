/**
 * What the two servers have in common besides HTTP: the answer, the limits and the command line.
 * Read example 01 before; then http.ts and server.ts.
 */
import { flag, host, integer, milliseconds, port, text, UsageError } from '@shared/program';

/** A message: text is a string, anything else bytes. */
export type Message = string | Buffer;

export interface EchoServerOptions {
  /** What is answered to a message. Default {@link tutorialReply}. */
  reply?: (message: Message) => Message;
  /** Pages from here may connect too: `https://example.org`. Default: only the server's own page. */
  origins?: string[];
  /** The most bytes a message may have; more is refused with 1009. Default 1 MiB, as in Python's websockets. */
  maxPayload?: number;
  /** How many clients are served at once; one more is refused with 503. Default 1,000. */
  maxClients?: number;
  /** How many bytes of answers may wait here for one client; then nothing more is read from it. Default 1 MiB. */
  maxBuffered?: number;
  /** How long a client may be silent before it is pinged, and then again before it is dropped, in milliseconds. Default 20,000. */
  heartbeat?: number;
  /** How long a client may take for its part of a close, in milliseconds. Default 2,000. */
  closeTimeout?: number;
  /** Stops the server: every client gets a close with 1001, new ones are refused. Default: never. */
  signal?: AbortSignal;
  /** Where a line about each client goes. Default: nowhere. */
  log?: (line: string) => void;
}

const MiB = 1024 * 1024;

/** The options with their defaults. */
export function complete(options: EchoServerOptions): Required<EchoServerOptions> {
  return {
    reply: tutorialReply,
    origins: [],
    maxPayload: MiB,
    maxClients: 1000,
    maxBuffered: MiB,
    heartbeat: 20_000,
    closeTimeout: 2000,
    signal: new AbortController().signal,
    log: () => {},
    ...options,
  };
}

/** Text as the tutorial's server answers it; bytes as they came, which Python's f-string would print as `b'…'`. (Tutorial 002 §2.2) */
export function tutorialReply(message: Message): Message {
  return typeof message === 'string' ? `Echo: ${message}` : message;
}

/** The options of both programs. */
export const PROGRAM_OPTIONS = {
  host: host(),
  port: port(8080),
  origins: {
    ...text('', 'pages from here may connect too: https://example.org,https://…'),
    parse(value: string, name: string) {
      const wrong = value.split(',').find((origin) => !isOrigin(origin));
      if (wrong === undefined) return value;
      throw new UsageError(`${name} takes origins like https://example.org, not "${wrong}"`);
    },
  },
  maxPayload: {
    ...integer(0, { min: 125, max: 256 * MiB }, 'the most bytes of a message'),
    help: `the most bytes of a message (default ${MiB}, with --echo ${16 * MiB})`,
    default: '' as number | '',
  },
  maxClients: integer(1000, { min: 1 }, 'how many clients are served at once'),
  heartbeat: milliseconds(20_000, 'how long a client may be silent before it is pinged'),
  echo: flag('answer text and bytes exactly as they came, for conformance suites'),
};

/** What was given on the command line, as options of a server. */
export function fromCommandLine(
  values: {
    origins: string;
    maxPayload: number | '';
    maxClients: number;
    heartbeat: number;
    echo: boolean;
  },
  signal: AbortSignal,
): EchoServerOptions {
  const { origins, echo, maxClients, heartbeat } = values;
  return {
    ...{ maxClients, heartbeat, signal, log: console.log },
    // Conformance suites send messages of up to 16 MiB.
    maxPayload: values.maxPayload || (echo ? 16 * MiB : MiB),
    origins: origins === '' ? [] : origins.split(','),
    reply: echo ? (message) => message : tutorialReply,
  };
}

function isOrigin(text: string): boolean {
  return URL.canParse(text) && new URL(text).origin === text;
}
