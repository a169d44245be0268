#!/usr/bin/env node
// Installs the tarballs of npm/ with npm on this machine, without scripts, and runs the core: for every platform in CI.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'sigmatune-try-'));
const packages = readFileSync(join(root, 'npm', 'order.txt'), 'utf8')
  .trim()
  .split('\n');
const files = {};
const overrides = {};
for (const part of packages.filter((part) => !part.startsWith('cuda'))) {
  const { name, version } = JSON.parse(readFileSync(join(root, 'npm', part, 'package.json'), 'utf8'));
  const file = `${name.replace('@', '').replace('/', '-')}-${version}.tgz`;
  if (!readdirSync(join(root, 'npm')).includes(file)) throw new Error(`npm/${file} is missing`);
  cpSync(join(root, 'npm', file), join(folder, file));
  files[name] = `file:./${file}`;
  if (name !== 'sigmatune') overrides[name] = `$${name}`;
}
const { sigmatune, ...platforms } = files;
const manifest = { private: true, dependencies: { sigmatune }, optionalDependencies: platforms, overrides };
writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest, null, 2));
for (const app of ['core.mjs', 'common.cjs']) cpSync(join(root, 'test', 'package', 'apps', app), join(folder, app));

const run = (command, args) => execFileSync(command, args, { cwd: folder, stdio: 'inherit', shell: command === 'npm' });
run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund']);
run(process.execPath, ['core.mjs']);
run(process.execPath, ['common.cjs']);
