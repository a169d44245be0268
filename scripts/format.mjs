#!/usr/bin/env node
// Puts every source file into the form that `npm run check` asks for.
import { join } from 'node:path';
import { must, root } from './setup/run.mjs';
import { nativeSources } from './setup/sources.mjs';
import { main, setup } from './setup/steps.mjs';
import { ensureSystem } from './setup/system.mjs';

main(() => {
  setup();
  ensureSystem(['clang-format']);
  must('clang-format', ['-i', ...nativeSources()]);
  must(join(root, 'node_modules', '.bin', 'biome'), ['check', '--write', '.']);
});
