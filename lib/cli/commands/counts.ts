import { type CountedMethod, type CountedModule, type ModelOptions, parameterCount, planModel } from '../../index.js';
import { reasonOf, SigmaError } from '../../runtime/errors.js';
import { readValue } from '../arguments.js';
import { fileHelp, withWeights } from '../checkpoint.js';
import { command } from '../command.js';
import { UsageError } from '../failures.js';
import { readSelection, type Selection, targetOptions } from '../selection.js';
import type { Session } from '../session.js';
import { table } from '../table.js';
import { count, percent } from '../text.js';

/** What is compared if no method is named. */
const usual = [
  'svft:pattern=plain',
  'svft:pattern=banded,offDiagonals=2',
  'svft:pattern=banded,offDiagonals=8',
  'vectorfit',
  'lora:r=1',
  'lora:r=8',
  'dora:r=8',
  'vera:r=256',
  'boft:m=2,b=8',
];

export default command({
  usage: 'counts [FILE] [--shape OUTxIN[:COUNT]]… [--method NAME:OPTIONS]… [options]',
  about: `Compares how many parameters methods train on the same modules, by the formulas of their papers.\n${fileHelp}`,
  positionals: ['[FILE]'],
  options: {
    shape: {
      type: 'string',
      value: 'OUTxIN[:COUNT]',
      multiple: true,
      about: 'layers of this shape instead of a FILE: 4096x1024, or 4096x1024:32 for 32 of them',
    },
    method: {
      type: 'string',
      value: 'NAME:OPTIONS',
      multiple: true,
      about: `such as lora:r=8, svft:pattern=banded,offDiagonals=2, vectorfit:bias=false, boft:m=2,b=8; default: ${usual.length} usual ones`,
    },
    ...targetOptions,
  },
  example: 'sigmatune counts --shape 768x768:24 --method lora:r=8 --method svft:pattern=banded,offDiagonals=2',

  async run(session, [file], { shape, method, ...targets }) {
    const selection = await readSelection(targets, session.signal);
    if (file === undefined && shape.length === 0) throw new UsageError('expected a FILE or --shape, got neither');
    if (file !== undefined && shape.length > 0) throw new UsageError('expected a FILE or --shape, got both');
    if (file === undefined && Object.keys(selection).length > 0) {
      throw new UsageError('expected a FILE with the options that choose modules, got --shape');
    }
    const methods = (method.length > 0 ? method : usual).map((text) => [text, readMethod(text)] as const);
    const modules = file === undefined ? shape.map(readShape) : await modulesOf(session, file, selection);
    const weights = modules.reduce((sum, each) => sum + each.out * each.in * (('count' in each && each.count) || 1), 0);
    const rows = methods.map(([name, each]) => ({ method: name, parameters: counted(name, each, modules) }));
    session.answer({ modules: modules.length, weights, methods: rows }, () =>
      table(
        [
          { title: 'method', cell: (row) => row.method },
          { title: 'parameters', number: true, cell: (row) => count(row.parameters) },
          { title: `of ${count(weights)}`, number: true, cell: (row) => percent(row.parameters / weights) },
        ],
        rows,
      ),
    );
  },
});

function modulesOf({ signal }: Session, file: string, selection: Selection): Promise<readonly CountedModule[]> {
  // A family whose count needs no options and no singular values: only the shapes are used.
  const options = { targets: 'all', ...selection, family: 'svdiff', options: {} } as ModelOptions;
  return withWeights(file, signal, async (weights) => planModel(weights, options));
}

function readShape(text: string): CountedModule {
  const [, out, inFeatures, times] = /^(\d+)x(\d+)(?::(\d+))?$/.exec(text) ?? [];
  const [rows, columns, many] = [Number(out), Number(inFeatures), times === undefined ? 1 : Number(times)];
  if (rows >= 1 && columns >= 1 && many >= 1) return { out: rows, in: columns, count: many };
  throw new UsageError(`--shape: expected OUTxIN or OUTxIN:COUNT, such as 4096x1024:32, got '${text}'`);
}

/** `svft:pattern=banded,offDiagonals=2` */
function readMethod(text: string): CountedMethod {
  const [name = '', ...rest] = text.split(':');
  const list = rest.join(':');
  const pairs = list === '' ? [] : list.split(',').map((pair) => pair.split('='));
  if (pairs.some(({ length }) => length !== 2)) {
    throw new UsageError(`--method: expected NAME:OPTION=VALUE,OPTION=VALUE, got '${text}'`);
  }
  return { name, ...Object.fromEntries(pairs.map(([key, value = '']) => [key, readValue(value)])) } as CountedMethod;
}

function counted(name: string, method: CountedMethod, modules: readonly CountedModule[]): number {
  try {
    return parameterCount(method, modules);
  } catch (error) {
    if (!(error instanceof SigmaError)) throw error;
    throw new UsageError(`--method ${name}, ${reasonOf(error)}`);
  }
}
