/** Every reason for which CUDA cannot be used, each in a process of its own: in words, with what was tried, in silence. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { DeviceStatus } from 'sigmatune';
import t from 'tap';
import { runScript, withEnvironment } from './process.js';

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
  const { code, signal, out, err } = await withEnvironment(environment, () => runScript('cuda-status.mjs'));
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

/** The rest takes a backend whose driver, device and libraries can be taken away: the simulated one. */
const simulation = process.env['SIGMATUNE_CUDA_SIMULATION'] === '1' && process.env['SIGMATUNE_CUDA_LIBRARY'];
const simulated: readonly Case[] = [
  {
    what: 'a simulation that nobody asked for',
    environment: { SIGMATUNE_CUDA_SIMULATION: '' },
    code: 'LOAD_FAILED',
    says: ['simulates'],
  },
  { what: 'no driver', environment: { SIGMA_SIMULATED_DRIVER: 'none' }, code: 'NO_DRIVER', says: ['driver'] },
  {
    what: 'an old driver',
    environment: { SIGMA_SIMULATED_DRIVER: '12040' },
    code: 'DRIVER_TOO_OLD',
    says: ['12.4', '13', '580'],
  },
  {
    what: 'no device',
    environment: { SIGMA_SIMULATED_DEVICES: '0' },
    code: 'NO_DEVICE',
    says: ['GPU', '7.5'],
  },
  {
    what: 'a device that is too old',
    environment: { SIGMA_SIMULATED_CAPABILITY: '61' },
    code: 'NO_DEVICE',
    says: ['7.5'],
    searched: '6.1',
  },
  {
    what: 'no libraries',
    environment: { SIGMATUNE_CUDA_PATH: folder },
    code: 'NO_LIBRARY',
    says: ['cublas', 'SIGMATUNE_CUDA_PATH'],
  },
];

for (const { what, environment, code, says, searched } of simulation ? [...cases, ...simulated] : cases) {
  t.test(what, async (t) => {
    const { status, refusal, again, milliseconds } = await statusWith({ SIGMATUNE_CUDA: 'auto', ...environment });
    t.equal(status.available, false);
    t.equal(status.code, code, status.detail ?? '');
    for (const part of says) t.ok(status.detail?.includes(part), `'${status.detail}' has ${part}`);
    if (searched)
      t.ok(
        status.searched?.some((line) => line.includes(searched)),
        `what was tried: ${status.searched}`,
      );
    t.equal(refusal?.code, 'DEVICE_UNAVAILABLE', 'never a silent fall to the CPU');
    t.ok(refusal?.message.includes(status.detail ?? '-'), `the error says why: ${refusal?.message}`);
    t.ok(refusal?.same, 'and carries the status');
    t.ok(again, 'asked for once');
    t.ok(milliseconds < 1000, `found out in ${milliseconds} ms`);
  });
}
