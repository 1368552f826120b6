/**
 * The cookie jar of a session. Which cookie goes where (Domain, Path, Secure, Expires, public
 * suffixes) is tough-cookie's work; the limit is ours. Part of session.ts: start there.
 */
import { CookieJar } from 'tough-cookie';

/** As many cookies as RFC 6265 §6.1 asks for; of more, the oldest goes. */
const PER_HOST = 50;

export class Cookies {
  readonly jar: CookieJar;
  /** A session without cookies does not ask the jar, which takes longer than the rest of a request. */
  #used: boolean;

  constructor(jar?: CookieJar) {
    this.#used = jar !== undefined;
    this.jar = jar ?? new CookieJar();
  }

  /** The `Cookie` header for a URL: what the caller set by hand, and what the jar has. */
  header(url: URL, byHand?: string): string | undefined {
    if (!this.#used) return byHand;
    const stored = this.jar.getCookieStringSync(url.href);
    return [byHand, stored].filter(Boolean).join('; ') || undefined;
  }

  /** Takes the `Set-Cookie` headers of an answer, of a redirect too. Those that may not be set are dropped. */
  store(url: URL, headers: string | string[]): void {
    this.#used = true;
    for (const header of [headers].flat()) {
      this.jar.setCookieSync(header, url.href, { ignoreError: true });
    }
    // A server that sets a new one with each answer would fill the memory, and every request.
    const [...kept] = this.jar.getCookiesSync(url.href, { allPaths: true });
    const age = (cookie: (typeof kept)[number]) => cookie.creationIndex;
    kept.sort((a, b) => age(b) - age(a));
    for (const { domain, path, key } of kept.slice(PER_HOST)) {
      this.jar.store.removeCookie(domain, path, key, () => {});
    }
  }
}
