// @ts-check
import { loadRun } from '../record/files.js';
import { aloneLines, matched } from '../record/pairs.js';
import { wrongOnes } from '../record/schema.js';
import { change, markdownTable, time } from '../record/table.js';
import { escapeMarkdown } from '../record/text.js';
import { checkCount, readArguments } from './options.js';
import { print, warn } from './output.js';

export const help = `sigmatune bench compare BASE.json HEAD.json
  the change of each case from one kept run to another of the same machine, with its interval
  The two were taken at different times, in which the machine may have changed: a hint, where a gate is a proof.
  Ends with 0; with 1 if a result of the head is wrong; 3 usage.`;

/** @param {readonly string[]} args */
export async function main(args) {
  const { positionals } = readArguments(args, {});
  checkCount('compare', positionals, 2, 'two files');
  const [base, head] = positionals.map((file) => loadRun(file));
  const found = matched(base, head);
  const rows = found.pairs.map(({ name, base, head, change: { centre, low, high } }) => [
    name,
    time(base.minima.p50),
    time(head.minima.p50),
    change(centre),
    `${change(low)} to ${change(high)}`,
    low > 0 ? 'slower' : high < 0 ? 'faster' : '',
  ]);
  print(markdownTable(['case', 'base', 'head', 'change', '95 % interval', ''], rows));
  for (const line of aloneLines(found)) print(`\n${escapeMarkdown(line)}`);
  const wrong = wrongOnes(head.cases);
  for (const { name, error, bound } of wrong) warn(`WRONG: ${name}: error ${error} beyond ${bound}`);
  return wrong.length > 0 ? 1 : 0;
}
