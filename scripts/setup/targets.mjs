// The platforms that the addon is published for, by the names of their npm packages; docs/platforms.md describes them.

/** The oldest systems that a published file runs on. */
export const floors = { glibc: '2.28', musl: '1.2', macos: '13.3' };

/** Every x86-64 processor runs the file; evex512 only permits the AVX-512 kernels, which are selected at run time. */
const x64 = ['-mcpu=x86_64+evex512', '-mprefer-vector-width=512'];

/** musl loads no library with initial-exec data, and allocates a thread's data when the library is loaded. */
const initialExec = ['-ftls-model=initial-exec'];

/**
 * `os`, `cpu` and `libc` are npm's fields. `zig` is the compiler's name of the target. `debian` is the architecture of
 * the package that has OpenBLAS's archive.
 */
export const targets = [
  {
    name: 'linux-x64-gnu',
    os: 'linux',
    cpu: 'x64',
    libc: 'glibc',
    zig: `x86_64-linux-gnu.${floors.glibc}`,
    flags: [...x64, ...initialExec],
    debian: 'amd64',
  },
  {
    name: 'linux-x64-musl',
    os: 'linux',
    cpu: 'x64',
    libc: 'musl',
    zig: 'x86_64-linux-musl',
    flags: x64,
    debian: 'amd64',
  },
  {
    name: 'linux-arm64-gnu',
    os: 'linux',
    cpu: 'arm64',
    libc: 'glibc',
    zig: `aarch64-linux-gnu.${floors.glibc}`,
    flags: initialExec,
    debian: 'arm64',
  },
  {
    name: 'linux-arm64-musl',
    os: 'linux',
    cpu: 'arm64',
    libc: 'musl',
    zig: 'aarch64-linux-musl',
    flags: [],
    debian: 'arm64',
  },
  { name: 'darwin-arm64', os: 'darwin', cpu: 'arm64', zig: `aarch64-macos.${floors.macos}`, flags: [] },
  { name: 'darwin-x64', os: 'darwin', cpu: 'x64', zig: `x86_64-macos.${floors.macos}`, flags: x64 },
  { name: 'win32-x64', os: 'win32', cpu: 'x64', zig: 'x86_64-windows-gnu', flags: x64 },
];

/** The target that this machine is one of, or undefined. */
export function hostTarget() {
  const { platform, arch, report } = process;
  const libc = platform !== 'linux' ? undefined : report.getReport().header.glibcVersionRuntime ? 'glibc' : 'musl';
  return targets.find((target) => target.os === platform && target.cpu === arch && target.libc === libc);
}
