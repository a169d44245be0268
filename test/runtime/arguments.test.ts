/** Arguments are read once, from own properties, before any state that their getters could change. */
import {
  AdamW,
  AdaptiveVectorFreezing,
  clipGradNorm,
  effectiveRank,
  effectiveRankGradient,
  matmul,
  type Parameter,
  parameterCount,
  Sgd,
  SparsityPattern,
  siva,
  svd,
  svft,
  Tensor,
  tensor,
  vectorFit,
  zeros,
} from 'sigmatune';
import t from 'tap';
import { cpuOnly, disposeAll, disposeSvd, expectNoLeak, rejectsSigma, throwsSigma } from '../support/helpers.js';

const loose = <T>(value: unknown): T => value as T;
const matrix = (): Tensor<'float32'> => tensor([1, 2, 3, 4], [2, 2]);
const parameter = (): Parameter => ({ name: 'p', value: zeros([2]), grad: zeros([2]), trainable: true });

/** An object that counts how often each of its properties is read. */
function counted<T extends object>(target: T): { proxy: T; reads: Map<PropertyKey, number> } {
  const reads = new Map<PropertyKey, number>();
  const proxy = new Proxy(target, {
    get(object, key) {
      reads.set(key, (reads.get(key) ?? 0) + 1);
      return Reflect.get(object, key);
    },
  });
  return { proxy, reads };
}

t.test('only plain objects are options', async (t) => {
  const a = matrix();
  class Settings {
    transposeA = true;
  }
  for (const bad of [
    AbortSignal.abort(),
    new Map([['rank', 1]]),
    new Date(),
    new Error('x'),
    new ArrayBuffer(1),
    new Settings(),
    Object.create({ transposeA: true }),
    Object.create({ misspelt: true }),
    [],
    null,
  ]) {
    throwsSigma(t, () => matmul(a, a, loose(bad)), 'INVALID_ARGUMENT', 'matmul', 'options');
    await rejectsSigma(t, () => svd(a, loose(bad)), 'INVALID_ARGUMENT', 'svd', 'options');
    await rejectsSigma(t, () => svft(a, loose(bad)), 'INVALID_ARGUMENT', 'svft', 'options');
  }
  const bare = Object.assign(Object.create(null), { transposeA: true, transposeB: undefined });
  disposeAll(matmul(a, a, bare), a);
});

t.test('options come from the object itself, never from a prototype', async (t) => {
  const polluted = Object.prototype as unknown as Record<string, unknown>;
  const a = matrix();
  const product = matmul(a, a);
  const names = ['lr', 'momentum', 'dtype', 'device', 'transposeA', 'out', 'gate', 'base', 'shape', 'count', 'bias'];
  for (const name of names) {
    polluted[name] = 100;
    try {
      const again = matmul(a, a);
      t.same([...again.dataSync()], [...product.dataSync()], `matmul with Object.prototype.${name}`);
      const zero = zeros([2]);
      const [one, other] = [parameter(), parameter()];
      const optimizer = new Sgd([one], {});
      t.equal(optimizer.lr, 1e-3);
      t.equal(new AdamW([other]).lr, 1e-3);
      optimizer.step();
      const layer = await svft(a, { gate: false });
      const y = layer.apply(a);
      t.equal(layer.parameterCount, 2, `svft with Object.prototype.${name}`);
      t.equal(parameterCount({ name: 'lora', r: 1 }, [{ out: 2, in: 3 }]), 5);
      disposeAll(again, zero, layer, y, one.value, one.grad as Tensor, other.value, other.grad as Tensor);
    } finally {
      delete polluted[name];
    }
  }
  disposeAll(a, product);
});

