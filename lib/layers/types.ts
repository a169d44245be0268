import type { Svd, SvdLike } from '../linalg/svd.js';
import type { Pass } from '../operator/pass.js';
import type { StrategyOption } from '../operator/planner.js';
import type { Device } from '../runtime/device.js';
import type { SparsityPattern } from '../sparse/pattern.js';
import type { FactorDType, MatrixDType, Real } from '../tensor/dtype.js';
import type { Parameter } from '../tensor/parameter.js';
import type { Tensor, Vector } from '../tensor/tensor.js';
import type { TensorLike } from '../tensor/view.js';
import type { CoreDiagonal, Telemetry } from './telemetry.js';

/**
 * A linear layer y = x · W'ᵀ + b. Few trainable parameters adapt its weight W' [out, in]. x is [..., in], y is [...,
 * out]; both have the type D and the device of the weight.
 *
 * @example
 * const layer = await svft(weight, { pattern: 'banded', offDiagonals: 2 });
 * const optimizer = new AdamW(layer.parameters, { lr: 1e-2 });
 * const pass = layer.forward(x);
 * pass.backward(dy);
 * optimizer.step();
 */
export interface AdaptedLinear<D extends MatrixDType = MatrixDType> extends Disposable {
  /** The name of the function that made it, in lower case: 'svft', 'vectorfit', … */
  readonly family: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** Number of singular triples in use: r, the truncated rank, or SiVA's and LoRA-XS's k. */
  readonly rank: number;
  /** The `rank` singular triples in use: u [out, rank], s [rank], vt [rank, in]. The layer owns these handles. */
  readonly factors: Svd<D>;
  /** Where M has its numbers; undefined for a layer without M (SiVA, VectorFit, SVDiff), or with a dense one (LoRA-XS). */
  readonly pattern: SparsityPattern | undefined;
  /** The parameters that were trainable at construction. */
  readonly parameters: readonly Parameter<Real>[];
  /** Total size of `parameters`. Freezing does not change it. */
  readonly parameterCount: number;
  /**
   * Default true. If false, the layer computes the pretrained y = x · W0ᵀ + b0: no parameter gets a gradient, and
   * `mergedWeight` and `mergedBias` return W0 and b0. The layer uses the bits of W0 while you keep the weight on the
   * layer's device, and U diag(σ) Vᵀ otherwise. If a truncated rank dropped the tail of W0, it then throws DISPOSED.
   * Layers that share factors are switched separately.
   */
  enabled: boolean;
  /**
   * x [..., in] → y [..., out], for inference: nothing is kept for a backward.
   *
   * @throws SigmaError INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH, DEVICE_MISMATCH, DISPOSED, OUT_OF_MEMORY
   */
  apply(x: TensorLike, options?: OutOption): Tensor<D>;
  /**
   * x [..., in] → a pass with y [..., out] and `backward`. A parameter that is frozen now gets no gradient from this
   * pass.
   *
   * @throws SigmaError INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH, DEVICE_MISMATCH, DISPOSED, OUT_OF_MEMORY
   */
  forward(x: TensorLike, options?: OutOption): Pass<D>;
  /**
   * Replaces the trained numbers in place: by those of another layer of the same family, pattern and factors, or by
   * numbers for each parameter, by its role. It swaps a tenant's or an epoch's numbers into a layer that stays where
   * it is, as PEFT's `hotswap_adapter` does. Either all parameters are written or none. Gradients stay.
   *
   * @throws SigmaError INVALID_ARGUMENT, SHAPE_MISMATCH, DISPOSED, BASE_MISMATCH for a layer with other directions
   * @example
   * layer.assign(tenant);
   * layer.assign({ m: saved.m, gate: saved.gate });
   */
  assign(source: AdaptedLinear<D> | TrainedNumbers): void;
  /**
   * A new tensor W' [out, in], so that x · W'ᵀ + b' equals `apply(x)` to rounding. W0 is never written.
   *
   * @throws SigmaError DISPOSED, OUT_OF_MEMORY
   */
  mergedWeight(): Tensor<D>;
  /**
   * A new tensor b' [out]; undefined for a layer without a bias.
   *
   * @throws SigmaError DISPOSED, OUT_OF_MEMORY
   */
  mergedBias(): Vector | undefined;
  /**
   * How training has changed the layer: effective rank before and after, drift of σ, change of the weight, gate, frozen
   * parameters. It needs no SVD, so you can call it at every step. It describes W', also if the layer is switched off.
   *
   * @throws SigmaError DISPOSED
   * @example
   * const { drift, change } = layer.telemetry();
   */
  telemetry(): Telemetry;
  /**
   * σ before and after by position: the diagonal of the core, in the order of the singular values of W0. It needs no SVD.
   *
   * @returns new arrays, on the host
   * @throws SigmaError DISPOSED
   * @example
   * const { before, after } = layer.coreDiagonal();
   */
  coreDiagonal(): CoreDiagonal;
  /**
   * The singular values [min(out, in)] of W', or of ΔW with `of: 'change'`, descending, as a new tensor; also if the
   * layer is switched off. A diagonal core gives them directly; otherwise an SVD runs off the event loop. ΔW is the
   * change by the trained parameters, as in `telemetry().change`: its rank is that of the change of the core.
   *
   * @throws SigmaError (as a rejection) INVALID_ARGUMENT, DISPOSED, ABORTED, NON_FINITE, NOT_CONVERGED, OUT_OF_MEMORY
   * @example
   * effectiveRank(await layer.spectrum()); // exact, for any basis
   * numericalRank(await layer.spectrum({ of: 'change' })); // the rank of ΔW
   */
  spectrum(options?: SpectrumOptions): Promise<Vector>;
  /**
   * The strategy with which a batch of `tokens` rows would be trained, its cost, and the reason. The strategy is 'base'
   * if the layer is switched off.
   *
   * @throws SigmaError INVALID_ARGUMENT, DISPOSED
   * @example
   * layer.explain(256).why;
   */
  explain(tokens: number): {
    readonly strategy: string;
    /** Forward and backward, in units of 2 · N · in · out flops. */
    readonly gemms: number;
    /** Bytes that a pass keeps from forward to backward. */
    readonly savedBytes: number;
    readonly why: string;
  };
  /** Frees the layer's parameters, gradients, factors and caches, but not the weight. A second call is a no-op. */
  dispose(): void;
}

