// @ts-check
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { shellWord } from './text.js';

const cli = fileURLToPath(new URL('../cli.js', import.meta.url));

function program() {
  const path = relative(process.cwd(), cli);
  return path.startsWith('..') ? cli : path;
}

/**
 * What a shell needs to measure these cases alone again.
 * @param {'run' | 'gate'} command @param {readonly string[]} names @param {Readonly<Record<string, string | number | undefined>>} [options]
 */
export function rerunCommand(command, names, options = {}) {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return [
    'node',
    program(),
    'bench',
    command,
    ...given.map(([name, value]) => `--${name}=${value}`),
    ...names.map((name) => `--case=${name}`),
  ]
    .map(shellWord)
    .join(' ');
}
