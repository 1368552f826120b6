/** The page that lists a folder: Python's own, to the byte. Read folder.ts before. */
import { escapeHtml } from './error-page.ts';
import type { Entry } from './folder.ts';

/** The page for the folder that these names lead to. */
export function listingPage(names: string[], entries: Entry[]): string {
  const title = `Directory listing for ${escapeHtml(['', ...names, ''].join('/'), false)}`;
  const items = entries.map(({ name, isFolder, isLink }) => {
    const mark = isLink ? '@' : isFolder ? '/' : '';
    const href = quote(name) + (isFolder ? '/' : '');
    return `<li><a href="${href}">${escapeHtml(name, false)}${mark}</a></li>\n`;
  });
  return `<!DOCTYPE HTML>
<html lang="en">
<head>
<meta charset="utf-8">
<title>${title}</title>
</head>
<body>
<h1>${title}</h1>
<hr>
<ul>
${items.join('')}</ul>
<hr>
</body>
</html>
`;
}

/** A name as it stands in a URL: Python's `urllib.parse.quote`. */
export function quote(name: string): string {
  return encodeURIComponent(name).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
