/** Every reason for which CUDA cannot be used, each in a process of its own: in words, with what was tried, in silence. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { DeviceStatus } from 'sigmatune';
import t from 'tap';
import { runScript } from './process.js';

interface Report {
  readonly status: DeviceStatus;
  readonly milliseconds: number;
  readonly refusal: { code: string; op: string; message: string; same: boolean } | null;
  readonly again: boolean;
}

const folder = mkdtempSync(join(tmpdir(), 'sigmatune-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const noLibrary = join(folder, 'libsigmatune_cuda.so');
writeFileSync(noLibrary, 'this is no library');

async function statusWith(environment: Readonly<Record<string, string>>): Promise<Report> {
  const before = { ...process.env };
  Object.assign(process.env, environment);
  const { code, signal, out, err } = await runScript('cuda-status.mjs');
  process.env = before;
  t.same({ code, signal, err }, { code: 0, signal: null, err: '' }, `quiet: ${JSON.stringify(environment)}`);
  return JSON.parse(out) as Report;
}

interface Case {
  readonly what: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly code: DeviceStatus['code'];
  /** What the sentence has to say. */
  readonly says: readonly string[];
  readonly searched?: string;
}

/** A library that is none of ours: the C library's mathematics, as this process has it. */
const { sharedObjects } = process.report.getReport() as unknown as { sharedObjects: string[] };
const foreign = sharedObjects.find((path) => basename(path).startsWith('libm.')) ?? '';

const missing = join(folder, 'missing', 'libsigmatune_cuda.so');
const cases: readonly Case[] = [
  { what: 'switched off', environment: { SIGMATUNE_CUDA: 'off' }, code: 'DISABLED', says: ['SIGMATUNE_CUDA'] },
  {
    what: 'nothing was built',
    environment: { SIGMATUNE_CUDA_LIBRARY: missing },
    code: 'NOT_BUILT',
    says: ['npm run build:cuda', 'SIGMATUNE_CUDA_LIBRARY'],
    searched: missing,
  },
  {
    what: 'a file that is no library',
    environment: { SIGMATUNE_CUDA_LIBRARY: noLibrary },
    code: 'LOAD_FAILED',
    says: [noLibrary],
    searched: noLibrary,
  },
  {
    what: 'a library of something else',
    environment: { SIGMATUNE_CUDA_LIBRARY: foreign },
    code: 'LOAD_FAILED',
    says: ['sigma_open_backend'],
  },
];

for (const { what, environment, code, says, searched } of cases) {
  t.test(what, async (t) => {
    const { status, refusal, again } = await statusWith({ SIGMATUNE_CUDA: 'auto', ...environment });
    t.equal(status.available, false);
    t.equal(status.code, code, status.detail ?? '');
    for (const part of says) t.ok(status.detail?.includes(part), `'${status.detail}' has ${part}`);
    if (searched) t.ok(status.searched?.includes(searched), `what was tried: ${status.searched}`);
    t.equal(refusal?.code, 'DEVICE_UNAVAILABLE', 'never a silent fall to the CPU');
    t.ok(refusal?.message.includes(status.detail ?? '-'), `the error says why: ${refusal?.message}`);
    t.ok(refusal?.same, 'and carries the status');
    t.ok(again, 'asked for once');
  });
}
