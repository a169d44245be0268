/** Objects of a tensor's form, { data, shape } and { data, dims, type }, in the place of tensors. */
import * as ort from 'onnxruntime-common';
import {
  AdamW,
  adaptModel,
  clipGradNorm,
  decompose,
  effectiveRank,
  matmul,
  memory,
  Sgd,
  type ShapedData,
  SparsityPattern,
  sddmm,
  siva,
  spmm,
  svd,
  svft,
  Tensor,
  type TensorLike,
  tidy,
  toLike,
  vectorFit,
} from 'sigmatune';
import t, { type Test } from 'tap';
import {
  assertSameBits,
  cpuOnly,
  disposeAll,
  disposeSvd,
  expectNoLeak,
  gaussian,
  rejectsSigma,
  seeded,
  throwsSigma,
} from '../support/helpers.js';

/** A view is memory of the CPU. */
const test = (name: string, body: (t: Test) => Promise<void>) => t.test(name, { skip: cpuOnly }, body);

/** The same numbers in every form that is accepted. */
function forms(tensor: Tensor): Record<string, TensorLike> {
  const data = tensor.dataSync();
  const { dtype, shape } = tensor;
  const dims = [...shape];
  return {
    'data and shape': { data, shape },
    'data, shape and dtype': { data, shape, dtype } as TensorLike,
    'data, dims and type': { data, dims, type: dtype } as TensorLike,
    onnxruntime: new ort.Tensor(dtype as 'float32', data as Float32Array, dims),
    'a proxy of a tensor of transformers.js': new Proxy({ data, dims, type: dtype }, {}) as TensorLike,
    'row-major strides': { data, shape, strides: [...strides(dims)], offset: 0 } as TensorLike,
  };
}

function strides(dims: readonly number[]): number[] {
  return dims.map((_, axis) => dims.slice(axis + 1).reduce((product, n) => product * n, 1));
}

test('a layer takes every form of x, dy, out, weight, bias and factors', async (t) => {
  const random = seeded(3);
  const [weight, bias, x, dy] = [
    gaussian(random, [6, 4], 'float32'),
    gaussian(random, [6], 'float32'),
    gaussian(random, [2, 3, 4], 'float32'),
    gaussian(random, [2, 3, 6], 'float32'),
  ] as const;
  const factors = await svd(weight);
  const layer = await svft(weight, { factors, bias });
  const pass = layer.forward(x);
  const dx = pass.backward(dy);
  const applied = layer.apply(x);
  const grad = layer.parameters[0]?.grad?.dataSync().slice() ?? [];
  for (const form of Object.keys(forms(x))) {
    await expectNoLeak(t, form, async () => {
      const as = (tensor: Tensor) => forms(tensor)[form] as TensorLike<'float32'>;
      const svdLike = { u: as(factors.u), s: as(factors.s), vt: as(factors.vt) };
      const made = await svft(as(weight), { factors: svdLike, bias: as(bias) });
      t.same([made.outFeatures, made.inFeatures], [6, 4], form);
      const found = made.forward(as(x));
      assertSameBits(t, found.y, pass.y, `${form}: y`);
      const memoryOfOut = new Float32Array(24);
      const out = made.apply(as(x), { out: { data: new Float32Array(36), shape: [2, 3, 6] } });
      assertSameBits(t, out, applied, `${form}: out`);
      const gradient = found.backward(as(dy), { out: { data: memoryOfOut, shape: [2, 3, 4] } });
      assertSameBits(t, gradient, dx, `${form}: dx`);
      assertSameBits(t, memoryOfOut, dx, `${form}: dx is in the memory of out`);
      assertSameBits(t, made.parameters[0]?.grad ?? [], grad, `${form}: the gradient`);
      disposeAll(found.y, ...made.parameters.map((parameter) => parameter.grad), made);
      const sync = svft.from(svdLike, { weight: as(weight), bias: as(bias) });
      const y = sync.apply(as(x));
      assertSameBits(t, y, applied, `${form}: from`);
      disposeAll(y, sync);
    });
  }
  disposeAll(weight, bias, x, dy, layer, pass.y, dx, applied);
  disposeSvd(factors);
});

