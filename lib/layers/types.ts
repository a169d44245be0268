import type { Svd } from '../linalg/svd.js';
import type { Pass } from '../operator/pass.js';
import type { StrategyOption } from '../operator/planner.js';
import type { Device } from '../runtime/device.js';
import type { MatrixDType, Real } from '../tensor/dtype.js';
import type { Parameter } from '../tensor/parameter.js';
import type { Tensor, Vector } from '../tensor/tensor.js';
import type { Telemetry } from './telemetry.js';

/** A linear layer y = x · W'ᵀ + b whose weight W' is adapted by a few trainable numbers. D is the type of its weight. */
export interface AdaptedLinear<D extends MatrixDType = MatrixDType> extends Disposable {
  /** The function's name in lower case: 'svft', 'vectorfit', … */
  readonly family: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** Columns of U in use: r, or the truncated rank; SiVA: k. */
  readonly rank: number;
  /** The `rank` singular triples in use: u [out, rank], s [rank], vt [rank, in]. The layer owns these handles. */
  readonly factors: Svd<D>;
  /** What was trainable at construction. */
  readonly parameters: readonly Parameter<Real>[];
  /** Their sizes summed; freezing later does not change it. */
  readonly parameterCount: number;
  /**
   * true at first. Switched off, the layer is the pretrained one, y = x · W0ᵀ + b0: no parameter gets a gradient,
   * `mergedWeight` and `mergedBias` give back W0 and b0. That takes W0's own bits while the caller keeps the weight on the
   * layer's device, and U diag(σ) Vᵀ otherwise (DISPOSED where a truncated rank dropped its tail). Layers on one set of
   * factors are switched one by one.
   */
  enabled: boolean;
  /** x [..., in] → y [..., out], keeping nothing. */
  apply(x: Tensor, options?: OutOption): Tensor<D>;
  /** x [..., in] → y [..., out], and the pull-back. A parameter that is frozen now gets no gradient from it. */
  forward(x: Tensor, options?: OutOption): Pass<D>;
  /** A new tensor W' [out, in], with which x · W'ᵀ + b' equals apply(x). The base weight is never written. */
  mergedWeight(): Tensor<D>;
  /** A new tensor b' [out], where the layer has a bias. */
  mergedBias(): Vector | undefined;
  /**
   * What training has done so far: effective rank before and after, how far σ and the weight have moved, the gate, who is
   * frozen. Takes no decomposition, so that it can be read at every step. Speaks of W', switched on or off.
   *
   * @throws SigmaError DISPOSED
   */
  telemetry(): Telemetry;
  /**
   * The singular values of W' [min(out, in)], switched on or off, descending: at once where the core is diagonal, else
   * through an SVD, off the event loop. A new tensor.
   *
   * @throws SigmaError (as a rejection) DISPOSED, ABORTED, NON_FINITE
   */
  spectrum(options?: { signal?: AbortSignal }): Promise<Vector>;
  /** How a batch of N tokens would be trained on, and what that costs; strategy 'base' where the layer is switched off. */
  explain(tokens: number): {
    readonly strategy: string;
    /** Forward and backward, in units of 2 · N · in · out flops. */
    readonly gemms: number;
    /** What a pass holds from forward to backward. */
    readonly savedBytes: number;
    readonly why: string;
  };
  dispose(): void;
}

export interface OutOption {
  /** A tensor [..., out] that takes y and is returned. It must not overlap x or what the layer reads. */
  out?: Tensor;
}

/** What a pass may keep from forward to backward, and how often a step goes through. */
export interface SavingOptions {
  readonly microBatches: number;
  readonly borrowInputs: boolean;
  readonly passBytes: number;
}

/** Options of every family. */
export interface AdapterOptions {
  /** Goes before every parameter's name, so that names stay unique across layers. */
  name?: string;
  /** [out]. Borrowed. A trained bias or σ is a copy. */
  bias?: Tensor;
  /**
   * Precomputed factors of this weight, from `decompose` or `svd`, borrowed: where they have its type and device their memory is shared, so it must
   * not be written; a smaller `rank` slices them. Factors of another weight are BASE_MISMATCH.
   */
  factors?: Svd<MatrixDType>;
  /**
   * Where the layer is: what lies elsewhere is copied there. Default: where the weight is, and then bias and factors have
   * to be there as well (DEVICE_MISMATCH).
   */
  device?: Device;
  /** Stops before and after the decomposition. */
  signal?: AbortSignal;
  /**
   * How the weight is stored: [out, in] (default), or [in, out] as TensorFlow, Flax, ONNX's MatMul and Hugging Face's Conv1D
   * have it. No copy is made for it. `factors` are then those of the weight as it is stored, also in `layer.factors`.
   */
  layout?: 'out-in' | 'in-out';
  /** A strategy that a layer cannot use is UNSUPPORTED; results never depend on it beyond rounding. */
  strategy?: StrategyOption;
  /**
   * Passes in one optimiser step. W' is built once a step, and its gradient projected once, so with many passes of few
   * tokens the planner finds 'merged' cheaper than it looks from one. Default 1.
   */
  microBatches?: number;
  /**
   * A promise that no `x` is written between a forward and its backward. A pass then keeps a handle on it where it would
   * make a copy; layers that read one `x` share it. Default false.
   */
  borrowInputs?: boolean;
  /**
   * The most bytes that a pass should keep of its own from forward to backward. Where the cheapest way keeps more, another
   * is taken; with `borrowInputs` there is always one that keeps nothing. Default: no limit.
   */
  passBytes?: number;
}
