#!/usr/bin/env node
// The part that talks to MPI, against this machine's MPI: npm run build:mpi [-- --mpicc mpicc.mpich] [--out FOLDER]
import { parseArgs } from 'node:util';
import { buildMpiLibrary } from './setup/mpi-library.mjs';
import { main } from './setup/steps.mjs';

main(() => {
  const { values } = parseArgs({ options: { mpicc: { type: 'string' }, out: { type: 'string' }, sanitize: { type: 'string' } } });
  console.log(buildMpiLibrary(values));
});
