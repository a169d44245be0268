import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { SigmaError } from './errors.js';

export type RealArray = Float32Array | Float64Array;

/** A sparsity pattern on the native side. */
export type PatternHandle = { readonly __pattern: unique symbol };

export interface SvdProblem {
  readonly a: RealArray;
  readonly u: RealArray;
  readonly s: RealArray;
  readonly vt: RealArray;
  readonly rows: number;
  readonly columns: number;
}

/** The operator's terms, in the order in which every adapter call takes them. */
export type LayerArguments = readonly [
  inFeatures: number,
  outFeatures: number,
  rank: number,
  base: RealArray | null,
  u: RealArray,
  vt: RealArray,
  diagonal: RealArray | null,
  pattern: PatternHandle | null,
  values: RealArray | null,
  gate: RealArray | null,
  bias: RealArray | null,
];

export type GradientArguments = readonly [
  diagonal: RealArray | null,
  values: RealArray | null,
  gate: RealArray | null,
  bias: RealArray | null,
];

/** What native/addon exports. Lengths and types are checked there again; meaning is checked before. */
export interface Native {
  initialize(errorClass: typeof SigmaError): void;
  setThreads(count: number): void;
  threads(): number;
  nativeInfo(): { backend: string; abi: number; blas: string; simd: string };

  gemm(
    a: RealArray,
    b: RealArray,
    c: RealArray,
    m: number,
    n: number,
    k: number,
    transposeA: boolean,
    transposeB: boolean,
  ): void;
  svd(driver: number, problems: readonly SvdProblem[]): Promise<void>;

  pattern(rowPointers: Int32Array, columnIndices: Int32Array): PatternHandle;
  spmm(
    pattern: PatternHandle,
    values: RealArray,
    dense: RealArray,
    out: RealArray,
    tokens: number,
    transpose: boolean,
  ): void;
  sddmm(pattern: PatternHandle, a: RealArray, b: RealArray, out: RealArray, tokens: number): void;

  adapterSavedLength(rank: number, tokens: number): number;
  adapterForward(
    ...call: [...LayerArguments, x: RealArray, y: RealArray, saved: RealArray | null, tokens: number]
  ): void;
  adapterBackward(
    ...call: [
      ...LayerArguments,
      saved: RealArray | null,
      x: RealArray | null,
      dy: RealArray,
      dx: RealArray | null,
      ...GradientArguments,
      tokens: number,
    ]
  ): void;
  adapterMerge(...call: [...LayerArguments, merged: RealArray]): void;
  adapterProject(...call: [...LayerArguments, g: RealArray, ...GradientArguments]): void;
  weightForward(
    weight: RealArray,
    bias: RealArray | null,
    x: RealArray,
    y: RealArray,
    tokens: number,
    inFeatures: number,
    outFeatures: number,
  ): void;
  weightBackward(
    weight: RealArray,
    x: RealArray | null,
    dy: RealArray,
    dx: RealArray | null,
    dbias: RealArray | null,
    g: RealArray | null,
    accumulate: boolean,
    tokens: number,
    inFeatures: number,
    outFeatures: number,
  ): void;

  adamw(
    parameter: RealArray,
    gradient: RealArray,
    m: RealArray,
    v: RealArray,
    lr: number,
    beta1: number,
    beta2: number,
    eps: number,
    weightDecay: number,
    step: number,
  ): void;
  sgd(
    parameter: RealArray,
    gradient: RealArray,
    momentumBuffer: RealArray | null,
    lr: number,
    momentum: number,
    weightDecay: number,
    first: boolean,
  ): void;
}

/** The addon, by absolute path: SIGMATUNE_ADDON names another build of it, for sanitizers and comparisons. */
function load(): Native {
  const require = createRequire(import.meta.url);
  const root = fileURLToPath(new URL('..', import.meta.url));
  const override = process.env['SIGMATUNE_ADDON'];
  try {
    const addon: Native = override ? require(override) : require('node-gyp-build')(root);
    addon.initialize(SigmaError);
    return addon;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new SigmaError(
      'NATIVE',
      'sigmatune',
      `the native addon could not be loaded (${reason.split('\n')[0]}). ` +
        `Looked ${override ? `at SIGMATUNE_ADDON=${override}` : `in ${root} for build/Release and prebuilds/${process.platform}-${process.arch}`}. ` +
        `Where no prebuild fits this machine, install g++, make, python3, libopenblas-dev and liblapacke-dev and run "npm rebuild sigmatune".`,
      cause,
    );
  }
}

export const native: Native = load();
