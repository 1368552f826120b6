/**
 * Tries again what may be tried again. By hand, since undici's retry interceptor waits on when its
 * signal is aborted (a total timeout, Ctrl+C), has no jitter, and comes back before `Retry-After`
 * if that is later than it wants to wait. Part of session.ts: start there.
 */
import type { HttpRequest } from './request.ts';
import type { ClientResponse } from './response.ts';
import type { Deadline } from './timeout.ts';

export interface RetryOptions {
  /** How often to try again after the first time. Default 2. */
  retries?: number;
  /** How long to wait before the first retry, twice as long before each further one, in milliseconds. Default 100. */
  backoff?: number;
  /** Waits no longer than this; if the server says later, its answer is the result. In milliseconds. Default 30,000. */
  maxDelay?: number;
  /** The answers after which to try again. Default 429, 502, 503 and 504. */
  statuses?: readonly number[];
  /** Only these: what is done twice must be the same as once. Default GET, HEAD, OPTIONS, PUT, DELETE. (RFC 9110 §9.2.2) */
  methods?: readonly string[];
}

export const RETRY: Required<RetryOptions> = {
  retries: 2,
  backoff: 100,
  maxDelay: 30_000,
  statuses: [429, 502, 503, 504],
  methods: ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE'],
};

/** What may be different the next time. Not ENOTFOUND, a bad certificate, or an answer that never came. */
const TRANSIENT = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'EAI_AGAIN',
  'UND_ERR_SOCKET',
  'UND_ERR_PRX_CONN',
  'UND_ERR_CONNECT_TIMEOUT',
]);

/** Sends until there is an answer to keep. Rejects with the last error, or when the time is over. */
export async function retrying(
  request: HttpRequest,
  options: Required<RetryOptions>,
  deadline: Deadline,
  send: () => Promise<ClientResponse>,
): Promise<ClientResponse> {
  const { retries, backoff, maxDelay, statuses, methods } = options;
  const allowed = methods.includes(request.method) && request.body?.again !== false;
  for (let attempt = 0; ; attempt++) {
    const last = !allowed || attempt >= retries;
    // Half of it at random: a thousand clients that failed together must not come back together.
    let delay = Math.min(backoff * 2 ** attempt, maxDelay) * (0.5 + Math.random() / 2);
    try {
      const response = await send();
      if (last || !statuses.includes(response.status)) return response;
      const wanted = retryAfter(response.headers.get('retry-after'));
      if (wanted > maxDelay) return response;
      delay = Math.max(delay, wanted);
      await response.release();
    } catch (error) {
      if (last || !isTransient(error) || deadline.aborted) throw error;
    }
    await deadline.sleep(delay);
  }
}

/** A name that stands for several addresses fails once for each. */
function isTransient(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.every(isTransient);
  return error instanceof Error && TRANSIENT.has(String((error as NodeJS.ErrnoException).code));
}

/** Seconds, or a date, as milliseconds from now; 0 if there is none. (RFC 9110 §10.2.3) */
export function retryAfter(header: string | null): number {
  if (header === null) return 0;
  const value = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return value > 0 ? value : 0;
}