t.test('null is not the default', async (t) => {
  const a = matrix();
  const one = parameter();
  await expectNoLeak(t, 'refused', async () => {
    throwsSigma(t, () => matmul(a, a, loose({ transposeA: null })), 'INVALID_ARGUMENT', 'matmul', 'transposeA', 'null');
    throwsSigma(t, () => zeros([1], loose<object>({ dtype: null })), 'INVALID_ARGUMENT', 'zeros', 'dtype', 'null');
    throwsSigma(t, () => new AdamW([one], loose({ lr: null })), 'INVALID_ARGUMENT', 'AdamW', 'lr', 'null');
    throwsSigma(t, () => new AdamW(loose([{ parameters: [one], lr: null }])), 'INVALID_ARGUMENT', 'a group', 'lr');
    const modules = loose<{ out: number; in: number }[]>([{ out: 1, in: 1, count: null }]);
    throwsSigma(t, () => parameterCount({ name: 'lora', r: 1 }, modules), 'INVALID_ARGUMENT', 'count', 'null');
    await rejectsSigma(t, () => svd(a, loose({ driver: null })), 'INVALID_ARGUMENT', 'svd', 'driver', 'null');
    await rejectsSigma(t, () => svft(a, loose({ seed: null })), 'INVALID_ARGUMENT', 'svft', 'seed', 'null');
    await rejectsSigma(t, () => vectorFit(a, loose({ train: { bias: null } })), 'INVALID_ARGUMENT', 'train', 'bias');
  });
  disposeAll(a, one.value, one.grad as Tensor);
});

t.test('the error for an unknown option suggests the nearest name', async (t) => {
  const a = matrix();
  for (const [written, meant] of [
    ['patern', 'pattern'],
    ['offDiagonal', 'offDiagonals'],
    ['offdiagonals', 'offDiagonals'],
    ['borowInput', 'borrowInputs'],
    ['Rank', 'rank'],
  ] as const) {
    const options = loose<object>({ [written]: 1 });
    await rejectsSigma(
      t,
      () => svft(a, options),
      'INVALID_ARGUMENT',
      written,
      `'${written}'`,
      `did you mean '${meant}'`,
    );
  }
  const far = /^(?!.*did you mean).*'completelyDifferent'/;
  await rejectsSigma(t, () => svft(a, loose({ completelyDifferent: 1 })), 'INVALID_ARGUMENT', 'a far one', far);
  const long = loose<object>({ ['x'.repeat(100_000)]: 1 });
  throwsSigma(t, () => matmul(a, a, long), 'INVALID_ARGUMENT', 'a long one', /^.{1,250}$/);
  a.dispose();
});

t.test('each option is read once, and before the operands', async (t) => {
  const a = matrix();
  const options = counted({ transposeA: true, transposeB: false });
  matmul(a, a, options.proxy).dispose();
  t.same(options.reads.get('transposeA'), 1);
  const init = counted({ m: [1, 2], gate: 0 });
  const layer = await svft(a, counted({ init: init.proxy }).proxy);
  t.same([init.reads.get('m'), init.reads.get('gate')], [1, 1]);
  const found = await svd(a);
  const factors = counted(found);
  const other = await svft(a, { factors: factors.proxy });
  t.same(
    ['u', 's', 'vt'].map((name) => factors.reads.get(name)),
    [1, 1, 1],
  );

  const gone = matrix();
  const disposing = {
    get transposeA() {
      gone.dispose();
      return false;
    },
  };
  throwsSigma(t, () => matmul(gone, a, disposing), 'DISPOSED', 'an option that disposes an operand', /^matmul: a: /);
  const weight = matrix();
  const borrowed = {
    ...found,
    get u() {
      weight.dispose();
      return found.u;
    },
  };
  await rejectsSigma(t, () => svft(weight, { factors: borrowed }), 'DISPOSED', 'a weight', /^svft: weight: /);
  const shape = new Proxy([4], {
    get(target, key) {
      if (key === 'length') reshaped.dispose();
      return Reflect.get(target, key);
    },
  });
  const reshaped = matrix();
  throwsSigma(
    t,
    () => reshaped.reshape(shape),
    'DISPOSED',
    'a shape that disposes its tensor',
    /^Tensor\.reshape: this: /,
  );

  const pass = layer.forward(a);
  const again = {
    get inputGrad() {
      disposeAll(pass.backward(a));
      return true;
    },
  };
  throwsSigma(t, () => pass.backward(a, again), 'CONSUMED', 'a backward within the options of a backward');
  disposeAll(pass.y, layer, other, a);
  disposeSvd(found);
});

