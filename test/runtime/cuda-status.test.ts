/** Every reason for which CUDA is unavailable, each in its own process: detail, searched paths, and no output. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DeviceStatus } from 'sigmatune';
import t from 'tap';
import { runScript, withEnvironment } from '../support/process.js';

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
  /** Words that `detail` must contain. */
  readonly says: readonly string[];
  readonly searched?: string;
}

/** A library that is not a backend: libm, as this process has loaded it. */
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
    what: 'a library by a relative path, which another folder might answer to',
    environment: { SIGMATUNE_CUDA_LIBRARY: 'build-cuda/libsigmatune_cuda.so' },
    code: 'LOAD_FAILED',
    says: ['SIGMATUNE_CUDA_LIBRARY: expected an absolute path', 'build-cuda'],
  },
  {
    what: 'a folder of libraries by a relative path',
    environment: { SIGMATUNE_CUDA_LIBRARY: missing, SIGMATUNE_CUDA_PATH: '.' },
    code: 'LOAD_FAILED',
    says: ["SIGMATUNE_CUDA_PATH: expected an absolute path, got '.'"],
  },
  {
    what: 'a library of something else',
    environment: { SIGMATUNE_CUDA_LIBRARY: foreign },
    code: 'LOAD_FAILED',
    says: ['sigma_open_backend'],
  },
];

/** The other reasons need the simulated backend, whose driver, device and libraries can be removed. */
const simulation = process.env['SIGMATUNE_CUDA_SIMULATION'] === '1' && process.env['SIGMATUNE_CUDA_LIBRARY'];
const simulated: readonly Case[] = [
  {
    what: 'a simulation that was not enabled',
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

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Runs a script in its own process, with the package's module as `sigma`. */
function runModule(script: string, from: string, environment: Readonly<Record<string, string>>, ...flags: string[]) {
  const module = JSON.stringify(join(from, 'dist', 'index.js'));
  const code = `import fs from 'node:fs';\nconst sigma = await import(${module});\n${script}`;
  // Without the test runner's loaders, because the permission model forbids what they do.
  const command = [
    '-u',
    'NODE_OPTIONS',
    process.execPath,
    ...flags,
    '--input-type=module',
    '--no-warnings',
    '-e',
    code,
  ];
  const env = { ...process.env, SIGMATUNE_CUDA: 'auto', ...environment };
  const { status, stdout, stderr } = spawnSync('env', command, { cwd: root, env, encoding: 'utf8' });
  return { status, stderr, said: stdout.trim() };
}

t.test('never throws, even if the working directory was deleted', async (t) => {
  const gone = join(folder, 'gone');
  mkdirSync(gone);
  const script = `process.chdir(${JSON.stringify(gone)});
    fs.rmdirSync(${JSON.stringify(gone)}); console.log(sigma.cudaStatus().code);`;
  for (const [library, code] of [
    ['x.so', 'LOAD_FAILED'],
    [missing, 'NOT_BUILT'],
  ] as const) {
    mkdirSync(gone, { recursive: true });
    const outcome = runModule(script, root, { SIGMATUNE_CUDA_LIBRARY: library });
    t.same(outcome, { status: 0, stderr: '', said: code });
  }
});

t.test("never throws, even if Node's permission model forbids reading", async (t) => {
  const name = process.allowedNodeEnvironmentFlags.has('--permission') ? '--permission' : '--experimental-permission';
  const flags = [name, '--allow-addons', `--allow-fs-read=${join(root, '*')}`];
  const outcome = runModule(
    'console.log(sigma.cudaStatus().available);',
    root,
    { SIGMATUNE_CUDA_LIBRARY: missing },
    ...flags,
  );
  t.same(outcome, { status: 0, stderr: '', said: 'false' });
});

t.test('the library for CUDA 12 is opened where the driver is too old for the one for CUDA 13', async (t) => {
  const installed = join(folder, 'both');
  for (const name of ['dist', 'package.json']) cpSync(join(root, name), join(installed, name), { recursive: true });
  const packages = join(installed, 'node_modules');
  mkdirSync(join(packages, '@sigmatune'), { recursive: true });
  symlinkSync(join(root, 'node_modules', 'pure-rand'), join(packages, 'pure-rand'));
  for (const name of ['cuda-linux-x64', 'cuda12-linux-x64']) {
    mkdirSync(join(packages, '@sigmatune', name));
    writeFileSync(join(packages, '@sigmatune', name, 'index.js'), 'module.exports = __filename;');
  }
  const addon = process.env['SIGMATUNE_ADDON'] ?? join(root, 'build', 'Release', 'sigmatune.node');
  const tooOld = 3;
  const noDevice = 4;
  for (const [found, code, says] of [
    [[noDevice, noDevice], 'NO_DEVICE', '13'],
    [[tooOld, noDevice], 'NO_DEVICE', '12'],
    [[tooOld, tooOld], 'DRIVER_TOO_OLD', '12'],
  ] as const) {
    const script = `const addon = (await import('node:module')).createRequire(${JSON.stringify(addon)})(${JSON.stringify(addon)});
      addon.deviceOpen = (_, path) => /cuda12/.test(path)
        ? { reason: ${found[1]}, detail: '12', searched: 'seen by 12' } : { reason: ${found[0]}, detail: '13', searched: 'seen by 13' };
      console.log(JSON.stringify(sigma.cudaStatus()));`;
    const outcome = runModule(script, installed, { SIGMATUNE_ADDON: addon, SIGMATUNE_CUDA_LIBRARY: '' });
    const status = JSON.parse(outcome.said) as DeviceStatus;
    t.match(status, { available: false, code, detail: says });
    t.same(
      status.searched?.filter((line) => line.startsWith('seen')),
      says === '12' ? ['seen by 13', 'seen by 12'] : ['seen by 13'],
    );
  }
});

t.test('the advice fits an installed package, which has no scripts', async (t) => {
  const installed = join(folder, 'installed');
  mkdirSync(installed);
  for (const name of ['dist', 'package.json']) cpSync(join(root, name), join(installed, name), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(installed, 'node_modules'));
  const addon = process.env['SIGMATUNE_ADDON'] ?? join(root, 'build', 'Release', 'sigmatune.node');
  const script = 'console.log(sigma.cudaStatus().code, sigma.cudaStatus().detail);';
  const { said } = runModule(script, installed, { SIGMATUNE_ADDON: addon, SIGMATUNE_CUDA_LIBRARY: '' });
  t.match(said, /^NOT_BUILT .*npm install @sigmatune\/cuda-linux-x64@\d/);
  t.notMatch(said, /npm run/);
});

t.test('SIGMATUNE_ADDON must be an absolute path', async (t) => {
  for (const path of ['build/Release/sigmatune.node', 'pure-rand']) {
    const { status, stderr } = runModule('', root, { SIGMATUNE_ADDON: path });
    t.equal(status, 1, path);
    t.match(stderr, `SIGMATUNE_ADDON: expected an absolute path, got '${path}'`);
  }
});
