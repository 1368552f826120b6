/**
 * Python's SimpleHTTPRequestHandler: the files of a folder, and a page for each folder in it.
 * Read base-handler.ts and folder.ts before; ranges.ts, copy-range.ts and listing.ts after.
 */
import type { Stats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { extname, join } from 'node:path';
import mime from 'mime';
import { BaseHTTPRequestHandler } from './base-handler.ts';
import { copyRange } from './copy-range.ts';
import { isInside, kindOf, listInside, namesOf, openInside } from './folder.ts';
import { listingPage, quote } from './listing.ts';
import { checkConditions, type Range, rangeOf, versionOf } from './ranges.ts';

/** `GET` and `HEAD` for the files below `directory`. (Tutorials 001 §3.2, 003 §07) */
export class SimpleHTTPRequestHandler extends BaseHTTPRequestHandler {
  override serverVersion = 'SimpleHTTP/0.6';
  /** The folder to serve. Default: the current one. */
  directory = '.';
  /** What is shown instead of a folder's listing: the first of these that is there. */
  indexPages = ['index.html', 'index.htm'];
  /** What it says to OPTIONS. */
  allow = 'GET, HEAD, OPTIONS';
  /** Types by extension, with its dot. They come before those of the package `mime`. */
  extensionsMap: Record<string, string> = {
    '.py': 'text/x-python',
    '.ts': 'text/plain', // a browser would play it: to `mime` it is an MPEG transport stream
  };

  async doGET(): Promise<void> {
    const content = await this.sendHead();
    if (content === undefined) return;
    try {
      await this.copyFile(...content);
    } finally {
      await content[0].close();
    }
  }

  async doHEAD(): Promise<void> {
    const content = await this.sendHead();
    await content?.[0].close();
  }

  /** Python has no do_OPTIONS(), and answers 501. */
  doOPTIONS(): void {
    this.sendResponse(200);
    this.sendHeader('Allow', this.allow);
    this.sendHeader('Content-Length', '0');
    this.endHeaders();
  }

  /** Answers with all but the content of a file: that, if there is any to send, it returns. */
  async sendHead(): Promise<[FileHandle, Range] | undefined> {
    const [target = ''] = this.path.split(/[?#]/, 1);
    const names = namesOf(target);
    if (names === undefined) return this.sendError(404, 'File not found');
    const path = join(this.directory, ...names);
    const kind = await kindOf(path);
    const isFolder = target.endsWith('/');
    if (kind === 'file' && !isFolder) return await this.#openAndDescribe(path);
    if (kind !== 'folder' || !(await isInside(this.directory, path))) {
      return this.sendError(404, 'File not found');
    }
    if (!isFolder) return this.#redirect(names, this.path.slice(target.length));
    for (const page of this.indexPages) {
      const index = join(path, page);
      if ((await kindOf(index)) === 'file') return await this.#openAndDescribe(index);
    }
    return await this.listDirectory(path, names);
  }

  /** Without the slash, the links in a folder's page would lead to the names of its parent. */
  #redirect(names: string[], query: string): undefined {
    this.sendResponse(301);
    // From the names, not from what was sent: `/\evil.example/%2e%2e` must not lead there.
    this.sendHeader('Location', `/${names.map((name) => `${quote(name)}/`).join('')}${query}`);
    this.sendHeader('Content-Length', '0');
    this.endHeaders();
  }

  async #openAndDescribe(path: string): Promise<[FileHandle, Range] | undefined> {
    const opened = await openInside(this.directory, path);
    if (opened === undefined) return this.sendError(404, 'File not found');
    const [file, stats] = opened;
    let range: Range | undefined;
    try {
      range = this.#sendFileHead(path, stats);
      return range && [file, range];
    } finally {
      if (range === undefined) await file.close();
    }
  }

  #sendFileHead(path: string, stats: Stats): Range | undefined {
    const version = versionOf(stats);
    const range = rangeOf(this.command === 'GET' ? this.headers : {}, stats.size, version);
    const code = checkConditions(this.headers, version) ?? range.code;
    if (code === 416) this.sendHeader('Content-Range', `bytes */${stats.size}`);
    if (code >= 400) return this.sendError(code);
    this.sendResponse(code);
    if (code !== 304) {
      this.sendHeader('Content-type', this.guessType(path));
      this.sendHeader('Content-Length', String(range.end - range.start));
      this.sendHeader('Accept-Ranges', 'bytes');
    }
    if (code === 206) {
      this.sendHeader('Content-Range', `bytes ${range.start}-${range.end - 1}/${stats.size}`);
    }
    this.sendHeader('Last-Modified', version.modified);
    this.sendHeader('ETag', version.etag);
    this.endHeaders();
    return code === 304 ? undefined : range;
  }

  /** Sends a range of a file to the client. */
  copyFile(file: FileHandle, range: Range): Promise<void> {
    return copyRange(file, range, this.wfile);
  }

  /** The page that lists a folder: Python's own. */
  async listDirectory(path: string, names: string[]): Promise<undefined> {
    const entries = await listInside(this.directory, path);
    if (entries === undefined) return this.sendError(404, 'No permission to list directory');
    const page = Buffer.from(listingPage(names, entries));
    this.sendResponse(200);
    this.sendHeader('Content-type', 'text/html; charset=utf-8');
    this.sendHeader('Content-Length', String(page.length));
    this.endHeaders();
    this.wfile.write(page);
    return undefined;
  }

  /** The MIME type for a file's name. */
  guessType(path: string): string {
    const extension = extname(path).toLowerCase();
    return this.extensionsMap[extension] ?? mime.getType(extension) ?? 'application/octet-stream';
  }
}