t.test('a shape is read once, without holes', async (t) => {
  const hole = new Array<number>(3);
  [hole[0], hole[2]] = [2, 3];
  for (const bad of [
    hole,
    new Array(2),
    new Array(2 ** 32 - 1),
    [1.5],
    [0],
    [-1],
    ['2'],
    [2 ** 31, 2 ** 31],
    '2',
    {},
  ]) {
    throwsSigma(t, () => zeros(loose<number[]>(bad)), 'INVALID_ARGUMENT', 'zeros', 'shape');
    throwsSigma(t, () => tensor([1], loose(bad)), 'INVALID_ARGUMENT', 'tensor', 'shape');
  }
  class Shape extends Array<number> {
    override *[Symbol.iterator](): ArrayIterator<number> {
      yield* [1000, 1000];
    }
  }
  const two = zeros(Shape.of(1, 1));
  t.same([two.shape, two.size], [[1, 1], 1], 'an iterator of its own does not count');
  let reads = 0;
  const changing = new Proxy([2], { get: (target, key) => (key === '0' ? 2 + reads++ : Reflect.get(target, key)) });
  const read = zeros(changing);
  t.same([read.shape, read.size, read.dataSync().length], [[2], 2, 2], 'a dimension that changes');
  disposeAll(two, read);
});

t.test('lists have no holes', async (t) => {
  const a = matrix();
  const one = parameter();
  const lora = { name: 'lora', r: 1 } as const;
  throwsSigma(t, () => new AdamW(new Array(2)), 'INVALID_ARGUMENT', 'AdamW', 'parameters[0]', 'hole');
  throwsSigma(t, () => new AdamW([one], { betas: loose(new Array(2)) }), 'INVALID_ARGUMENT', 'betas', 'betas[0]');
  throwsSigma(t, () => clipGradNorm(new Array(2), 1), 'INVALID_ARGUMENT', 'clipGradNorm', 'parameters[0]', 'hole');
  throwsSigma(t, () => parameterCount(lora, new Array(2)), 'INVALID_ARGUMENT', 'parameterCount', 'modules[0]', 'hole');
  throwsSigma(t, () => new AdaptiveVectorFreezing(new Array(1), loose({})), 'INVALID_ARGUMENT', 'freezing', 'hole');
  throwsSigma(t, () => effectiveRank(new Array(2)), 'INVALID_ARGUMENT', 'effectiveRank', 's[0]');
  throwsSigma(t, () => tensor(new Array(2)), 'INVALID_ARGUMENT', 'tensor', 'data[0]');
  await rejectsSigma(t, () => svd(new Array(2)), 'INVALID_ARGUMENT', 'svd', 'a[0]', 'hole');
  const optimizer = new AdamW([one]);
  const holed = { ...(optimizer.state() as object), parameters: new Array(1) };
  throwsSigma(t, () => optimizer.loadState(holed), 'INVALID_ARGUMENT', 'loadState', 'parameters[0]');
  disposeAll(a, one.value, one.grad as Tensor);
});

t.test('array-likes may claim any length', async (t) => {
  const a = matrix();
  for (const length of [2 ** 32, 2 ** 53, Infinity, -1, 1.5, Number.NaN, '4']) {
    const list = loose<number[]>({ length, 0: 1 });
    throwsSigma(t, () => tensor(list), 'INVALID_ARGUMENT', `tensor of ${length}`, 'data');
    throwsSigma(t, () => a.assign(list), 'INVALID_ARGUMENT', `assign ${length}`, 'data');
    throwsSigma(t, () => effectiveRank(list), 'INVALID_ARGUMENT', `effectiveRank of ${length}`, 's');
    throwsSigma(t, () => SparsityPattern.fromCoordinates(list, list, 3), 'INVALID_ARGUMENT', `${length}`, 'rows');
    await rejectsSigma(t, () => svft(a, { init: { m: list } }), 'INVALID_ARGUMENT', `m of ${length}`, 'options.init.m');
  }
  a.dispose();
});

t.test('elements are read once', async (t) => {
  const reads = { length: 0, element: 0 };
  const list: ArrayLike<number> = {
    get length() {
      return reads.length++ === 0 ? 1 : 9;
    },
    get 0() {
      return reads.element++ === 0 ? 1 : 9;
    },
  };
  const start = () => Object.assign(reads, { length: 0, element: 0 });
  const a = zeros([1]);
  a.assign(list);
  t.same([a.dataSync()[0], reads], [1, { length: 1, element: 1 }], 'assign');
  start();
  const made = tensor(list);
  t.same([made.shape, made.dataSync()[0], reads], [[1], 1, { length: 1, element: 1 }], 'tensor');
  start();
  t.equal(effectiveRankGradient(list).length, 1, 'effectiveRankGradient');
  t.same(reads, { length: 1, element: 1 });
  start();
  const pattern = SparsityPattern.fromCoordinates(list, [0], 2);
  t.same([[...pattern.rowPointers], reads], [[0, 0, 1], { length: 1, element: 1 }], 'fromCoordinates');
  disposeAll(a, made);
});

