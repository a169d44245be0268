/**
 * The contract of the public types. Compiled, never run: types.test.ts passes this file to the TypeScript compiler. A
 * line under @ts-expect-error must be an error, and no other line may be one.
 */
import {
  AdamW,
  type AdaptedLinear,
  type AdaptedModel,
  AdaptiveVectorFreezing,
  adaptModel,
  cudaStatus,
  type DecomposedRow,
  type Device,
  type DeviceStatus,
  type DType,
  decomposeModel,
  type ErrorCode,
  effectiveRank,
  type Factors,
  linearSchedule,
  loadAdapters,
  loadCheckpoint,
  type MatrixShape,
  matmul,
  memory,
  type Optimizer,
  openFactorCache,
  openSafetensors,
  type Parameter,
  type Pass,
  SparsityPattern as Pattern,
  parameterCount,
  type Real,
  readSafetensors,
  type SafetensorsFile,
  Sgd,
  type Shape,
  SigmaError,
  type SparsityPattern,
  type StackShape,
  type Svd,
  saveAdapters,
  saveCheckpoint,
  sddmm,
  siva,
  spmm,
  svd,
  svft,
  type Tensor,
  Tensor as TensorClass,
  type TypedArrayOf,
  tensor,
  tidy,
  toLike,
  type VectorShape,
  vectorFit,
  writeSafetensors,
  zeros,
} from 'sigmatune';

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
/** Compiles only for true. */
function is<T extends true>(): T | undefined {
  return undefined;
}

// ── tensors know their type and their shape ──────────────────────────────────────────────────────────────
const single = zeros([2, 3]);
const double = zeros([3, 4], { dtype: 'float64' });
const whole = zeros([3], { dtype: 'int32' });
const half = zeros([3], { dtype: 'bfloat16' });
is<Equal<typeof single.dtype, 'float32'>>();
is<Equal<typeof double.dtype, 'float64'>>();
is<Equal<typeof single.shape, readonly [2, 3]>>();

const asSingle: Float32Array = single.dataSync();
const asDouble: Float64Array = double.dataSync();
const asWhole: Int32Array = whole.dataSync();
const asBits: Uint16Array = half.dataSync();
const later: Promise<Float32Array> = single.data();
// @ts-expect-error float32 data is not a Float64Array
const wrongArray: Float64Array = single.dataSync();
// @ts-expect-error bfloat16 data is a Uint16Array
const wrongBits: Float32Array = half.dataSync();

is<Equal<TypedArrayOf<'bfloat16'>, Uint16Array>>();
const wrapped = TensorClass.wrap(new Float64Array(6), [2, 3]);
is<Equal<typeof wrapped.dtype, 'float64'>>();
is<Equal<typeof wrapped.shape, readonly [2, 3]>>();
// @ts-expect-error a tensor cannot have uint8 data
TensorClass.wrap(new Uint8Array(6), [6]);

const cast = single.cast('bfloat16');
is<Equal<typeof cast.dtype, 'bfloat16'>>();
is<Equal<typeof cast.shape, readonly [2, 3]>>();
const reshaped = single.reshape([6]);
is<Equal<typeof reshaped.shape, readonly [6]>>();
const thin = zeros([2], { dtype: 'float16' });
is<Equal<typeof thin.dtype, 'float16'>>();
is<Equal<TypedArrayOf<'float16'>, Uint16Array>>();
is<Equal<TypedArrayOf<'int8'>, Int8Array>>();
// @ts-expect-error float8 is not a dtype
zeros([2], { dtype: 'float8' });
// @ts-expect-error tpu is not a device
zeros([2], { device: 'tpu' });
const device: Device = 'cuda:1';

