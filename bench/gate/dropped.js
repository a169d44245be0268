// @ts-check
// The cases that the base has and this gate does not measure: a change must not pass by taking a case away.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { most } from '../record/checks.js';
import { plain } from '../record/text.js';

/** @typedef {import('./gate.js').CaseResult} CaseResult */

/**
 * The names that the base's own program gives for the same words; undefined if it cannot tell.
 * @param {string} folder of the base @param {readonly string[]} words @param {{ short: boolean }} options
 * @returns {string[] | undefined}
 */
export function casesOf(folder, words, { short }) {
  const cli = join(folder, 'bench', 'cli.js');
  if (!existsSync(cli)) return undefined;
  const { NODE_OPTIONS: _, ...env } = process.env;
  const args = [cli, 'bench', 'run', '--list', ...(short ? ['--short'] : []), '--', ...words];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { env, encoding: 'utf8', timeout: 60_000 });
  if (status === 3 && /^sigmatune: no (short )?case has /.test(stderr)) return [];
  if (status !== 0) return undefined;
  const lines = stdout.split('\n').filter((line) => line !== '');
  return lines.slice(0, most.cases).map((line) => plain(line).slice(0, most.characters));
}

/** @param {readonly string[]} ofBase @param {readonly { name: string }[]} measured @returns {CaseResult[]} */
export function droppedCases(ofBase, measured) {
  const names = new Set(measured.map(({ name }) => name));
  return [...new Set(ofBase)]
    .filter((name) => !names.has(name))
    .map((name) => ({ name, verdict: 'dropped', note: '', error: null, bound: null, judgement: null, rounds: [] }));
}