test('operations take views, and give tensors', async (t) => {
  await expectNoLeak(t, 'operations', async () => {
    const a = { data: Float64Array.of(3, 0, 0, 2), shape: [2, 2] };
    const product = matmul(a, { data: Float64Array.of(1, 2, 3, 4), dims: [2, 2] });
    t.ok(product instanceof Tensor);
    t.same([...product.dataSync()], [3, 6, 6, 8]);
    const into = { data: new Float64Array(4), shape: [2, 2] };
    matmul(a, product as Tensor<'float64'>, { out: into });
    t.same([...into.data], [9, 18, 12, 16], 'out');
    const [one] = await svd([a]);
    t.same([...(one?.s.dataSync() ?? [])], [3, 2]);
    const factors = await decompose(a);
    t.same([...factors.s.dataSync()], [3, 2]);
    t.equal(effectiveRank({ data: Float32Array.of(1, 1, 0), shape: [3] }).toFixed(6), '2.000000');
    const pattern = SparsityPattern.diagonal(2);
    const y = spmm(pattern, { data: Float64Array.of(2, 3), shape: [2] }, a);
    t.same([...y.dataSync()], [6, 0, 0, 6]);
    const gradient = sddmm(pattern, a, a);
    t.same([...gradient.dataSync()], [9, 4]);
    t.equal(SparsityPattern.topK(factors.u, { data: factors.vt.dataSync(), shape: [2, 2] }, { entries: 1 }).entries, 1);
    const model = await adaptModel({ 'a.weight': a }, { targets: 'all', family: 'vectorfit' });
    t.equal(model.parameterCount, 2);
    disposeAll(product, factors, y, gradient, model);
    if (one) disposeSvd(one);
  });
});

test('bfloat16 in the form that a tensor is sent to a worker in', async (t) => {
  const given = gaussian(seeded(1), [3, 2], 'float32').cast('bfloat16');
  const { s } = await svd({ shape: given.shape, dtype: given.dtype, data: await given.data() } as ShapedData);
  const wanted = await svd(given);
  assertSameBits(t, s, wanted.s, 'σ');
});

test('numbers that would be misread are refused', async (t) => {
  const layer = await vectorFit({ data: Float32Array.of(3, 0, 0, 2), shape: [2, 2] });
  const data = new Float32Array(4);
  const cases: readonly (readonly [string, object, Parameters<typeof throwsSigma>[2], ...string[]])[] = [
    ['too few numbers', { data: data.subarray(1), shape: [2, 2] }, 'SHAPE_MISMATCH', 'x.data', '4 elements', '3'],
    ['a shape of strings', { data, shape: ['2', 2] }, 'INVALID_ARGUMENT', 'x.shape'],
    ['no shape', { data }, 'INVALID_ARGUMENT', 'a Tensor'],
    ['numbers without a type', { data: [1, 2, 3, 4], shape: [2, 2] }, 'INVALID_ARGUMENT', 'a Tensor'],
    ['float16 for float32', { data: new Uint16Array(4), dims: [2, 2], type: 'float16' }, 'DTYPE_MISMATCH', 'float16'],
    [
      'bits of an unknown type',
      { data: new Uint16Array(4), shape: [2, 2] },
      'DTYPE_MISMATCH',
      'x.data',
      'bfloat16 or float16',
      '`dtype`',
    ],
    ['integers', { data: new BigInt64Array(4), dims: [2, 2], type: 'int64' }, 'DTYPE_MISMATCH', "'int64'"],
    ['another type than named', { data, dims: [2, 2], type: 'float64' }, 'DTYPE_MISMATCH', "'float64'"],
    ['float64 numbers', { data: new Float64Array(4), shape: [2, 2] }, 'DTYPE_MISMATCH', 'float32'],
    ['columns first', { data, shape: [2, 2], strides: [1, 2] }, 'INVALID_ARGUMENT', 'row-major'],
    ['columns first, as ndarray says it', { data, shape: [2, 2], stride: [1, 2] }, 'INVALID_ARGUMENT', 'row-major'],
    ['an offset', { data, shape: [2, 2], offset: 1 }, 'INVALID_ARGUMENT', 'row-major'],
    ['a tensor of tfjs', { data: () => undefined, shape: [2, 2], dtype: 'float32' }, 'INVALID_ARGUMENT', 'a Tensor'],
  ];
  await expectNoLeak(t, 'refused', () => {
    for (const [label, x, code, ...parts] of cases)
      throwsSigma(t, () => layer.apply(x as never), code, label, ...parts);
  });
  const detached = new Float32Array(4);
  structuredClone(detached, { transfer: [detached.buffer] });
  throwsSigma(t, () => layer.apply({ data: detached, shape: [2, 2] }), 'SHAPE_MISMATCH', 'detached', 'x.data', '0');
  await rejectsSigma(t, () => svft({ data, shape: [4] }), 'SHAPE_MISMATCH', 'a vector as a weight', 'weight');
  layer.dispose();
});

