import { checkChoice, checkOptions, fail } from '../runtime/check.js';
import { publish, uncloneable } from '../runtime/public-class.js';
import { type DType, type FactorDType, type MatrixDType, vectorType } from '../tensor/dtype.js';
import { anything, checkMatrix, numbersOf, placed } from '../tensor/operand.js';
import { keep, type Scoped } from '../tensor/scope.js';
import { type Matrix, refuseCodes, type Tensor } from '../tensor/tensor.js';
import type { VectorDType } from '../tensor/typing.js';
import type { TensorLike, View } from '../tensor/view.js';
import { type FactorError, factorErrorOf } from './factor-error.js';
import { readSvdOptions, type Svd, type SvdOptions, thinSvd } from './svd.js';

/** How the frozen matrices U and Vᵀ are kept. */
export type Storage = 'float32' | 'float64' | 'bfloat16' | 'float16' | 'int8';

export interface DecomposeOptions extends SvdOptions {
  /**
   * The type of U and Vᵀ. Default: the weight's. σ is float64 next to float64, else float32. 'int8' has a float32 scale for
   * each group of 64 numbers along a row, about 0.27 times the bytes of float32, and is UNSUPPORTED on a CUDA device.
   */
  storage?: Storage;
}

const described = { name: 'Factors', instead: "the numbers of the factors' u, s and vt" };
const cloning = uncloneable(described);

/**
 * A decomposed weight W0 ≈ U diag(σ) Vᵀ, made by `decompose`. Give it to any number of layers as `factors`. Layers in its type
 * and on its device share its memory, which is freed with the last owner: this object, or a layer.
 *
 * @example
 * const factors = await decompose(weight);
 * const layers = [await svft(weight, { factors }), await siva(weight, { factors })];
 * factors.dispose(); // the layers keep what they use
 */
