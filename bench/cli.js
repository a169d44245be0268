#!/usr/bin/env node
// @ts-check
// The program `sigmatune bench`. The command line of the package (lib/cli) loads it; it may also be run alone.
import { createRequire } from 'node:module';
import * as compare from './commands/compare.js';
import * as exporting from './commands/export.js';
import * as gate from './commands/gate.js';
import { print, warn } from './commands/output.js';
import * as report from './commands/report.js';
import * as run from './commands/run.js';
import { UsageError } from './usage.js';

/** @type {Readonly<Record<string, { help: string, main(args: readonly string[]): Promise<number> }>>} */
const commands = { run, compare, gate, export: exporting, report };

const help = `sigmatune: singular-value fine-tuning for JavaScript

  sigmatune bench run [words]                  measures, and prints a table
  sigmatune bench compare BASE.json HEAD.json  the change between two kept runs
  sigmatune bench gate --base BUILD            is this build slower than that one?
  sigmatune bench export RUN.json              a kept run for other programs
  sigmatune bench report RUN.json              a page with plots
  sigmatune bench COMMAND --help               all of a command's options
  sigmatune --version

  Ends with 0; 1 a regression or a wrong result; 2 not decided; 3 usage, or what was asked for cannot be done;
  4 a fault of this program.`;

/** @param {readonly string[]} args @returns {Promise<number>} */
async function main([first, ...rest]) {
  if (first === undefined || first === '--help' || first === '-h') return say(help);
  if (first === '--version') return say(createRequire(import.meta.url)('../package.json').version);
  if (first !== 'bench') throw new UsageError(`no command '${first}'\n\n${help}`);
  const [name, ...args] = rest;
  if (name === undefined || name === '--help' || name === '-h') return say(help);
  if (!Object.hasOwn(commands, name)) throw new UsageError(`no command 'bench ${name}'\n\n${help}`);
  const command = commands[name];
  if (args.includes('--help') || args.includes('-h')) return say(command.help);
  return command.main(args);
}

/** @param {string} text */
function say(text) {
  print(text);
  return 0;
}

/** How the program ends after what no command expected. 1 would mean a regression. @param {unknown} error */
function fail(error) {
  warn(
    error instanceof UsageError ? `sigmatune: ${error.message}` : `sigmatune: a fault of this program\n${told(error)}`,
  );
  process.exitCode = error instanceof UsageError ? 3 : 4;
}

/** @param {unknown} error */
const told = (error) => (error instanceof Error ? (error.stack ?? error.message) : String(error));

process.on('uncaughtException', (error) => {
  fail(error);
  process.exit();
});
// A reader that has seen enough (`| head`) is no failure: the command ends as it would have. A full disk is one.
let lost = false;
process.stdout.on('error', (/** @type {NodeJS.ErrnoException} */ error) => {
  if (error.code === 'EPIPE' || lost) return;
  lost = true;
  warn(`sigmatune: stdout could not be written (${error.message})`);
});
process.stderr.on('error', () => {});
process.on('exit', () => {
  if (lost) process.exitCode = 3;
});

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  fail(error);
}
