/**
 * Python's ThreadingMixIn: requests are handled at the same time. What is a thread there is an
 * async handler here: while one waits, the others go on. Read tcp-server.ts before.
 */
import type { Address, BaseServer } from './base-server.ts';
import { TCPServer } from './tcp-server.ts';
import { UDPServer } from './udp-server.ts';

// biome-ignore lint/suspicious/noExplicitAny: a mix-in has to take whatever its base takes
type ServerClass = abstract new (...args: any[]) => BaseServer<any>;

/** `class MyServer extends ThreadingMixIn(TCPServer) {}` */
export function ThreadingMixIn<B extends ServerClass>(Base: B) {
  abstract class Threading extends Base {
    /** Whether `serverClose` leaves alone the handlers that still run. Default false. */
    daemonThreads = false;
    /** Whether `serverClose` waits for them. Default true. */
    blockOnClose = true;
    /** How many handlers run at once; further requests wait in the queue. Default 10,000. Python has this for processes (`max_children`), but not for threads. */
    maxThreads = 10_000;
    readonly #threads = new Set<Promise<void>>();
    #freed: (() => void) | undefined;

    override async processRequest(request: unknown, clientAddress: Address): Promise<void> {
      // Without this a flood of datagrams would start handlers without end.
      while (this.#threads.size >= this.maxThreads) {
        await new Promise<void>((resolve) => {
          this.#freed = resolve;
        });
      }
      const thread = this.processRequestThread(request, clientAddress)
        // Python prints what handleError raises, too, and goes on.
        .catch((error) => console.error(error))
        .finally(() => {
          this.#threads.delete(thread);
          this.#freed?.();
        });
      this.#threads.add(thread);
    }

    async processRequestThread(request: unknown, clientAddress: Address): Promise<void> {
      try {
        await this.finishRequest(request, clientAddress);
      } catch (error) {
        this.handleError(request, clientAddress, error);
      } finally {
        this.shutdownRequest(request);
      }
    }

    override async serverClose(): Promise<void> {
      await super.serverClose();
      if (this.blockOnClose && !this.daemonThreads) await Promise.all(this.#threads);
    }
  }
  return Threading;
}

export class ThreadingTCPServer extends ThreadingMixIn(TCPServer) {}
export class ThreadingUDPServer extends ThreadingMixIn(UDPServer) {}