test('each property is read once', async (t) => {
  let reads = '';
  /** The view, which tells what is read of it. */
  const told = (view: { data: Float32Array; shape: number[] }) => {
    const get = (object: object, key: string | symbol) => {
      reads += `${String(key)} `;
      return Reflect.get(object, key);
    };
    return new Proxy(view, { get }) as typeof view;
  };
  const once = (label: string, views: number) => {
    for (const key of ['data', 'shape'])
      t.equal(reads.split(`${key} `).length - 1, views, `${label}, ${key}: ${reads}`);
    reads = '';
  };
  const weight = { data: Float32Array.of(3, 0, 0, 2), shape: [2, 2] };
  const unit = { data: Float32Array.of(1, 0, 0, 1), shape: [2, 2] };
  const factors = () => ({ u: told(unit), s: told({ data: Float32Array.of(3, 2), shape: [2] }), vt: told(unit) });
  const bias = { data: new Float32Array(2), shape: [2] };
  const layer = await vectorFit(told(weight), { bias: told(bias), factors: factors() });
  once('weight, bias and factors', 5);
  svft.from(factors(), { weight: told(weight) }).dispose();
  once('from', 4);
  svft.from(factors()).dispose();
  once('from without a weight', 3);
  const pass = layer.forward(told({ data: Float32Array.of(1, 1), shape: [1, 2] }));
  once('x', 1);
  disposeAll(pass.backward(told({ data: Float32Array.of(1, 1), shape: [1, 2] })), pass.y, layer);
  once('dy', 1);
});

test('tidy and memory() do not see views', async (t) => {
  await expectNoLeak(t, 'views', async () => {
    const weight = { data: Float32Array.of(3, 1, 1, 2), shape: [2, 2] };
    const layer = await siva(weight, { count: 1, strategy: 'lowrank' });
    const before = memory();
    const y = tidy(() => layer.apply({ data: Float32Array.of(1, 0), shape: [1, 2] }));
    t.same([...y.dataSync()], [3, 1]);
    t.equal(memory().tensors, before.tensors + 1, 'only y');
    const merged = layer.mergedWeight();
    assertSameBits(t, merged, weight.data, 'the weight is still there, to the bit');
    disposeAll(y, merged, layer);
  });
});

test('toLike gives a tensor back as an instance of another class, on the same memory', async (t) => {
  const layer = await vectorFit({ data: Float32Array.of(3, 0, 0, 2), shape: [2, 2] });
  const y = layer.apply(new ort.Tensor('float32', Float32Array.of(1, 1), [1, 2]));
  const back = toLike(y as Tensor<'float32'>, ort.Tensor);
  t.ok(back instanceof ort.Tensor);
  t.same([back.type, back.dims, [...(back.data as Float32Array)]], ['float32', [1, 2], [3, 2]]);
  t.equal(back.data, y.dataSync(), 'no copy');
  throwsSigma(t, () => toLike(y, 3 as never), 'INVALID_ARGUMENT', 'no class', 'toLike', 'Class');
  throwsSigma(t, () => toLike({ data: new Float32Array(1) } as never, ort.Tensor), 'INVALID_ARGUMENT', 'no tensor');
  y.dispose();
  t.same([...(back.data as Float32Array)], [3, 2], 'the memory is not reused');
  throwsSigma(t, () => toLike(y as Tensor<'float32'>, ort.Tensor), 'DISPOSED', 'a disposed tensor');
  layer.dispose();
});

