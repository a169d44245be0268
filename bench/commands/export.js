// @ts-check
import { formats } from '../record/exports.js';
import { loadRun, writeWhole } from '../record/files.js';
import { UsageError } from '../usage.js';
import { checkCount, readArguments } from './options.js';

export const help = `sigmatune bench export RUN.json --format FORMAT [--out FILE]
  a kept run in another form
  github     github-action-benchmark's customSmallerIsBetter
  bencher    Bencher's metric format
  markdown   a table, for a job's summary
  Ends with 0; 3 usage.`;

/** @param {readonly string[]} args */
export async function main(args) {
  const { values, positionals } = readArguments(args, { format: { type: 'string' }, out: { type: 'string' } });
  checkCount('export', positionals, 1, 'one file');
  const { format } = values;
  if (format === undefined || !Object.hasOwn(formats, format)) {
    throw new UsageError(`--format: expected ${Object.keys(formats).join(', ')}, got ${format ?? 'nothing'}`);
  }
  const text = formats[format](loadRun(positionals[0]));
  if (values.out === undefined) process.stdout.write(text);
  else writeWhole(values.out, text);
  return 0;
}
