#!/usr/bin/env node
// test/native, once under each set of sanitizers: what they find wrong, they end the program for.
import { join } from 'node:path';
import { must, root, step } from './setup/run.mjs';
import { runSanitized } from './setup/sanitized.mjs';
import { main } from './setup/steps.mjs';
import { ensureSystem, forNative } from './setup/system.mjs';

const sanitizers = ['address,undefined', 'thread'];

main(() => {
  ensureSystem([...forNative, 'cmake']);
  for (const sanitizer of sanitizers) {
    const build = join(root, 'build-native', sanitizer.replace(',', '-'));
    step(`building native_check with ${sanitizer}`, () => {
      must('cmake', ['-S', root, '-B', build, `-DSANITIZE=${sanitizer}`]);
      must('cmake', ['--build', build, '--parallel', '2']);
    });
    console.log(step('running it', () => runSanitized(join(build, 'native_check'))));
  }
  console.log(`${sanitizers.length} passed, 0 failed`);
});
