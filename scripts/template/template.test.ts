import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { dial, listen, readAll, testReadme, testServer, testUsage } from '@shared/testing';
import { createTemplateServer } from './server.ts';

const SERVER = join(import.meta.dirname, 'server.ts');

test('answers what it is sent', async (t) => {
  const port = await listen(t, createTemplateServer());
  const client = await dial(t, port);
  client.end('hello');
  assert.equal((await readAll(client)).toString(), 'hello');
});

describe('the programs', { concurrency: true, timeout: 120_000 }, () => {
  testUsage(SERVER);
  testServer(SERVER, async (t, port) => {
    const client = await dial(t, port);
    client.end('hello');
    assert.equal((await readAll(client)).toString(), 'hello');
  });
});

testReadme(import.meta.dirname);
