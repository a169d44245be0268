/**
 * Recorded outputs of the public SVFT implementation, for its patterns, ranks and fills: fixtures/svft-recorded.json,
 * made by scripts/fixtures.
 */
import { readFileSync } from 'node:fs';
import { SparsityPattern, type Svd, type SvftOptions, svft, type Tensor } from 'sigmatune';
import t from 'tap';
import {
  assertClose,
  type Check,
  disposeAll,
  disposeSvd,
  expectNoLeak,
  item,
  real,
  rejectsSigma,
  type Tolerance,
} from '../support/helpers.js';
import { disposeLayer, parameter } from '../support/layer.js';
import * as reference from '../support/reference.js';
import { inSlotOrder, type RecordedCase } from '../support/svft-core.js';

interface Case extends RecordedCase {
  readonly pattern: 'banded' | 'random' | 'top_k';
  readonly d: number;
  /** The directions beyond `rank` were replaced by random orthonormal ones of σ = 0. */
  readonly fill: boolean;
  readonly rank: number | null;
  /** Number of directions in use, the length of `s`. */
  readonly coreSize: number;
  readonly bias: readonly number[] | null;
}

const { cases }: { readonly cases: readonly Case[] } = JSON.parse(
  readFileSync(new URL('../fixtures/svft-recorded.json', import.meta.url), 'utf8'),
);
const tolerance: Tolerance = { atol: 1e-9, rtol: 0 };

const thin = ({ out, inp }: Case): number => Math.min(out, inp);
/** Whether the factors reproduce the weight: none was dropped or replaced. */
const complete = (entry: Case): boolean => (entry.rank ?? thin(entry)) === thin(entry);
const filled = (entry: Case): boolean => entry.fill && !complete(entry);
const patternOf = ({ rows, cols, coreSize }: Case): SparsityPattern =>
  SparsityPattern.fromCoordinates(rows, cols, coreSize);

/** The recorded operator, with the values of M in CSR order. */
function operatorOf(entry: Case, m: ArrayLike<number>, gate: number): reference.Operator {
  const { out, inp, coreSize } = entry;
  return {
    u: reference.matrix(out, coreSize, entry.u),
    vt: reference.matrix(coreSize, inp, entry.vt),
    sigma: entry.s,
    m: { pattern: patternOf(entry), values: Float64Array.from(m) },
    gate,
    ...(entry.bias && { bias: entry.bias }),
  };
}

interface Bench extends Disposable {
  readonly weight: Tensor;
  readonly factors: Svd;
  readonly bias: { readonly bias?: Tensor };
}

function benchOf({ out, inp, coreSize, ...entry }: Case): Bench {
  const weight = real(entry.weight, [out, inp], 'float64');
  const factors: Svd = {
    u: real(entry.u, [out, coreSize], 'float64'),
    s: real(entry.s, [coreSize], 'float64'),
    vt: real(entry.vt, [coreSize, inp], 'float64'),
  };
  const bias = entry.bias && real(entry.bias, [out], 'float64');
  return {
    weight,
    factors,
    bias: bias ? { bias } : {},
    [Symbol.dispose]() {
      disposeAll(weight, bias);
      disposeSvd(factors);
    },
  };
}

/** Builds the layer on the recorded pattern and factors, and compares everything that was recorded. */
async function replay(t: Check, entry: Case, options: SvftOptions): Promise<void> {
  const { out, inp, tokens } = entry;
  const bench = benchOf(entry);
  const x = real(entry.x, [tokens, inp], 'float64');
  const dy = real(entry.dy, [tokens, out], 'float64');
  const pattern = patternOf(entry);
  const init = { m: inSlotOrder(pattern, entry.values), gate: entry.gate };
  const layer = await svft(bench.weight, { ...bench.bias, factors: bench.factors, pattern, init, ...options });

  const applied = layer.apply(x);
  const pass = layer.forward(x);
  const dx = pass.backward(dy);
  const merged = layer.mergedWeight();
  t.equal(layer.rank, entry.coreSize, 'the directions in use');
  assertClose(t, applied, entry.y, tolerance, 'y, applied');
  assertClose(t, pass.y, entry.y, tolerance, 'y');
  assertClose(t, dx, entry.dx, tolerance, 'dx');
  assertClose(t, parameter(layer, 'm').grad ?? [], inSlotOrder(pattern, entry.dvalues), tolerance, 'dvalues');
  assertClose(t, parameter(layer, 'gate').grad ?? [], entry.dgate, tolerance, 'dgate');
  assertClose(t, merged, entry.merged, tolerance, 'merged');

  disposeAll(bench, applied, pass.y, pass, dx, merged, x, dy);
  disposeLayer(layer);
}

