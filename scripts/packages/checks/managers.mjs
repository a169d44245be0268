// Package managers install from a registry, and no package has a script. Wrong installations say what to do.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cudaPackages } from '../binaries.mjs';
import { own } from '../manifest.mjs';
import { application, expect, node, tool, works, worksCommon } from './workspace.mjs';

const dependencies = { sigmatune: own.version };
const cuda = { '@sigmatune/cuda-linux-x64': own.version };
const status = `import { cudaStatus } from 'sigmatune';
const { code, detail, searched } = cudaStatus();
console.log(code, detail, searched.join(' '));
`;

export function checks({ work, registry, target }) {
  const files = (more = {}) => ({
    'package.json': { private: true, dependencies: { ...dependencies, ...more } },
    '.npmrc': `registry=${registry}\n`,
    'status.mjs': status,
  });
  const app = (more, extra = {}) => application(work, ['core.mjs', 'common.cjs'], { ...files(more), ...extra });
  const env = { npm_config_cache: join(work, 'npm-cache'), npm_config_userconfig: join(work, 'npmrc') };
  const npm = (cwd, ...args) =>
    expect('npm', [...args, '--no-audit', '--no-fund'], { cwd, env, never: /allow-?scripts/i });
  const runs = (cwd) => {
    node(['core.mjs'], { cwd, says: works });
    node(['common.cjs'], { cwd, says: worksCommon });
  };
  const fails = (cwd, says) => node(['core.mjs'], { cwd, status: 1, says });

  return [
    [
      'npm installs without a script',
      () => {
        const cwd = app();
        npm(cwd, 'install');
        runs(cwd);
        const { packages } = JSON.parse(readFileSync(join(cwd, 'package-lock.json'), 'utf8'));
        const scripted = Object.keys(packages).filter((path) => packages[path].hasInstallScript);
        if (scripted.length > 0) throw new Error(`packages with an install script: ${scripted}`);
      },
    ],
    [
      'npm --omit=optional: the error names the command that helps, and the command helps',
      () => {
        const cwd = app();
        npm(cwd, 'install', '--omit=optional');
        const log = fails(cwd, /Run "npm install --include=optional --save-optional @sigmatune\//);
        const [, command] = /Run "npm (install [^"]*)"/.exec(log);
        npm(cwd, ...command.split(' '), '--omit=optional');
        runs(cwd);
      },
    ],
    [
      'a lock file without this platform (npm/cli 4828): the same command helps',
      () => {
        const cwd = app();
        npm(cwd, 'install');
        const file = join(cwd, 'package-lock.json');
        const lock = JSON.parse(readFileSync(file, 'utf8'));
        delete lock.packages[`node_modules/@sigmatune/${target}`];
        delete lock.packages['node_modules/sigmatune'].optionalDependencies;
        writeFileSync(file, JSON.stringify(lock));
        rmSync(join(cwd, 'node_modules'), { recursive: true });
        npm(cwd, 'ci');
        const [, command] = /Run "npm (install [^"]*)"/.exec(fails(cwd, /4828/));
        npm(cwd, ...command.split(' '));
        runs(cwd);
        rmSync(join(cwd, 'node_modules'), { recursive: true });
        npm(cwd, 'ci');
        runs(cwd);
      },
    ],
    [
      'node_modules from another system is recognised',
      () => {
        const cwd = app();
        npm(cwd, 'install', '--omit=optional');
        mkdirSync(join(cwd, 'node_modules', '@sigmatune', 'darwin-arm64'), { recursive: true });
        writeFileSync(join(cwd, 'node_modules', '@sigmatune', 'darwin-arm64', 'index.js'), '');
        fails(cwd, /installed on another system \(it has @sigmatune\/darwin-arm64\)/);
      },
    ],
    [
      'npm: either CUDA package is found, and their absence is told',
      () => {
        for (const { name } of cudaPackages) {
          const cwd = app();
          npm(cwd, 'install');
          node(['status.mjs'], { cwd, says: /^NOT_BUILT .*npm install @sigmatune\/cuda-linux-x64@/ });
          npm(cwd, 'install', `@sigmatune/${name}@${own.version}`);
          const file = new RegExp(`node_modules/@sigmatune/${name}/libsigmatune_cuda\\.so`);
          node(['status.mjs'], { cwd, says: file });
          runs(cwd);
        }
      },
    ],
    [
      'pnpm installs and blocks no script',
      () => {
        const cwd = app(cuda);
        const program = tool('pnpm', 'bin', 'pnpm.cjs');
        const options = ['--store-dir', join(work, 'pnpm-store'), '--config.minimum-release-age=0'];
        node([program, 'install', ...options], { cwd, env, never: /ignored build scripts/i });
        runs(cwd);
        node(['status.mjs'], { cwd, says: /cuda-linux-x64\/libsigmatune_cuda\.so/ });
      },
    ],
    ...['node-modules', 'pnp'].map((linker) => [
      `yarn 4 with ${linker}`,
      () => {
        const yarnrc =
          `nodeLinker: ${linker}\nnpmRegistryServer: "${registry}"\nunsafeHttpWhitelist: ["127.0.0.1"]\n` +
          `globalFolder: "${work}/yarn"\nenableMirror: false\n` +
          'enableTelemetry: false\nenableGlobalCache: false\nenableImmutableInstalls: false\nnpmMinimalAgeGate: 0\n';
        const cwd = app(cuda, { '.yarnrc.yml': yarnrc, 'yarn.lock': '' });
        const yarn = (args, says, never) =>
          node([tool('@yarnpkg', 'cli-dist', 'bin', 'yarn.js'), ...args], { cwd, env, says, never });
        yarn(['install'], undefined, /build scripts|must be built/i);
        yarn(['node', 'core.mjs'], works);
        yarn(['node', 'common.cjs'], worksCommon);
        yarn(['node', 'status.mjs'], /cuda-linux-x64.*libsigmatune_cuda\.so/);
      },
    ]),
    [
      'Bun installs and blocks no script',
      () => {
        const cwd = app(cuda, { 'bunfig.toml': `[install]\nregistry = "${registry}"\ncache = "${work}/bun-cache"\n` });
        const bun = (args, says, never) =>
          expect(tool('@oven', 'bun-linux-x64', 'bin', 'bun'), args, { cwd, env, says, never });
        bun(['install'], undefined, /blocked/i);
        bun(['core.mjs'], works);
        bun(['status.mjs'], /cuda-linux-x64\/libsigmatune_cuda\.so/);
        runs(cwd);
      },
    ],
  ];
}