// ── ranks ────────────────────────────────────────────────────────────────────────────────────────────────
const matrix: Tensor<'float32', MatrixShape> = single;
const vector: Tensor<'float32', VectorShape> = single.reshape([6]);
const stack: Tensor<'float32', StackShape> = single.reshape([1, 2, 3]);
const anyShape: Tensor<'float32', Shape> = matrix;
const anyTensor: Tensor = double;
// @ts-expect-error a matrix is not a vector
const wrongRank: Tensor<'float32', VectorShape> = single;
// @ts-expect-error a vector is not a matrix
const wrongRank2: Tensor<'float32', MatrixShape> = vector;
// @ts-expect-error a matrix is not a stack
const wrongRank3: Tensor<'float32', StackShape> = matrix;
// @ts-expect-error float64 is not float32
const wrongType: Tensor<'float32'> = double;

// ── readonly ─────────────────────────────────────────────────────────────────────────────────────────────
// @ts-expect-error the elements of a shape are readonly
single.shape[0] = 5;
// @ts-expect-error the shape is readonly
single.shape = [2, 3];
// @ts-expect-error the dtype is readonly
single.dtype = 'float64';

// ── linear algebra keeps the type ────────────────────────────────────────────────────────────────────────
const product = matmul(single, zeros([3, 4]));
is<Equal<typeof product, Tensor<'float32', MatrixShape>>>();
// @ts-expect-error dtypes cannot be mixed
matmul(single, double);
// @ts-expect-error no arithmetic in int32
matmul(whole, whole);
// @ts-expect-error no arithmetic in bfloat16
matmul(half, half);

async function decompose(): Promise<void> {
  const one = await svd(double);
  is<Equal<typeof one, Svd<'float64'>>>();
  const numbers: Float64Array = one.s.dataSync();
  const list = await svd([single, zeros([4, 4])]);
  is<Equal<typeof list, Svd<'float32'>[]>>();
  // @ts-expect-error int32 has no SVD
  await svd(whole);
  // @ts-expect-error no such routine
  await svd(single, { driver: 'qr' });
  // @ts-expect-error the result for one matrix is not a list
  one.length;
  await svd(single, {
    driver: 'auto',
    rank: 2,
    signal: new AbortController().signal,
    onProgress: (done, total) => done / total,
  });
  return void numbers;
}
const rank: number = effectiveRank([1, 2, 3]) + effectiveRank(new Float32Array(3)) + effectiveRank(zeros([3]));

// ── patterns ─────────────────────────────────────────────────────────────────────────────────────────────
const pattern: SparsityPattern = Pattern.banded(4, { lower: 1, upper: 0 });
const kind: 'diagonal' | 'banded' | 'csr' = pattern.kind;
const halved = spmm(pattern, zeros([7]), zeros([4, 2], { dtype: 'bfloat16' }));
is<Equal<typeof halved.dtype, 'bfloat16'>>();
const samples = sddmm(pattern, zeros([4, 2], { dtype: 'bfloat16' }), zeros([4, 2], { dtype: 'bfloat16' }));
is<Equal<typeof samples.dtype, 'float32'>>();
// @ts-expect-error float64 values need a float64 matrix
spmm(pattern, zeros([7], { dtype: 'float64' }), zeros([4, 2], { dtype: 'bfloat16' }));
const sparse: Tensor = spmm(pattern, zeros([7]), zeros([4, 2]), { transpose: true });
// @ts-expect-error a random pattern needs a seed
Pattern.random(4, { entries: 3 }, {});
// @ts-expect-error a size has one of two keys
Pattern.random(4, { cells: 3 }, { seed: 1 });
// @ts-expect-error the constructor is private
new Pattern();
// @ts-expect-error patterns are readonly
pattern.entries = 5;

