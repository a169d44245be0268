#!/usr/bin/env node
// The program `sigmatune`: finds the command, runs it, and says how it ended.
import { nearest } from '../runtime/nearest.js';
import { version } from '../runtime/version.js';
import { parse } from './arguments.js';
import { helpOf } from './command.js';
import { UsageError } from './failures.js';
import { running } from './process.js';
import { bench, commands } from './registry.js';
import { Session } from './session.js';

function help(): string {
  const rows = [...Object.entries(commands), [bench.name, bench] as const];
  const widest = Math.max(...rows.map(([name]) => name.length));
  return [
    'sigmatune: singular-value fine-tuning of the weights in files',
    '',
    ...rows.map(([name, { summary }]) => `  ${name.padEnd(widest)}  ${summary}`),
    '',
    'sigmatune COMMAND --help shows the options of a command and an example; sigmatune --version the version.',
    '',
    'Exit codes: 0 done; 1 it cannot be done; 2 the command line is not understood; 4 a fault of this program;',
    '130 stopped by Ctrl-C, 143 by SIGTERM. sigmatune bench has codes of its own.',
  ].join('\n');
}

async function main([name, ...args]: readonly string[]): Promise<void> {
  if (name === undefined || name === '--help' || name === '-h') return say(help());
  if (name === '--version') return say(version);
  if (name === 'help') return args[0] === undefined ? say(help()) : main([args[0], '--help']);
  if (name === bench.name) return runBench(args);
  await runCommand(name, args);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** The program of the benchmarks reads the command line itself, and ends the process as it always has. */
async function runBench(args: readonly string[]): Promise<void> {
  process.argv = [...process.argv.slice(0, 2), bench.name, ...args];
  await import(bench.url);
}

async function runCommand(name: string, args: readonly string[]): Promise<void> {
  const entry = Object.hasOwn(commands, name) ? commands[name] : undefined;
  const program = entry === undefined ? 'sigmatune' : `sigmatune ${name}`;
  const json = args.includes('--json');
  const optionNames: string[] = [];
  await running({ program, json, optionNames }, async (signal) => {
    if (entry === undefined) throw new UsageError(unknown(name));
    const { default: command } = await entry.load();
    optionNames.push(...Object.keys(command.options));
    const { positionals, values } = parse(command, args);
    if (values['help'] === true) return say(helpOf(command));
    await command.run(new Session(signal, { json, quiet: values['quiet'] === true }), positionals, values);
  });
}

function unknown(name: string): string {
  const meant = nearest(name, [...Object.keys(commands), bench.name]);
  return `no command '${name}'${meant === undefined ? '' : `; did you mean '${meant}'?`}`;
}

await main(process.argv.slice(2));
