// What every check of the packed packages needs: folders with an application, and the tools that it is tried with.
import { cpSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { root, run, SetupError } from '../../setup/run.mjs';

/** The packages under test. Not npm/, which may hold those that are to be published. */
export const npm = join(root, '.cache', 'packages');
export const tools = join(root, '.cache', 'package-tools', 'node_modules');
const apps = join(root, 'test', 'package', 'apps');

/** A path in a package of the tools. */
export const tool = (...path) => join(tools, ...path);

/** A new folder below `work` with the named files of test/package/apps and with files of the given contents. */
export function application(work, names, files = {}) {
  const folder = mkdtempSync(join(work, 'app-'));
  for (const name of names) cpSync(join(apps, name), join(folder, name));
  for (const [name, content] of Object.entries({ 'package.json': { private: true }, ...files })) {
    const text = typeof content === 'string' ? content : JSON.stringify(content, null, 2);
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

/** The packages as folders of node_modules, as npm would put them. */
export function install(folder, target) {
  const modules = join(folder, 'node_modules');
  cpSync(join(npm, 'sigmatune'), join(modules, 'sigmatune'), { recursive: true });
  cpSync(join(npm, target), join(modules, '@sigmatune', target), { recursive: true });
  cpSync(join(root, 'node_modules', 'pure-rand'), join(modules, 'pure-rand'), { recursive: true });
  return folder;
}

/** The environment without what would reach into a check from outside. */
export function environment(more = {}) {
  const kept = Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_OPTIONS|SIGMATUNE_|TAP)/i.test(name));
  return { ...Object.fromEntries(kept), NEXT_TELEMETRY_DISABLED: '1', CI: 'true', ...more };
}

/** Runs a program to its end and returns all that it wrote. `status` is what it has to end with, and `says` is in it. */
export function expect(command, args, { cwd, env = {}, status = 0, says, never }) {
  const { ok, log } = run(command, args, { cwd, env: environment(env) });
  const told = `${log}\n${[command, ...args].join(' ')} in ${cwd}`;
  if (ok !== (status === 0)) throw new SetupError(`${told}\nexpected ${status === 0 ? 'success' : 'a failure'}`);
  if (says && !says.test(log)) throw new SetupError(`${told}\nexpected ${says}`);
  if (never?.test(log)) throw new SetupError(`${told}\nexpected nothing like ${never}`);
  return log;
}

export const node = (args, options) => expect(process.execPath, args, options);

/** What test/package/apps/core.mjs and common.cjs print if all is well. */
export const works = /core ok, sigmatune \d/;
export const worksCommon = /singular values 3 2/;
