/** Every parameter count in the papers that can be reproduced, as an exact integer: fixtures/parameter-counts.json. */
import { readFileSync } from 'node:fs';
import { parameterCount, SparsityPattern, siva, svft, vectorFit } from 'sigmatune';
import t from 'tap';
import { disposeAll, gaussian, seeded, throwsSigma } from './helpers.js';
import { disposeLayer } from './layer.js';

type Method = Parameters<typeof parameterCount>[0];

/** A method as the file writes it: null where nothing is set, and what the package does not count. */
interface WrittenMethod {
  readonly name: string;
  readonly rank?: number | null;
  readonly sigma?: boolean;
  readonly bias?: boolean;
  readonly biasTargets?: readonly string[];
  readonly n?: number;
}

interface Row {
  readonly source: string;
  readonly model: string;
  readonly method: WrittenMethod;
  readonly targets: readonly string[];
  readonly printed: string;
  readonly expected: number;
}

interface Slip extends Omit<Row, 'expected'> {
  readonly computed: number;
  readonly reason: string;
}

interface CountFile {
  readonly models: Readonly<
    Record<string, { layers: number; modules: Record<string, readonly [out: number, inFeatures: number]> }>
  >;
  readonly rows: readonly Row[];
  readonly nonMatches: readonly Slip[];
}

const file: CountFile = JSON.parse(readFileSync(new URL('fixtures/parameter-counts.json', import.meta.url), 'utf8'));

function modulesOf(model: string, targets: readonly string[]): { out: number; in: number; count: number }[] {
  const found = file.models[model];
  if (!found) throw new Error(`no model ${model}`);
  return targets.map((target) => {
    const shape = found.modules[target];
    if (!shape) throw new Error(`no module ${target} in ${model}`);
    return { out: shape[0], in: shape[1], count: found.layers };
  });
}

function count({ model, method, targets }: Omit<Row, 'expected'>): number {
  const { biasTargets, rank, ...rest } = method;
  if (biasTargets) {
    // σ of some modules and the biases of others: two counts, as two sets of layers train them.
    const sigma = parameterCount({ name: 'vectorfit', sigma: true, bias: false }, modulesOf(model, targets));
    return sigma + parameterCount({ name: 'vectorfit', sigma: false, bias: true }, modulesOf(model, biasTargets));
  }
  const written = { ...rest, ...(rank ? { rank } : {}) } as unknown as Method;
  return parameterCount(written, modulesOf(model, targets));
}

t.test('rows that the papers print', async (t) => {
  let counted = 0;
  for (const row of file.rows) {
    // FourierFT stands in SiVA's tables for comparison: n a module, no count of this package.
    if (row.method.name === 'fourierft') {
      const modules = modulesOf(row.model, row.targets).reduce((sum, { count: layers }) => sum + layers, 0);
      t.equal((row.method.n ?? 0) * modules, row.expected, `${row.source}: FourierFT`);
      continue;
    }
    counted++;
    t.equal(
      count(row),
      row.expected,
      `${row.source}: ${row.model}, ${JSON.stringify(row.method)}, printed ${row.printed}`,
    );
  }
  t.equal(counted, 140, 'no row is left out');
});

t.test('rows that the papers got wrong', async (t) => {
  for (const row of file.nonMatches) {
    t.equal(
      count(row),
      row.computed,
      `${row.source}: ${row.model}, ${JSON.stringify(row.method)}, printed ${row.printed}`,
    );
  }
  t.equal(file.nonMatches.length, 31, 'no row is left out');
});

