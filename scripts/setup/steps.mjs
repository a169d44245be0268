// The order of the steps, for every script that needs the package to run.
import { addonIsStale, buildAddon, standard } from './addon.mjs';
import { alone } from './lock.mjs';
import { installModules } from './modules.mjs';
import { checkNode } from './node.mjs';
import { SetupError } from './run.mjs';
import { ensureSystem, forAddon } from './system.mjs';
import { compileTypeScript } from './typescript.mjs';

/** Makes whatever is not up to date, while no other process does. */
export function setup() {
  checkNode();
  alone(() => {
    // Before the half minute that npm takes: what only the user can mend should be said at once.
    if (addonIsStale(standard)) ensureSystem(forAddon);
    installModules();
    buildAddon(standard);
    compileTypeScript();
  });
}

/** Runs a script's work; a failure the user can act on is told without a stack. */
export async function main(work) {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`\n${error.message}\n`);
    process.exitCode = error.exitCode;
  }
}
