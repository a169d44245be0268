import { type ModelOptions, type ModuleRow, planModel } from '../../index.js';
import { required } from '../arguments.js';
import { fileHelp, othersRemark, sizeOf, withWeights } from '../checkpoint.js';
import { command } from '../command.js';
import { familyOptions, readSelection, targetOptions } from '../selection.js';
import { type Column, table } from '../table.js';
import { bytes, count, percent, several, shape } from '../text.js';

export default command({
  usage: 'plan FILE --targets NAMES --family NAME [options]',
  about: `Shows what would be adapted and how many numbers would train. It reads shapes only, no weights.\n${fileHelp}`,
  positionals: ['FILE'],
  options: { ...targetOptions, ...familyOptions },
  example:
    'sigmatune plan model.safetensors --preset llama:QV --family svft --option pattern=banded --option offDiagonals=2',

  async run(session, [file], values) {
    const selection = await readSelection(values, session.signal);
    if (selection.targets === undefined) required('targets', targetOptions.targets, undefined);
    if (selection.family === undefined) required('family', familyOptions.family, undefined);
    const { modules, numbers, others } = await withWeights(file, session.signal, async (weights) => {
      return { modules: planModel(weights, selection as ModelOptions), ...sizeOf(weights) };
    });
    const totals = totalsOf(modules, numbers);
    session.answer({ modules, totals }, () => [...table(columns, modules), '', summaryOf(modules, totals)]);
    if (others > 0) session.remark(othersRemark(others));
    if (Number.isNaN(totals.parameters)) {
      session.remark('? depends on the singular values: --option count=K gives every module K parameters.');
    }
  },
});

interface Totals {
  readonly modules: number;
  readonly parameters: number;
  /** Of the layers. */
  readonly bytes: number;
  /** Numbers in the weights that are adapted. */
  readonly adapted: number;
  /** Numbers in all weights of the file. */
  readonly model: number;
}

function totalsOf(modules: readonly ModuleRow[], model: number): Totals {
  const sum = (numbers: readonly number[]) => numbers.reduce((total, each) => total + each, 0);
  return {
    modules: modules.length,
    parameters: sum(modules.map(({ parameters }) => parameters)),
    bytes: sum(modules.map((module) => module.bytes)),
    adapted: sum(modules.map((module) => module.out * module.in)),
    model,
  };
}

const columns: readonly Column<ModuleRow>[] = [
  { title: 'module', cell: ({ name }) => name },
  { title: 'out × in', number: true, cell: (row) => shape([row.out, row.in]) },
  { title: 'family', cell: ({ family }) => family },
  { title: 'parameters', number: true, cell: ({ parameters }) => count(parameters) },
  { title: 'memory', number: true, cell: (row) => bytes(row.bytes) },
];

function summaryOf(modules: readonly ModuleRow[], totals: Totals): string {
  const { parameters, adapted, model } = totals;
  const families = [...new Set(modules.map(({ family }) => family))].join(', ');
  return [
    `${several(totals.modules, 'module')} (${families}): ${count(parameters)} parameters,`,
    `${percent(parameters / adapted)} of their weights and ${percent(parameters / model)} of all ${count(model)} numbers;`,
    `${bytes(totals.bytes)} of layers`,
  ].join(' ');
}
