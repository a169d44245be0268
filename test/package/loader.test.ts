/** Where the addon is looked for, and what the error says if it is not there: each case in an installation of its own. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const root = fileURLToPath(new URL('../..', import.meta.url));
const addon = process.env['SIGMATUNE_ADDON'] ?? join(root, 'build', 'Release', 'sigmatune.node');
const here = `${process.platform}-${process.arch}${process.platform === 'linux' ? '-gnu' : ''}`;
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

const work = mkdtempSync(join(tmpdir(), 'sigmatune-loader-'));
t.teardown(() => rmSync(work, { recursive: true }));

/** Imports the part of the package that loads the addon from node_modules/ with these files next to it, and returns what the process printed. */
function load(
  files: Readonly<Record<string, string>>,
  environment: Readonly<Record<string, string>> = {},
  before = '',
) {
  const folder = mkdtempSync(join(work, 'app-'));
  const own = join(folder, 'node_modules', 'sigmatune');
  mkdirSync(own, { recursive: true });
  cpSync(join(root, 'dist', 'runtime'), join(own, 'dist', 'runtime'), { recursive: true });
  cpSync(join(root, 'package.json'), join(own, 'package.json'));
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder, 'node_modules', name);
    mkdirSync(dirname(path), { recursive: true });
    if (text === addon) symlinkSync(addon, path);
    else writeFileSync(path, text);
  }
  const code = `${before}
    import('./node_modules/sigmatune/dist/runtime/native.js').then(
      ({ native }) => console.log('loaded', native.threads('threads') > 0),
      ({ code, message }) => console.log(code, message),
    );`;
  const { NODE_OPTIONS: _, SIGMATUNE_ADDON: __, ...env } = process.env;
  const command = ['--input-type=commonjs', '-e', code];
  const { stdout, stderr } = spawnSync(process.execPath, command, {
    cwd: folder,
    env: { ...env, ...environment },
    encoding: 'utf8',
  });
  return `${stdout}${stderr}`.replaceAll(folder, '');
}

const throws = (message: string): string => `throw new Error(${JSON.stringify(message)});`;
const pkg = `@sigmatune/${here}/index.js`;

t.test('the places, each enough alone', async (t) => {
  for (const place of ['sigmatune/build/Release/sigmatune.node', 'sigmatune/source/build/Release/sigmatune.node']) {
    t.equal(load({ [place]: addon }), 'loaded true\n', place);
  }
  const platform = {
    [pkg]: `module.exports = require('./sigmatune.node');`,
    [`@sigmatune/${here}/sigmatune.node`]: addon,
  };
  t.equal(load(platform), 'loaded true\n', 'the package of the platform');
  t.equal(load({}, { SIGMATUNE_ADDON: addon }), 'loaded true\n', 'SIGMATUNE_ADDON');
});

t.test('nothing is installed', async (t) => {
  const said = load({});
  t.match(said, /^NATIVE sigmatune: the native addon could not be loaded on \w+-\w+, Node \d/);
  t.match(said, '- /node_modules/sigmatune/build/Release/sigmatune.node: no such file\n');
  t.match(said, '- /node_modules/sigmatune/source/build/Release/sigmatune.node: no such file\n');
  t.match(said, `- @sigmatune/${here}: not installed\n`);
  t.match(said, `Run "npm install --include=optional --save-optional @sigmatune/${here}@${version}".`);
});

interface Case {
  readonly what: string;
  readonly files: Readonly<Record<string, string>>;
  readonly says: readonly (string | RegExp)[];
  readonly environment?: Readonly<Record<string, string>>;
  /** Code that runs before the package loads. */
  readonly before?: string;
}

const cases: readonly Case[] = [
  {
    what: 'the addon needs a newer glibc',
    files: {
      [pkg]: throws("/lib/libc.so.6: version `GLIBC_2.99' not found (required by sigmatune.node)\nsecond line"),
    },
    says: [
      'needs glibc 2.99 or newer',
      'newer system image',
      'apt-get install g++',
      'sigmatune/source',
      "GLIBC_2.99' not found (required by sigmatune.node)\n",
    ],
  },
  {
    what: 'the package of the other C library is installed',
    files: {
      [pkg]: throws('Error loading shared library ld-linux-x86-64.so.2: No such file (needed by sigmatune.node)'),
    },
    says: ['for the other C library', 'npm before 10.4'],
  },
  {
    what: 'the package does not load for another reason',
    files: { [pkg]: throws('sigmatune.node: file too short') },
    says: ['file too short', 'Delete node_modules and run "npm install"'],
  },
  {
    what: 'node_modules comes from another system',
    files: { '@sigmatune/win32-x64/index.js': '' },
    says: ['installed on another system (it has @sigmatune/win32-x64)'],
  },
  {
    what: 'a local build that is broken is not passed over',
    files: { 'sigmatune/build/Release/sigmatune.node': 'no library', [pkg]: 'module.exports = {};' },
    says: [/Build it again on this system, or delete \S+sigmatune\/build\/Release\/sigmatune\.node\./],
  },
  {
    what: 'SIGMATUNE_ADDON names no file',
    files: {},
    environment: { SIGMATUNE_ADDON: '/nonexistent/sigmatune.node' },
    says: ['- /nonexistent/sigmatune.node: no such file', 'Unset SIGMATUNE_ADDON'],
  },
  {
    what: 'a processor without a package',
    files: {},
    before: `Object.defineProperty(process, 'arch', { value: 'riscv64' });`,
    says: ['could not be loaded on linux-riscv64', 'There is no package for linux-riscv64.', 'npx node-gyp rebuild -C'],
  },
  {
    what: 'a system without a package',
    files: {},
    before: `Object.defineProperty(process, 'platform', { value: 'freebsd' });`,
    says: ['There is no package for freebsd-', 'Compile the addon: install a C++20 compiler'],
  },
];

for (const { what, files, says, environment, before } of cases) {
  t.test(what, async (t) => {
    const said = load(files, environment, before);
    t.match(said, /^NATIVE sigmatune: /);
    for (const words of says) t.match(said, words);
  });
}

t.test('the loader, the build scripts and package.json agree', async (t) => {
  const { targets } = await import(join(root, 'scripts', 'setup', 'targets.mjs'));
  const loader = readFileSync(join(root, 'lib', 'runtime', 'platforms.cjs'), 'utf8');
  const cases = [...loader.matchAll(/case '([\w-]+)':\s+return \{ addon: require\('@sigmatune\/\1'\) \};/g)];
  const names = targets.map(({ name }: { name: string }) => name);
  t.same(
    cases.map(([, name]) => name),
    names,
    'one literal require for each target',
  );
  t.same(
    [...(/exports\.targets = \[([^\]]*)\]/.exec(loader)?.[1] ?? '').matchAll(/'([\w-]+)'/g)].map(([, name]) => name),
    names,
  );
  t.equal((await import(join(root, 'dist', 'runtime', 'version.js'))).version, version, 'version.ts');
});
