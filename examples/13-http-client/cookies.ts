/**
 * The cookie jar of a session. Which cookie goes where (Domain, Path, Secure, Expires, public
 * suffixes) is tough-cookie's work; the limit is ours. Part of session.ts: start there.
 */
import { type Cookie, CookieJar } from 'tough-cookie';

/** As many cookies as RFC 6265 §6.1 asks for, and each as long, in bytes; of more, the oldest goes. */
const LIMITS = { perHost: 50, total: 3000, length: 4096 };

export class Cookies {
  readonly #jar: CookieJar;
  /** A session without cookies does not ask the jar, which takes longer than the rest of a request. */
  #used: boolean;

  constructor(jar?: CookieJar) {
    this.#used = jar !== undefined;
    this.#jar = jar ?? new CookieJar();
  }

  get jar(): CookieJar {
    this.#used = true; // from now on by others as well
    return this.#jar;
  }

  /** The `Cookie` header for a URL: what the caller set by hand, and what the jar has. */
  header(url: URL, byHand?: string): string | undefined {
    if (!this.#used) return byHand;
    const stored = this.#jar.getCookieStringSync(url.href);
    return [byHand, stored].filter(Boolean).join('; ') || undefined;
  }

  /** Takes the `Set-Cookie` headers of an answer, of a redirect too. Those that may not be set are dropped. */
  store(url: URL, headers: string | string[]): void {
    this.#used = true;
    for (const header of [headers].flat()) {
      if (header.length > LIMITS.length) continue;
      this.#jar.setCookieSync(header, url.href, { ignoreError: true });
    }
    // A server that sets a new one with each answer would fill the memory, and every request.
    const kept = [...this.#jar.getCookiesSync(url.href, { allPaths: true })];
    kept.sort((a, b) => b.creationIndex - a.creationIndex);
    this.#remove(kept.slice(LIMITS.perHost));
    // And one that sends us on from one name of its to the next: each is a host of its own.
    this.#jar.store.getAllCookies((_, all = []) => this.#remove(all.slice(0, -LIMITS.total)));
  }

  #remove(cookies: Cookie[]): void {
    for (const { domain, path, key } of cookies) {
      this.#jar.store.removeCookie(domain, path, key, () => {});
    }
  }
}
