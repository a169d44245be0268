#!/usr/bin/env node
// The CUDA backend, for every architecture or for those that are named: npm run build:cuda [-- --arch 90]
import { parseArgs } from 'node:util';
import { buildCudaLibrary } from './setup/cuda-library.mjs';
import { main, setup } from './setup/steps.mjs';

main(() => {
  const { values } = parseArgs({ options: { arch: { type: 'string' } } });
  setup();
  buildCudaLibrary(values.arch ?? process.env.SIGMATUNE_CUDA_ARCHITECTURES);
});
