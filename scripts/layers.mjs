#!/usr/bin/env node
// Fails on an import or include that the design forbids: node scripts/layers.mjs [folder of a repository]
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import typescript from 'typescript';

// ── the rules ────────────────────────────────────────────────────────────────────────────────────────────

/** lib/, from the top down. A file imports its own module and the rows below it: nothing above, nothing in its own row. */
const library = [
  ['cli', 'integrations'],
  ['distributed'],
  ['index.ts'],
  ['model'],
  ['files'],
  ['families'],
  ['layers'],
  ['operator'],
  ['linalg', 'sparse', 'optim'],
  ['tensor'],
  ['runtime'],
];

/** These see only the public surface. */
const outside = ['integrations'];

/** These use the package as its users do, by its name: so it is the built package that they show, time and test. */
const users = ['test', 'bench', 'examples'];

/** bench/: the reference stands alone, and what is published must run without the rest. */
const published = [
  'cases',
  'cli.js',
  'commands',
  'gate',
  'measure',
  'record',
  'reference',
  'report',
  'stats',
  'usage.js',
];
const bench = {
  reference: ['reference'],
  ...Object.fromEntries(published.filter((name) => name !== 'reference').map((name) => [name, published])),
};

/** native/: what a folder's files may include besides their own folder and the C++ library. The first match counts. */
const native = [
  { folder: 'native/contract', sees: [] },
  { folder: 'native/mpi', sees: ['native/contract', 'MPI'] },
  { folder: 'native/addon', sees: ['native/contract', 'native/recipes', 'Node'] },
  { folder: 'native/recipes', sees: ['native/contract'] },
  ...backend('cpu', 'BLAS'),
  ...backend('cuda', 'CUDA'),
];

/** A backend's folders by rows: device code, what runs it, the operations by kind, and the table above them. */
function backend(name, libraries) {
  const at = (path) => `native/${name}/${path}`;
  const common = ['native/contract', at('ops.h'), at('runtime')];
  const kinds = { gemm: [], sparse: [], svd: [at('gemm'), 'native/recipes/svd.h'], optim: [] };
  return [
    ...['runtime', ...Object.keys(kinds)].map((kind) => ({
      folder: at(`${kind}/kernels`),
      sees: ['native/contract', at('runtime/kernels'), at(`${kind}/types.h`)],
    })),
    { folder: at('ops.h'), sees: common },
    { folder: at('runtime'), sees: [...common, libraries] },
    ...Object.entries(kinds).map(([kind, more]) => ({ folder: at(kind), sees: [...common, ...more, libraries] })),
    { folder: `native/${name}`, sees: ['native/contract', libraries] },
  ];
}

/** Headers from elsewhere that only some folders may see. Others, such as the C++ library's, are everyone's. */
const foreign = {
  Node: /^(napi|node_api|js_native_api|node|v8|uv)\b/,
  BLAS: /^(cblas|lapack|lapacke|openblas|f77blas)\b/,
  MPI: /^mpi\b/,
  CUDA: /^(cuda|cublas|cusolver|cusparse|curand|nccl|cub\/|thrust\/|device_launch|math_constants)/,
};

// ── the check ────────────────────────────────────────────────────────────────────────────────────────────

/** One line for each import or include that a rule forbids. */
export function violations(root) {
  return [
    ...filesBelow(root, 'lib', /\.ts$/).flatMap((file) => libraryViolations(root, file)),
    ...users.flatMap((user) => filesBelow(root, user, /\.(ts|js|mjs)$/)).flatMap((file) => userViolations(root, file)),
    ...filesBelow(root, 'bench', /\.js$/).flatMap((file) => benchViolations(root, file)),
    ...filesBelow(root, 'native', /\.(h|cc|inc|cu|cuh)$/).flatMap((file) => nativeViolations(root, file)),
  ];
}

function libraryViolations(root, file) {
  const from = moduleOf(file);
  if (rowOf(from) < 0) return [`${file}: lib/${from} has no row in scripts/layers.mjs`];
  return relativeImports(root, file).flatMap((target) => {
    const to = moduleOf(target);
    const below = rowOf(to) > rowOf(from) && (!outside.includes(from) || to === 'index.ts');
    const allowed = target.startsWith('lib/') && (to === from || below);
    return allowed ? [] : [`${file}: ${from} must not import ${target}`];
  });
}

/** The module of lib/ or bench/ that a file belongs to: the folder, or the file itself. */
function moduleOf(file) {
  return file.split('/')[1];
}

function rowOf(module) {
  return library.findIndex((row) => row.includes(module));
}

function userViolations(root, file) {
  return relativeImports(root, file)
    .filter((target) => target.startsWith('lib/') || target.startsWith('dist/'))
    .map((target) => `${file}: import the package by its name, not ${target}`);
}

function benchViolations(root, file) {
  const part = moduleOf(file);
  return relativeImports(root, file)
    .filter((target) => bench[part] && !(target.startsWith('bench/') && bench[part].includes(moduleOf(target))))
    .map((target) => `${file}: bench/${part} must not import ${target}`);
}

/** The files of the repository that a file names in import, export and import(), types included. */
function relativeImports(root, file) {
  const { importedFiles } = typescript.preProcessFile(readFileSync(join(root, file), 'utf8'), true, true);
  return importedFiles
    .map(({ fileName }) => fileName)
    .filter((name) => name.startsWith('.'))
    .map((name) => join(dirname(file), name).replace(/^(lib\/.*)\.js$/, '$1.ts'));
}

function nativeViolations(root, file) {
  const rule = native.find(({ folder }) => isIn(file, folder));
  if (!rule) return [`${file}: no row of scripts/layers.mjs covers it`];
  return includes(root, file).flatMap((name) => {
    const own = [join(dirname(file), name), join('native', name)].find((path) => existsSync(join(root, path)));
    const kind = Object.keys(foreign).find((kind) => foreign[kind].test(name));
    const allowed = own
      ? isIn(own, rule.folder) || rule.sees.some((seen) => isIn(own, seen))
      : kind === undefined || rule.sees.includes(kind);
    return allowed ? [] : [`${file}: ${rule.folder} must not include ${own ?? name}`];
  });
}

function includes(root, file) {
  return [...readFileSync(join(root, file), 'utf8').matchAll(/^[ \t]*#[ \t]*include[ \t]*[<"]([^>"]+)[>"]/gm)].map(
    (match) => match[1],
  );
}

function isIn(file, folder) {
  return file === folder || file.startsWith(`${folder}/`);
}

function filesBelow(root, folder, pattern) {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder)).flatMap((name) => {
    const path = join(folder, name);
    if (statSync(join(root, path)).isDirectory()) return name === 'node_modules' ? [] : filesBelow(root, path, pattern);
    return pattern.test(name) ? [path] : [];
  });
}

const here = join(dirname(fileURLToPath(import.meta.url)), '..');
const found = violations(process.argv[2] ?? here);
for (const line of found) console.error(line);
if (found.length > 0) process.exitCode = 1;
