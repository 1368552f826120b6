import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import {
  closeSync,
  cpSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { listen } from '@shared/testing';
import { createAuthority, createSelfSigned } from './authority.ts';
import { loadCertificates } from './certificates.ts';
import { createTlsEchoServer } from './server.ts';

const FILES = ['ca.crt', 'client.crt', 'client.key', 'server.crt', 'server.key'];
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const execute = promisify(execFile);

/** A folder that is gone after the test. */
function temporary(t: { after(clean: () => void): void }): string {
  const directory = mkdtempSync(join(tmpdir(), 'tls-server-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function contents(directory: string): Record<string, string> {
  const names = readdirSync(directory).sort();
  return Object.fromEntries(
    names.map((name) => [name, readFileSync(join(directory, name), 'utf8')]),
  );
}

const MADE = temporary({ after });
await loadCertificates(MADE);

/** A folder with the files as they are made, which is gone after the test. */
function filled(t: TestContext): string {
  const directory = temporary(t);
  cpSync(MADE, directory, { recursive: true });
  return directory;
}

/** Every file fits to every other. */
function assertGood(files: Record<string, string>) {
  assert.deepEqual(Object.keys(files), FILES);
  const { publicKey } = new X509Certificate(files['ca.crt'] ?? '');
  for (const name of ['server', 'client']) {
    const certificate = new X509Certificate(files[`${name}.crt`] ?? '');
    assert.ok(certificate.verify(publicKey), `${name}.crt is signed by ca.crt`);
    assert.ok(certificate.checkPrivateKey(createPrivateKey(files[`${name}.key`] ?? '')), name);
  }
}

describe('the authority', { concurrency: true }, () => {
  test('makes certificates for 90 days and for the names, valid an hour ago already', async () => {
    const authority = await createAuthority('test CA');
    const names = ['localhost', '127.0.0.1', '::1'];
    const { cert } = await authority.issue({ name: 'localhost', names });
    for (const pem of [cert, authority.cert]) {
      const { validFrom, validTo } = new X509Certificate(pem);
      assert.ok(Math.abs(Date.now() - HOUR - Date.parse(validFrom)) < HOUR / 2, validFrom);
      assert.ok(Math.abs(Date.now() + 90 * DAY - Date.parse(validTo)) < HOUR / 2, validTo);
    }
    const certificate = new X509Certificate(cert);
    for (const host of ['localhost', 'other.example']) {
      assert.equal(certificate.checkHost(host), host === 'localhost' ? host : undefined);
    }
    for (const ip of ['127.0.0.1', '::1', '127.0.0.2']) {
      assert.equal(certificate.checkIP(ip), ip === '127.0.0.2' ? undefined : ip);
    }
    assert.equal(certificate.issuer, 'CN=test CA');
    assert.equal(certificate.ca, false);
    assert.equal(new X509Certificate(authority.cert).ca, true);
  });

  test('names the keys, as a strict check wants it, and marks what must be understood', async () => {
    const authority = await createAuthority('test CA');
    const { cert } = await authority.issue({ name: 'localhost' });
    for (const pem of [cert, authority.cert]) {
      const { raw } = new X509Certificate(pem);
      const has = (hex: string) => raw.includes(Buffer.from(hex, 'hex'));
      assert.ok(has('0603551d0e'), 'subjectKeyIdentifier');
      assert.ok(has('0603551d23'), 'authorityKeyIdentifier');
      assert.ok(has('0603551d130101ff'), 'basicConstraints, critical');
      assert.ok(has('0603551d0f0101ff'), 'keyUsage, critical');
    }
    const constraints = Buffer.from('0603551d130101ff040830060101ff020100', 'hex');
    assert.ok(new X509Certificate(authority.cert).raw.includes(constraints), 'CA:TRUE, pathlen:0');
    assert.ok(new X509Certificate(cert).checkIssued(new X509Certificate(authority.cert)));
  });
});

describe('the files', { concurrency: true }, () => {
  test('are made, fit together, and stay as they are', async (t) => {
    const directory = join(temporary(t), 'not', 'there', 'yet');
    const made = await loadCertificates(directory);
    const files = contents(directory);
    assertGood(files);
    assert.deepEqual(await loadCertificates(directory), made);
    assert.deepEqual(contents(directory), files);
    assert.equal(files['server.key'], made.server.key);
  });

  const windows = process.platform === 'win32' ? 'Windows has no such modes' : false;
  test('are readable only by their owner, the keys, from the first moment', {
    skip: windows,
  }, async (t) => {
    const directory = temporary(t);
    const before = process.umask(0);
    t.after(() => process.umask(before));
    await loadCertificates(directory);
    for (const file of FILES) {
      const mode = file.endsWith('.key') ? 0o600 : 0o644;
      assert.equal(
        (statSync(join(directory, file)).mode & 0o777).toString(8),
        mode.toString(8),
        file,
      );
    }
  });

  test('do not have the key of the CA', () => {
    const { 'ca.crt': ca = '', ...others } = contents(MADE);
    assert.doesNotMatch(ca, /PRIVATE/);
    for (const pem of Object.values(others).filter((text) => text.includes('PRIVATE'))) {
      assert.ok(!new X509Certificate(ca).checkPrivateKey(createPrivateKey(pem)));
    }
  });

  /** What is wrong with a folder of ours, and so is made anew. */
  const REASONS: Record<string, (directory: string) => Promise<void> | void> = {
    'are about to expire': async (directory) => {
      const authority = await createAuthority('net-by-example CA');
      const notAfter = new Date(Date.now() + 29 * DAY);
      writeFileSync(join(directory, 'ca.crt'), authority.cert);
      for (const name of ['server', 'client']) {
        const { cert, key } = await authority.issue({ name, notAfter });
        writeFileSync(join(directory, `${name}.crt`), cert);
        writeFileSync(join(directory, `${name}.key`), key);
      }
    },
    'have the key of another certificate': async (directory) => {
      const { key } = await createSelfSigned('localhost');
      writeFileSync(join(directory, 'server.key'), key);
    },
    'have another CA of the same name': async (directory) => {
      const { cert } = await createAuthority('net-by-example CA');
      writeFileSync(join(directory, 'ca.crt'), cert);
    },
    'are half there, as after a crash': (directory) => {
      for (const file of FILES.slice(1)) rmSync(join(directory, file));
    },
    'are damaged': (directory) => writeFileSync(join(directory, 'client.key'), 'nonsense'),
  };
  for (const [reason, spoil] of Object.entries(REASONS)) {
    test(`are made anew if they ${reason}`, async (t) => {
      const directory = filled(t);
      await spoil(directory);
      const spoilt = contents(directory);
      const { ca } = await loadCertificates(directory);
      assertGood(contents(directory));
      assert.notEqual(ca, spoilt['ca.crt']);
    });
  }

  test('are replaced as a whole: who reads the old ones gets all of them', {
    skip: windows,
  }, async (t) => {
    const directory = filled(t);
    const { server } = await loadCertificates(directory);
    const reader = openSync(join(directory, 'server.key'), 'r');
    t.after(() => closeSync(reader));
    writeFileSync(join(directory, 'client.key'), 'nonsense');
    await loadCertificates(directory);
    assert.equal(readFileSync(reader, 'utf8'), server.key);
  });

  test('of somebody else are left alone', async (t) => {
    const FOREIGN = {
      'server.crt': 'missing', // what the tutorial makes: no ca.crt beside it
      'ca.crt': 'not made by this example',
    };
    for (const [file, why] of Object.entries(FOREIGN)) {
      const directory = temporary(t);
      const { cert, key } = await createSelfSigned('localhost');
      writeFileSync(join(directory, file), cert);
      writeFileSync(join(directory, 'server.key'), key);
      const files = contents(directory);
      await assert.rejects(loadCertificates(directory), {
        message: `cannot use ${directory}: ca.crt is ${why}; move what is there away, or name another folder with --certs`,
      });
      assert.deepEqual(contents(directory), files);
    }
    const directory = filled(t);
    writeFileSync(join(directory, 'server.crt'), (await createSelfSigned('me')).cert);
    await assert.rejects(
      loadCertificates(directory),
      /: server\.crt is not made by this example; /,
    );
  });

  test('are the same for all who start at the same time', async (t) => {
    const directory = temporary(t);
    const loads = await Promise.all(Array.from({ length: 8 }, () => loadCertificates(directory)));
    for (const load of loads) assert.deepEqual(load, loads[0]);
    assertGood(contents(directory));
  });

  test('are made also where a crash has left its lock', async (t) => {
    const directory = temporary(t);
    const lock = join(directory, '.lock.key');
    writeFileSync(lock, '');
    const past = (Date.now() - 11_000) / 1000;
    utimesSync(lock, past, past);
    await loadCertificates(directory);
    assertGood(contents(directory));
  });
});

/** Why there is no such program here, or `false`. */
function no(program: string, ...args: string[]): string | false {
  return spawnSync(program, args).status === 0 ? false : `${program} is not installed here`;
}

const python = process.platform === 'win32' ? 'python' : 'python3';

describe('other programs accept them, with every check turned on', { concurrency: true }, () => {
  /** A server with files as they are made, which answers once and ends. */
  const start = async (t: TestContext) => {
    const { server: identity } = await loadCertificates(MADE);
    const server = createTlsEchoServer(identity);
    server.on('secureConnection', (socket) => socket.once('data', () => socket.end()));
    return { port: String(await listen(t, server)), ca: join(MADE, 'ca.crt') };
  };

  test('openssl', { skip: no('openssl', 'version') }, async (t) => {
    const { port, ca } = await start(t);
    for (const name of ['server', 'client']) {
      const checks = ['-x509_strict', '-purpose', `ssl${name}`, '-CAfile', ca];
      const { stdout } = await execute('openssl', ['verify', ...checks, join(MADE, `${name}.crt`)]);
      assert.match(stdout, /: OK\s*$/);
    }
    const connect = ['s_client', '-connect', `localhost:${port}`, '-CAfile', ca];
    const strict = ['-x509_strict', '-verify_return_error', '-verify_hostname', 'localhost'];
    const client = execute('openssl', [...connect, ...strict, '-ign_eof']);
    client.child.stdin?.end('hello\n');
    const { stdout } = await client;
    assert.match(stdout, /^Verification: OK$/m);
    assert.match(stdout, /^HELLO$/m);
  });

  test('curl', { skip: no('curl', '--version') }, async (t) => {
    const { port, ca } = await start(t);
    for (const host of ['localhost', '127.0.0.1']) {
      const url = `https://${host}:${port}/`;
      const { stdout } = await execute('curl', ['-sS', '--cacert', ca, '--http0.9', url]);
      assert.match(stdout, /^GET \/ HTTP\/1\.1\r\nHOST: /);
    }
  });

  test("Python's ssl", { skip: no(python, '-c', 'import ssl; ssl.TLSVersion') }, async (t) => {
    const { port, ca } = await start(t);
    const code = `
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
context.verify_flags |= ssl.VERIFY_X509_STRICT
with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as raw:
    with context.wrap_socket(raw, server_hostname='localhost') as sock:
        sock.sendall('grüße'.encode())
        sys.stdout.buffer.write(sock.recv(1024))
`;
    const { stdout } = await execute(python, ['-c', code, port, ca]);
    assert.equal(stdout, 'GRÜSSE');
  });
});
