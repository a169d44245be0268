/** The one thing to do on this platform if the addon cannot be loaded. */
import { join } from 'node:path';
import type { Attempt } from './addon.js';
import { packageRoot, requireFrom } from './package-root.js';
import platforms from './platforms.cjs';
import { version } from './version.js';

/** The packages of a system that a build from source needs. */
const tools: Readonly<Record<string, string>> = {
  linux:
    'a C++20 compiler, make, python3 and OpenBLAS (Debian, Ubuntu: "apt-get install g++ make python3 libopenblas-serial-dev"; ' +
    'Alpine: "apk add g++ make python3 openblas-dev"; Fedora, RHEL: "dnf install gcc-c++ make python3 openblas-devel")',
  darwin: 'the Xcode command line tools ("xcode-select --install")',
  win32: "Visual Studio with ClangCL, Python 3, and OpenBLAS's folder, which the variable OPENBLAS names",
};

function fromSource(): string {
  const needs = tools[process.platform] ?? 'a C++20 compiler, make, python3 and OpenBLAS';
  return (
    `Compile the addon: install ${needs}, then run ` +
    '"npm install node-addon-api node-gyp" and "npx node-gyp rebuild -C node_modules/sigmatune/source".'
  );
}

/** What Node reports of its process, if it has such reports. */
function header(): { readonly glibcVersionRuntime?: string } | undefined {
  const report = process.report as { excludeNetwork?: boolean; getReport(): object } | undefined;
  if (!report) return undefined;
  const before = report.excludeNetwork;
  report.excludeNetwork = true; // Looking up the names of open sockets takes seconds.
  try {
    return (report.getReport() as { header?: object }).header;
  } catch {
    return undefined;
  } finally {
    report.excludeNetwork = before ?? false;
  }
}

/** Packages of other platforms that are installed next to this one. */
function installedElsewhere(): string[] {
  if (!packageRoot) return [];
  const { resolve } = requireFrom(join(packageRoot, 'package.json'));
  return platforms.targets.filter((target) => {
    try {
      return resolve(`@sigmatune/${target}`) !== '';
    } catch {
      return false;
    }
  });
}

export function advice(tried: readonly Attempt[]): string {
  if (process.env['SIGMATUNE_ADDON']) {
    return 'Unset SIGMATUNE_ADDON, or set it to an addon that was built for this system.';
  }
  if (!packageRoot) {
    return (
      'sigmatune was bundled without its binary. Mark "sigmatune" as external in the bundler, and install it where the ' +
      'bundle runs (docs/install.md in the package).'
    );
  }
  const local = tried.find(({ place, absent }) => !absent && !place.startsWith('@'));
  if (local) return `Build it again on this system, or delete ${local.place}.`;
  const packages = tried.filter(({ place }) => place.startsWith('@'));
  if (packages.length === 0) return `There is no package for ${process.platform}-${process.arch}. ${fromSource()}`;
  const broken = packages.find(({ absent }) => !absent);
  if (broken) return refused(broken.reason);
  return missing();
}

/** A package is there, and the system's loader refuses its addon. */
function refused(reason: string): string {
  const wanted = /version [`']?GLIBC_([\d.]+)'? not found/.exec(reason)?.[1];
  if (wanted) {
    return (
      `The addon needs glibc ${wanted} or newer, and this system has ${header()?.glibcVersionRuntime ?? 'an older one'}. ` +
      `Run on a newer system image. If that is impossible: ${fromSource()}`
    );
  }
  if (/musl|Error relocating|Error loading shared library/.test(reason)) {
    return (
      'The package for the other C library is installed. Delete node_modules and run "npm install" on this system; npm ' +
      `before 10.4 ignores the C library, so update it. If no package fits: ${fromSource()}`
    );
  }
  return `Delete node_modules and run "npm install" on this system. If that gives the same error: ${fromSource()}`;
}

/** A package exists for this platform, and none is installed. */
function missing(): string {
  const arch = `${process.platform}-${process.arch}`;
  const found = header();
  const libc = found && !found.glibcVersionRuntime ? 'musl' : 'gnu';
  const name = process.platform === 'linux' ? `${arch}-${libc}` : arch;
  const others = installedElsewhere();
  if (others.length > 0) {
    return (
      `node_modules was installed on another system (it has @sigmatune/${others.join(', @sigmatune/')}). ` +
      'Run "npm install" on this system, and do not copy node_modules between systems.'
    );
  }
  return (
    'The optional dependency was left out: by --omit=optional, or because the lock file was written on another system ' +
    `(npm/cli issue 4828). Run "npm install --include=optional --save-optional @sigmatune/${name}@${version}".`
  );
}
