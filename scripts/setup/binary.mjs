// What a published binary may need of the system that loads it.
import { closeSync, openSync, readSync } from 'node:fs';
import { entries } from './cross.mjs';
import { must, SetupError } from './run.mjs';
import { floors, hostTarget } from './targets.mjs';

/** Libraries that every Linux system has, and has in a compatible version: the C library's own, and the loader. */
const everywhere = /^(libc|libm|libpthread|libdl|librt|ld-linux[-\w]*)\.so(\.\d+)?$/;

/** Reads an ELF file of any architecture; the messages are in English whatever the locale. */
const readelf = (...args) => must('readelf', ['--wide', ...args], { env: { ...process.env, LC_ALL: 'C' } });

/** The libraries that a file needs. */
function neededBy(file) {
  return [...readelf('--dynamic', file).matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(([, name]) => name);
}

/** The dynamic symbols, as { name, version, defined }. */
function symbolsOf(file) {
  return readelf('--dyn-syms', file)
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((words) => /^\d+:$/.test(words[0]) && words[7])
    .map((words) => {
      const [name, version] = words[7].split(/@+/);
      return { name, version, defined: words[6] !== 'UND' };
    });
}

/** Throws if a library needs other libraries than those of every Linux system. */
export function checkNeeds(file) {
  const foreign = neededBy(file).filter((name) => !everywhere.test(name));
  if (foreign.length > 0) throw new SetupError(`${file} must not need ${foreign.join(', ')}`);
}

/** Throws if a library shows other symbols than those `allowed`. */
export function checkShows(file, allowed, symbols = symbolsOf(file)) {
  const shown = symbols.filter(({ defined }) => defined).map(({ name }) => name);
  if (shown.sort().join() !== [...allowed].sort().join()) {
    throw new SetupError(`${file} must show ${allowed.join(', ')} and nothing else, not: ${shown.join(', ')}`);
  }
}

/**
 * Throws if a Linux library needs other libraries than the C library's or a newer glibc, or shows other symbols than those
 * `allowed`.
 */
export function checkLinuxLibrary(file, allowed, { glibc = floors.glibc } = {}) {
  checkNeeds(file);
  const symbols = symbolsOf(file);
  checkShows(file, allowed, symbols);
  const newer = symbols.filter(({ defined, version }) => !defined && glibc && isNewer(version, glibc));
  if (newer.length > 0) {
    const list = newer.map(({ name, version }) => `${name} (${version})`).join(', ');
    throw new SetupError(`${file} must load from glibc ${glibc} on, and needs ${list}`);
  }
  return symbols;
}

/** Whether a symbol's version, such as GLIBC_2.34, is newer than a number such as 2.28. Other versions never are. */
export function isNewer(version, floor) {
  const found = /^GLIBC_(\d+)\.(\d+)/.exec(version ?? '');
  if (found === null) return version === 'GLIBC_PRIVATE';
  const [major, minor] = floor.split('.').map(Number);
  return Number(found[1]) > major || (Number(found[1]) === major && Number(found[2]) > minor);
}

/** What glibc leaves of a thread's static data for all libraries that are loaded after the program's start is 1.6 KB. */
const staticDataLimit = 512;

/**
 * Throws unless glibc can allocate the library's thread-local data: `fromStart`, when a thread starts, within the little that
 * is kept for it; else when a thread first uses the data, which may be of any size.
 */
export function checkThreadData(file, { fromStart }) {
  const isStatic = readelf('--dynamic', file).includes('STATIC_TLS');
  if (isStatic !== fromStart) {
    const when = fromStart ? "from a thread's start" : 'at its first use';
    throw new SetupError(
      `${file} must have its thread-local data ${when} (STATIC_TLS is ${isStatic ? '' : 'not '}set)`,
    );
  }
  const [, size = '0'] = /^ +TLS(?: +0x\w+){4} +(0x\w+)/m.exec(readelf('--segments', file)) ?? [];
  if (isStatic && Number(size) > staticDataLimit) {
    throw new SetupError(
      `${file} must have ${staticDataLimit} bytes of thread-local data at most, not ${Number(size)}`,
    );
  }
}

export function checkPrebuild(file, target) {
  if (target.os === 'linux') checkLinuxAddon(file, target);
  else checkFormat(file, target);
  const host = hostTarget();
  if (host?.name === target.name) must(process.execPath, ['-e', `require(${JSON.stringify(file)})`]);
}

function checkLinuxAddon(file, target) {
  const symbols = checkLinuxLibrary(file, entries);
  if (target.libc === 'glibc') {
    // Else glibc allocates a thread's data when it first uses the addon, and aborts the process if there is no memory.
    checkThreadData(file, { fromStart: true });
    return;
  }
  // musl has no versions; what only glibc has would be an error when the addon is loaded.
  const glibcOnly = symbols.filter(({ name, defined }) => !defined && /_chk$|^__isoc|^__libc_/.test(name));
  if (glibcOnly.length > 0)
    throw new SetupError(`${file} must not need ${glibcOnly.map(({ name }) => name).join(', ')}`);
}

/** The first bytes of a Mach-O and of a Windows file: here they can be built, not loaded. */
const magics = { darwin: 'cffaedfe', win32: '4d5a' };

function checkFormat(file, target) {
  const bytes = Buffer.alloc(4);
  const opened = openSync(file, 'r');
  readSync(opened, bytes, 0, 4, 0);
  closeSync(opened);
  if (!bytes.toString('hex').startsWith(magics[target.os]))
    throw new SetupError(`${file} is no library of ${target.os}`);
}
