/** docs/choosing.md: the table of parameter counts is what `planModel` and `parameterCount` say. */
import { readFileSync } from 'node:fs';
import { type ModelOptions, parameterCount, planModel } from 'sigmatune';
import t from 'tap';

const root = new URL('../../', import.meta.url);
const page = readFileSync(new URL('docs/choosing.md', root), 'utf8');
const fixture = readFileSync(new URL('test/fixtures/parameter-counts.json', root), 'utf8');
const {
  models,
}: { models: Record<string, { layers: number; modules: Record<string, [out: number, inputs: number]> }> } =
  JSON.parse(fixture);

const sets: Record<string, readonly string[]> = { QV: ['q', 'v'], UDOG: ['up', 'down', 'o', 'gate'] };

/** The columns of the table: a family and its options, or the rank of a LoRA. */
const columns: Record<string, Pick<ModelOptions, 'family' | 'options'> | number> = {
  'LoRA r = 1': 1,
  'LoRA r = 8': 8,
  'SVFT plain': { family: 'svft', options: { pattern: 'plain' } },
  'SVFT d = 2': { family: 'svft', options: { pattern: 'banded', offDiagonals: 2 } },
  'SVFT d = 16': { family: 'svft', options: { pattern: 'banded', offDiagonals: 16 } },
  VectorFit: { family: 'vectorfit' },
  SVDiff: { family: 'svdiff' },
  'LoRA-XS k = 16': { family: 'loraxs', options: { rank: 16 } },
  'LoRA-XS k = 64': { family: 'loraxs', options: { rank: 64 } },
};

/** The numbers that train in the modules of a set. The encoders, whose MLP is f1 and f2, have biases. */
function countOf(name: string, set: string, method: (typeof columns)[string]): number {
  const { layers = 0, modules = {} } = models[name] ?? {};
  const chosen = Object.entries(modules).filter(([module]) => set === 'all' || sets[set]?.includes(module));
  if (typeof method === 'number') {
    const list = chosen.map(([, [out, inputs]]) => ({ out, in: inputs, count: layers }));
    return parameterCount({ name: 'lora', r: method }, list);
  }
  const shapes = chosen.flatMap(([module, shape]): [string, number[]][] => [
    [`${module}.weight`, shape],
    ...('f1' in modules ? [[`${module}.bias`, [shape[0]]] as [string, number[]]] : []),
  ]);
  const rows = planModel(Object.fromEntries(shapes), { targets: 'all', ...method });
  return layers * rows.reduce((sum, { parameters }) => sum + parameters, 0);
}

t.test('the parameter counts of docs/choosing.md are exact', async (t) => {
  const [, head = '', body = ''] = /^\| model \| modules \| (.*) \|\n\|[-|]*\|\n((?:\|.*\n)+)/m.exec(page) ?? [];
  t.same(head.split(' | '), Object.keys(columns));
  const rows = body.trim().split('\n');
  t.ok(rows.length > 5);
  for (const row of rows) {
    const [name = '', set = '', ...counts] = row.slice(2, -2).split(' | ');
    const exact = Object.values(columns).map((method) => countOf(name, set, method).toLocaleString('en-US'));
    t.same(counts, exact, `${name}, ${set}`);
  }
});
