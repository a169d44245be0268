/** Layers of int8 factors: against the reference with the numbers that codes and scales stand for. */
import {
  type AdaptedLinear,
  decompose,
  forwardEach,
  type MatrixDType,
  memory,
  type Svd,
  setThreads,
  svft,
  type Tensor,
  tensor,
  threads,
  vectorFit,
} from 'sigmatune';
import t from 'tap';
import { type FamilyCase, families, type LayerShape, type Strategy, tolerances } from '../support/cases.js';
import {
  assertClose,
  assertSameBits,
  cpuOnly,
  disposeAll,
  expectNoLeak,
  Findings,
  rejectsSigma,
  snapshot,
  throwsSigma,
  values,
} from '../support/helpers.js';
import { type Bench, bench, dense, disposeLayer, expectedGradient, makeLayer, perturb } from '../support/layer.js';
import * as reference from '../support/reference.js';

/** The last ones exceed a group on both sides, and a tile of columns of Vᵀ. */
const shapes: readonly LayerShape[] = [
  { name: 'tall', out: 20, in: 6, tokens: 5 },
  { name: 'one by one', out: 1, in: 1, tokens: 3 },
  { name: 'groups', out: 70, in: 131, tokens: 9 },
  { name: 'long rows', out: 30, in: 1100, tokens: 33 },
  { name: 'long columns', out: 1100, in: 30, tokens: 2 },
];
const types = ['float32', 'bfloat16'] as const;

/** The factors as int8. */
function codesOf({ u, s, vt }: Svd): Svd {
  return { u: u.cast('int8'), s, vt: vt.cast('int8') } as unknown as Svd;
}

/** U diag(σ) Vᵀ in float64. */
function productOf({ u, s, vt }: Svd): reference.Matrix {
  return reference.matmul(reference.matmul(dense(u), reference.diagonal(values(s))), dense(vt));
}

/** What a layer of int8 factors computes. */
function operatorOf(
  family: FamilyCase,
  layer: AdaptedLinear,
  on: Bench<MatrixDType>,
  factors: Svd,
  strategy: Strategy,
) {
  const weight = dense(on.weight);
  const found = family.operator(layer, weight, snapshot(on.bias));
  // Without a base, σ on all directions is that of the int8 factors.
  if (family.family === 'siva' && strategy === 'factored') {
    // It multiplies with all of U and V, of which `layer.factors` has some columns, rounded a second time.
    const first = family.name.includes('top') ? 0 : factors.s.size - layer.rank;
    const u = dense(factors.u);
    const columns = reference.build(u.rows, layer.rank, (i, j) => reference.entry(u, i, first + j));
    return { ...found, base: productOf(factors), u: columns };
  }
  if (strategy !== 'lowrank' || found.base !== undefined) return found;
  return { ...found, base: reference.subtract(weight, productOf(layer.factors as Svd)) };
}

