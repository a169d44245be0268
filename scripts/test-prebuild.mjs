#!/usr/bin/env node
// The test suite on a published addon, in the program that is to load it, which may belong to another platform:
//   node scripts/test-prebuild.mjs --target linux-arm64-gnu --node "qemu-aarch64-static -L ROOT NODE" [WORD …]
// The tests are compiled here; each file runs in a process of its own. Words choose the files whose names have one of them.
import { chmodSync, cpSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runLogged } from './gpu/process.mjs';
import { count, testFiles } from './gpu/suite.mjs';
import { transpileTests } from './gpu/transpile.mjs';
import { root, SetupError, step } from './setup/run.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    target: { type: 'string' },
    node: { type: 'string', default: process.execPath },
    seconds: { type: 'string', default: '120' },
  },
});
if (values.target === undefined) throw new SetupError('--target: expected the folder of prebuilds/ to test');

const folder = join(root, 'build-test', values.target);
const program = join(folder, 'node');

step('compiling the tests', () => {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const name of ['bench', 'dist', 'docs', 'examples', 'lib', 'native', 'node_modules', 'scripts']) {
    symlinkSync(join('..', '..', name), join(folder, name));
  }
  cpSync(join(root, 'package.json'), join(folder, 'package.json'));
  transpileTests(join(folder, 'test'));
  writeFileSync(program, `#!/bin/sh\nexec ${values.node} "$@"\n`);
  chmodSync(program, 0o755);
  // Tests start further processes as process.execPath, which the system cannot run if it belongs to another processor.
  writeFileSync(join(folder, 'program.mjs'), `process.execPath = ${JSON.stringify(program)};\n`);
});

const env = {
  ...process.env,
  SIGMATUNE_ADDON: join(root, 'prebuilds', values.target, 'sigmatune.node'),
  NODE_OPTIONS: `--import=file://${join(folder, 'program.mjs')}`,
  TAP_TIMEOUT: values.seconds,
};

const waiting = testFiles(folder, positionals);
const total = { passed: 0, failed: 0, skipped: 0 };
await Promise.all(
  Array.from({ length: availableParallelism() }, async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const log = join(folder, `${name.replaceAll('/', '-')}.tap`);
      const ended = await runLogged(program, [join('test', name)], {
        cwd: folder,
        env,
        log,
        seconds: Number(values.seconds),
      });
      const found = count(ended);
      for (const key of Object.keys(total)) total[key] += found[key];
      console.error(
        `${name}: ${found.passed} passed, ${found.failed} failed${found.detail ? ` (${found.detail})` : ''}`,
      );
    }
  }),
);
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;
