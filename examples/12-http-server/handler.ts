/**
 * The tutorial's own handler: a few pages, a form, and files for every other path.
 * Read simple-handler.ts before, from which it is derived.
 */
import { host, port, program, serve, text } from '@shared/program';
import { escapeHtml } from './error-page.ts';
import { HTTPServer, SimpleHTTPRequestHandler } from './http-server.ts';

/** How many bytes a form may have: 1 MiB. */
const MAX_FORM = 1024 * 1024;

type Page = [type: string, body: string];

/** `/`, `/time`, `/api/data`, `/form` and `POST /submit`. (Tutorial 003 §07, program 2) */
export class CustomHTTPRequestHandler extends SimpleHTTPRequestHandler {
  override allow = 'GET, HEAD, POST, OPTIONS';

  override async doGET(): Promise<void> {
    const page = this.#page();
    await (page ? this.#send(page) : super.doGET());
  }

  override async doHEAD(): Promise<void> {
    const page = this.#page();
    await (page ? this.#send(page) : super.doHEAD());
  }

  async doPOST(): Promise<void> {
    const refusal = this.#refusal();
    const form = refusal === undefined ? await this.#readForm() : undefined;
    if (form === undefined) return this.sendError(refusal ?? 413);
    // Escaped: a value such as <script> must not run on the page of whoever sees it.
    const items = [...new URLSearchParams(form)].map(
      ([name, value]) => `<li>${escapeHtml(name)}：${escapeHtml(value)}</li>`,
    );
    this.#send(html('表单提交成功', `<ul>${items.join('')}</ul><a href="/">返回首页</a>`));
  }

  /** The client asks first: what would be refused it need not send. */
  override handleExpect100(): boolean {
    const refusal = this.command === 'POST' ? this.#refusal() : undefined;
    if (refusal !== undefined) this.sendError(refusal);
    return refusal === undefined && super.handleExpect100();
  }

  /** What is wrong with a form before one byte of it was read. */
  #refusal(): 404 | 411 | 413 | 415 | undefined {
    const { 'content-length': length, 'content-type': type = '' } = this.headers;
    if (this.path !== '/submit') return 404;
    if (length === undefined && this.headers['transfer-encoding'] === undefined) return 411;
    if (Number(length) > MAX_FORM) return 413;
    return /^application\/x-www-form-urlencoded *(;|$)/i.test(type) ? undefined : 415;
  }

  /** The body, or `undefined` if it is too long: in chunks it may come without a length. */
  async #readForm(): Promise<string | undefined> {
    const form = Buffer.allocUnsafe(Number(this.headers['content-length'] ?? MAX_FORM));
    let length = 0;
    for await (const chunk of this.rfile.iterator({ destroyOnReturn: false })) {
      if (length + chunk.length > form.length) return undefined;
      length += chunk.copy(form, length);
    }
    return form.toString('utf8', 0, length);
  }

  #page(): Page | undefined {
    const now = new Date();
    switch (this.path.split('?', 1)[0]) {
      case '/':
        return HOME;
      case '/time':
        return ['text/plain; charset=utf-8', `当前服务器时间: ${localTime(now)}`];
      case '/api/data':
        return [
          'application/json',
          JSON.stringify({
            status: 'success',
            message: '这是API响应',
            timestamp: now.getTime() / 1000,
            data: [1, 2, 3, 4, 5],
          }),
        ];
      case '/form':
        return FORM;
      default:
        return undefined;
    }
  }

  #send([type, body]: Page): void {
    this.sendResponse(200);
    this.sendHeader('Content-type', type);
    this.sendHeader('Content-Length', String(Buffer.byteLength(body)));
    this.endHeaders();
    this.wfile.write(body);
  }
}

/** `YYYY-mm-dd HH:MM:SS`, as this machine's clock shows it. */
function localTime(date: Date): string {
  const pad = (n: number) => String(n).padStart(2, '0');
  const day = [date.getFullYear(), date.getMonth() + 1, date.getDate()].map(pad).join('-');
  return `${day} ${[date.getHours(), date.getMinutes(), date.getSeconds()].map(pad).join(':')}`;
}

function html(title: string, body: string): Page {
  const head = `<!DOCTYPE html><html lang="zh"><head><meta charset="utf-8"><title>${title}</title></head>`;
  return ['text/html; charset=utf-8', `${head}<body><h1>${title}</h1>${body}</body></html>`];
}

const HOME = html(
  'HTTP服务器示例',
  `<ul>
<li><a href="/">主页</a></li>
<li><a href="/time">当前时间</a></li>
<li><a href="/api/data">JSON API</a></li>
<li><a href="/form">表单示例</a></li>
</ul>`,
);

const FORM = html(
  '表单示例',
  `<form method="post" action="/submit">
<p><label>姓名 <input name="name" required></label></p>
<p><label>留言 <textarea name="message"></textarea></label></p>
<p><button>提交</button></p>
</form>`,
);

program(import.meta, {
  about: 'Serves a few pages and a form, and the files of a folder for every other path.',
  options: { host: host(), port: port(8080), directory: text('.', 'the folder to serve') },
  async run({ host, port, directory }, { signal }) {
    class Handler extends CustomHTTPRequestHandler {
      override directory = directory;
    }
    const server = new HTTPServer(Handler, { log: console.error });
    await serve(server, { host, port, signal, scheme: 'http://' });
  },
});