t.test('int32 refuses numbers outside its range', async (t) => {
  for (const bad of [3e9, -3e9, 2 ** 31, Number.NaN, Infinity]) {
    throwsSigma(t, () => tensor([bad], [1], { dtype: 'int32' }), 'INVALID_ARGUMENT', `${bad}`, 'data[0]', 'int32');
    const integers = tensor([1], [1], { dtype: 'int32' });
    throwsSigma(t, () => integers.assign([bad]), 'INVALID_ARGUMENT', `assign ${bad}`, 'data[0]', 'int32');
    const real = tensor([bad], [1], { dtype: 'float64' });
    throwsSigma(t, () => real.cast('int32'), 'INVALID_ARGUMENT', `cast ${bad}`, 'this[0]', 'int32');
    disposeAll(integers, real);
  }
  const ends = tensor([-(2 ** 31), 2 ** 31 - 1, 1.9, -1.9], [4], { dtype: 'int32' });
  t.same([...ends.dataSync()], [-(2 ** 31), 2 ** 31 - 1, 1, -1], 'fractions are truncated');
  ends.dispose();
});

t.test('trainable is a boolean', async (t) => {
  const layer = await svft(matrix());
  const [m] = layer.parameters;
  if (!m) throw new Error('no parameter');
  for (const bad of ['no', 0, null, undefined, {}]) {
    throwsSigma(
      t,
      () => {
        m.trainable = loose(bad);
      },
      'INVALID_ARGUMENT',
      String(bad),
      'm.trainable',
      'boolean',
    );
    t.equal(m.trainable, true, 'it stays what it was');
  }
  m.trainable = false;
  t.equal(m.trainable, false);
  layer.dispose();
});

t.test('a pattern size has exactly one of its two keys', async (t) => {
  for (const bad of [
    { offDiagonals: 1, entires: 3 },
    { offDiagonals: 1, entries: 3 },
    { entries: null },
    Object.create({ entries: 3 }),
    {},
    null,
  ]) {
    const size = loose<{ entries: number }>(bad);
    throwsSigma(t, () => SparsityPattern.random(4, size, { seed: 1 }), 'INVALID_ARGUMENT', 'random', 'size');
  }
  t.equal(SparsityPattern.random(4, loose({ entries: 3, offDiagonals: undefined }), { seed: 1 }).entries, 3);
});

t.test('counts are exact, or refused', async (t) => {
  const most = 2 ** 31 - 1;
  const band = { name: 'svft', pattern: 'banded', offDiagonals: most, gate: false } as const;
  const module = { out: most, in: most };
  throwsSigma(t, () => parameterCount(band, [module]), 'INVALID_ARGUMENT', 'a wide band', 'modules', '2^53');
  const lora = { name: 'lora', r: most } as const;
  throwsSigma(t, () => parameterCount(lora, [module]), 'INVALID_ARGUMENT', 'a high rank', 'modules', '2^53');
  const many = { out: 1, in: 1, count: most };
  throwsSigma(t, () => parameterCount(lora, [many, many]), 'INVALID_ARGUMENT', 'a sum', 'modules', '2^53');
  // r² = 90,000,001² of a full band: exact, though r (2 r − 1) is beyond 2^53.
  const full = parameterCount({ ...band, offDiagonals: most }, [{ out: 90_000_001, in: 90_000_001 }]);
  t.equal(full, 90_000_001 ** 2);
});