// ── adapters ─────────────────────────────────────────────────────────────────────────────────────────────
async function adapt(): Promise<void> {
  const layer: AdaptedLinear = await svft(single, {
    pattern: 'banded',
    offDiagonals: 2,
    gate: false,
    residual: 'keep',
    parity: 'svft-ref',
  });
  const pass: Pass = layer.forward(single);
  const dx: Tensor = pass.backward(single);
  const nothing: undefined = pass.backward(single, { inputGrad: false });
  // @ts-expect-error undefined without the input's gradient
  const missing: Tensor = pass.backward(single, { inputGrad: false });
  for (const parameter of layer.parameters) {
    const { name, value, trainable }: Parameter = parameter;
    parameter.grad = zeros([1]);
    parameter.grad = null;
    parameter.trainable = !trainable;
    // @ts-expect-error a parameter's value is readonly
    parameter.value = zeros([1]);
    // @ts-expect-error a gradient is a tensor or null
    parameter.grad = undefined;
    void [name, value];
  }
  // @ts-expect-error the list of parameters is readonly
  layer.parameters.push();
  const bias: Tensor | undefined = layer.mergedBias();
  const { strategy, gemms, savedBytes, why } = layer.explain(64);
  const plan: readonly [string, number, number, string] = [strategy, gemms, savedBytes, why];
  // @ts-expect-error no such pattern
  await svft(single, { pattern: 'dense' });
  // @ts-expect-error no such strategy
  await svft(single, { strategy: 'fast' });
  // @ts-expect-error VectorFit has no pattern
  await vectorFit(single, { pattern: 'plain' });
  // @ts-expect-error no such spectrum
  await siva(single, { spectrum: 'cubic' });
  // @ts-expect-error an option may be omitted, but not undefined
  await svft(single, { rank: undefined });
  await svft(single, { init: { m: [1, 2], gate: 0.5 } });

  // Objects of a tensor's form, and layers from factors.
  const view = { data: new Float32Array(4), shape: [2, 2] };
  const y: Tensor = layer.apply(view);
  layer.forward({ data: new Float32Array(4), dims: [2, 2], type: 'float32' }).backward(view, { out: view });
  // @ts-expect-error numbers without a shape
  layer.apply({ data: new Float32Array(4) });
  // @ts-expect-error an array has no shape
  layer.apply(new Float32Array(4));
  const decomposed = await svd(single);
  const made: AdaptedLinear<'float32'> = svft.from(decomposed, {
    weight: single,
    pattern: 'banded',
    bind: { m: view },
  });
  // @ts-expect-error the factors are an argument
  siva.from(decomposed, { factors: decomposed });
  // @ts-expect-error nothing runs that a signal could stop
  vectorFit.from(decomposed, { signal: AbortSignal.timeout(1) });
  new AdamW([...layer.parameters, { name: 'w', value: view, grad: null, trainable: true }]);
  class Foreign {
    constructor(type: 'float32' | 'float64', data: Float32Array | Float64Array, dims: number[]) {
      void [type, data, dims];
    }
  }
  const foreign: Foreign = toLike(single, Foreign);
  void [y, made, foreign];
  await siva(single, { perc: 0.9, select: 'top', basis: 'random', seed: 1, factors: await svd(single) });
  {
    using scoped = await vectorFit(single, { train: { bias: false } });
    using scopedPass = scoped.forward(single);
    using scopedTensor = zeros([1]);
    void [scopedPass, scopedTensor];
  }
  return void [dx, nothing, missing, bias, plan];
}
const count: number = parameterCount({ name: 'svft', pattern: 'plain' }, [{ out: 3, in: 4, count: 2 }]);
// @ts-expect-error LoRA needs a rank
parameterCount({ name: 'lora' }, []);
// @ts-expect-error FourierFT is not counted
parameterCount({ name: 'fourierft', n: 3 }, []);

// ── training ─────────────────────────────────────────────────────────────────────────────────────────────
const own: Parameter = { name: 'own', value: zeros([2]), grad: null, trainable: true };
const optimizers: readonly Optimizer[] = [
  new AdamW([own], { lr: 0.1, betas: [0.9, 0.99], eps: 1e-8, weightDecay: 0 }),
  new Sgd([{ parameters: [own], lr: 0.1, weightDecay: 0 }], { momentum: 0.9 }),
];
// @ts-expect-error betas are two numbers
new AdamW([own], { betas: [0.9] });
// @ts-expect-error Sgd has no betas
new Sgd([own], { betas: [0.9, 0.99] });
const schedule: (step: number) => number = linearSchedule({ warmup: 1, total: 10 });
const freezing = new AdaptiveVectorFreezing([own], { start: 1, every: 1, count: 1, freeze: 1 });
const strengths: ReadonlyMap<string, number> = freezing.strengths;
// @ts-expect-error strengths are readonly
freezing.strengths.set('own', 1);
// @ts-expect-error all four options are required
new AdaptiveVectorFreezing([own], { start: 1, every: 1, count: 1 });

