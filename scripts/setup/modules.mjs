// node_modules, as package-lock.json has it.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { must, root, step } from './run.mjs';

export function installModules() {
  if (areInstalled()) return;
  // No package's install script is needed, our own included: the addon is built by the next step.
  step('installing npm packages', () => must('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund']));
}

/** The lock file's entry of one package. */
export function locked(name) {
  return packagesIn(join(root, 'package-lock.json'))[`node_modules/${name}`];
}

/** npm leaves a lock file of what it has installed when it is done. Packages for other platforms may be absent there. */
function areInstalled() {
  let installed;
  try {
    installed = packagesIn(join(root, 'node_modules', '.package-lock.json'));
  } catch {
    return false;
  }
  const wanted = packagesIn(join(root, 'package-lock.json'));
  return Object.entries(wanted).every(([path, { version, optional }]) => {
    if (path === '') return true;
    return installed[path] ? installed[path].version === version : optional === true;
  });
}

function packagesIn(path) {
  return JSON.parse(readFileSync(path, 'utf8')).packages;
}
