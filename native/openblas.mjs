// Prints the linker option for OpenBLAS, for binding.gyp. Best is the static library of a build without threads, which
// takes its memory from native/cpu/gemm/blas_buffers.cc. Other static libraries start threads when loaded. A shared library
// also keeps its own allocator, which hangs if there is no memory.
import { spawnSync } from 'node:child_process';

const [compiler, ...options] = (process.env.CXX ?? 'g++').split(' ');

/** Whether the compiler finds a file: if not, it prints the given name unchanged. */
const found = (file) =>
  spawnSync(compiler, [...options, `-print-file-name=${file}`], { encoding: 'utf8' }).stdout?.trim() !== file;

const archive = ['openblas-serial/libopenblas.a', 'libopenblas.a'].find(found);
console.log(archive === undefined ? '-lopenblas' : `-l:${archive}`);
