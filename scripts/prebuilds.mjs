#!/usr/bin/env node
// prebuilds/<target>/sigmatune.node: the addon as it is published, with all it needs linked in.
// npm run prebuilds [-- --target linux-arm64-musl --target … | --target all | --native] [--compile-only]
// --native: with this machine's own compiler, for a system that zig has no target of.
import { existsSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { checkPrebuild } from './setup/binary.mjs';
import { buildFolder, compile, link } from './setup/cross.mjs';
import { alone } from './setup/lock.mjs';
import { installModules } from './setup/modules.mjs';
import { checkNode } from './setup/node.mjs';
import { compileWithOwnCompiler } from './setup/own-compiler.mjs';
import { root, SetupError, step } from './setup/run.mjs';
import { fingerprint, readStamp, writeStamp } from './setup/stamp.mjs';
import { main, setup } from './setup/steps.mjs';
import { ensureSystem } from './setup/system.mjs';
import { hostTarget, targets } from './setup/targets.mjs';
import { ensureZig, zigVersion } from './setup/zig.mjs';

main(() => {
  const { values } = parseArgs({
    options: {
      target: { type: 'string', multiple: true },
      'compile-only': { type: 'boolean', default: false },
      native: { type: 'boolean', default: false },
    },
  });
  if (values.native) return buildNative();
  const chosen = choose(values.target);
  checkNode();
  ensureSystem(['make', 'binutils']);
  alone(installModules);
  alone(() => {
    const zig = ensureZig();
    for (const target of chosen) {
      if (values['compile-only']) step(`compiling for ${target.name}`, () => compile(zig, target));
      else build(zig, target);
    }
  }, 'prebuilds');
});

function buildNative() {
  setup();
  const target = hostTarget() ?? { name: `${process.platform}-${process.arch}` };
  const { name } = target;
  const file = join(root, 'prebuilds', name, 'sigmatune.node');
  // The next build by zig replaces the file.
  rmSync(stampOf(target), { force: true });
  alone(() => step(`building ${name} with prebuildify`, () => compileWithOwnCompiler(file)), 'prebuilds');
}

function choose(names) {
  if (names?.includes('all')) return targets;
  const wanted = names ?? [hostTarget()?.name ?? `${process.platform}-${process.arch}`];
  return wanted.map((name) => {
    const target = targets.find((target) => target.name === name);
    if (target !== undefined) return target;
    throw new SetupError(`--target: expected ${targets.map(({ name }) => name).join(', ')} or all, got '${name}'.`);
  });
}

function stampOf(target) {
  return join(buildFolder(target), 'sigmatune.stamp');
}

function build(zig, target) {
  const file = join(root, 'prebuilds', target.name, 'sigmatune.node');
  const stamp = stampOf(target);
  const sources = fingerprint({ paths: ['native', join('scripts', 'setup')], texts: [zigVersion(zig)] });
  if (!existsSync(file) || readStamp(stamp).sources !== sources) {
    rmSync(stamp, { force: true });
    rmSync(dirname(file), { recursive: true, force: true });
    const objects = step(`compiling for ${target.name}`, () => compile(zig, target));
    step(`linking ${target.name}`, () => link(zig, target, objects, file));
    step(`checking ${target.name}`, () => checkPrebuild(file, target));
    writeStamp(stamp, { sources });
  }
}
