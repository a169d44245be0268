// The package as users get it: packed, installed without scripts and without a compiler, used from both kinds of
// module. Everything comes from this machine, without a registry.
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
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

function filesOf(folder: string): string[] {
  const paths = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  return paths.filter((path) => statSync(join(folder, path)).isFile());
}

// biome-ignore lint/suspicious/noExplicitAny: a manifest has fields of many types.
function manifestOf(folder: string): any {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
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

  const folder = t.testdir({ bin: {}, npm: {} });
  const npm = join(folder, 'npm');
  const staged = node([join(root, 'scripts', 'packages.mjs'), '--cuda-library', '/none', '--out', npm], root);
  if (!t.equal(staged.status, 0, 'the packages are packed', staged)) return;
  const order = readFileSync(join(npm, 'order.txt'), 'utf8').trim().split('\n');
  t.equal(order.at(-1), 'sigmatune', 'what sigmatune depends on is published first');
  const packed = node([npmProgram(), 'pack', '--json', '--pack-destination', npm, './node_modules/pure-rand'], root);
  if (!t.equal(packed.status, 0, 'npm packs', packed)) return;
  const [{ filename: pureRand }] = JSON.parse(packed.stdout);

  await t.test('the tarballs contain the intended files only', async (t) => {
    const files = filesOf(join(npm, 'sigmatune'));
    const meant =
      /^(package\.json|LICENSE|README\.md|CHANGELOG\.md|CONTRIBUTING\.md|examples\/[\w-]+\.js|examples\/quickstart\/train\.js|bench\/results\/gpu\/README\.md|docs\/[\w-]+\.(md|svg)|licenses\/\w+\.txt|dist\/.*\.(js|js\.map|d\.ts)|dist\/runtime\/(platforms|generators)\.cjs|dist\/require\/package\.json|bench\/(cli|usage|(cases|commands|gate|measure|record|reference|report|stats)\/[\w-]+)\.(js|css)|source\/(package\.json|binding\.gyp|native\/.*\.(h|cc|inc|cu|cuh)|native\/[\w-]+\.mjs))$/;
    t.same(
      files.filter((path) => !meant.test(path)),
      [],
    );
    for (const needed of [
      'bench/cli.js',
      'dist/cli/main.js',
      'LICENSE',
      'dist/index.js',
      'dist/index.d.ts',
      'dist/require/index.js',
      'dist/require/index.d.ts',
      'dist/runtime/platforms.cjs',
      'source/native/contract/backend.h',
      'source/native/openblas.mjs',
      'source/binding.gyp',
    ]) {
      t.ok(files.includes(needed), needed);
    }
    for (const name of order.filter((name) => name !== 'sigmatune' && !name.startsWith('cuda'))) {
      const binary = filesOf(join(npm, name)).filter((path) => !path.startsWith('licenses/'));
      t.same(binary.sort(), ['LICENSE', 'README.md', 'index.cjs', 'package.json', 'sigmatune.node'], name);
    }
  });

  await t.test('the manifests', async (t) => {
    const { version } = manifestOf(root);
    const main = manifestOf(join(npm, 'sigmatune'));
    t.notOk(main.scripts, 'no scripts, so none that a package manager blocks');
    t.notOk(main.private, 'it can be published');
    t.same(Object.keys(main.dependencies), ['pure-rand']);
    for (const name of ['@sigmatune/cuda-linux-x64', '@sigmatune/cuda12-linux-x64']) {
      t.equal(main.peerDependencies[name], version);
      t.match(main.peerDependenciesMeta, { [name]: { optional: true } });
    }
    const platforms = order.filter((name) => name !== 'sigmatune' && !name.startsWith('cuda'));
    t.same(main.optionalDependencies, Object.fromEntries(platforms.map((name) => [`@sigmatune/${name}`, version])));
    for (const name of platforms) {
      const [os, cpu, libc] = name.split('-');
      const fields = { name: `@sigmatune/${name}`, version, os: [os], cpu: [cpu], main: './index.cjs' };
      t.match(manifestOf(join(npm, name)), fields, name);
      if (os === 'linux')
        t.same(manifestOf(join(npm, name)).libc, [libc === 'gnu' ? 'glibc' : 'musl'], `${name}: libc`);
    }
  });

  await t.test('links of the README work outside of the package, and those of the pages inside', async (t) => {
    const links = (page: string) =>
      [...readFileSync(join(npm, 'sigmatune', page), 'utf8').matchAll(/\]\(([^)#]+)(#[^)]*)?\)/g)].map(
        ([, to = '']) => to,
      );
    const own = /^https:\/\/unpkg\.com\/sigmatune@[^/]+\/(.*)$/;
    for (const to of links('README.md')) {
      t.match(to, /^https:/, to);
      const file = own.exec(to)?.[1];
      if (file) t.ok(existsSync(join(npm, 'sigmatune', file)), file);
    }
    for (const page of readdirSync(join(npm, 'sigmatune', 'docs')).filter((name) => name.endsWith('.md'))) {
      for (const to of links(`docs/${page}`).filter((to) => !to.startsWith('http'))) {
        t.ok(existsSync(join(npm, 'sigmatune', 'docs', to)), `${page}: ${to}`);
      }
    }
  });

  // A PATH with only node and a shell, so compiling or downloading anything would fail.
  symlinkSync(process.execPath, join(folder, 'bin', 'node'));
  symlinkSync('/bin/sh', join(folder, 'bin', 'sh'));
  const env = { HOME: folder, PATH: join(folder, 'bin'), npm_config_cache: join(folder, 'cache') };
  const user = join(folder, 'user');
  mkdirSync(user);
  const tarball = (name: string) => {
    const { name: full, version } = manifestOf(join(npm, name));
    return `file:../npm/${full.replace('@', '').replace('/', '-')}-${version}.tgz`;
  };
  const platforms = Object.fromEntries(order.slice(0, -1).map((name) => [`@sigmatune/${name}`, tarball(name)]));
  const pureRandFile = `file:../npm/${pureRand}`;
  writeFileSync(
    join(user, 'package.json'),
    JSON.stringify({
      private: true,
      dependencies: { sigmatune: tarball('sigmatune'), 'pure-rand': pureRandFile },
      optionalDependencies: platforms,
      overrides: Object.fromEntries(Object.keys(platforms).map((name) => [name, `$${name}`])),
    }),
  );
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