/** Numbers for each parameter of a layer, by the last part of its name: 'm', 'gate', 'sigma', 'delta', 's', 'r', 'bias'. */
export type TrainedNumbers = Readonly<Record<string, ArrayLike<number> | TensorLike>>;

export interface OutOption {
  /** A tensor [..., out] that receives y and is returned. It must not overlap x or the tensors that the layer reads. */
  out?: TensorLike;
}

export interface SpectrumOptions {
  /** The adapted weight W' (default), or its change ΔW. */
  of?: 'weight' | 'change';
  signal?: AbortSignal;
}

/** The options that decide what a pass keeps; see `AdapterOptions`. */
export interface SavingOptions {
  readonly microBatches: number;
  readonly borrowInputs: boolean;
  readonly passBytes: number;
}

/** Options of every family. */
export interface AdapterOptions {
  /** Prefix of the parameters' names, so that names are unique across layers: 'blocks.0.q' gives 'blocks.0.q.sigma'. */
  name?: string;
  /**
   * b [out], of the type of the vectors. Borrowed, so do not write it; a bias that trains is a copy. Default: no bias.
   */
  bias?: TensorLike;
  /**
   * Your own memory for trained numbers, by the parameter's role: `{ m: { data: array, shape: [n] } }`, or a tensor. The layer
   * writes the initial numbers there and trains them in place. It must have the parameter's shape and type, and share no
   * memory with what the layer reads.
   */
  bind?: Readonly<Record<string, TensorLike>>;
  /**
   * Factors of this weight, from `decompose` or `svd`, to share between layers. Borrowed: the layer shares the memory
   * of factors that have its type and device, so do not write them. A smaller `rank` slices them. Factors of another
   * weight are BASE_MISMATCH.
   */
  factors?: SvdLike<FactorDType>;
  /**
   * The layer's device. Weight, bias and factors are copied there. Default: the weight's device; bias and factors must
   * then be on it too (DEVICE_MISMATCH).
   */
  device?: Device;
  /** Aborts the construction before or after the SVD, with ABORTED. */
  signal?: AbortSignal;
  /**
   * How the weight is stored: [out, in] (default), or [in, out] as TensorFlow, Flax, ONNX's MatMul and Hugging Face's Conv1D
   * have it. No copy is made for it. `factors` are then those of the weight as it is stored, also in `layer.factors`.
   */
  layout?: 'out-in' | 'in-out';
  /**
   * How the layer is computed. Results do not depend on it, to rounding. UNSUPPORTED if the layer cannot use it.
   * Default 'auto', which takes the cheapest. In 16 bits it never takes 'merged', because W' then rounds small changes of the
   * parameters: docs/models.md has the figures.
   */
  strategy?: StrategyOption;
  /**
   * Number of passes in one optimiser step, for the planner. W' is built and its gradient projected once a step, so
   * many small passes make 'merged' cheaper. Default 1.
   */
  microBatches?: number;
  /**
   * You promise that no `x` is written between a forward and its backward. A pass then keeps a handle on `x` instead of
   * a copy, and layers that read the same `x` share it. Default false.
   */
  borrowInputs?: boolean;
  /**
   * The most bytes that a pass should keep from forward to backward. If the cheapest strategy keeps more, the planner
   * takes another. With `borrowInputs` there is always a strategy that keeps nothing. Default: no limit.
   */
  passBytes?: number;
}