t.test('a message can be built for any value', async (t) => {
  const { proxy: revoked, revoke } = Proxy.revocable({}, {});
  revoke();
  const { proxy: list, revoke: revokeList } = Proxy.revocable([], {});
  revokeList();
  const values: [string, unknown][] = [
    ['a name that is a symbol', { constructor: { name: Symbol('x') } }],
    [
      'a constructor that throws',
      Object.create({
        get constructor() {
          throw new Error('mine');
        },
      }),
    ],
    ['a revoked proxy', revoked],
    ['a revoked list', list],
    ['a long symbol', Symbol('x'.repeat(10_000))],
    ['a long integer', 10n ** 5000n],
    ['a long name', { constructor: { name: 'X'.repeat(10_000) } }],
    ['a hole', new Array(2)],
  ];
  const a = matrix();
  for (const [what, value] of values) {
    const bad = loose<Tensor<'float32'>>(value);
    for (const [name, call] of [
      ['matmul', () => matmul(bad, bad)],
      ['matmul, options', () => matmul(a, a, loose(bad))],
      ['zeros', () => zeros(loose<number[]>(bad))],
      ['tensor', () => tensor(loose(bad))],
      ['effectiveRank', () => effectiveRank(loose(bad))],
      ['AdamW', () => new AdamW(loose(bad))],
      ['AdamW, a list', () => new AdamW(loose([bad]))],
      ['diagonal', () => SparsityPattern.diagonal(loose(bad))],
      ['random', () => SparsityPattern.random(3, loose(bad), loose(bad))],
      ['fromCoordinates', () => SparsityPattern.fromCoordinates(loose(bad), loose(bad), 2)],
      ['parameterCount', () => parameterCount(loose(bad), loose(bad))],
    ] as const) {
      throwsSigma(t, call, 'INVALID_ARGUMENT', `${name}: ${what}`, /^.{1,250}$/);
    }
    await rejectsSigma(t, () => svd(bad), 'INVALID_ARGUMENT', `svd: ${what}`, /^.{1,250}$/);
    const codes = ['INVALID_ARGUMENT', 'SHAPE_MISMATCH'] as const;
    await rejectsSigma(t, () => svft(a, { factors: loose(bad) }), codes, `factors: ${what}`, /^.{1,250}$/);
    await rejectsSigma(t, () => siva(a, { init: loose(bad) }), codes, `init: ${what}`, /^.{1,250}$/);
  }
  a.dispose();
});

t.test('errors name the public function, not a function of the addon', { skip: cpuOnly }, async (t) => {
  class Two extends Float32Array {
    override get length(): number {
      return 4;
    }
  }
  const lying = Tensor.wrap(new Two(2), [2, 2]);
  const layer = await vectorFit(matrix());
  throwsSigma(t, () => matmul(lying, lying), 'INVALID_ARGUMENT', 'matmul', /^matmul: a: /);
  throwsSigma(t, () => layer.apply(lying), 'INVALID_ARGUMENT', 'apply', /^vectorfit\.apply: x: /);
  await rejectsSigma(t, () => svft(lying), 'INVALID_ARGUMENT', 'svft', /^svft: weight: /);
  disposeAll(layer, lying);
});

t.test('constructors refuse invalid arguments with a SigmaError', async (t) => {
  const make = (kind: unknown, ...given: unknown[]) => Reflect.construct(loose(kind), given);
  for (const given of [[], [null], ['float32', [2], 2, null], ['float32', [2], 2, {}], [1, 2, 3, 4, 5]]) {
    for (const kind of [Tensor, SparsityPattern, AdamW, Sgd, AdaptiveVectorFreezing]) {
      throwsSigma(t, () => make(kind, ...given), 'INVALID_ARGUMENT', `new ${kind.name}(${given})`);
    }
  }
});

t.test('out may not share memory with an operand, even through another buffer object', { skip: cpuOnly }, async (t) => {
  // A WebAssembly memory that has grown has two SharedArrayBuffers.
  const { Memory } = loose<{
    WebAssembly: { Memory: new (size: object) => { buffer: SharedArrayBuffer; grow(pages: number): void } };
  }>(globalThis).WebAssembly;
  const memory = new Memory({ initial: 1, maximum: 2, shared: true });
  const before = memory.buffer;
  memory.grow(1);
  t.not(before, memory.buffer);
  const a = Tensor.wrap(new Float32Array(before, 0, 4), [2, 2]);
  const out = Tensor.wrap(new Float32Array(memory.buffer, 4, 4), [2, 2]);
  const apart = Tensor.wrap(new Float32Array(memory.buffer, 64, 4), [2, 2]);
  throwsSigma(t, () => matmul(a, a, { out }), 'INVALID_ARGUMENT', 'one memory, two buffers', 'options.out', 'overlap');
  t.equal(matmul(a, a, { out: apart }), apart, 'other bytes of it will do');
  disposeAll(a, out, apart);
});