t.test('the fixture covers every pattern, rank and fill', async (t) => {
  for (const pattern of ['banded', 'random', 'top_k']) {
    const of = cases.filter((entry) => entry.pattern === pattern);
    const shapes = new Set(of.filter(complete).map(({ out, inp }) => Math.sign(out - inp)));
    t.equal(shapes.size, 3, `${pattern}: square, tall and wide`);
    t.ok(of.some(filled), `${pattern}: filled`);
    t.ok(pattern === 'top_k' || of.some(({ rank, fill }) => rank && !fill), `${pattern}: truncated, where it can be`);
  }
  for (const entry of cases) {
    const { name, out, inp, rank, fill, coreSize } = entry;
    const kept = rank ?? thin(entry);
    t.equal(coreSize, fill ? thin(entry) : kept, `${name}: directions in use`);
    t.equal(entry.s.filter((sigma) => sigma === 0).length, coreSize - kept, `${name}: those filled in have σ = 0`);
    const product = reference.mergedWeight({ ...operatorOf(entry, [], 0), m: undefined });
    const tail = reference.largest(reference.subtract(product, reference.matrix(out, inp, entry.weight)));
    t.ok(complete(entry) ? tail < 1e-13 : tail > 1e-3, `${name}: the factors make up the weight only if complete`);
  }
  for (const entry of cases.filter(({ name }) => name.includes('duplicates'))) {
    const cells = new Set(entry.rows.map((row, p) => `${row},${entry.cols[p]}`));
    t.ok(cells.size < entry.rows.length, `${entry.name}: a cell was drawn twice`);
  }
});

for (const entry of cases) {
  t.test(`${entry.name}: this suite's own reference`, async (t) => {
    const pattern = patternOf(entry);
    const operator = operatorOf(entry, inSlotOrder(pattern, entry.values), entry.gate);
    const x = reference.matrix(entry.tokens, entry.inp, entry.x);
    const gradients = reference.backward(operator, x, reference.matrix(entry.tokens, entry.out, entry.dy));
    assertClose(t, reference.forward(operator, x).data, entry.y, tolerance, 'y');
    assertClose(t, gradients.dx.data, entry.dx, tolerance, 'dx');
    assertClose(t, gradients.m, inSlotOrder(pattern, entry.dvalues), tolerance, 'dvalues');
    assertClose(t, [gradients.gate], entry.dgate, tolerance, 'dgate');
    assertClose(t, reference.mergedWeight(operator).data, entry.merged, tolerance, 'merged');
  });

  for (const strategy of ['auto', 'factored', 'merged'] as const) {
    t.test(`${entry.name}, ${strategy}`, (t) =>
      expectNoLeak(t, entry.name, () => replay(t, entry, { parity: 'svft-ref', strategy })),
    );
  }

  t.test(`${entry.name}, lowrank`, async (t) => {
    await expectNoLeak(t, entry.name, async () => {
      const options = { parity: 'svft-ref', strategy: 'lowrank' } as const;
      // The base weight is a term of W' only if no part of it was dropped.
      if (complete(entry)) return replay(t, entry, { ...options, residual: 'keep' });
      using bench = benchOf(entry);
      const { weight, factors } = bench;
      const make = () => svft(weight, { factors, pattern: patternOf(entry), ...options });
      await rejectsSigma(t, make, 'UNSUPPORTED', entry.name, 'strategy', 'lowrank');
    });
  });
}

t.test('filled factors are accepted if the residual is not kept', async (t) => {
  for (const entry of cases.filter(filled)) {
    await expectNoLeak(t, entry.name, async () => {
      await replay(t, entry, { residual: 'drop' });
      await replay(t, entry, { residual: 'orthonormal' });
      await replay(t, entry, { residual: 'orthonormal', parity: 'svft-ref' });
      using bench = benchOf(entry);
      const { weight, factors } = bench;
      const make = () => svft(weight, { factors, pattern: patternOf(entry) });
      await rejectsSigma(t, make, 'BASE_MISMATCH', `${entry.name}: by default the residual is kept`, 'factors');
    });
  }
});

t.test('parity: filled factors of another weight are refused', async (t) => {
  for (const entry of cases.filter(filled)) {
    using bench = benchOf(entry);
    const { factors } = bench;
    const other = real([...entry.weight].reverse(), [entry.out, entry.inp], 'float64');
    const make = () => svft(other, { factors, pattern: patternOf(entry), parity: 'svft-ref' });
    await rejectsSigma(t, make, 'BASE_MISMATCH', entry.name, 'factors');
    other.dispose();
  }
});

for (const entry of cases.filter(({ pattern }) => pattern === 'top_k')) {
  t.test(`${entry.name}: the cells chosen by name`, async (t) => {
    await expectNoLeak(t, entry.name, async () => {
      using bench = benchOf(entry);
      const { weight, factors } = bench;
      const options = { factors, pattern: 'topk', offDiagonals: entry.d, parity: 'svft-ref' } as const;
      // All values differ, so that one wrong cell shifts all later values.
      const m = entry.rows.map((_, p) => 1 + p);
      const layer = await svft(weight, { ...options, init: { m } });
      t.equal(item(layer.parameters, 0).value.size, entry.rows.length, 'as many entries');
      const merged = layer.mergedWeight();
      assertClose(t, merged, reference.mergedWeight(operatorOf(entry, m, 0)).data, tolerance, 'merged');
      merged.dispose();
      disposeLayer(layer);
    });
  });
}
