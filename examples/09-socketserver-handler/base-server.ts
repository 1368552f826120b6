/**
 * Python's BaseServer: a queue of requests, a loop that takes one after another, and a hook for each
 * step on the way. It knows no network; read tcp-server.ts and udp-server.ts after.
 */
import { explain, formatAddress } from '@shared/program';
import type { BaseRequestHandler } from './handlers.ts';
import { RequestQueue, SERVING } from './request-queue.ts';

/** A host and a port, as Python writes them: `['127.0.0.1', 8888]`. */
export type Address = readonly [host: string, port: number];

export type RequestHandlerClass<R> = new (
  request: R,
  clientAddress: Address,
  server: BaseServer<R>,
) => BaseRequestHandler<R>;

/** The methods are Python's, in camelCase; where Python blocks, await. (Tutorial 004 §5.3) */
export abstract class BaseServer<R> implements AsyncDisposable {
  /** How long {@link handleRequest} waits for a request, in milliseconds. Default: for ever. */
  timeout?: number;
  /** How many requests may wait for their turn; further ones are denied. Default 5, as in Python. */
  requestQueueSize = 5;
  /** Fulfilled once the address is bound; rejects where Python's constructor would raise. */
  readonly activated: Promise<void>;
  /** With port 0 the real port stands here once it is bound. */
  serverAddress: Address;
  readonly RequestHandlerClass: RequestHandlerClass<R>;

  readonly #queue = new RequestQueue<[R, Address]>();
  #state: 'new' | 'serving' | 'shut down' = 'new';
  #shutdownRequest = false;
  readonly #waiting: (() => void)[] = [];

  constructor(
    serverAddress: Address,
    RequestHandlerClass: RequestHandlerClass<R>,
    bindAndActivate = true,
  ) {
    this.serverAddress = serverAddress;
    this.RequestHandlerClass = RequestHandlerClass;
    // Not at once: the fields of a subclass, such as TCPServer's socket, are set after this constructor.
    this.activated = bindAndActivate
      ? Promise.resolve().then(() => this.#start())
      : Promise.resolve();
    // Whoever serves gets the error; without this it would end the process before anybody does.
    this.activated.catch(() => {});
  }

  async #start(): Promise<void> {
    await this.serverBind();
    await this.serverActivate();
  }

  /** Handles requests until {@link shutdown}; calls `serviceActions` after each, and every `pollInterval` milliseconds. */
  async serveForever(pollInterval = 500): Promise<void> {
    if (this.#state === 'serving') throw new Error(SERVING);
    this.#state = 'serving';
    try {
      await this.activated;
      while (!this.#shutdownRequest) {
        const ready = await this.#queue.wait(pollInterval);
        if (this.#shutdownRequest) break;
        if (ready) await this.#handleNext();
        await this.serviceActions();
      }
    } finally {
      this.#shutdownRequest = false;
      this.#state = 'shut down';
      for (const resolve of this.#waiting.splice(0)) resolve();
    }
  }

  /**
   * Tells {@link serveForever} to stop, and waits until it has: for a plain server to the end of the
   * request at hand, so that a handler of it must not await this. Before serveForever it waits for one.
   */
  shutdown(): Promise<void> {
    this.#shutdownRequest = true;
    this.#queue.wake();
    if (this.#state === 'shut down') return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Handles one request, or calls `handleTimeout` if none has come within `timeout`. */
  async handleRequest(): Promise<void> {
    await this.activated;
    if (await this.#queue.wait(this.timeout)) await this.#handleNext();
    else await this.handleTimeout();
  }

  /** Queues a request; false if the queue is full. For the servers that receive them. */
  protected enqueue(request: R, clientAddress: Address): boolean {
    return this.#queue.push([request, clientAddress], this.requestQueueSize);
  }

  /** Takes all that wait out of the queue. */
  protected clearQueue(): R[] {
    return this.#queue.clear().map(([request]) => request);
  }

  async #handleNext(): Promise<void> {
    const next = this.#getRequest();
    if (next === undefined) return;
    const [request, clientAddress] = next;
    // Without this the first handler that throws would end the server. A verifyRequest that throws
    // ends Python's.
    try {
      if (await this.verifyRequest(request, clientAddress)) {
        await this.processRequest(request, clientAddress);
      } else this.shutdownRequest(request);
    } catch (error) {
      this.handleError(request, clientAddress, error);
      this.shutdownRequest(request);
    }
  }

  #getRequest(): [R, Address] | undefined {
    try {
      return this.getRequest();
    } catch (error) {
      // Python passes over an OSError, and nothing else: it is one client's trouble, not a bug.
      if (explain(error) === undefined) throw error;
      return undefined;
    }
  }

  /** Takes the request that has waited longest out of the queue. */
  getRequest(): [R, Address] | undefined {
    return this.#queue.shift();
  }

  /** Whether to handle this request at all. */
  verifyRequest(_request: R, _clientAddress: Address): boolean | Promise<boolean> {
    return true;
  }

  /** Handles a request to its end; `ThreadingMixIn` does not wait for that. */
  async processRequest(request: R, clientAddress: Address): Promise<void> {
    await this.finishRequest(request, clientAddress);
    this.shutdownRequest(request);
  }

  /** Makes a handler and calls its three methods, which is what the handler's constructor does in Python: ours cannot await. */
  async finishRequest(request: R, clientAddress: Address): Promise<void> {
    const handler = new this.RequestHandlerClass(request, clientAddress, this);
    await handler.setup();
    try {
      await handler.handle();
    } finally {
      await handler.finish();
    }
  }

  /** What becomes of an error in a handler. Default: it is printed to standard error, and forgotten. */
  handleError(_request: R, clientAddress: Address, error: unknown): void {
    const line = '-'.repeat(40);
    console.error(line);
    console.error(
      `Exception occurred during processing of request from ${formatAddress(...clientAddress)}`,
    );
    console.error(explain(error) ?? error);
    console.error(line);
  }

  abstract serverBind(): Promise<void>;
  serverActivate(): void | Promise<void> {}
  async serverClose(): Promise<void> {}
  shutdownRequest(request: R): void {
    this.closeRequest(request);
  }
  closeRequest(_request: R): void {}
  serviceActions(): void | Promise<void> {}
  handleTimeout(): void | Promise<void> {}

  /** `await using server` is Python's `with … as server`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.serverClose();
  }
}
