// @ts-check
// The two builds that a gate compares: folders, or git revisions, which are built in a worktree that is removed again.
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
} from 'node:fs';
import os from 'node:os';
import { join, resolve } from 'node:path';
import { most } from '../record/checks.js';
import { plain } from '../record/text.js';
import { UsageError } from '../usage.js';

/** @typedef {{ label: string, folder: string, remove(): void }} PlacedBuild */

/** @param {string} name a folder or a revision @param {string} [cwd] @returns {PlacedBuild} */
export function placeBuild(name, cwd = process.cwd()) {
  const folder = resolve(cwd, name);
  if (existsSync(folder) && statSync(folder).isDirectory()) return builtFolder(name, folder);
  if (name.startsWith('-')) throw new UsageError(`${name}: expected a folder or a revision, got an option`);
  return builtRevision(name, cwd);
}

/** @param {string} name @param {string} folder @returns {PlacedBuild} */
function builtFolder(name, folder) {
  if (existsSync(join(folder, 'dist', 'index.js'))) return { label: labelOf(name), folder, remove: () => {} };
  throw new UsageError(`${name}: no dist/index.js in ${folder}; build it there first, or give a git revision`);
}

/** @param {string} command @param {readonly string[]} args @param {string} cwd */
function run(command, args, cwd) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8', maxBuffer: 2 ** 28 });
  return { ok: status === 0, out: stdout?.trim() ?? '', log: `${stdout ?? ''}${stderr ?? ''}${error?.message ?? ''}` };
}

/** @param {string} revision @param {string} cwd @returns {PlacedBuild} */
function builtRevision(revision, cwd) {
  const top = run('git', ['rev-parse', '--show-toplevel'], cwd);
  if (!top.ok) throw new UsageError(`${revision}: no such folder, and no git repository here to have such a revision`);
  const repository = top.out;
  const commit = run('git', ['rev-parse', '--verify', '--quiet', `${revision}^{commit}`], repository);
  if (!commit.ok) {
    throw new UsageError(`${revision}: neither a folder nor a revision of ${repository}${whyUnknown(repository)}`);
  }

  const parent = mkdtempSync(join(os.tmpdir(), 'sigmatune-gate-'));
  const folder = join(parent, 'build');
  const remove = () => {
    run('git', ['worktree', 'remove', '--force', folder], repository);
    rmSync(parent, { recursive: true, force: true });
    run('git', ['worktree', 'prune'], repository);
  };
  try {
    build(repository, commit.out, folder);
  } catch (error) {
    remove();
    throw error;
  }
  return { label: `${labelOf(revision)} (${commit.out.slice(0, 10)})`, folder, remove };
}

/** A build's name as records and tables hold it. @param {string} name */
const labelOf = (name) => plain(name).slice(0, most.characters - 20);

/** @param {string} repository */
function whyUnknown(repository) {
  if (run('git', ['rev-parse', '--is-shallow-repository'], repository).out !== 'true') return '';
  return (
    ', which is a shallow clone: it lacks older commits and other branches. Fetch them first: git fetch --unshallow, ' +
    'or fetch-depth: 0 for actions/checkout'
  );
}

/** @param {string} repository @param {string} commit @param {string} folder */
function build(repository, commit, folder) {
  const added = run('git', ['worktree', 'add', '--detach', '--quiet', folder, commit], repository);
  if (!added.ok) throw new UsageError(`git could not check ${commit} out:\n${added.log.trim()}`);
  lendModules(repository, folder);
  lendObjects(repository, folder);
  const setup = join('scripts', 'setup.mjs');
  if (!existsSync(join(folder, setup))) {
    throw new UsageError(`${commit.slice(0, 10)} has no ${setup}: only sigmatune's own revisions can be built`);
  }
  const built = run(process.execPath, [setup], folder);
  if (built.ok && existsSync(join(folder, 'dist', 'index.js'))) return;
  throw new UsageError(`${commit.slice(0, 10)} does not build:\n${built.log.trim().split('\n').slice(-20).join('\n')}`);
}

/** The repository's installed packages serve a revision that locks the same ones; it installs its own otherwise. */
/** @param {string} repository @param {string} folder */
function lendModules(repository, folder) {
  const lock = (/** @type {string} */ root) => {
    const file = join(root, 'package-lock.json');
    return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
  };
  const modules = join(repository, 'node_modules');
  const same = lock(folder) !== undefined && lock(folder) === lock(repository);
  if (same && existsSync(join(modules, '.package-lock.json'))) symlinkSync(modules, join(folder, 'node_modules'));
}

/**
 * The repository's object files serve a revision with the same sources, so that make compiles only the others: a file that is
 * the same in both gets the repository's date, which is before that of its objects.
 * @param {string} repository @param {string} folder
 */
function lendObjects(repository, folder) {
  const sources = join(folder, 'native');
  const objects = join(repository, 'build');
  if (!existsSync(sources) || !existsSync(objects)) return;
  cpSync(objects, join(folder, 'build'), { recursive: true, preserveTimestamps: true });
  for (const name of readdirSync(sources, { recursive: true, encoding: 'utf8' })) {
    const [mine, theirs] = [join(sources, name), join(repository, 'native', name)];
    if (!existsSync(theirs) || statSync(mine).isDirectory() || !readFileSync(mine).equals(readFileSync(theirs))) continue;
    const { atime, mtime } = statSync(theirs);
    utimesSync(mine, atime, mtime);
  }
}
