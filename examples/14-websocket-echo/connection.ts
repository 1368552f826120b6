/**
 * One WebSocket connection: answers pings, closes as RFC 6455 §7 wants it, and never lets the peer
 * fill the memory. Read messages.ts and peer.ts before; then from-scratch.ts.
 */
import type { Socket } from 'node:net';
import type { EchoServerOptions, Message } from './echo.ts';
import { BINARY, CLOSE, encodeFrame, PING, PONG, ProtocolError, TEXT } from './frames.ts';
import { createReceiver } from './messages.ts';
import { hangUp, keepAlive, MAX_WAITING } from './peer.ts';
import { checkUtf8 } from './utf8.ts';

export interface Connection {
  /** Sends a message; does nothing once the connection closes. */
  send(message: Message): void;
  /** Begins the closing handshake. */
  close(code: number, reason: string): void;
}

export interface Listener {
  message(message: Message): void;
  /** Over, with the code and the reason of the peer's close frame: 1005 without a code, 1006 without a frame. */
  closed(code: number, reason: string): void;
  log(line: string): void;
}

/** Speaks WebSocket on a socket that has been through the opening handshake. */
export function openConnection(
  socket: Socket,
  options: Required<EchoServerOptions>,
  listener: Listener,
): Connection {
  const { maxPayload, maxBuffered, heartbeat, closeTimeout } = options;
  /** `closing`: our close frame is out, and the peer's is to come. `closed`: nothing is read any more. */
  let state: 'open' | 'closing' | 'closed' = 'open';
  let code = 1006;
  let reason = '';
  let late: NodeJS.Timeout | undefined;
  /** How many frames the kernel has not taken yet. */
  let waiting = 0;

  const sent = () => {
    waiting--;
    if (waiting === 0) socket.resume();
  };
  const send = (opcode: number, payload: string | Buffer) => {
    if (state !== 'open') return;
    waiting++;
    socket.write(encodeFrame(opcode, payload), sent);
  };
  // The server ends TCP, not the client: TIME_WAIT is then at the server, where its port is no
  // ephemeral one that will be missed. (RFC 6455 §7.1.1)
  const end = () => {
    state = 'closed';
    hangUp(socket, closeTimeout);
  };

  const receive = createReceiver(maxPayload, {
    message: listener.message,
    control(opcode, payload) {
      if (opcode === PING) send(PONG, payload);
      if (opcode !== CLOSE) return;
      [code, reason] = readClose(payload);
      send(CLOSE, payload);
      end();
    },
  });

  socket.on('data', (chunk: Buffer) => {
    if (state === 'closed') return;
    // All answers to one chunk go out in one system call.
    socket.cork();
    try {
      receive(chunk);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      listener.log(`broke the protocol: ${error.message}`);
      send(CLOSE, encodeClose(error.code, error.message));
      end();
    }
    socket.uncork();
    // A client that sends and never reads would fill our memory with answers and pongs. While too
    // many wait we do not read either, and TCP tells the client to stop. But not behind a close:
    // nothing is answered any more, and the client's own end is still to be read.
    const full = waiting > MAX_WAITING || socket.writableLength > maxBuffered;
    if (full && state === 'open') socket.pause();
  });
  socket.on('end', () => {
    // No close frame, but what we have answered still goes out.
    if (state !== 'closed') end();
  });
  socket.on('close', () => {
    clearTimeout(late);
    listener.closed(code, reason);
  });
  keepAlive(socket, heartbeat, {
    ping: () => send(PING, ''),
    dead: () => {
      listener.log('dropped: no sign of life');
      socket.destroy();
    },
  });

  return {
    send: (message) => send(typeof message === 'string' ? TEXT : BINARY, message),
    close(code, reason) {
      if (state !== 'open') return;
      send(CLOSE, encodeClose(code, reason));
      state = 'closing';
      late = setTimeout(() => socket.destroy(), closeTimeout);
    },
  };
}

/** Code and reason of a close frame. (RFC 6455 §5.5.1, §7.4) */
function readClose(payload: Buffer): [number, string] {
  if (payload.length === 0) return [1005, ''];
  const code = payload.length === 1 ? 0 : payload.readUInt16BE();
  const known = code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code);
  if (!known && !(code >= 3000 && code <= 4999)) {
    throw new ProtocolError(1002, 'the close code is none that may be sent');
  }
  const reason = payload.subarray(2);
  if (checkUtf8(reason.subarray(0, 0), reason)?.length !== 0) {
    throw new ProtocolError(1007, 'the close reason is not UTF-8');
  }
  return [code, reason.toString()];
}

function encodeClose(code: number, reason: string): Buffer {
  const payload = Buffer.alloc(2 + Buffer.byteLength(reason));
  payload.writeUInt16BE(code);
  payload.write(reason, 2);
  return payload;
}
