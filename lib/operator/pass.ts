import { checkBoolean, checkOptions, reject } from '../runtime/check.js';
import { SigmaError } from '../runtime/errors.js';
import type { Operand } from '../runtime/native.js';
import { publish, uncloneable } from '../runtime/public-class.js';
import type { MatrixDType, Real } from '../tensor/dtype.js';
import { checkBatch, outputInto } from '../tensor/operand.js';
import type { LayerParameter, Parameter } from '../tensor/parameter.js';
import { keep, type Scoped, track } from '../tensor/scope.js';
import { type Matrix, Tensor, type Vector } from '../tensor/tensor.js';
import type { TensorLike } from '../tensor/view.js';
import { intoGrad, intoMap, type Sink } from './terms.js';

/**
 * One forward pass, with what its backward needs. Dispose it if you do not call `backward`.
 *
 * @example
 * const pass = layer.forward(x);
 * const dx = pass.backward(dy);
 */
export interface Pass<D extends MatrixDType = MatrixDType> extends Disposable {
  /** [..., out]. You own it. */
  readonly y: Tensor<D>;
  /**
   * Adds to `grad` of each trainable parameter, and returns dx. It uses the parameter values of the forward pass,
   * whatever was written since. A pass has one backward. dx goes into `out` if it is given.
   *
   * @param dy the gradient of the loss with respect to y [..., out]
   * @returns dx, the gradient with respect to x [..., in]
   * @throws SigmaError CONSUMED at a second call, DISPOSED after `dispose`, INVALID_ARGUMENT, SHAPE_MISMATCH,
   * DTYPE_MISMATCH, DEVICE_MISMATCH, OUT_OF_MEMORY
   */
  backward(dy: TensorLike, options?: { inputGrad?: true; out?: TensorLike }): Tensor<D>;
  /** Without dx, for a first layer. */
  backward(dy: TensorLike, options: { inputGrad: false }): undefined;
  backward(dy: TensorLike, options?: BackwardOptions): Tensor<D> | undefined;
  /**
   * `backward` without side effects, for frameworks with a tape: returns the gradients of this pass as new tensors,
   * which you dispose, and does not change any `grad`. A pass has one `backward` or one `pullBack`.
   *
   * @throws SigmaError as `backward`
   * @example
   * const { dx, gradients } = pass.pullBack(dy);
   * for (const [parameter, gradient] of gradients) tape.add(parameter.name, gradient);
   */
  pullBack(dy: TensorLike, options?: BackwardOptions): PulledBack<D>;
  /** Frees what `backward` needs; `y` stays. A second call is a no-op. */
  dispose(): void;
}

export interface BackwardOptions {
  /** If false, dx is not computed. Default true. */
  inputGrad?: boolean;
  /**
   * A tensor [..., in] that receives dx and is returned. It must not overlap dy, the tensors that the layer reads, or an
   * `x` that the pass borrows.
   */
  out?: TensorLike;
}

/** The results of `pullBack`. */
export interface PulledBack<D extends MatrixDType = MatrixDType> {
  /** [..., in], or undefined with `inputGrad: false`. */
  readonly dx: Tensor<D> | undefined;
  /** The gradient of each parameter that was trainable at the forward pass and still is, in the parameter's shape. */
  readonly gradients: ReadonlyMap<Parameter<Real>, Tensor<Real>>;
}

/**
 * Adds the gradients to the memory from `sink` and writes dx, unless dx is null. Reads dy last. If it throws, it has
 * changed nothing.
 */
export type PullBack = (op: string, dy: Matrix, dx: Operand | null, sink: Sink) => void;

/** What a pass knows of its layer. */
export interface PassLayer {
  readonly family: string;
  readonly inFeatures: number;
  /** The live tensors that a pull-back may read, besides those that the pass has saved. */
  readonly reads: () => readonly Tensor[];
}

const described = { name: 'Pass', instead: 'the numbers of y, and call backward where forward was called' };
const cloning = uncloneable(described);
const readsNothing = () => [];

/** A pull-back that can be called once, and the tensors that it keeps alive until then. */
export class AdapterPass implements Pass {
  static {
    publish(AdapterPass, {
      ...described,
      isOwn: (value) => #pullBack in value,
      print: (pass) => `Pass ${pass.#family}, ${pass.#state}, y: ${pass.y}`,
    });
  }

  readonly cloning = cloning;
  readonly y: Matrix;
  readonly #family: string;
  readonly #inFeatures: number;
  #layerReads: PassLayer['reads'];
  #saved: readonly Scoped[];
  #pullBack: PullBack;
  #state: 'open' | 'consumed' | 'disposed' = 'open';

  constructor(layer: PassLayer, y: Matrix, saved: readonly Scoped[], pullBack: PullBack) {
    this.y = y;
    this.#family = layer.family;
    this.#inFeatures = layer.inFeatures;
    this.#layerReads = layer.reads;
    this.#saved = saved.map((each) => keep(each));
    this.#pullBack = pullBack;
    track(this);
  }

  backward(dy: TensorLike, options?: { inputGrad?: true; out?: TensorLike }): Matrix;
  backward(dy: TensorLike, options: { inputGrad: false }): undefined;
  backward(dy: TensorLike, options?: BackwardOptions): Matrix | undefined;
  backward(dy: TensorLike, options?: BackwardOptions): Matrix | undefined {
    return this.#run(`${this.#family}.backward`, dy, options, intoGrad);
  }

  pullBack(dy: TensorLike, options?: BackwardOptions): PulledBack {
    const gradients = new Map<LayerParameter, Vector>();
    const dx = this.#run(`${this.#family}.pullBack`, dy, options, intoMap(gradients));
    return { dx, gradients };
  }

  #run(op: string, dy: TensorLike, options: BackwardOptions | undefined, sink: Sink): Matrix | undefined {
    // A getter of the caller may use this very pass, so check its state afterwards.
    const { inputGrad: wanted = true, out } = checkOptions(op, 'options', options, ['inputGrad', 'out']);
    const inputGrad = checkBoolean(op, 'options.inputGrad', wanted);
    if (!inputGrad && out !== undefined) reject(op, 'options.out', 'no tensor, because `inputGrad` is false', out);
    if (this.#state === 'consumed') {
      throw new SigmaError('CONSUMED', op, 'this pass: expected one backward, got a second');
    }
    if (this.#state === 'disposed') {
      throw new SigmaError('DISPOSED', op, 'this pass: expected a live pass, got one that was disposed');
    }
    const { shape, dtype, device } = this.y;
    const gradient = checkBatch(op, 'dy', dy, { shape, dtype, device });
    const read = out === undefined ? [] : [gradient, ...this.#reads()];
    const dxShape = [...shape.slice(0, -1), this.#inFeatures];
    const dx = inputGrad ? outputInto(op, out, this.y, dxShape, read) : null;
    this.#pullBack(op, gradient, dx?.memory ?? null, sink);
    this.#release('consumed');
    return dx?.tensor();
  }

  #reads(): readonly Tensor[] {
    return [...this.#saved.filter((each) => each instanceof Tensor), ...this.#layerReads()];
  }

  dispose(): void {
    if (this.#state === 'open') this.#release('disposed');
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Releases the closures and the tensors. */
  #release(state: 'consumed' | 'disposed'): void {
    this.#state = state;
    this.#pullBack = () => undefined;
    this.#layerReads = readsNothing;
    keep(this);
    for (const each of this.#saved) each.dispose();
    this.#saved = [];
  }
}
