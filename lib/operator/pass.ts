import { checkBoolean, checkOptions, reject } from '../runtime/check.js';
import { SigmaError } from '../runtime/errors.js';
import type { Operand } from '../runtime/native.js';
import { publish, uncloneable } from '../runtime/public-class.js';
import type { MatrixDType, Real } from '../tensor/dtype.js';
import { checkMatrix, outputInto } from '../tensor/operand.js';
import type { LayerParameter, Parameter } from '../tensor/parameter.js';
import { keep, type Scoped, track } from '../tensor/scope.js';
import type { Matrix, Tensor, Vector } from '../tensor/tensor.js';
import { intoGrad, intoMap, type Sink } from './terms.js';

/** One forward pass and what its pull-back needs. Dispose it where no backward follows. */
export interface Pass<D extends MatrixDType = MatrixDType> extends Disposable {
  /** [..., out]; the caller's. */
  readonly y: Tensor<D>;
  /**
   * The pull-back of dy [..., out]: returns dx [..., in] and adds to each trainable parameter's grad. It uses the values of
   * the forward pass, whatever was written since. Once only. `out` takes dx.
   *
   * @throws SigmaError CONSUMED at a second call, DISPOSED after dispose, SHAPE_MISMATCH or DTYPE_MISMATCH
   */
  backward(dy: Tensor, options?: { inputGrad?: true; out?: Tensor }): Tensor<D>;
  /** The same without dx, for a first layer. */
  backward(dy: Tensor, options: { inputGrad: false }): undefined;
  backward(dy: Tensor, options?: BackwardOptions): Tensor<D> | undefined;
  /**
   * The same as a function, for frameworks with a tape: returns the gradients of this pass as new tensors, which the caller
   * disposes, and leaves every parameter's `grad` alone. Once only, like backward.
   *
   * @throws SigmaError as backward does
   * @example
   * const { dx, gradients } = pass.pullBack(dy);
   * for (const [parameter, gradient] of gradients) tape.add(parameter.name, gradient);
   */
  pullBack(dy: Tensor, options?: BackwardOptions): PulledBack<D>;
  /** Drops what the pull-back needs; `y` stays. */
  dispose(): void;
}

export interface BackwardOptions {
  /** false: no dx is computed. Default true. */
  inputGrad?: boolean;
  /** A tensor [..., in] that takes dx and is returned. It must not overlap dy. */
  out?: Tensor;
}

/** The results of `pullBack`. */
export interface PulledBack<D extends MatrixDType = MatrixDType> {
  /** [..., in], or undefined with `inputGrad: false`. */
  readonly dx: Tensor<D> | undefined;
  /** Of each parameter that was trainable in the forward pass and is now; in the parameter's shape. */
  readonly gradients: ReadonlyMap<Parameter<Real>, Tensor<Real>>;
}

/**
 * Adds the gradients to what `sink` gives and writes dx, where it is wanted; reads dy last of all. Throws before it has changed anything, or not
 * at all.
 */
export type PullBack = (op: string, dy: Matrix, dx: Operand | null, sink: Sink) => void;

const described = { name: 'Pass', instead: 'the numbers of y, and call backward where forward was called' };
const cloning = uncloneable(described);

/** A pull-back that can be called once, and what it keeps alive until then. */
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
  #saved: readonly Scoped[];
  #pullBack: PullBack;
  #state: 'open' | 'consumed' | 'disposed' = 'open';

  constructor(family: string, y: Matrix, inFeatures: number, saved: readonly Scoped[], pullBack: PullBack) {
    this.y = y;
    this.#family = family;
    this.#inFeatures = inFeatures;
    this.#saved = saved.map((each) => keep(each));
    this.#pullBack = pullBack;
    track(this);
  }

  backward(dy: Tensor, options?: { inputGrad?: true; out?: Tensor }): Matrix;
  backward(dy: Tensor, options: { inputGrad: false }): undefined;
  backward(dy: Tensor, options?: BackwardOptions): Matrix | undefined;
  backward(dy: Tensor, options?: BackwardOptions): Matrix | undefined {
    return this.#run(`${this.#family}.backward`, dy, options, intoGrad);
  }

  pullBack(dy: Tensor, options?: BackwardOptions): PulledBack {
    const gradients = new Map<LayerParameter, Vector>();
    const dx = this.#run(`${this.#family}.pullBack`, dy, options, intoMap(gradients));
    return { dx, gradients };
  }

  #run(op: string, dy: Tensor, options: BackwardOptions | undefined, sink: Sink): Matrix | undefined {
    // The caller's getters may call this very pass: its state is looked at afterwards.
    const { inputGrad: wanted = true, out } = checkOptions(op, 'options', options, ['inputGrad', 'out']);
    const inputGrad = checkBoolean(op, 'options.inputGrad', wanted);
    if (!inputGrad && out !== undefined) reject(op, 'options.out', 'no tensor, since `inputGrad` is false', out);
    if (this.#state === 'consumed') {
      throw new SigmaError('CONSUMED', op, 'this pass: expected one backward, got a second');
    }
    if (this.#state === 'disposed') {
      throw new SigmaError('DISPOSED', op, 'this pass: expected a live one, got one that was disposed');
    }
    const { shape, dtype, device } = this.y;
    const gradient = checkMatrix(op, 'dy', dy, { shape, dtype, device });
    const dx = inputGrad ? outputInto(op, out, this.y, [...shape.slice(0, -1), this.#inFeatures], [gradient]) : null;
    this.#pullBack(op, gradient, dx?.memory ?? null, sink);
    this.#release('consumed');
    return dx?.tensor();
  }

  dispose(): void {
    if (this.#state === 'open') this.#release('disposed');
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Lets go of all that the pull-back holds: its closure, and with it the arrays, and what counts them. */
  #release(state: 'consumed' | 'disposed'): void {
    this.#state = state;
    this.#pullBack = () => undefined;
    keep(this);
    for (const each of this.#saved) each.dispose();
    this.#saved = [];
  }
}
