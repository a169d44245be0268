import { clearInterval, setInterval } from 'node:timers';
import { loadAddon } from './addon.js';
import { SigmaError } from './errors.js';

export type RealArray = Float32Array | Float64Array;
export type NumericArray = RealArray | Uint16Array | Int32Array | Int8Array | Int16Array;

/** A sparsity pattern on the native side. */
export type PatternHandle = { readonly __pattern: unique symbol };

/** Memory on a device. */
export type DeviceMemory = { readonly __memory: unique symbol };

/**
 * Memory that an operation reads or writes: a typed array or device memory. An Int16Array has float16
 * numbers, a Uint16Array bfloat16 ones, an Int8Array a matrix as tensor/int8.ts packs it. All operands of a call are on one device.
 */
export type Operand = RealArray | Uint16Array | Int16Array | Int8Array | DeviceMemory;

/**
 * One matrix to decompose. It begins at element `first` of `a`; its results are number `at` of the stacks u, s and vt.
 * `owned`: this call is the only holder of `a`, so the routine may overwrite `a` and needs no copy.
 */
export interface SvdProblem {
  readonly a: Operand;
  readonly first: number;
  readonly owned: boolean;
  readonly u: Operand;
  readonly s: Operand;
  readonly vt: Operand;
  readonly at: number;
  readonly rows: number;
  readonly columns: number;
  /** How many of the largest triples; on a device all. */
  readonly rank: number;
}

/** The operations of a backend that take matrices, by their names in native/contract/backend.h. */
export type Operation = 'cast' | 'gemm' | 'spmm' | 'sddmm' | 'row_dots' | 'column_sums';

/** The result of opening a backend's library. */
export interface OpenedBackend {
  /** The loader's message, if the library could not be opened. */
  readonly loadError?: string;
  /** A sigma_reason of native/contract/backend.h; 0 is available. */
  readonly reason: number;
  readonly detail: string;
  /** One path per line. */
  readonly searched: string;
  readonly backend?: string;
  readonly libraries?: string;
  readonly simulated?: boolean;
  readonly devices?: readonly {
    readonly name: string;
    readonly memoryBytes: number;
    readonly capability: string;
    readonly uuid: string;
  }[];
}

/** The terms of an adapter's operator on the native side. The handle does not keep their memory alive. */
export type LayerHandle = { readonly __layer: unique symbol };

/** The argument of `Addon.layer`; shapes as in operator/terms.ts. */
export interface LayerTerms {
  readonly in: number;
  readonly out: number;
  readonly rank: number;
  readonly base: Operand | null;
  readonly u: Operand;
  readonly vt: Operand;
  readonly diagonal: Operand | null;
  readonly offset: Operand | null;
  readonly origin: Operand | null;
  readonly transposed: boolean;
  readonly rectified: boolean;
  readonly pattern: PatternHandle | null;
  readonly values: Operand | null;
  readonly gate: Operand | null;
  readonly bias: Operand | null;
}

/** Snapshots of the trainable terms. null: use the layer's current values. */
export type SnapshotArguments = readonly [diagonal: Operand | null, values: Operand | null, gate: Operand | null];

export type GradientArguments = readonly [
  diagonal: Operand | null,
  values: Operand | null,
  gate: Operand | null,
  bias: Operand | null,
];

/**
 * One batch through many layers: `starts` has the first of the sorted rows of each layer, and the number of rows; `order` is
 * the permutation that sorts the rows, with `ones` as its values, or null for sorted rows.
 */
export type EachArguments = readonly [
  layers: readonly LayerHandle[],
  starts: Int32Array,
  order: PatternHandle | null,
  ones: Operand | null,
];

/** What native/addon exports. The addon checks lengths and types again; its callers check everything else. */
interface Addon {
  setThreads(count: number): void;
  threads(): number;
  nativeInfo(): { backend: string; abi: number; blas: string; simd: string };

