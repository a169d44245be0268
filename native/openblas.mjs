// Prints how to link OpenBLAS; binding.gyp asks. The best is an archive of a build without threads: it starts none when
// it is loaded, and takes its memory from native/cpu/gemm/blas_buffers.cc. Another archive starts threads. A shared library
// also keeps its own allocator, which waits for ever when there is no memory.
import { spawnSync } from 'node:child_process';

const [compiler, ...options] = (process.env.CXX ?? 'g++').split(' ');

/** Where the compiler does not find a file, it prints the name as it was given. */
const found = (file) =>
  spawnSync(compiler, [...options, `-print-file-name=${file}`], { encoding: 'utf8' }).stdout?.trim() !== file;

const archive = ['openblas-serial/libopenblas.a', 'libopenblas.a'].find(found);
console.log(archive === undefined ? '-lopenblas' : `-l:${archive}`);
