/** Bad input throws a SigmaError with the right code, before native memory is touched, and changes no tensor. */
import {
  AdamW,
  clipGradNorm,
  effectiveRank,
  matmul,
  type Parameter,
  SigmaError,
  SparsityPattern,
  type Svd,
  sddmm,
  siva,
  spmm,
  svd,
  svft,
  Tensor,
  tensor,
  vectorFit,
  zeros,
} from 'sigmatune';
import t from 'tap';
import { makers } from '../support/cases.js';
import {
  assertSameBits,
  cpuOnly,
  disposeAll,
  disposeSvd,
  expectNoLeak,
  gaussian,
  put,
  rejectsSigma,
  seeded,
  snapshot,
  throwsSigma,
} from '../support/helpers.js';

t.test('the class', async (t) => {
  let error: unknown;
  try {
    zeros([0]);
  } catch (caught) {
    error = caught;
  }
  if (!(error instanceof SigmaError)) throw new Error('a SigmaError');
  t.ok(error instanceof Error);
  t.equal(error.name, 'SigmaError');
  t.match(error.stack, /errors\.test/, "the stack leads to the caller's line");
  t.equal(error.code, 'INVALID_ARGUMENT');
  t.match(error.op, /zeros/, 'the operation');
});

/** A tensor whose buffer was transferred. */
function detached(shape: readonly number[]): Tensor {
  const array = new Float32Array(shape.reduce((product, length) => product * length, 1));
  const wrapped = Tensor.wrap(array, shape);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  return wrapped;
}

function disposed(shape: readonly number[]): Tensor {
  const gone = zeros(shape);
  gone.dispose();
  return gone;
}

const pattern = SparsityPattern.banded(4, 1);

for (const [kind, make, code] of [
  ['disposed', disposed, 'DISPOSED'],
  ['detached', detached, ['INVALID_ARGUMENT', 'DISPOSED']],
] as const) {
  const skip = kind === 'detached' && cpuOnly;
  t.test(`a ${kind} tensor as each argument`, { skip }, async (t) => {
    const good = gaussian(seeded(1), [4, 4], 'float32');
    const vector = gaussian(seeded(1), [4], 'float32');
    const values = gaussian(seeded(1), [pattern.entries], 'float32');
    const factors = await svd(good as Tensor<'float32'>);
    const bad = make([4, 4]);
    const badVector = make([4]);
    const badValues = make([pattern.entries]);
    const before = [good, vector, values].map(snapshot);
    const layer = await svft(good, { factors });
    const pass = layer.forward(good);
    const weight = good as Tensor<'float32'>;
    const broken = bad as Tensor<'float32'>;

    await expectNoLeak(t, 'failed calls', async () => {
      throwsSigma(t, () => matmul(broken, weight), code, 'matmul', 'a');
      throwsSigma(t, () => matmul(weight, broken), code, 'matmul', 'b');
      throwsSigma(t, () => spmm(pattern, badValues, good), code, 'spmm', 'values');
      throwsSigma(t, () => spmm(pattern, values, bad), code, 'spmm', 'dense');
      throwsSigma(t, () => sddmm(pattern, bad, good), code, 'sddmm', 'a');
      throwsSigma(t, () => sddmm(pattern, good, bad), code, 'sddmm', 'b');
      throwsSigma(t, () => SparsityPattern.topK(bad, good, { entries: 2 }), code, 'topK', 'u');
      throwsSigma(t, () => effectiveRank(badVector), code, 'effectiveRank', 's');
      throwsSigma(t, () => layer.apply(bad), code, 'apply', 'x');
      throwsSigma(t, () => layer.forward(bad), code, 'forward', 'x');
      throwsSigma(t, () => pass.backward(bad), code, 'backward', 'dy');
      await rejectsSigma(t, () => svd(broken), code, 'svd', 'a');
      await rejectsSigma(t, () => svd([weight, broken]), code, 'svd of a list', 'a');
      await rejectsSigma(t, () => svft(good, { bias: badVector }), code, 'svft', 'bias');
      await rejectsSigma(t, () => svft(good, { factors: { ...factors, u: broken } }), code, 'svft', 'factors');
      for (const [name, make] of Object.entries(makers)) {
        await rejectsSigma(t, () => make(bad), code, name, 'weight');
      }
      const parameter: Parameter = { name: 'p', value: vector, grad: badVector, trainable: true };
      const optimizer = new AdamW([parameter]);
      throwsSigma(t, () => optimizer.step(), code, 'step', 'p');
      throwsSigma(t, () => new AdamW([{ ...parameter, value: badVector, grad: null }]), code, 'new AdamW', 'p');
      throwsSigma(t, () => clipGradNorm([parameter], 1), code, 'clipGradNorm', 'p');
    });
    [good, vector, values].forEach((one, i) => {
      assertSameBits(t, one, before[i] ?? [], 'every other tensor is as it was');
    });
    const dx = pass.backward(good);
    t.equal(dx.size, 16, 'and the pass still works');
    for (const { grad } of layer.parameters) grad?.dispose();
    disposeAll(dx, pass.y, pass, layer, good, vector, values, bad, badVector, badValues);
    disposeSvd(factors);
  });
}

