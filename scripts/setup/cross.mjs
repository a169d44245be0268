// The addon for one target (targets.mjs), compiled and linked by zig; docs/platforms.md describes how.
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { addonSources } from '../../native/sources.mjs';
import { ensureOpenblas } from './openblas.mjs';
import { MissingError, must, root } from './run.mjs';
import { zigEnvironment } from './zig.mjs';

const modules = join(root, 'node_modules');

const compileOptions = [
  '-std=c++20',
  '-O3',
  '-fPIC',
  '-fvisibility=hidden',
  '-ffunction-sections',
  '-fdata-sections',
  '-ffp-contract=fast',
  '-fno-math-errno',
  '-fno-trapping-math',
  ...['-Wall', '-Wextra', '-Wpedantic', '-Wshadow', '-Wconversion', '-Wno-sign-conversion', '-Werror'],
  '-DNAPI_VERSION=8',
  '-DNODE_ADDON_API_CPP_EXCEPTIONS',
  '-DNODE_ADDON_API_DISABLE_DEPRECATED',
  '-DNODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
  `-I${join(root, 'native')}`,
  ...[join('node-addon-api'), join('node-api-headers', 'include')].flatMap((name) => ['-isystem', join(modules, name)]),
];

/** OpenBLAS's allocator, which native/cpu/gemm/blas_buffers.cc replaces where OpenBLAS is linked in as an archive. */
const wrapped = ['blas_memory_alloc', 'blas_memory_free'];

/** The folder of a target's object files. */
export const buildFolder = (target) => join(root, 'build-prebuild', target.name);

/** Compiles all sources; make does it in parallel, and again only for what has changed. Returns the object files. */
export function compile(zig, target) {
  const folder = buildFolder(target);
  const wrap = target.debian === undefined ? [] : ['-DSIGMA_WRAP_OPENBLAS=1'];
  const command = [zig, 'c++', '-target', target.zig, ...target.flags, ...wrap, ...compileOptions];
  const objects = addonSources.map((source) => `${source}.o`);
  const rules = addonSources.map(
    (source) => `${source}.o: ${join(root, source)} command\n\t$(COMMAND) -MMD -c $< -o $@\n-include ${source}.d`,
  );
  for (const object of objects) mkdirSync(dirname(join(folder, object)), { recursive: true });
  const line = command.map((word) => `'${word}'`).join(' ');
  // Every object file depends on this one, so that another command compiles all.
  if (!existsSync(join(folder, 'command')) || readFileSync(join(folder, 'command'), 'utf8') !== line) {
    writeFileSync(join(folder, 'command'), line);
  }
  writeFileSync(
    join(folder, 'Makefile'),
    `COMMAND = ${line}\nall: ${objects.join(' ')}\n${rules.join('\n')}\n.DELETE_ON_ERROR:\n`,
  );
  must('make', ['--silent', `--jobs=${availableParallelism()}`, 'all'], { cwd: folder, env: zigEnvironment() });
  return objects;
}

/** Links the object files into `file`; returns the files that belong next to it. */
export function link(zig, target, objects, file) {
  const at = { cwd: buildFolder(target), env: zigEnvironment() };
  const shared = (...args) => must(zig, ['c++', '-target', target.zig, '-shared', '-s', ...args, '-o', file], at);
  mkdirSync(dirname(file), { recursive: true });
  return linkers[target.os](target, objects, shared, { zig, at, folder: at.cwd, file });
}

const linkers = {
  linux(target, objects, shared, { zig, at, folder }) {
    // zig does not pass on the linker's --wrap, so its linker makes one object file of all before.
    const wraps = wrapped.map((name) => `--wrap=${name}`);
    const archive = ensureOpenblas(target.debian);
    must(zig, ['ld.lld', '-r', ...wraps, ...objects, archive, '-o', 'sigmatune.o'], at);
    writeFileSync(join(folder, 'exports.map'), `{ global: ${entries.join('; ')}; local: *; };\n`);
    shared('sigmatune.o', '-Wl,-z,now', '-Wl,-z,nodelete', '-Wl,--gc-sections', '-Wl,--version-script=exports.map');
    return [];
  },

  darwin(target, objects, shared, { folder }) {
    const symbols = blasRoutines().map((name) => `'_${name.replace(/_$/, '')}$NEWLAPACK'`);
    const framework = '/System/Library/Frameworks/Accelerate.framework/Versions/A/Accelerate';
    const architecture = target.cpu === 'arm64' ? 'arm64-macos' : 'x86_64-macos';
    // What the linker reads of Accelerate, so that no Mac is needed.
    writeFileSync(
      join(folder, 'Accelerate.tbd'),
      `--- !tapi-tbd\ntbd-version: 4\ntargets: [ ${architecture} ]\ninstall-name: '${framework}'\nexports:\n` +
        `  - targets: [ ${architecture} ]\n    symbols: [ ${symbols.join(', ')} ]\n...\n`,
    );
    shared(...objects, 'Accelerate.tbd', '-Wl,-undefined,dynamic_lookup');
    return [];
  },

  win32(_target, objects, shared, { zig, at, folder, file }) {
    const definitions = ['js_native_api.def', 'node_api.def'].map((name) =>
      readFileSync(join(modules, 'node-api-headers', 'def', name), 'utf8'),
    );
    const importLibrary = (name, text) => {
      writeFileSync(join(folder, `${name}.def`), text);
      must(zig, ['dlltool', '-m', 'i386:x86-64', '-d', `${name}.def`, '-l', `${name}.lib`], at);
      return `${name}.lib`;
    };
    const names = definitions.flatMap((text) => text.split('EXPORTS')[1].trim().split(/\s+/));
    const node = importLibrary('node', `NAME NODE.EXE\nEXPORTS\n${names.join('\n')}\n`);
    const routines = [...blasRoutines(), 'openblas_get_config', 'openblas_set_num_threads'];
    const openblas = importLibrary('openblas', `NAME libopenblas.dll\nEXPORTS\n${routines.join('\n')}\n`);
    // The import library of the addon has no use. By default the linker writes it next to the addon.
    shared(...objects, node, openblas, '-Wl,--out-implib=sigmatune.lib');
    const given = process.env.OPENBLAS;
    const dll = given && join(given, 'bin', 'libopenblas.dll');
    if (!dll || !existsSync(dll)) {
      throw new MissingError(
        `${file} is linked, but needs libopenblas.dll: set OPENBLAS to the unpacked folder of OpenBLAS's release for Windows.`,
      );
    }
    copyFileSync(dll, join(dirname(file), 'libopenblas.dll'));
    return ['libopenblas.dll'];
  },
};

/** The two symbols that Node looks for. */
export const entries = ['napi_register_module_v1', 'node_api_module_get_api_version_v1'];

/** The routines of BLAS and LAPACK that native/cpu/gemm/blas_library.h declares. */
function blasRoutines() {
  const header = readFileSync(join(root, 'native', 'cpu', 'gemm', 'blas_library.h'), 'utf8');
  const names = [...header.matchAll(/void (cblas_)?(?:##)?p##(\w+)\(/g)].map(([, cblas = '', name]) => [cblas, name]);
  return ['s', 'd'].flatMap((letter) => names.map(([cblas, name]) => `${cblas}${letter}${name}`));
}
