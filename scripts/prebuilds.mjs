#!/usr/bin/env node
// prebuilds/<platform>/sigmatune.<libc>.node: the addon as it is published, with all it needs linked in.
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { addonSources, gypDefines, variant } from './setup/addon.mjs';
import { nodeDir } from './setup/node.mjs';
import { must, root, SetupError, step } from './setup/run.mjs';
import { readStamp, writeStamp } from './setup/stamp.mjs';
import { main, setup } from './setup/steps.mjs';

const folder = join(root, 'prebuilds', `${process.platform}-${process.arch}`);

/** Libraries that every glibc system has, and has in a compatible version: glibc's own, the kernel's, the loader. */
const everywhere = /^(libc|libm|libpthread|libdl|librt|linux-vdso|ld-linux[-\w]*)\.so/;

main(() => {
  setup();
  const { folder: cwd, variables, title } = variant('prebuild', 'prebuilt addon', { portable: 1 });
  const stampFile = join(cwd, 'prebuilds.stamp');
  const sources = addonSources();
  if (prebuilt() && readStamp(stampFile).sources === sources) return;
  rmSync(stampFile, { force: true });
  rmSync(folder, { recursive: true, force: true });
  step(`building the ${title}`, () => {
    const prebuildify = join(root, 'node_modules', 'prebuildify', 'bin.js');
    must(process.execPath, [prebuildify, '--napi', '--strip', '--tag-libc', `--out=${root}`], {
      cwd,
      // prebuildify runs node-gyp with no way to give it options of ours but the environment.
      env: { ...process.env, GYP_DEFINES: gypDefines(variables), JOBS: 'max', npm_config_nodedir: nodeDir(cwd) },
    });
    checkSelfContained(prebuilt());
  });
  writeStamp(stampFile, { sources });
});

function prebuilt() {
  if (!existsSync(folder)) return undefined;
  const name = readdirSync(folder).find((name) => name.endsWith('.node'));
  return name && join(folder, name);
}

function checkSelfContained(file) {
  const needed = must('ldd', [file])
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .map((line) => line.split(' ')[0].split('/').at(-1));
  const foreign = needed.filter((name) => !everywhere.test(name));
  if (foreign.length > 0) throw new SetupError(`${file} must not need ${foreign.join(', ')}`);
  // Else glibc allocates a thread's data when it first uses the addon, and aborts the process if there is no memory.
  if (!must('readelf', ['--dynamic', '--wide', file]).includes('STATIC_TLS')) {
    throw new SetupError(`${file} must have its thread-local data from a thread's start (STATIC_TLS)`);
  }
  // The linker lets symbols stay open; loading it with all of them bound at once (-z now) does not.
  must(process.execPath, ['-e', `require(${JSON.stringify(file)})`]);
}