  /** Bytes from the start of a new buffer to its first cache line. Asks for huge pages. */
  prepareBuffer(buffer: ArrayBuffer): number;
  /** Puts a free buffer into the reuse cache, which holds it weakly. Its contents stay. */
  parkBuffer(buffer: ArrayBuffer): void;
  /** Takes a buffer of this length out of the reuse cache. */
  takeBuffer(byteLength: number): ArrayBuffer | undefined;
  /** Bytes that are kept for later calls, by device; -1 is the CPU. */
  keptBytes(): Readonly<Record<string, number>>;
  /**
   * Whether this thread is in use: whether it has called the addon since the last `trimIdle`, or waits for a call. If not,
   * frees what is kept.
   */
  trimIdle(): boolean;
  /** Whether two operands have bytes in common. */
  overlap(a: Operand, b: Operand): boolean;

  deviceOpen(path: string): OpenedBackend;
  /** Whether a device's backend has a kernel for vectors of type `real` and matrices of types `dtypes`, in the order of
   * native/contract/backend.h. Device -1 is the CPU. */
  supports(device: number, operation: Operation, real: string, dtypes: readonly string[]): boolean;
  /** Device -1 is the CPU. */
  timerStart(device: number): void;
  timerStop(device: number): number;
  /** `element` is an index into `dtypes`. The memory is uninitialised. */
  deviceAllocate(device: number, element: number, length: number): DeviceMemory;
  deviceRelease(memory: DeviceMemory): void;
  deviceUpload(memory: DeviceMemory, array: NumericArray): void;
  deviceDownload(memory: DeviceMemory, array: NumericArray): void;
  deviceDownloadLater(memory: DeviceMemory, array: NumericArray): Promise<void>;
  deviceZero(memory: DeviceMemory): void;
  /** The L2 norm of all numbers, float32 or float64. Waits. */
  deviceNorm(memory: readonly DeviceMemory[]): number;
  deviceScale(memory: readonly DeviceMemory[], factor: number): void;
  deviceCopy(to: DeviceMemory, from: DeviceMemory): void;
  /** Of floating-point numbers of one length and device. */
  cast(to: Operand, from: Operand): void;

  gemm(
    a: Operand,
    b: Operand,
    c: Operand,
    m: number,
    n: number,
    k: number,
    transposeA: boolean,
    transposeB: boolean,
  ): void;
  /** `gemm` on another thread, on copies of a and b. The caller must be the only holder of c. */
  gemmLater(...call: Parameters<Addon['gemm']>): Promise<void>;
  copyMatrix(
    from: Operand,
    fromFirst: number,
    fromStride: number,
    to: Operand,
    toFirst: number,
    toStride: number,
    rows: number,
    columns: number,
  ): void;
  /** to (rows, columns) = the columns from `first` on of from (rows, width), of two types. */
  castMatrix(to: Operand, from: Operand, rows: number, columns: number, first: number, width: number): void;
  svd(driver: number, problems: readonly SvdProblem[]): Promise<void>;
  /** `svd` on this thread. */
  svdNow(driver: number, problems: readonly SvdProblem[]): void;

  pattern(rowPointers: Int32Array, columnIndices: Int32Array): PatternHandle;
  spmm(pattern: PatternHandle, values: Operand, dense: Operand, out: Operand, tokens: number, transpose: boolean): void;
  sddmm(pattern: PatternHandle, a: Operand, b: Operand, out: Operand, tokens: number): void;