t.test('detaching the weight, factors or parameters of a living layer', async (t) => {
  for (const take of cpuOnly ? (['dispose'] as const) : (['dispose', 'detach'] as const)) {
    const array = Float32Array.from(seeded(2).normals(16));
    const weight = Tensor.wrap(array, [4, 4]);
    const x = gaussian(seeded(1), [2, 4], 'float32');
    const factors: Svd = await svd(weight);
    for (const strategy of ['factored', 'merged', 'lowrank'] as const) {
      const layer = await svft(weight, { factors, strategy });
      const [m] = layer.parameters;
      if (take === 'dispose') m?.value.dispose();
      else structuredClone(m?.value.dataSync().buffer, { transfer: [m?.value.dataSync().buffer as ArrayBuffer] });
      throwsSigma(t, () => layer.apply(x), ['DISPOSED', 'INVALID_ARGUMENT'], `${take}, ${strategy}: m is gone`);
      throwsSigma(
        t,
        () => layer.mergedWeight(),
        ['DISPOSED', 'INVALID_ARGUMENT'],
        `${take}, ${strategy}: m is gone, merged`,
      );
      layer.dispose();
    }
    const users = await Promise.all(
      (['factored', 'merged', 'lowrank'] as const).map((strategy) => svft(weight, { factors, strategy })),
    );
    if (take === 'dispose') {
      disposeSvd(factors);
      weight.dispose();
    } else {
      structuredClone(array.buffer, { transfer: [array.buffer] });
      for (const { buffer } of [factors.u, factors.s, factors.vt].map((factor) => factor.dataSync())) {
        structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });
      }
    }
    for (const layer of users) {
      // Borrowed memory that its owner has transferred: a SigmaError, or a result from a copy, never a crash.
      try {
        const y = layer.apply(x);
        t.ok(snapshot(y).every(Number.isFinite), `${take}: an answer from a copy`);
        y.dispose();
      } catch (error) {
        t.match(error, { name: 'SigmaError', code: /DISPOSED|INVALID_ARGUMENT/ }, `${take}: a clean error`);
      }
      layer.dispose();
    }
    disposeAll(x, weight);
    disposeSvd(factors);
  }
});

t.test('a layer refuses unsupported types', async (t) => {
  const single = gaussian(seeded(1), [4, 4], 'float32');
  const integers = single.cast('int32');
  for (const [name, make] of Object.entries(makers)) {
    await rejectsSigma(t, () => make(integers), 'DTYPE_MISMATCH', `${name} of int32`, 'weight', 'int32', 'float32');
  }
  integers.dispose();
  const double = gaussian(seeded(1), [4, 4], 'float64');
  const factors = await svd(double);
  await rejectsSigma(
    t,
    () => svft(single, { factors }),
    'DTYPE_MISMATCH',
    'factors of another type',
    'factors',
    'float64',
    'float32',
  );
  disposeAll(single, double);
  disposeSvd(factors);
});

t.test('a resized buffer', { skip: cpuOnly }, async (t) => {
  // A resizable ArrayBuffer can shrink under its view. The addon must not read past its end.
  const Resizable = ArrayBuffer as unknown as new (
    length: number,
    options: { maxByteLength: number },
  ) => ArrayBuffer & { resize(length: number): void };
  const buffer = new Resizable(64, { maxByteLength: 64 });
  if (typeof buffer.resize !== 'function') {
    t.comment('no resizable buffers here');
    return;
  }
  let wrapped: Tensor<'float32'> | undefined;
  try {
    wrapped = Tensor.wrap(new Float32Array(buffer), [4, 4]);
  } catch (error) {
    t.match(error, { name: 'SigmaError', code: 'INVALID_ARGUMENT' }, 'refused at once');
    return;
  }
  buffer.resize(16);
  const own = wrapped;
  throwsSigma(t, () => matmul(own, own), ['INVALID_ARGUMENT', 'SHAPE_MISMATCH', 'DISPOSED'], 'a shrunk buffer');
  await rejectsSigma(t, () => svd(own), ['INVALID_ARGUMENT', 'SHAPE_MISMATCH', 'DISPOSED'], 'a shrunk buffer');
  own.dispose();
});

