#!/usr/bin/env node
// test/native, once under each set of sanitizers: what they find wrong, they end the program for.
import { join } from 'node:path';
import { mustBeside, root, stepBeside } from './setup/run.mjs';
import { runSanitized } from './setup/sanitized.mjs';
import { main } from './setup/steps.mjs';
import { ensureSystem, forNative } from './setup/system.mjs';

const sanitizers = ['address,undefined', 'thread'];

main(async () => {
  ensureSystem([...forNative, 'cmake']);
  const logs = await check(sanitizers);
  for (const log of logs) console.log(log);
  console.log(`${logs.length} passed, 0 failed`);
});

/** A check takes one core, so the next one is built meanwhile. */
async function check([sanitizer, ...others]) {
  const folder = await build(sanitizer);
  const running = stepBeside(`running it with ${sanitizer}`, () => runSanitized(join(folder, 'native_check')));
  const [log, rest] = await Promise.all([running, others.length > 0 ? check(others) : []]);
  return [log, ...rest];
}

function build(sanitizer) {
  const folder = join(root, 'build-native', sanitizer.replace(',', '-'));
  return stepBeside(`building native_check with ${sanitizer}`, async () => {
    // To compile optimised code for a sanitizer takes longer than the check does.
    const options = ['-DCMAKE_BUILD_TYPE=None', '-DCMAKE_CXX_FLAGS=-O1 -g1', `-DSANITIZE=${sanitizer}`];
    await mustBeside('cmake', ['-S', root, '-B', folder, ...options]);
    await mustBeside('cmake', ['--build', folder, '--parallel', '2']);
    return folder;
  });
}