export class Factors<D extends FactorDType = FactorDType> implements Svd<D>, Disposable {
  static {
    publish<Factors>(Factors, { ...described, isOwn: (value) => #disposed in value, print: (self) => self.#print() });
  }

  /** @internal */
  readonly cloning = cloning;
  /** U [out, r] */
  readonly u: Tensor<D>;
  /** σ [r], descending */
  readonly s: Tensor<VectorDType<D>>;
  /** Vᵀ [r, in] */
  readonly vt: Tensor<D>;
  readonly outFeatures: number;
  readonly inFeatures: number;
  /** The type of U and Vᵀ. */
  readonly storage: D;
  /** Of U, σ and Vᵀ together, however many layers share them. */
  readonly bytes: number;
  /** Measured with the factors as they are kept, over all entries. */
  readonly error: FactorError;
  #disposed = false;

  private constructor({ u, s, vt }: Svd<D>, error: FactorError) {
    this.u = keep(u.share());
    this.s = keep(s.share());
    this.vt = keep(vt.share());
    this.outFeatures = u.shape[0] as number;
    this.inFeatures = vt.shape[1] as number;
    this.storage = u.dtype;
    this.bytes = [u, s, vt].reduce((sum, tensor: Tensor<DType>) => sum + tensor.bytes, 0);
    this.error = Object.freeze(error);
  }

  /** @internal With handles of its own on the tensors. */
  static of<D extends FactorDType>(factors: Svd<D>, error: FactorError): Factors<D> {
    return new Factors(factors, error);
  }

  /** Releases this object's handles. Layers that share the memory keep it. May be called again. */
  dispose(): void {
    this.#disposed = true;
    for (const tensor of [this.u, this.s, this.vt]) tensor.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #print(): string {
    const { residual, orthogonality } = this.error;
    return (
      `Factors [${this.outFeatures}, ${this.inFeatures}] rank ${this.s.size} ${this.storage} on ${this.u.device}` +
      `${this.#disposed ? ', disposed' : ''}, ${this.bytes} bytes, residual ${residual.toPrecision(2)}, ` +
      `orthogonality ${orthogonality.toPrecision(2)}`
    );
  }
}

const optionNames = ['driver', 'rank', 'signal', 'onProgress', 'storage'] as const;
const storages = ['float32', 'float64', 'bfloat16', 'float16', 'int8'] as const;

/**
 * Decomposes a weight [out, in] once, for all layers that share it: an `svd` with its errors measured. Runs off the event
 * loop. The errors are measured over all entries, which adds 35 to 50 % to the time of an `svd`.
 *
 * @throws SigmaError (as a rejection) as `svd` does, and UNSUPPORTED for storage 'int8' on a CUDA device
 * @example
 * const factors = await decompose(weight, { storage: 'float32' });
 * factors.error.residual; // ‖W0 − U diag(σ) Vᵀ‖ / ‖W0‖, about 1e-6 in float32
 */
export function decompose<D extends MatrixDType, S extends Storage = D>(
  weight: Tensor<D>,
  options?: DecomposeOptions & { storage?: S },
): Promise<Factors<S>>;
/** The same for an object of a tensor's form. */
export function decompose<S extends Storage = MatrixDType>(
  weight: View,
  options?: DecomposeOptions & { storage?: S },
): Promise<Factors<S>>;
export async function decompose(weight: TensorLike, options?: DecomposeOptions): Promise<Factors> {
  const op = 'decompose';
  return decomposed(op, readDecomposition(op, weight, options));
}

/** What is to be decomposed, and how; each option was read once. */
export interface Decomposition {
  readonly weight: Matrix;
  /** The type of U and Vᵀ. */
  readonly storage: FactorDType;
  readonly driver: SvdOptions['driver'];
  readonly rank: SvdOptions['rank'];
  readonly signal: SvdOptions['signal'];
  readonly onProgress: SvdOptions['onProgress'];
}

/** @internal The arguments of `decompose`, for function `op`. */
export function readDecomposition(op: string, weight: unknown, options: DecomposeOptions | undefined): Decomposition {
  const { driver, rank, signal, onProgress, storage } = checkOptions(op, 'options', options, optionNames);
  readSvdOptions(op, { driver, rank, signal, onProgress });
  const wanted = readStorage(op, storage);
  const input = checkMatrix(op, 'weight', weight, { ...anything, shape: [null, null] });
  if (wanted === 'int8' && input.device !== 'cpu') refuseCodes(op, 'options.storage', input.device);
  return { weight: input, storage: wanted ?? input.dtype, driver, rank, signal, onProgress };
}

/** @internal A type in which factors can be kept; undefined for the default. */
export function readStorage(op: string, storage: unknown): Storage | undefined {
  return storage === undefined ? undefined : checkChoice(op, 'options.storage', storage, storages);
}

/** @internal `decompose` for function `op`, whose name the errors carry. */
export async function decomposed(op: string, { weight, storage, ...options }: Decomposition): Promise<Factors> {
  const made: Scoped[] = [];
  const own = <T extends Scoped>(tensor: T): T => {
    made.push(keep(tensor));
    return tensor;
  };
  try {
    // The caller may dispose the weight meanwhile.
    const base = own(
      storage === 'float64' ? placed(op, weight, { device: weight.device, dtype: storage }) : weight.share(),
    );
    const found = await thinSvd(op, 'weight', base, options);
    for (const tensor of Object.values(found)) own(tensor);
    const { device } = base;
    const vectors = vectorType(storage);
    const factors = {
      u: own(placed(op, found.u, { device, dtype: storage })),
      s: own(placed(op, found.s, { device, dtype: vectors })),
      vt: own(placed(op, found.vt, { device, dtype: storage })),
    };
    if (!Number.isFinite(numbersOf(op, 'factors.s', factors.s)[0])) {
      const largest = numbersOf(op, 'factors.s', found.s)[0];
      fail('NON_FINITE', op, 'options.storage', `a type with the range of the largest σ, ${largest}`, storage);
    }
    const error = await factorErrorOf({ op, signal: options.signal }, base, factors);
    return Factors.of<FactorDType>(factors, error);
  } finally {
    for (const tensor of made) tensor.dispose();
  }
}
