/**
 * Python's BaseHTTPRequestHandler: an object for each request, and a method of it for each method of
 * HTTP. Read raw-server.ts before, which does by hand what node:http does here; http-server.ts after.
 */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { errorPage, phrase } from './error-page.ts';
import type { HTTPServer } from './http-server.ts';
import { HttpError } from './raw-response.ts';
import { type Field, type Head, readHead } from './request-head.ts';

/** How many headers a request may have, as in Python. */
const MAX_HEADERS = 100;

/** Derive from it and write `doGET()`, `doPOST()` …, which may be async. (Tutorials 001 §3.2, 002 §2.1) */
export class BaseHTTPRequestHandler {
  /** What the header `Server` says. */
  serverVersion = 'BaseHTTP/0.6';
  sysVersion = 'Node.js';

  readonly server: HTTPServer;
  readonly clientAddress: readonly [host: string, port: number];
  /** The method of the request: `GET`. */
  readonly command: string;
  /** Path and query as they were sent, without scheme and host. */
  readonly path: string;
  /** `HTTP/1.1` or `HTTP/1.0`. */
  readonly requestVersion: string;
  /** The first line of the request, for the log. Empty if it was none. */
  readonly requestline: string;
  /** By their names in lower case. */
  readonly headers: IncomingHttpHeaders;
  /** The body of the request, to read. */
  readonly rfile: IncomingMessage;
  /** The body of the response, to write. Without a Content-Length it is sent in HTTP's chunks. */
  readonly wfile: ServerResponse;

  constructor(request: IncomingMessage, response: ServerResponse, server: HTTPServer) {
    const { method, url = '', httpVersion, socket } = request;
    this.server = server;
    this.clientAddress = [socket.remoteAddress ?? '', socket.remotePort ?? 0];
    this.command = method ?? '';
    // Two slashes at the front would make `Location: //evil.example/` of it, a link to another host.
    this.path = url.replace(/^https?:\/\/[^/?#]*/i, '').replace(/^\/*/, '/');
    this.requestVersion = `HTTP/${httpVersion}`;
    this.requestline = method ? `${method} ${url} ${this.requestVersion}` : '';
    this.headers = request.headers;
    this.rfile = request;
    this.wfile = response;
  }

  /** Calls the method that is named for the request's, or answers 501. */
  async handle(): Promise<void> {
    const head = this.#readHead();
    if (head instanceof HttpError) return this.sendError(head.status, head.message);
    const { command } = this;
    const method = (this as unknown as Record<string, unknown>)[`do${command}`];
    if (typeof method !== 'function') this.sendError(501, `Unsupported method ('${command}')`);
    else if (!head.expectsContinue || this.handleExpect100()) await method.call(this);
    if (!this.wfile.headersSent) throw new Error(`do${command} has sent no response`);
  }

  /** What node:http lets pass is held to the rules of raw-server.ts: one good Host, one length … */
  #readHead(): Head | HttpError {
    const { command: method, requestVersion: version } = this;
    const { url: target = '', rawHeaders } = this.rfile;
    const fields: Field[] = [];
    for (let at = 0; at < rawHeaders.length; at += 2) {
      fields.push([rawHeaders[at] ?? '', rawHeaders[at + 1] ?? '']);
    }
    // Node takes a request line that says HTTP/2.0, as if we spoke that.
    if (!version.startsWith('HTTP/1.')) return new HttpError(505, phrase(505));
    if (fields.length > MAX_HEADERS) return new HttpError(431, 'Too many headers');
    try {
      return readHead({ method, target, version }, fields, Number.POSITIVE_INFINITY);
    } catch (error) {
      if (error instanceof HttpError) return error;
      throw error;
    }
  }

  /** The client asks before it sends a body. Tells it to; or sends an error and returns false. */
  handleExpect100(): boolean {
    this.wfile.writeContinue();
    return true;
  }

  /** Begins a response with the status and the headers `Server` and `Date`. Logs the request. */
  sendResponse(code: number, message = phrase(code)): void {
    this.logRequest(code);
    this.wfile.statusCode = code;
    // The message may quote what a client sent; Node throws for what may not stand in this line.
    this.wfile.statusMessage = message.replace(/[^ -~]/g, '?');
    this.sendHeader('Server', this.versionString());
    // Node would add one of its own, which on a busy machine is that of the second before: then a
    // Last-Modified of now would lie in the future.
    this.sendHeader('Date', this.dateTimeString());
  }

  /** Adds a header. Throws for a line break in it. */
  sendHeader(keyword: string, value: string): void {
    this.wfile.appendHeader(keyword, value);
  }

  /** The headers are complete. They leave together with the first bytes of the body. */
  endHeaders(): void {
    // Told to stop: without this a client would wait for an answer to its next request.
    if (!this.server.listening) this.wfile.setHeader('Connection', 'close');
    this.wfile.writeHead(this.wfile.statusCode);
  }

  /** Answers with a page about the error, and closes the connection. */
  sendError(code: number, message = phrase(code), explain?: string): undefined {
    this.logError(`code ${code}, message ${message}`);
    const page = Buffer.from(errorPage(code, message, explain));
    this.sendResponse(code, message);
    this.sendHeader('Connection', 'close');
    this.sendHeader('Content-Type', 'text/html;charset=utf-8');
    this.sendHeader('Content-Length', String(page.length));
    this.endHeaders();
    this.wfile.write(page);
  }

  logRequest(code: number | '-' = '-', size: number | '-' = '-'): void {
    this.logMessage(`"${this.requestline}" ${code} ${size}`);
  }

  logError(message: string): void {
    this.logMessage(message);
  }

  /** One line for the server's log, in Python's form. */
  logMessage(message: string): void {
    const [, month, day, year, time] = new Date().toString().split(' ');
    // What a client sends must not move the cursor of whoever reads the log, nor begin a new line.
    const tame = message.replace(/[\p{Cc}\\]/gu, (character) => {
      const code = character.charCodeAt(0).toString(16).padStart(2, '0');
      return character === '\\' ? '\\\\' : `\\x${code}`;
    });
    this.server.log(`${this.clientAddress[0]} - - [${day}/${month}/${year} ${time}] ${tame}`);
  }

  /** A time, in milliseconds, as HTTP writes it; by default now. */
  dateTimeString(timestamp = Date.now()): string {
    return new Date(timestamp).toUTCString();
  }

  versionString(): string {
    return `${this.serverVersion} ${this.sysVersion}`;
  }
}