t.test('int8 factors', { skip: cpuOnly, timeout: 110_000 }, async (t) => {
  for (const shape of shapes) {
    for (const dtype of types) {
      t.test(`forward and backward, ${shape.name}, ${dtype}`, async (t) => {
        await expectNoLeak(t, shape.name, async () => {
          using on = await bench(shape, dtype);
          const factors = codesOf(on.factors);
          const [x, dy] = [dense(on.x), dense(on.dy)];
          for (const family of families) {
            const carries = family.family === 'svdiff' || family.family === 'vectorfit';
            const offered: readonly Strategy[] = carries ? [...family.strategies, 'lowrank'] : family.strategies;
            for (const strategy of offered.filter((each) => each !== 'auto')) {
              const findings = new Findings();
              const layer = await makeLayer(family, on, strategy, { factors });
              perturb(layer);
              const operator = operatorOf(family, layer, on, factors, strategy);
              const gradients = reference.backward(operator, x, dy);
              const pass = layer.forward(on.x);
              assertClose(findings, pass.y, reference.forward(operator, x).data, tolerances[dtype], 'y');
              const dx = pass.backward(on.dy);
              assertClose(findings, dx, gradients.dx.data, tolerances[dtype], 'dx');
              for (const entry of layer.parameters) {
                const size = entry.name === 'gate' ? gradients.gateSize : 0;
                const wanted = expectedGradient(entry, gradients);
                assertClose(findings, entry.grad ?? [], wanted, tolerances[dtype], entry.name, size);
              }
              using merged = layer.mergedWeight();
              assertClose(findings, merged, reference.mergedWeight(operator).data, tolerances[dtype], 'merged');
              t.same(findings.failures, [], `${family.name}, ${strategy}`);
              disposeAll(pass.y, dx, pass);
              disposeLayer(layer);
            }
          }
          disposeAll(factors.u, factors.vt);
        });
      });
    }
  }

  t.test('gradients are difference quotients', async (t) => {
    using on = await bench({ name: 'groups', out: 70, in: 131, tokens: 9 }, 'float32');
    const factors = codesOf(on.factors);
    for (const strategy of ['factored', 'lowrank', 'merged'] as const) {
      const layer = await svft(on.weight as Tensor<'float32'>, { factors, strategy, pattern: 'banded', gate: false });
      const pass = layer.forward(on.x);
      disposeAll(pass.backward(on.dy), pass);
      const [m] = layer.parameters;
      const loss = () => {
        using y = layer.apply(on.x);
        return Array.from(values(y)).reduce((sum, value, i) => sum + value * (values(on.dy)[i] as number), 0);
      };
      const numbers = m?.value.dataSync() as Float32Array;
      for (const at of [0, 65, 140]) {
        // The loss is linear in M, so the step may be large.
        const [up, down] = [1, -1].map((step) => {
          numbers[at] = step;
          return loss();
        }) as [number, number];
        numbers[at] = 0;
        const grad = values(m?.grad as Tensor)[at] as number;
        t.ok(Math.abs((up - down) / 2 - grad) < 1e-3 * (1 + Math.abs(grad)), `${strategy}, entry ${at}`);
      }
      disposeLayer(layer);
    }
    disposeAll(factors.u, factors.vt);
  });

  t.test("strategy 'lowrank' starts as the pretrained layer, to the bit", async (t) => {
    for (const dtype of types) {
      using on = await bench({ name: 'groups', out: 70, in: 131, tokens: 9 }, dtype);
      const factors = codesOf(on.factors);
      for (const family of families.filter(({ startsAtBase }) => startsAtBase)) {
        if (family.name === 'siva, random basis') continue;
        const whole = ['svft', 'vectorfit', 'svdiff'].includes(family.family);
        if (!whole && !family.strategies.includes('lowrank')) continue;
        const layer = await makeLayer(family, on, 'lowrank', { factors }).catch((error) => {
          if (error.code === 'UNSUPPORTED') return undefined;
          throw error;
        });
        if (layer === undefined) continue;
        using y = layer.apply(on.x);
        layer.enabled = false;
        using pretrained = layer.apply(on.x);
        assertSameBits(t, y, pretrained, `${family.name}, ${dtype}`);
        disposeLayer(layer);
      }
      disposeAll(factors.u, factors.vt);
    }
  });

  t.test('only lowrank carries the residual, and the others say so', async (t) => {
    using on = await bench({ name: 'groups', out: 70, in: 131, tokens: 9 }, 'float32');
    const factors = codesOf(on.factors);
    const make = (strategy: Strategy) => svft(on.weight as Tensor<'float32'>, { factors, residual: 'keep', strategy });
    for (const strategy of ['factored', 'merged'] as const) {
      await rejectsSigma(
        t,
        () => make(strategy),
        'UNSUPPORTED',
        strategy,
        /options\.strategy: expected 'lowrank' with int8 factors .* leave out residual.*, got '/,
      );
    }
    for (const strategy of ['lowrank', 'auto'] as const) disposeLayer(await make(strategy));
    disposeAll(factors.u, factors.vt);
  });

  t.test('the same bits for any number of threads', async (t) => {
    const before = threads();
    for (const dtype of types) {
      using on = await bench({ name: 'large', out: 400, in: 700, tokens: 70 }, dtype);
      const factors = codesOf(on.factors);
      const run = async (count: number) => {
        setThreads(count);
        const layer = await svft(on.weight as Tensor<MatrixDType>, { factors, pattern: 'banded', strategy: 'lowrank' });
        perturb(layer);
        const pass = layer.forward(on.x);
        const dx = pass.backward(on.dy);
        const found = [pass.y, dx, layer.parameters[0]?.grad as Tensor, layer.mergedWeight()].map(snapshot);
        disposeAll(pass, pass.y, dx);
        disposeLayer(layer);
        return found;
      };
      const [one, three] = [await run(1), await run(3)];
      t.same(three, one, dtype);
      disposeAll(factors.u, factors.vt);
    }
    setThreads(before);
  });

  t.test('one batch through many layers of int8 factors', async (t) => {
    using on = await bench({ name: 'groups', out: 70, in: 131, tokens: 9 }, 'float32');
    const factors = codesOf(on.factors);
    const layers = await Promise.all([1, 2].map((seed) => vectorFit(on.weight, { factors, name: `l${seed}` })));
    for (const [i, layer] of layers.entries()) perturb(layer, i);
    const which = Int32Array.from({ length: 9 }, (_, i) => i % 2);
    const pass = forwardEach(layers, on.x, which);
    const dx = pass.backward(on.dy);
    for (const [i, layer] of layers.entries()) {
      using y = layer.apply(on.x);
      for (let row = i; row < 9; row += 2) {
        const of = (tensor: Tensor) => Array.from(values(tensor)).slice(row * 70, (row + 1) * 70);
        assertClose(t, of(pass.y), of(y), tolerances.float32, `row ${row}`);
      }
    }
    t.equal(dx.size, 9 * 131);
    disposeAll(pass.y, pass, dx, factors.u, factors.vt);
    for (const layer of layers) disposeLayer(layer);
  });

  t.test('codes, scales and bytes', async (t) => {
    const weight = tensor(
      Float32Array.from({ length: 3 * 130 }, (_, i) => Math.sin(i * i)),
      [3, 130],
    );
    const kept = weight.cast('int8');
    const [codes, scales] = [kept.dataSync(), kept.scales as Float32Array];
    t.same([codes.length, scales.length, kept.size], [390, 9, 390]);
    for (let row = 0; row < 3; row++) {
      for (let column = 0; column < 130; column++) {
        const scale = scales[row * 3 + Math.floor(column / 64)] as number;
        const wanted = weight.dataSync()[row * 130 + column] as number;
        const code = codes[row * 130 + column] as number;
        if (Math.abs(code * scale - wanted) > scale * 0.50001) t.fail(`${row}, ${column}`);
      }
    }
    for (const dtype of ['float64', 'bfloat16'] as const) {
      using wide = kept.cast(dtype);
      assertClose(t, wide, values(kept), { atol: 0, rtol: 2 ** -8 }, dtype);
    }
    using again = kept.cast('float32');
    using twice = again.cast('int8');
    t.same(twice.dataSync(), codes, 'numbers that were rounded are rounded to themselves');
    t.match(String(kept), 'int8');
    const before = memory().bytes['cpu'] as number;
    const more = kept.cast('int8');
    // 390 codes, 2 bytes up to a multiple of 4, and 9 scales
    t.equal((memory().bytes['cpu'] as number) - before, 392 + 36, 'memory() counts codes and scales');
    disposeAll(weight, kept, more);

    const large = tensor(
      Float32Array.from({ length: 512 * 256 }, (_, i) => Math.sin(i * i)),
      [512, 256],
    );
    const [wide, narrow] = [await decompose(large), await decompose(large, { storage: 'int8' })];
    t.ok(narrow.bytes < 0.27 * wide.bytes, `${narrow.bytes} of ${wide.bytes} bytes`);
    t.same([narrow.storage, narrow.u.dtype, narrow.vt.dtype], ['int8', 'int8', 'int8']);
    t.ok(narrow.error.residual > 1e-3 && narrow.error.residual < 2e-2, `residual ${narrow.error.residual}`);
    t.ok(narrow.error.orthogonality > wide.error.orthogonality, 'rounding costs orthogonality');
    disposeAll(large, wide, narrow);
  });

  t.test('what no int8 matrix can be', async (t) => {
    const make = (data: number[]) => tensor(data, [1, data.length]);
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      throwsSigma(t, () => make([1, bad, 2]).cast('int8'), 'NON_FINITE', `${bad}`, 'int8');
    }
    throwsSigma(t, () => tensor([1, 2, 3]).cast('int8'), 'SHAPE_MISMATCH', 'a vector', 'matrix');
    throwsSigma(t, () => make([1]).cast('int8').reshape([1]), 'UNSUPPORTED', 'reshape');
    throwsSigma(t, () => make([1]).cast('int8').assign([1]), 'UNSUPPORTED', 'assign');
    using tiny = make([2 ** -127, 2 ** -130]).cast('int8');
    t.same([tiny.dataSync(), tiny.scales], [new Int8Array(2), new Float32Array(1)], 'no subnormal scale is made');

    using weight = tensor(
      Float32Array.from({ length: 64 }, (_, i) => Math.sin(i * i)),
      [8, 8],
    );
    using good = await decompose(weight, { storage: 'int8' });
    const view = (scales: unknown) => ({ data: good.u.dataSync(), shape: [8, 8], dtype: 'int8', scales });
    const given = (scales: unknown) =>
      vectorFit(weight, { factors: { ...good, s: good.s, u: view(scales) as never, vt: good.vt } });
    const layer = await given(good.u.scales);
    disposeLayer(layer);
    const one = (value: number) => Float32Array.from({ length: 8 }, (_, i) => (i === 5 ? value : 1));
    const at = 'options.factors.u.scales';
    await rejectsSigma(t, () => given(one(Number.NaN)), 'NON_FINITE', 'NaN', at, 'group 5');
    await rejectsSigma(t, () => given(one(Number.POSITIVE_INFINITY)), 'NON_FINITE', 'Infinity', at);
    await rejectsSigma(t, () => given(one(2 ** -127)), 'INVALID_ARGUMENT', 'subnormal', at, '2^-126');
    await rejectsSigma(t, () => given(one(-1)), 'INVALID_ARGUMENT', 'negative', at);
    await rejectsSigma(t, () => given(new Float32Array(7)), 'SHAPE_MISMATCH', 'too few', at, '8 numbers');
    await rejectsSigma(t, () => given(undefined), 'DTYPE_MISMATCH', 'none', at, 'Float32Array');
    using double = weight.cast('float64');
    await rejectsSigma(t, () => vectorFit(double, { factors: good as never }), 'DTYPE_MISMATCH', 'float64', 'factors');
    throwsSigma(t, () => vectorFit.from(good).apply(good.u as never), 'DTYPE_MISMATCH', 'x', 'int8');
  });
});
