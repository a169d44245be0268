// The package as users get it: packed, installed without scripts and without a compiler, used from both kinds of
// module. Everything comes from this machine, without a registry.
import { spawnSync } from 'node:child_process';
import { mkdirSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const dependencies = ['node-addon-api', 'node-gyp-build', 'pure-rand'];
const ten = 600_000;
t.setTimeout(ten);

interface Outcome {
  status: number | null;
  stdout: string;
  stderr: string;
}

function node(args: string[], cwd: string, env: NodeJS.ProcessEnv = process.env): Outcome {
  return spawnSync(process.execPath, args, { cwd, env, encoding: 'utf8' });
}

/** npm's script, found through PATH and run by this Node. */
function npmProgram(): string {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    try {
      return realpathSync(join(folder, 'npm'));
    } catch {
      // Not in this folder.
    }
  }
  throw new Error('no npm on PATH');
}

const svd = `const a = tensor([[0, 2], [3, 0]], undefined, { dtype: 'float64' });
  const { s } = await svd(a);
  console.log(Array.from(s.dataSync(), (value) => value.toFixed(12)).join(' '));`;

t.test('the packed package needs only Node', { timeout: ten }, async (t) => {
  const prebuilds = node([join(root, 'scripts', 'prebuilds.mjs')], root);
  if (prebuilds.status === 2 && !process.env['CI']) {
    t.pass('the addon is prebuilt', { skip: prebuilds.stderr.trim() });
    return;
  }
  if (!t.equal(prebuilds.status, 0, 'the addon is prebuilt', prebuilds)) return;

  const folder = t.testdir({ bin: {} });
  const packages = ['.', ...dependencies.map((name) => `./node_modules/${name}`)];
  const packed = node([npmProgram(), 'pack', '--json', '--pack-destination', folder, ...packages], root);
  if (!t.equal(packed.status, 0, 'npm packs', packed)) return;
  const tarballs: { name: string; filename: string; files: { path: string }[] }[] = JSON.parse(packed.stdout);

  await t.test('the tarball contains the intended files only', async (t) => {
    const files = tarballs.find(({ name }) => name === 'sigmatune')?.files.map(({ path }) => path) ?? [];
    const meant =
      /^(package\.json|LICENSE|README\.md|CHANGELOG\.md|CONTRIBUTING\.md|examples\/[\w-]+\.js|examples\/quickstart\/train\.js|bench\/results\/gpu\/README\.md|binding\.gyp|docs\/[\w-]+\.(md|svg)|dist\/.*\.(js|js\.map|d\.ts)|bench\/(cli|usage|(cases|commands|gate|measure|record|reference|report|stats)\/[\w-]+)\.(js|css)|native\/(.*\.(h|cc|inc|cu|cuh)|openblas\.mjs)|prebuilds\/[\w-]+\/sigmatune\.\w+\.node)$/;
    t.same(
      files.filter((path) => !meant.test(path)),
      [],
    );
    for (const needed of [
      'package.json',
      'bench/cli.js',
      'dist/cli/main.js',
      'LICENSE',
      'dist/index.js',
      'dist/index.d.ts',
      'native/contract/backend.h',
      'native/openblas.mjs',
      'binding.gyp',
    ]) {
      t.ok(files.includes(needed), needed);
    }
    t.equal(files.filter((path) => path.endsWith('.node')).length, 1, 'one prebuilt addon');
  });

  // A PATH with only node and a shell, so compiling or downloading anything would fail.
  symlinkSync(process.execPath, join(folder, 'bin', 'node'));
  symlinkSync('/bin/sh', join(folder, 'bin', 'sh'));
  const env = { HOME: folder, PATH: join(folder, 'bin'), npm_config_cache: join(folder, 'cache') };
  const user = join(folder, 'user');
  mkdirSync(user);
  const files = Object.fromEntries(tarballs.map(({ name, filename }) => [name, `file:../${filename}`]));
  writeFileSync(join(user, 'package.json'), JSON.stringify({ private: true, dependencies: files }));
  const install = ['install', '--offline', '--ignore-scripts', '--no-audit', '--no-fund'];
  const installed = node([npmProgram(), ...install], user, env);
  if (!t.equal(installed.status, 0, 'npm installs', installed)) return;

  writeFileSync(join(user, 'module.mjs'), `import { svd, tensor } from 'sigmatune';\n${svd}`);
  writeFileSync(
    join(user, 'common.cjs'),
    `const { svd, tensor } = require('sigmatune');\n(async () => {\n${svd}\n})();`,
  );
  for (const file of ['module.mjs', 'common.cjs']) {
    const { status, stdout, stderr } = node([file], user, env);
    t.same({ status, stdout, stderr }, { status: 0, stdout: '3.000000000000 2.000000000000\n', stderr: '' }, file);
  }

  writeFileSync(
    join(user, 'status.mjs'),
    `import { cudaStatus } from 'sigmatune';\nconsole.log(cudaStatus().code, /npm run/.test(cudaStatus().detail));`,
  );
  t.equal(node(['status.mjs'], user, env).stdout, 'NOT_BUILT false\n', 'no advice to run a script that is not there');

  const program = join(user, 'node_modules', '.bin', 'sigmatune');
  const sigmatune = (...args: string[]): Outcome => spawnSync(program, args, { cwd: user, env, encoding: 'utf8' });
  writeFileSync(join(user, 'shapes.json'), '{"fc.weight": [4, 8]}');
  const plan = sigmatune('plan', 'shapes.json', '--targets', 'fc', '--family', 'svdiff', '--json');
  t.equal(plan.status, 0, 'sigmatune plan runs', plan);
  t.match(JSON.parse(plan.stdout), { totals: { parameters: 4 } });
  const benched = sigmatune('bench', 'run', 'calls', 'matmul', '--processes', '1', '--milliseconds', '1');
  t.equal(benched.status, 0, 'sigmatune bench runs', benched);
  t.match(benched.stdout, /\| calls matmul 8 × 8 +\|/);
});