  layer(terms: LayerTerms): LayerHandle;
  adapterSavedLength(rank: number, tokens: number): number;
  adapterForward(layer: LayerHandle, x: Operand, y: Operand, saved: Operand | null, tokens: number): void;
  adapterBackward(
    ...call: [
      layer: LayerHandle,
      ...SnapshotArguments,
      saved: Operand | null,
      x: Operand | null,
      dy: Operand,
      dx: Operand | null,
      ...GradientArguments,
      tokens: number,
    ]
  ): void;
  eachForward(...call: [...EachArguments, x: Operand, y: Operand, saved: Operand | null]): void;
  /** Three snapshots and four gradients for each layer, in the order of `SnapshotArguments` and `GradientArguments`. */
  eachBackward(
    ...call: [
      ...EachArguments,
      snapshots: readonly (Operand | null)[],
      saved: Operand | null,
      dy: Operand,
      dx: Operand | null,
      gradients: readonly (Operand | null)[],
    ]
  ): void;
  adapterMerge(layer: LayerHandle, merged: Operand): void;
  adapterProject(...call: [layer: LayerHandle, ...SnapshotArguments, g: Operand, ...GradientArguments]): void;
  weightForward(
    weight: Operand,
    bias: Operand | null,
    x: Operand,
    y: Operand,
    tokens: number,
    inFeatures: number,
    outFeatures: number,
    transposed: boolean,
  ): void;
  weightBackward(
    weight: Operand,
    x: Operand | null,
    dy: Operand,
    dx: Operand | null,
    dbias: Operand | null,
    g: Operand | null,
    accumulate: boolean,
    tokens: number,
    inFeatures: number,
    outFeatures: number,
    transposed: boolean,
  ): void;

  /**
   * One step of many parameters of one type and device. `tensors` has a parameter, its gradient, m and v for each;
   * `settings` has lr, beta1, beta2, eps, weightDecay and the step, from 1 on.
   */
  adamw(tensors: readonly Operand[], settings: Float64Array): void;
  /**
   * The same. `tensors` has a parameter, its gradient and its momentum buffer or null; `settings` has lr, momentum,
   * weightDecay, and 1 for the first step, else 0.
   */
  sgd(tensors: readonly (Operand | null)[], settings: Float64Array): void;

  mpiOpen(path: string): { readonly loadError?: string; readonly library?: string };
  /** The calls of native/contract/mpi.h. `seconds` is the time-out. Inputs are copied. */
  mpiStart(): Promise<void>;
  mpiRank(): number;
  mpiSize(): number;
  /** (size, length) bytes. */
  mpiGather(bytes: Uint8Array, seconds: number): Promise<Uint8Array>;
  mpiMean<T extends RealArray>(numbers: T, seconds: number): Promise<T>;
  mpiBroadcast(bytes: Uint8Array, root: number, seconds: number): Promise<Uint8Array>;
  mpiReset(): Promise<void>;
  /** The counter before the addition. */
  mpiClaim(amount: number, seconds: number): Promise<number>;
  /** After all ranks have agreed on it. */
  mpiFinish(seconds: number): Promise<void>;
  /** Whether all ranks leave with the same bytes. */
  mpiLeave(bytes: Uint8Array, seconds: number): boolean;
  mpiAbandon(code: number, seconds: number): void;

  /** The calls of native/contract/collective.h, on the thread of the library for MPI. */
  ncclOpen(): { readonly available: boolean; readonly detail: string; readonly searched: string };
  /** 16 bytes that no other device has; zeros if the device has no such number. */
  ncclIdentify(memory: DeviceMemory): Uint8Array;
  ncclMakeId(): Promise<Uint8Array>;
  /** A number for the joined ranks. */
  ncclJoin(memory: DeviceMemory, id: Uint8Array, seconds: number): Promise<number>;
  ncclMean(ranks: number, memories: readonly DeviceMemory[], seconds: number): Promise<void>;
  ncclLeave(ranks: number, seconds: number): Promise<void>;
}

/** Each function of the addon first takes the name of the public function that calls it, for errors. */
type Called<F> = F extends (...args: infer A) => infer R ? (op: string, ...args: A) => R : never;

/** Functions are called as methods: they throw the SigmaError class of their `this`. */
export type Native = { readonly [name in keyof Addon]: Called<Addon[name]> } & {
  readonly SigmaError: typeof SigmaError;
};

/** Time without a call, in ms, after which the addon frees what it keeps for later calls. */
const idleTime = 1000;

/** The addon calls it at the first call after an idle time. */
function watchIdle(): void {
  const timer = setInterval(() => {
    if (!native.trimIdle('memory')) clearInterval(timer);
  }, idleTime);
  timer.unref();
}

/** Two copies of this package may share one addon, so each calls it on an object with its own class. */
export const native: Native = Object.create(loadAddon(), {
  SigmaError: { value: SigmaError },
  watchIdle: { value: watchIdle },
});
