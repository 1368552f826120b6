/** A real browser, where one is installed: Chromium or Chrome, without a window. */
import { existsSync } from 'node:fs';
import type { TestContext } from 'node:test';
import type { Page } from 'playwright-core';

const PLACES = [
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  'C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe',
];

const executablePath = PLACES.find((path) => existsSync(path));

/** For a test's `skip`: why there is no browser, or `false` if there is one. */
export const noBrowser =
  executablePath === undefined ? 'neither Chromium nor Chrome is installed here' : false;

/** An empty page in a browser of its own, which is closed after the test. */
export async function openPage(t: TestContext): Promise<Page> {
  if (executablePath === undefined) throw new Error(String(noBrowser));
  // Not at the top: it takes a second to load, also where there is no browser.
  const { chromium } = await import('playwright-core');
  // Chromium refuses to run as root inside its sandbox, as it would in a container.
  const browser = await chromium.launch({
    executablePath,
    chromiumSandbox: process.getuid?.() !== 0,
  });
  t.after(() => browser.close());
  return await browser.newPage();
}