t.test('options that are not an object', async (t) => {
  const weight = gaussian(seeded(1), [3, 3], 'float32');
  for (const bad of [5, 'fast', true, () => {}] as unknown as Record<string, never>[]) {
    throwsSigma(t, () => matmul(weight, weight, bad), 'INVALID_ARGUMENT', `matmul, ${String(bad)}`, 'options');
    await rejectsSigma(t, () => svd(weight, bad), 'INVALID_ARGUMENT', `svd, ${String(bad)}`, 'options');
    for (const [name, make] of Object.entries(makers)) {
      await rejectsSigma(t, () => make(weight, bad), 'INVALID_ARGUMENT', `${name}, ${String(bad)}`, 'options');
    }
  }
  const loose = weight as Tensor<'float32'>;
  await rejectsSigma(t, () => svd(loose, { signal: {} as AbortSignal }), 'INVALID_ARGUMENT', 'no signal', 'signal');
  await rejectsSigma(
    t,
    () => svd(loose, { onProgress: 5 as unknown as () => void }),
    'INVALID_ARGUMENT',
    'no function',
    'onProgress',
  );
  await rejectsSigma(
    t,
    () => svft(loose, { gate: 'yes' as unknown as boolean }),
    'INVALID_ARGUMENT',
    'no boolean',
    'gate',
    'yes',
  );
  await rejectsSigma(
    t,
    () => svft(loose, { name: 5 as unknown as string }),
    'INVALID_ARGUMENT',
    'no string',
    'name',
    '5',
  );
  throwsSigma(
    t,
    () => matmul(loose, loose, { transposeA: 1 as unknown as boolean }),
    'INVALID_ARGUMENT',
    'no boolean',
    'transposeA',
    '1',
  );
  weight.dispose();
});

t.test('an object that only looks like a tensor is refused', async (t) => {
  const fake = {
    dtype: 'float32',
    shape: [2, 2],
    size: 4,
    device: 'cpu',
    disposed: false,
    dataSync: () => new Float32Array(4),
  };
  const forged = Object.create(Tensor.prototype) as Tensor<'float32'>;
  for (const bad of [fake as unknown as Tensor<'float32'>, forged]) {
    throwsSigma(t, () => matmul(bad, bad), 'INVALID_ARGUMENT', 'matmul', 'a');
    await rejectsSigma(t, () => svd(bad), 'INVALID_ARGUMENT', 'svd', 'a');
  }
  const real = tensor([1, 2, 3, 4], [2, 2]);
  const stretched = Object.create(real, {
    shape: { value: [2000, 2000] },
    size: { value: 4_000_000 },
  }) as Tensor<'float32'>;
  throwsSigma(t, () => matmul(stretched, stretched), ['INVALID_ARGUMENT', 'SHAPE_MISMATCH'], 'a shape that lies');
  real.dispose();
});

t.test('a misspelt option is refused', async (t) => {
  const square = gaussian(seeded(1), [3, 3], 'float32') as Tensor<'float32'>;
  const bad = { strategi: 'auto' } as unknown as Record<string, never>;
  const values = gaussian(seeded(1), [SparsityPattern.banded(3, 1).entries], 'float32');
  await expectNoLeak(t, 'refused options', async () => {
    for (const [name, call] of [
      ['zeros', () => zeros([1], bad)],
      ['tensor', () => tensor([1], [1], bad)],
      ['matmul', () => matmul(square, square, bad)],
      ['spmm', () => spmm(SparsityPattern.banded(3, 1), values, square, bad)],
      ['topK', () => SparsityPattern.topK(square, square, { entries: 1 }, bad)],
      ['random', () => SparsityPattern.random(3, { entries: 1 }, { seed: 1, ...bad })],
      ['AdamW', () => new AdamW([{ name: 'a', value: values, grad: null, trainable: true }], bad)],
    ] as const) {
      throwsSigma(t, call, 'INVALID_ARGUMENT', name, 'options', 'strategi');
    }
    for (const [name, call] of [
      ['svd', () => svd(square, bad)],
      ['svft, a start', () => svft(square, { init: { m: [0, 0, 0], ...bad } })],
      ...Object.entries(makers).map(([name, make]) => [name, () => make(square, bad)] as const),
      ['vectorFit, train', () => vectorFit(square, { train: bad })],
    ] as const) {
      await rejectsSigma(t, call, 'INVALID_ARGUMENT', name, 'options', 'strategi');
    }
    const layer = await svft(square);
    const pass = layer.forward(square);
    throwsSigma(t, () => pass.backward(square, bad), 'INVALID_ARGUMENT', 'backward', 'options', 'strategi');
    disposeAll(pass.y, pass, layer);
  });
  disposeAll(square, values);
});

