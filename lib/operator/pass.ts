import { checkBoolean, checkOptions } from '../runtime/check.js';
import { SigmaError } from '../runtime/errors.js';
import type { Operand } from '../runtime/native.js';
import { publish, uncloneable } from '../runtime/public-class.js';
import type { MatrixDType } from '../tensor/dtype.js';
import { checkMatrix, output } from '../tensor/operand.js';
import { keep, type Scoped, track } from '../tensor/scope.js';
import type { Matrix, Tensor } from '../tensor/tensor.js';

/** One forward pass and what its pull-back needs. Dispose it where no backward follows. */
export interface Pass<D extends MatrixDType = MatrixDType> extends Disposable {
  /** [N, out]; the caller's. */
  readonly y: Tensor<D>;
  /**
   * The pull-back of dy [N, out]: returns dx [N, in] and adds to each trainable parameter's grad. It uses the values of
   * the forward pass, whatever was written since. Once only.
   *
   * @throws SigmaError CONSUMED at a second call, DISPOSED after dispose, SHAPE_MISMATCH or DTYPE_MISMATCH
   */
  backward(dy: Tensor): Tensor<D>;
  /** The same without dx, for a first layer. */
  backward(dy: Tensor, options: { inputGrad: false }): undefined;
  backward(dy: Tensor, options?: { inputGrad?: boolean }): Tensor<D> | undefined;
  /** Drops what the pull-back needs; `y` stays. */
  dispose(): void;
}

/**
 * Adds the gradients and writes dx, where it is wanted; reads dy last of all. Throws before it has changed anything, or not
 * at all.
 */
export type PullBack = (op: string, dy: Matrix, dx: Operand | null) => void;

const described = { name: 'Pass', instead: 'the numbers of y, and call backward where forward was called' };
const cloning = uncloneable(described);

/** A pull-back that can be called once, and what it keeps alive until then. */
export class AdapterPass implements Pass {
  static {
    publish(AdapterPass, {
      ...described,
      isOwn: (value) => #pullBack in value,
      print: (pass) => `Pass ${pass.#op.replace('.backward', '')}, ${pass.#state}, y: ${pass.y}`,
    });
  }

  readonly cloning = cloning;
  readonly y: Matrix;
  readonly #op: string;
  readonly #inFeatures: number;
  #saved: readonly Scoped[];
  #pullBack: PullBack;
  #state: 'open' | 'consumed' | 'disposed' = 'open';

  constructor(family: string, y: Matrix, inFeatures: number, saved: readonly Scoped[], pullBack: PullBack) {
    this.y = y;
    this.#op = `${family}.backward`;
    this.#inFeatures = inFeatures;
    this.#saved = saved.map((each) => keep(each));
    this.#pullBack = pullBack;
    track(this);
  }

  backward(dy: Tensor): Matrix;
  backward(dy: Tensor, options: { inputGrad: false }): undefined;
  backward(dy: Tensor, options?: { inputGrad?: boolean }): Matrix | undefined;
  backward(dy: Tensor, options?: { inputGrad?: boolean }): Matrix | undefined {
    const op = this.#op;
    // The caller's getters may call this very pass: its state is looked at afterwards.
    const given = checkOptions(op, 'options', options, ['inputGrad']);
    const inputGrad = checkBoolean(op, 'options.inputGrad', given.inputGrad ?? true);
    if (this.#state === 'consumed') {
      throw new SigmaError('CONSUMED', op, 'this pass: expected one backward, got a second');
    }
    if (this.#state === 'disposed') {
      throw new SigmaError('DISPOSED', op, 'this pass: expected a live one, got one that was disposed');
    }
    const { shape, dtype, device } = this.y;
    const gradient = checkMatrix(op, 'dy', dy, { shape, dtype, device });
    const dx = inputGrad ? output(op, this.y, [shape[0] as number, this.#inFeatures]) : null;
    this.#pullBack(op, gradient, dx?.memory ?? null);
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