t.test('defaults', async (t) => {
  const square = [{ out: 10, in: 10 }];
  t.equal(parameterCount({ name: 'svft', pattern: 'plain' }, square), 11, 'svft: a gate, unless told otherwise');
  t.equal(parameterCount({ name: 'svft', pattern: 'plain', gate: false }, square), 10);
  t.equal(
    parameterCount({ name: 'svft', pattern: 'banded', offDiagonals: 30 }, square),
    101,
    'a band is clipped to the core',
  );
  t.equal(parameterCount({ name: 'svft', pattern: 'banded', offDiagonals: 1, rank: 4 }, [{ out: 10, in: 7 }]), 11);
  t.equal(
    parameterCount({ name: 'svft', pattern: 'plain', rank: 40 }, [{ out: 10, in: 7 }]),
    8,
    'a rank above min(out, in) does not count',
  );
  t.equal(parameterCount({ name: 'vectorfit' }, [{ out: 10, in: 7 }]), 17, 'vectorfit: σ and the bias');
  t.equal(parameterCount({ name: 'lora', r: 2 }, [{ out: 10, in: 7, count: 3 }]), 102, 'count multiplies');
  t.equal(parameterCount({ name: 'lora', r: 2 }, []), 0, 'no modules');
});

t.test('a count is what a layer trains', async (t) => {
  for (const [out, inFeatures] of [
    [12, 12],
    [15, 6],
    [6, 15],
  ] as const) {
    const modules = [{ out, in: inFeatures }];
    const weight = gaussian(seeded(1), [out, inFeatures], 'float32');
    const bias = gaussian(seeded(2), [out], 'float32');
    for (const [pattern, offDiagonals] of [
      ['plain', 0],
      ['banded', 2],
      ['random', 2],
      ['banded', 9],
    ] as const) {
      for (const gate of [true, false]) {
        for (const rank of [undefined, 4]) {
          const options = { pattern, offDiagonals, gate, ...(rank && { rank }) };
          const layer = await svft(weight, { ...options, seed: 1 });
          const label = `${out} × ${inFeatures}, ${JSON.stringify(options)}`;
          t.equal(layer.parameterCount, parameterCount({ name: 'svft', ...options }, modules), label);
          disposeLayer(layer);
        }
      }
    }
    const fit = await vectorFit(weight, { bias });
    t.equal(fit.parameterCount, parameterCount({ name: 'vectorfit' }, modules), `${out} × ${inFeatures}, vectorfit`);
    const lowest = await siva(weight, { count: 3 });
    t.equal(lowest.parameterCount, 3, 'siva: k');
    disposeLayer(fit);
    disposeLayer(lowest);
    disposeAll(weight, bias);
  }
  t.equal(SparsityPattern.banded(2048, 16).entries, 2048 * 33 - 16 * 17, 'z(n, d) = n(2d + 1) − d(d + 1)');
});

t.test('what parameterCount does not take', async (t) => {
  const modules = [{ out: 4, in: 4 }];
  const loose = parameterCount as (method: unknown, modules: unknown) => number;
  t.equal(parameterCount({ name: 'svft', pattern: 'plain', offDiagonals: 2 }, modules), 5, 'a diagonal has no width');
  throwsSigma(
    t,
    () => loose({ name: 'fourierft', n: 10 }, modules),
    'INVALID_ARGUMENT',
    'an unknown method',
    'fourierft',
  );
  throwsSigma(
    t,
    () => loose({ name: 'svft', pattern: 'dense' }, modules),
    'INVALID_ARGUMENT',
    'an unknown pattern',
    'pattern',
    'dense',
  );
  throwsSigma(t, () => loose({ name: 'lora', r: 0.5 }, modules), 'INVALID_ARGUMENT', 'a fraction', 'r', '0.5');
  throwsSigma(t, () => loose({ name: 'lora' }, modules), 'INVALID_ARGUMENT', 'no rank', 'r');
  throwsSigma(
    t,
    () => loose({ name: 'lora', r: 1 }, [{ out: 0, in: 4 }]),
    'INVALID_ARGUMENT',
    'a zero size',
    'out',
    '0',
  );
  throwsSigma(
    t,
    () => loose({ name: 'lora', r: 1 }, [{ out: 4, in: 4, count: -1 }]),
    'INVALID_ARGUMENT',
    'a negative count',
    'count',
    '-1',
  );
  throwsSigma(t, () => loose({ name: 'lora', r: 1 }, 'q'), 'INVALID_ARGUMENT', 'no list', 'modules');
  throwsSigma(t, () => loose(undefined, modules), 'INVALID_ARGUMENT', 'no method', 'method');
});
