#!/usr/bin/env node
// @ts-check
// The program `sigmatune`.
import { createRequire } from 'node:module';
import * as compare from './commands/compare.js';
import * as exporting from './commands/export.js';
import * as gate from './commands/gate.js';
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
  sigmatune --version`;

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
  console.log(text);
  return 0;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  console.error(`sigmatune: ${error.message}`);
  process.exitCode = 3;
}