test("a framework's own parameters and gradients", async (t) => {
  await expectNoLeak(t, 'parameters', async () => {
    for (const Optimizer of [AdamW, Sgd]) {
      const numbers = Float32Array.of(1, 2);
      const parameter = {
        name: 'w',
        value: { data: numbers, shape: [2] },
        grad: { data: Float32Array.of(3, 4), shape: [2] } as TensorLike | null,
        trainable: true,
      };
      t.equal(clipGradNorm([parameter], 1), 5, 'the norm of a view');
      const optimizer = new Optimizer([parameter], { lr: 0.1 });
      optimizer.step();
      t.ok((numbers[0] as number) < 1 && (numbers[1] as number) < 2, `${Optimizer.name} writes the view's memory`);
      optimizer.zeroGrad();
      t.equal(parameter.grad, null);
    }
    const layer = await vectorFit({ data: Float32Array.of(3, 0, 0, 2), shape: [2, 2] });
    const [sigma] = layer.parameters;
    if (!sigma) throw new Error('no σ');
    sigma.grad = { data: Float32Array.of(1, 1), shape: [2] };
    t.ok(sigma.grad instanceof Tensor, 'a view that is assigned is read as a tensor');
    new Sgd(layer.parameters, { lr: 1 }).step();
    t.same([...sigma.value.dataSync()], [2, 1]);
    throwsSigma(t, () => (sigma.grad = { data: new Float32Array(3), shape: [3] }), 'SHAPE_MISMATCH', 'another shape');
    for (const none of [undefined, 0, false, '']) {
      throwsSigma(t, () => (sigma.grad = none as never), 'INVALID_ARGUMENT', `${none} is no gradient`, 'grad');
    }
    sigma.grad = null;
    layer.dispose();
  });
});

test('parameters on memory of the caller', async (t) => {
  await expectNoLeak(t, 'bind', async () => {
    const weight = { data: Float32Array.of(3, 1, 1, 2), shape: [2, 2] };
    const all = new Float32Array(5).fill(7);
    const part = (first: number, length: number) => ({ data: all.subarray(first, first + length), shape: [length] });
    const bias = { data: Float32Array.of(0.5, -0.5), shape: [2] };
    const layer = await vectorFit(weight, { bias, bind: { sigma: part(1, 2), bias: part(3, 2) } });
    const twin = await vectorFit(weight, { bias });
    for (const [i, { value }] of layer.parameters.entries()) {
      assertSameBits(t, value, twin.parameters[i]?.value ?? [], 'the start is written');
    }
    t.equal(all[0], 7, 'and nothing else');
    const x = { data: Float32Array.of(1, 2), shape: [1, 2] };
    const step = (made: typeof layer) => {
      const pass = made.forward(x);
      disposeAll(pass.backward(pass.y), pass.y);
      const optimizer = new AdamW(made.parameters, { lr: 0.1 });
      optimizer.step();
      optimizer.zeroGrad();
    };
    for (const each of [layer, twin]) step(each);
    for (const [i, { value }] of layer.parameters.entries()) {
      assertSameBits(t, value, twin.parameters[i]?.value ?? [], 'a step trains it in place');
    }
    assertSameBits(t, all.subarray(1, 3), twin.parameters[0]?.value ?? [], 'in the array');
    all[1] = 0;
    const y = layer.apply(x);
    twin.parameters[0]?.value.assign([0, all[2] as number]);
    const wanted = twin.apply(x);
    assertSameBits(t, y, wanted, 'a write to the array is noticed');
    disposeAll(y, wanted, layer, twin);
    t.equal(all[0], 7);
  });
});

test('memory that cannot be bound', async (t) => {
  await expectNoLeak(t, 'bind refused', async () => {
    const weight = { data: Float32Array.of(3, 1, 1, 2), shape: [2, 2] };
    const bias = { data: new Float32Array(2), shape: [2] };
    const free = new Float32Array(4).fill(7);
    const view = (data: Float32Array | Float64Array) => ({ data, shape: [data.length] });
    const cases = [
      ['another shape', { sigma: view(free) }, 'SHAPE_MISMATCH', 'options.bind.sigma', '[2]'],
      ['another type', { sigma: view(new Float64Array(2)) }, 'DTYPE_MISMATCH', 'options.bind.sigma'],
      ['an unknown role', { m: view(free.subarray(2)) }, 'INVALID_ARGUMENT', "'sigma', 'bias'", "'m'"],
      ["the weight's memory", { sigma: view(weight.data.subarray(2)) }, 'INVALID_ARGUMENT', 'memory of its own'],
      ["the bias' memory", { bias }, 'INVALID_ARGUMENT', 'memory of its own'],
      [
        'twice',
        { sigma: view(free.subarray(2)), bias: view(free.subarray(1, 3)) },
        'INVALID_ARGUMENT',
        'options.bind.bias',
      ],
    ] as const;
    for (const [label, bind, code, ...parts] of cases) {
      await rejectsSigma(t, () => vectorFit(weight, { bias, bind }), code, label, ...parts);
      t.same([...free], [7, 7, 7, 7], `${label}: nothing is written`);
    }
  });
});