t.test("errors name the caller's function and argument", async (t) => {
  const square = gaussian(seeded(1), [6, 6], 'float64');
  const broken = gaussian(seeded(1), [6, 6], 'float64');
  put(broken, 8, Number.NaN);
  const tall = gaussian(seeded(1), [6, 4], 'float64');
  const factors = await svd(tall);
  await expectNoLeak(t, 'refused', async () => {
    const nan = 'NaN at row 1, column 2';
    for (const [name, make] of Object.entries(makers)) {
      await rejectsSigma(t, () => make(broken), 'NON_FINITE', name, new RegExp(`^${name}: weight: `), nan);
    }
    await rejectsSigma(t, () => svft(broken, { rank: 2 }), 'NON_FINITE', 'svft, truncated', /^svft: weight: /, nan);
    for (const given of [undefined, factors]) {
      await rejectsSigma(
        t,
        () => svft(tall, { pattern: 'topk', ...(given && { factors: given }) }),
        'SHAPE_MISMATCH',
        'top-k on a rectangle',
        /^svft: options\.pattern: /,
        'square',
        '[6,4]',
      );
    }
    await rejectsSigma(
      t,
      () => svft(square, { rank: 7 }),
      'INVALID_ARGUMENT',
      'a rank too large',
      /^svft: options\.rank: /,
      '6',
      '7',
    );
  });
  disposeAll(square, broken, tall);
  disposeSvd(factors);
});

/** An array that contains itself, an array nested deeper than the call stack, and a very long array. */
function endless(): readonly (readonly [label: string, value: unknown[]])[] {
  const cyclic: unknown[] = [];
  cyclic.push(cyclic);
  let deep: unknown[] = [];
  for (let i = 0; i < 20_000; i++) deep = [deep];
  let broad: unknown[] = [1];
  for (let i = 0; i < 5; i++) broad = new Array(8).fill(broad);
  return [
    ['cyclic', cyclic],
    ['deep', deep],
    ['broad', broad],
  ];
}

t.test('a message is short for any value', async (t) => {
  const weight = gaussian(seeded(1), [2, 2], 'float64');
  const short = /^.{1,250}$/;
  for (const [label, bad] of endless()) {
    const [number, numbers, tensors, parameters] = [bad, bad, bad, bad] as unknown as [
      number,
      number[],
      Tensor<'float64'>[],
      Parameter[],
    ];
    for (const [name, call] of [
      ['zeros', () => zeros(numbers)],
      ['diagonal', () => SparsityPattern.diagonal(number)],
      ['fromCoordinates', () => SparsityPattern.fromCoordinates(numbers, numbers, 3)],
      ['effectiveRank', () => effectiveRank(numbers)],
      ['matmul', () => matmul(weight, bad as unknown as Tensor<'float64'>)],
      ['AdamW', () => new AdamW(parameters)],
    ] as const) {
      throwsSigma(t, call, 'INVALID_ARGUMENT', `${name}, ${label}`, short);
    }
    for (const [name, call] of [
      ['svd', () => svd(tensors)],
      ['svft', () => svft(weight, { rank: number })],
      ['siva', () => siva(weight, { count: number })],
    ] as const) {
      await rejectsSigma(t, call, 'INVALID_ARGUMENT', `${name}, ${label}`, short);
    }
  }
  weight.dispose();
});

t.test('an array that contains itself is refused', async (t) => {
  for (const [label, bad] of endless()) {
    if (label === 'broad') continue;
    throwsSigma(t, () => tensor(bad as number[]), ['INVALID_ARGUMENT', 'SHAPE_MISMATCH'], label, 'data');
  }
});

t.test('messages say what to do next', async (t) => {
  const weight = tensor([1, 2, 3, 4], [2, 2]);
  const layer = await svft(weight);
  const loose = <T>(value: unknown): T => value as T;
  throwsSigma(t, () => layer.apply(loose(new Float32Array(2))), 'INVALID_ARGUMENT', 'an array', 'Tensor.wrap');
  throwsSigma(t, () => new AdamW(loose([layer])), 'INVALID_ARGUMENT', 'a layer', 'layer.parameters');
  throwsSigma(t, () => new AdamW(loose([layer.parameters])), 'INVALID_ARGUMENT', 'lists', 'layer.parameters');
  await rejectsSigma(
    t,
    () => svft(weight, { factors: loose(svd(weight)) }),
    'INVALID_ARGUMENT',
    'a promise',
    'options.factors',
    'await',
  );
  const [m] = layer.parameters;
  const replace = () => {
    loose<{ value: unknown }>(m).value = weight;
  };
  throwsSigma(t, replace, 'INVALID_ARGUMENT', 'a replaced value', 'm.value', 'assign');
  const construct = loose<new () => unknown>(Tensor);
  throwsSigma(t, () => new construct(), 'INVALID_ARGUMENT', 'new Tensor', 'Tensor.wrap');
  throwsSigma(t, () => tensor([1, 2, 3], [2, 2]), 'SHAPE_MISMATCH', 'too few', '3 elements', '4 in [2, 2]');
  layer.dispose();
  weight.dispose();
});
