/** The same bits in every run and for any number of threads. */
import {
  AdamW,
  type MatrixDType,
  matmul,
  SparsityPattern,
  sddmm,
  setThreads,
  spmm,
  svd,
  svft,
  type Tensor,
  threads,
} from 'sigmatune';
import t from 'tap';
import { adapterCases, matrixDTypes, vectorsOf } from '../support/cases.js';
import { assertSameBits, disposeAll, disposeSvd, gaussian, item, seeded, snapshot } from '../support/helpers.js';
import { bench, disposeLayer, makeLayer, perturb } from '../support/layer.js';

type Results = Map<string, Float64Array>;

async function decompositions(dtype: MatrixDType): Promise<Results> {
  const results: Results = new Map();
  const list = [
    [40, 40],
    [300, 20],
    [17, 90],
    [260, 260],
  ].map(([m = 1, n = 1], i) => gaussian(seeded(i), [m, n], dtype));
  const found = await svd(list);
  found.forEach(({ u, s, vt }, i) => {
    results.set(`svd ${i}: u`, snapshot(u)).set(`svd ${i}: s`, snapshot(s)).set(`svd ${i}: vt`, snapshot(vt));
  });
  // A single large matrix may use more threads.
  const large = gaussian(seeded(7), [420, 400], dtype);
  const alone = await svd(large);
  results.set('svd alone: u', snapshot(alone.u)).set('svd alone: s', snapshot(alone.s));
  disposeSvd(...found, alone);
  disposeAll(...list, large);
  return results;
}

function products(dtype: MatrixDType): Results {
  const results: Results = new Map();
  const keep = (label: string, tensor: Tensor): void => {
    results.set(label, snapshot(tensor));
    tensor.dispose();
  };
  const random = seeded(9);
  for (const [m, k, n] of [
    [1100, 40, 30],
    [3, 200, 900],
    [260, 260, 260],
  ] as const) {
    const [a, b] = [gaussian(random, [m, k], dtype), gaussian(random, [k, n], dtype)];
    keep(`matmul ${m} ${k} ${n}`, matmul(a, b));
    keep(`matmul ${m} ${k} ${n}, transposed`, matmul(b, a, { transposeA: true, transposeB: true }));
    disposeAll(a, b);
  }
  const pattern = SparsityPattern.random(120, { entries: 2000 }, { seed: 1 });
  const values = gaussian(random, [2000], vectorsOf(dtype));
  const [a, b] = [gaussian(random, [120, 1500], dtype), gaussian(random, [120, 1500], dtype)];
  keep('spmm', spmm(pattern, values, a));
  keep('spmm, transposed', spmm(pattern, values, a, { transpose: true }));
  keep('sddmm', sddmm(pattern, a, b));
  disposeAll(values, a, b);
  return results;
}

async function layers(dtype: MatrixDType): Promise<Results> {
  const results: Results = new Map();
  const group = adapterCases.filter((entry) => entry.dtype === dtype && entry.shape.name === 'many tokens');
  using on = await bench(item(group, 0).shape, dtype);
  for (const { family, strategy } of group) {
    const label = `${family.name}, ${strategy}`;
    const layer = await makeLayer(family, on, strategy);
    perturb(layer);
    const pass = layer.forward(on.x);
    const dx = pass.backward(on.dy);
    results.set(`${label}: y`, snapshot(pass.y)).set(`${label}: dx`, snapshot(dx));
    for (const { name, grad } of layer.parameters) results.set(`${label}: ${name}`, snapshot(grad ?? []));
    disposeAll(pass.y, pass, dx);
    disposeLayer(layer);
  }
  return results;
}

async function training(dtype: MatrixDType): Promise<Results> {
  const weight = gaussian(seeded(1), [70, 50], dtype);
  const x = gaussian(seeded(2), [600, 50], dtype);
  const layer = await svft(weight, { pattern: 'random', offDiagonals: 3, seed: 1 });
  const optimizer = new AdamW(layer.parameters, { lr: 0.05 });
  for (let step = 0; step < 5; step++) {
    const pass = layer.forward(x);
    pass.backward(pass.y, { inputGrad: false });
    optimizer.step();
    optimizer.zeroGrad();
    disposeAll(pass.y, pass);
  }
  const results: Results = new Map(layer.parameters.map(({ name, value }) => [name, snapshot(value)]));
  disposeLayer(layer);
  disposeAll(weight, x);
  return results;
}

const before = threads();
for (const dtype of matrixDTypes) {
  for (const [what, make] of [
    ['decompositions', decompositions],
    ['products', products],
    ['layers', layers],
    ['training', training],
  ] as const) {
    t.test(`${what}, ${dtype}`, async (t) => {
      setThreads(1);
      const one = await make(dtype);
      for (const count of [1, 2, 3]) {
        setThreads(count);
        for (const [label, bits] of await make(dtype)) {
          assertSameBits(t, bits, one.get(label) ?? [], `${label}, ${count} threads`);
        }
      }
    });
  }
}
t.teardown(() => setThreads(before));
