/** Every parameter count in the papers that can be reproduced, as an exact integer: fixtures/parameter-counts.json. */
import { readFileSync } from 'node:fs';
import { parameterCount, SparsityPattern, siva, svft, vectorFit } from 'sigmatune';
import t from 'tap';
import { disposeAll, gaussian, seeded, throwsSigma } from '../support/helpers.js';
import { disposeLayer } from '../support/layer.js';

type Method = Parameters<typeof parameterCount>[0];

/** A method as the file writes it: null if not set. It includes methods that `parameterCount` does not count. */
interface WrittenMethod {
  readonly name: string;
  readonly rank?: number | null;
  readonly sigma?: boolean;
  readonly bias?: boolean;
  readonly biasTargets?: readonly string[];
  readonly n?: number;
  readonly d?: number;
}

interface Row {
  readonly source: string;
  readonly model: string;
  readonly method: WrittenMethod;
  readonly targets: readonly string[];
  readonly printed: string;
  readonly expected: number;
  readonly printedOf?: number;
}

interface Slip extends Omit<Row, 'expected'> {
  readonly computed: number;
  readonly reason: string;
}

/** A count that VectorFit prints, with linear biases only and with two LayerNorm biases for each layer. */
interface AmbiguousRow {
  readonly source: string;
  readonly printed: string;
  readonly sigma: readonly string[];
  readonly bias: readonly string[];
  readonly linear: number;
  readonly layerNorm: number;
}

interface Ratio {
  readonly claim: string;
  readonly quotient: readonly [number, number] | null;
  readonly computed: string;
}

interface CountFile {
  readonly models: Readonly<
    Record<string, { layers: number; modules: Record<string, readonly [out: number, inFeatures: number]> }>
  >;
  readonly rows: readonly Row[];
  readonly nonMatches: readonly Slip[];
  readonly ambiguous: { readonly model: string; readonly total: number; readonly rows: readonly AmbiguousRow[] };
  readonly ratios: readonly Ratio[];
}

const file: CountFile = JSON.parse(readFileSync(new URL('../fixtures/parameter-counts.json', import.meta.url), 'utf8'));

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
  const { biasTargets, rank, d = 0, n = 0, ...rest } = method;
  const modules = modulesOf(model, targets);
  const sum = (each: (out: number) => number) => modules.reduce((all, { out, count }) => all + count * each(out), 0);
  // Baselines that `parameterCount` does not count: n numbers per module; two linear layers with biases after a module.
  if (method.name === 'fourierft') return sum(() => n);
  if (method.name === 'houlsby' || method.name === 'pfeiffer') return sum((out) => 2 * d * out + d + out);
  if (biasTargets) {
    // σ of some modules and the biases of others: the sum of two counts.
    const sigma = parameterCount({ name: 'vectorfit', sigma: true, bias: false }, modules);
    return sigma + parameterCount({ name: 'vectorfit', sigma: false, bias: true }, modulesOf(model, biasTargets));
  }
  const written = { ...rest, ...(rank ? { rank } : {}) } as unknown as Method;
  return parameterCount(written, modules);
}

/** A number rounded and truncated, with the decimals and the unit of `printed`. */
function printsOf(number: number, printed: string, total = Number.NaN): { rounded: string; truncated: string } {
  const [, digits = '', decimals = '', unit = ''] = /^(\d+\.?(\d*))([KM%])$/.exec(printed) ?? [];
  if (digits === '') throw new Error(`${printed} is no number with a unit`);
  const scaled = unit === '%' ? (100 * number) / total : number / (unit === 'K' ? 1e3 : 1e6);
  const power = 10 ** decimals.length;
  const text = (whole: number) => `${(whole / power).toFixed(decimals.length)}${unit}`;
  return { rounded: text(Math.round(scaled * power)), truncated: text(Math.floor(scaled * power)) };
}

const labelOf = ({ source, model, method, printed }: Omit<Row, 'expected'>) =>
  `${source}: ${model}, ${JSON.stringify(method)}, printed ${printed}`;

t.test('counts that follow from the shapes, rounded or truncated in print', async (t) => {
  for (const row of file.rows) {
    t.equal(count(row), row.expected, labelOf(row));
    const { rounded, truncated } = printsOf(row.expected, row.printed, row.printedOf);
    t.ok([rounded, truncated].includes(row.printed), `${labelOf(row)}: ${rounded} or ${truncated}`);
  }
  t.equal(file.rows.length, 154, 'no row is left out');
});

t.test('counts that do not follow from the shapes', async (t) => {
  for (const row of file.nonMatches) {
    t.equal(count(row), row.computed, labelOf(row));
    const { rounded, truncated } = printsOf(row.computed, row.printed, row.printedOf);
    t.notOk([rounded, truncated].includes(row.printed), `${labelOf(row)}: ${rounded} or ${truncated}`);
  }
  t.equal(file.nonMatches.length, 32, 'no row is left out');
});

t.test(
  "VectorFit's five prints fit two LayerNorm biases a layer, truncated; two of them fit linear biases",
  async (t) => {
    const { model, total, rows } = file.ambiguous;
    let fitting = 0;
    for (const { source, printed, sigma, bias, linear, layerNorm } of rows) {
      const method = { name: 'vectorfit', biasTargets: bias };
      t.equal(count({ source, model, method, targets: sigma, printed }), linear, `${source}: ${printed}`);
      const norms = bias.length === 0 ? [] : modulesOf(model, ['o', 'f2']); // each LayerNorm follows one of these
      t.equal(
        norms.reduce((sum, norm) => sum + norm.count * norm.out, linear),
        layerNorm,
        'with LayerNorm biases',
      );
      t.equal(printsOf(layerNorm, printed, total).truncated, printed, `${source}: ${printed}, truncated`);
      if (printsOf(linear, printed, 184e6).rounded === printed) fitting++;
    }
    t.equal(rows.length, 5);
    t.equal(fitting, 2, 'the linear biases alone, rounded: 0.08 % and 0.07 %');
  },
);

t.test('ratios that contradict the tables of the same paper', async (t) => {
  for (const { claim, quotient, computed } of file.ratios) {
    if (quotient) t.equal(`${((100 * quotient[0]) / quotient[1]).toFixed(2)}%`, computed, claim);
  }
  // VectorFit's thin U and V have out · r + in · r numbers, r² more than the weight.
  const modules = modulesOf('deberta-v3-base', ['q', 'k', 'v', 'o', 'f1', 'f2']);
  const factors = modules.reduce(
    (sum, { out, in: inFeatures, count }) => sum + count * Math.min(out, inFeatures) ** 2,
    0,
  );
  const sigma = parameterCount({ name: 'vectorfit', bias: false }, modules);
  const lora = parameterCount({ name: 'lora', r: 1 }, modules);
  t.same([factors + sigma - lora, 183_831_552 + lora], file.ratios[2]?.quotient, 'VectorFit next to LoRA r = 1');
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

t.test('parameterCount equals the parameterCount of a layer', async (t) => {
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

t.test('parameterCount refuses invalid arguments', async (t) => {
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
