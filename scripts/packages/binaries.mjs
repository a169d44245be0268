// The packages that consist of one binary file: an addon for each platform, and the CUDA backend's library.
import { copyFileSync, cpSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { must, root } from '../setup/run.mjs';
import { addresses, own, writeManifest } from './manifest.mjs';

/** What is linked into an addon besides our own code. macOS has a BLAS itself. */
const cxx = { names: 'LLVM’s C++ library (Apache-2.0 with LLVM exception)', files: ['LLVM.txt'] };
const blas = { names: 'OpenBLAS and LAPACK (BSD-3-Clause)', files: ['OpenBLAS.txt', 'LAPACK.txt'] };
const llvm = '(Apache-2.0 WITH LLVM-exception)';
const licences = {
  darwin: { spdx: `MIT AND ${llvm}`, parts: [cxx] },
  other: { spdx: `MIT AND BSD-3-Clause AND ${llvm}`, parts: [blas, cxx] },
};

/** @sigmatune/<target>: the addon, and a loader that file tracing understands. */
export function stagePlatform(npm, { name, os, cpu, libc }, repository) {
  const folder = join(npm, name);
  // Windows has a library of OpenBLAS next to the addon.
  const built = readdirSync(join(root, 'prebuilds', name));
  const others = built.filter((file) => file !== 'sigmatune.node');
  const { spdx, parts } = licences[os] ?? licences.other;
  const title = `${os} ${cpu}${libc ? ` with ${libc}` : ''}`;
  stage(folder, {
    manifest: {
      name: `@sigmatune/${name}`,
      version: own.version,
      description: `The native addon of sigmatune for ${title}.`,
      license: spdx,
      ...addresses(repository),
      engines: own.engines,
      os: [os],
      cpu: [cpu],
      ...(libc ? { libc: [libc] } : {}),
      main: './index.cjs',
      preferUnplugged: true,
    },
    readme:
      `# @sigmatune/${name}\n\nThe native addon of [sigmatune](https://www.npmjs.com/package/sigmatune) for ${title}. ` +
      'It is installed as an optional dependency of sigmatune; no one needs to install or import it.\n' +
      `\nThe addon contains ${parts.map(({ names }) => names).join(', and ')}. The licences are in the folder \`licenses\`.\n`,
    files: parts.flatMap(({ files }) => files),
    index: [...others.map(mention), "module.exports = require('./sigmatune.node');\n"].join(''),
  });
  for (const file of built) copyFileSync(join(root, 'prebuilds', name, file), join(folder, file));
  return name;
}

/** An expression by which file tracing finds a file that no code requires. */
const mention = (file) => `require('node:path').join(__dirname, '${file}');\n`;

/** The packages of the CUDA backend, by the version of CUDA that built it. */
export const cudaPackages = [
  { generation: 13, name: 'cuda-linux-x64', driver: 'r580' },
  { generation: 12, name: 'cuda12-linux-x64', driver: 'r525' },
];

/** @sigmatune/<name>: the library, and its path as a module. */
export function stageCuda(npm, { generation, name, driver }, file, repository) {
  const folder = join(npm, name);
  const library = join(folder, 'libsigmatune_cuda.so');
  mkdirSync(folder, { recursive: true });
  copyFileSync(file, library);
  must('strip', ['--strip-unneeded', library]);
  const size = `${Math.ceil(statSync(library).size / 1e6)} MB`;
  stage(folder, {
    manifest: {
      name: `@sigmatune/${name}`,
      version: own.version,
      description: `The backend of sigmatune for CUDA ${generation} on Linux x64.`,
      license: 'SEE LICENSE IN README.md',
      ...addresses(repository),
      engines: own.engines,
      os: ['linux'],
      cpu: ['x64'],
      libc: ['glibc'],
      main: './index.cjs',
      preferUnplugged: true,
    },
    readme:
      `# @sigmatune/${name}\n\nThe CUDA backend of [sigmatune](https://www.npmjs.com/package/sigmatune). Install it next to ` +
      `sigmatune, in the same version:\n\n    npm install sigmatune @sigmatune/${name}\n\n` +
      `The library is ${size}. It needs an NVIDIA card of compute capability 7.5 or newer, a driver for CUDA ${generation} (${driver} or newer), and cuBLAS and ` +
      'cuSOLVER. `cudaStatus()` of sigmatune says what is missing.\n\n## Licence\n\nsigmatune is under the MIT licence (the ' +
      'file `LICENSE`). The library contains the static CUDA runtime, © NVIDIA Corporation, redistributed under the ' +
      '[CUDA Toolkit EULA](https://docs.nvidia.com/cuda/eula/), attachment A.\n',
    files: [],
    // join(__dirname, …) is a form that file tracing understands.
    index: "module.exports = require('node:path').join(__dirname, 'libsigmatune_cuda.so');\n",
  });
  return name;
}

function stage(folder, { manifest, readme, files, index }) {
  mkdirSync(folder, { recursive: true });
  writeManifest(folder, manifest);
  writeFileSync(join(folder, 'README.md'), readme);
  writeFileSync(join(folder, 'index.cjs'), index);
  cpSync(join(root, 'LICENSE'), join(folder, 'LICENSE'));
  for (const file of files) cpSync(join(root, 'licenses', file), join(folder, 'licenses', file));
}
