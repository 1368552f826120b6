/**
 * One connection of raw-server.ts: requests in, answers out in the same order, and an end that loses
 * none of them. Read request-parser.ts before.
 */
import type { Socket } from 'node:net';
import { formatResponse, HttpError, type Response, refusal } from './raw-response.ts';
import type { Limits } from './request-body.ts';
import { type Request, RequestParser } from './request-parser.ts';

export interface ConnectionOptions {
  respond: (request: Request) => Response;
  limits: Partial<Limits>;
  /** In milliseconds: without a request, or with answers that the client does not read. */
  idleTimeout: number;
  /** In milliseconds, from the first byte of a request to its last. */
  requestTimeout: number;
  /** In milliseconds, from our end of the conversation to the client's. */
  lingerTimeout: number;
  log: (line: string) => void;
}

/** How many bytes are read and thrown away for a client that has had its last answer and still sends. */
const LINGER_BYTES = 16 * 1024 * 1024;
const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n';

/** Has the conversation. */
export function converse(socket: Socket, options: ConnectionOptions) {
  const { respond, limits, idleTimeout, requestTimeout, lingerTimeout, log } = options;
  const parser = new RequestParser(limits);
  let phase: 'idle' | 'request' | 'answer' | 'end' | undefined;
  let [over, ended, stopping] = [false, false, false];
  let lingered = 0;
  let timer: NodeJS.Timeout | undefined;

  socket.on('data', (chunk: Buffer) => {
    if (over) lingered += chunk.length;
    else parser.push(chunk);
    if (lingered > LINGER_BYTES) socket.destroy();
    advance();
  });
  socket.on('drain', advance);
  socket.on('end', () => {
    ended = true;
    advance();
  });
  socket.on('close', () => clearTimeout(timer));
  advance();
  return { refuse, stop };

  /** Answers what has arrived, as far as the client reads the answers. */
  function advance(): void {
    try {
      while (!over && !socket.writableNeedDrain) {
        const event = parser.next();
        if (event === undefined) break;
        if (event === 'continue') socket.write(CONTINUE);
        else answer(event);
      }
      if (over) return;
      if (socket.writableNeedDrain) {
        // A client that sends requests and reads no answers would fill our memory with those.
        socket.pause();
        wait('answer');
      } else if (ended || (stopping && parser.idle)) {
        parser.end();
        finish();
      } else {
        socket.resume();
        wait(parser.idle ? 'idle' : 'request');
      }
    } catch (error) {
      if (!(error instanceof HttpError)) throw error;
      refuse(error);
    }
  }

  function answer(request: Request): void {
    const { method, target, version } = request;
    const keepAlive = request.keepAlive && !stopping;
    // HTTP/1.0 closes unless both sides say otherwise, HTTP/1.1 does not.
    const open = version === 'HTTP/1.0' ? 'keep-alive' : undefined;
    const response = respond(request);
    log(`"${method} ${target} ${version}" ${response.status}`);
    socket.write(formatResponse(response, { method, connection: keepAlive ? open : 'close' }));
    phase = undefined; // the next request has all the time again
    if (!keepAlive) finish();
  }

  /** Answers in place of what was asked for, and ends the conversation. */
  function refuse(error: HttpError): void {
    const { method } = parser;
    log(`${error.status}: ${error.message}`);
    socket.write(formatResponse(refusal(error), { method, connection: 'close' }));
    finish();
  }

  /** The last answer is written. */
  function finish(): void {
    over = true;
    wait('end');
    socket.end();
    // To close while the client still sends is a reset (RST), which takes from it the answer that it
    // has not read yet. So we say that we have said all, and read on for a while.
    socket.resume();
    socket.once('finish', () => {
      clearTimeout(timer);
      timer = setTimeout(() => socket.destroy(), lingerTimeout);
    });
  }

  /** Ends the conversation: at once if nothing is under way, else behind the next answer. */
  function stop(): void {
    stopping = true;
    if (phase !== 'idle') return;
    if (socket.writableLength > 0) socket.destroySoon();
    else socket.destroy();
  }

  /** From here on the client has the time of that phase, and more bytes do not give it more. */
  function wait(next: NonNullable<typeof phase>): void {
    if (phase === next) return;
    phase = next;
    clearTimeout(timer);
    timer = setTimeout(expire, next === 'request' ? requestTimeout : idleTimeout);
  }

  function expire(): void {
    if (phase === 'request') refuse(new HttpError(408, 'the request has taken too long'));
    // Not 408: a browser opens connections ahead, and takes what it finds there for its answer.
    else if (phase === 'idle') finish();
    // Not destroy(): the kernel would keep what it has taken for a client that does not read.
    else socket.resetAndDestroy();
  }
}