// ── the rest ─────────────────────────────────────────────────────────────────────────────────────────────
const kept: { a: Tensor<'float32', readonly [1]> } = tidy(() => ({ a: zeros([1]) }));
const status: DeviceStatus = cudaStatus();
const { tensors, bytes } = memory();
const cpuBytes: number | undefined = bytes['cpu'];
// @ts-expect-error the result of memory() is readonly
memory().tensors = 0;
function handle(error: unknown): ErrorCode | undefined {
  if (error instanceof SigmaError) {
    const code: ErrorCode = error.code;
    // @ts-expect-error no such code
    const never = code === 'SOMETHING_ELSE';
    return never ? undefined : code;
  }
  return undefined;
}
function generic<D extends Real>(a: Tensor<D>): Tensor<D> {
  return matmul(a, a);
}
const nested = tensor([
  [1, 2],
  [3, 4],
]);
const flat = tensor(new Float64Array(4), [2, 2], { dtype: 'float64' });
is<Equal<typeof flat.dtype, 'float64'>>();
const dtypes: readonly DType[] = ['float32', 'float64', 'bfloat16', 'int32'];

export const used: readonly unknown[] = [
  asSingle,
  asDouble,
  asWhole,
  asBits,
  later,
  wrongArray,
  wrongBits,
  device,
  stack,
  anyShape,
  anyTensor,
  wrongRank,
  wrongRank2,
  wrongRank3,
  wrongType,
  decompose,
  rank,
  kind,
  sparse,
  adapt,
  count,
  optimizers,
  schedule,
  strengths,
  kept,
  status,
  tensors,
  cpuBytes,
  handle,
  generic,
  nested,
  dtypes,
];

// ── files ────────────────────────────────────────────────────────────────────────────────────────────────
const opened: Promise<SafetensorsFile> = openSafetensors('model.safetensors');
export async function files(): Promise<void> {
  await using file = await opened;
  const { dtype, shape, bytes } = file.info('a');
  is<Equal<[typeof dtype, typeof shape, typeof bytes], [string, readonly number[], number]>>();
  const one: Tensor = await file.read('a');
  const { tensors, metadata } = await readSafetensors('model.safetensors', { names: file.names });
  is<Equal<typeof tensors, Map<string, Tensor>>>();
  await writeSafetensors('copy', tensors, { metadata: { ...metadata } });
  await writeSafetensors('copy', [['a', one]]);
  // @ts-expect-error: a tensor needs a name
  await writeSafetensors('copy', [one]);

  const cache = await openFactorCache('factors', { maxBytes: 1e9 });
  using half = await cache.decompose(single, { storage: 'bfloat16' });
  is<Equal<typeof half, Factors<'bfloat16'>>>();
  using model = await adaptModel(file, { targets: 'all', family: 'svft', cache, storage: 'float32' });
  is<Equal<typeof model, AdaptedModel>>();
  const [row] = await decomposeModel(file, { targets: ['q'], cache: 'factors' });
  is<Equal<typeof row, DecomposedRow | undefined>>();
  // @ts-expect-error: where to
  await decomposeModel(file, { targets: ['q'] });

  const layer = await svft(single);
  const other = await vectorFit(double);
  const layers = { layer, other };
  await saveAdapters('folder', layers);
  const loaded = await loadAdapters('folder', { layer: single, other: double }, { device: 'cpu' });
  is<Equal<typeof loaded, Record<string, AdaptedLinear>>>();
  const optimizer: Optimizer = new Sgd(layer.parameters, { lr: 1 });
  await saveCheckpoint('run', { layers, optimizer, extra: { epoch: 1 } });
  const extra = await loadCheckpoint('run', { layers: loaded, optimizer });
  is<Equal<typeof extra, unknown>>();
}
