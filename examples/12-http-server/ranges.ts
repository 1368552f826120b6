/**
 * What a client says of the copy that it has already: conditions (RFC 9110 §13), which may end in
 * 304 or 412, and a range of bytes (§14), to go on with a download where it broke off.
 */
import type { Stats } from 'node:fs';
import type { IncomingHttpHeaders } from 'node:http';

/** What tells one state of a file from another. */
export interface Version {
  etag: string;
  /** As in `Last-Modified`. */
  modified: string;
}

export function versionOf({ size, mtimeMs }: Stats): Version {
  // A date in the future would be taken for fresh until then, whatever happens to the file.
  const modified = new Date(Math.min(mtimeMs, Date.now())).toUTCString();
  return { etag: `"${size.toString(16)}-${mtimeMs.toString(16)}"`, modified };
}

/** 304 or 412, if the request ends with that. */
export function checkConditions(
  headers: IncomingHttpHeaders,
  { etag, modified }: Version,
): 304 | 412 | undefined {
  const time = Date.parse(modified);
  const match = headers['if-match'];
  // A date is only asked where there is no tag: it cannot tell two changes within a second.
  if (match === undefined ? time > dateOf(headers['if-unmodified-since']) : !hasTag(match, etag)) {
    return 412;
  }
  const noneMatch = headers['if-none-match'];
  const isKnown =
    noneMatch === undefined
      ? time <= dateOf(headers['if-modified-since'])
      : hasTag(noneMatch.replaceAll('W/"', '"'), etag);
  return isKnown ? 304 : undefined;
}

function hasTag(list: string, etag: string): boolean {
  const tags: string[] = list.match(/(?:W\/)?"[^"]*"/g) ?? [];
  return list === '*' || tags.includes(etag);
}

/** The three forms that a date may have: today's, that of RFC 850, and C's asctime(). (RFC 9110 §5.6.7) */
const DATE =
  /^(?:\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT|\w{6,9}, \d\d-\w{3}-\d\d [\d:]{8} GMT|\w{3} \w{3} [\d ]\d [\d:]{8} \d{4})$/;

/** NaN, of which every comparison is false, for none and for what is no date of HTTP. */
function dateOf(header = ''): number {
  // asctime() does not say so, but this is not local time either.
  return DATE.test(header) ? Date.parse(header.replace(/( GMT)?$/, ' GMT')) : Number.NaN;
}

/** What to send: 200 all of the file, 206 a part of it, 416 nothing. `end` is not included. */
export interface Range {
  code: 200 | 206 | 416;
  start: number;
  end: number;
}

/** One range. For several, and for what is none, the answer is the whole file, as RFC 9110 permits. */
export function rangeOf(headers: IncomingHttpHeaders, size: number, version: Version): Range {
  const whole: Range = { code: 200, start: 0, end: size };
  const condition = headers['if-range'] ?? version.etag;
  // The file has changed: the rest of this one does not fit the beginning that the client has.
  if (condition !== version.etag && condition !== version.modified) return whole;

  const [, first, last] = headers.range?.match(/^bytes=(\d*)-(\d*)$/i) ?? [];
  if (first === undefined || last === undefined || first + last === '') return whole;
  // `-500`: the last 500 bytes.
  const start = first === '' ? Math.max(0, size - Number(last)) : Number(first);
  const end = first === '' || last === '' ? size : Math.min(size, Number(last) + 1);
  if (first !== '' && last !== '' && Number(last) < Number(first)) return whole;
  return { code: start < end ? 206 : 416, start, end };
}
