import { native, type Operand } from '../runtime/native.js';
import { copyOf, memoryOf, output } from '../tensor/operand.js';
import type { LayerParameter } from '../tensor/parameter.js';
import type { Scoped } from '../tensor/scope.js';
import type { Matrix } from '../tensor/tensor.js';
import type { PullBack } from './pass.js';
import type { Keeps } from './planner.js';
import { savedLength } from './saved.js';
import { gradientTargets, Operator, type Term, type Terms, termMemory } from './terms.js';

/** One batch: X (N, in), whose memory is read last, and memory for Y (N, out). */
export interface Batch {
  readonly op: string;
  readonly tokens: number;
  readonly input: Matrix;
  readonly y: Operand;
}

/** What a pass keeps, and whether it may borrow its input until backward. */
export interface Saving {
  readonly keeps: Keeps;
  readonly borrowed: boolean;
}

/** A pull-back, and the tensors that it keeps alive. */
export interface Recorded {
  readonly saved: readonly Scoped[];
  readonly pullBack: PullBack;
}

/** One way to compute the operator. All routes give the same results, to rounding. */
export interface Route {
  /** Fills y and keeps nothing. */
  apply(batch: Batch): void;
  /** Fills y and records the pull-back for the parameters in `wanted`. */
  record(batch: Batch, wanted: readonly LayerParameter[], saving: Saving): Recorded;
  dispose(): void;
}

/** The wanted parameters that have not been frozen since the forward pass. */
export function stillTrainable(wanted: readonly LayerParameter[]): readonly LayerParameter[] {
  return wanted.filter(({ trainable }) => trainable);
}

/** The record of a batch of no rows: every gradient is zero. */
export function recordNothing(wanted: readonly LayerParameter[]): Recorded {
  return {
    saved: [],
    pullBack: (op, _dy, _dx, sink) => {
      const accumulators = stillTrainable(wanted).map((parameter) => sink(op, parameter));
      for (const accumulator of accumulators) accumulator.commit();
    },
  };
}

/** X as a pass keeps it: a new handle on a borrowed X, else a copy. */
export function keptInput({ op, input }: Batch, borrowed: boolean): Matrix {
  return borrowed ? input.share() : copyOf(op, 'x', input);
}

/** The strategies 'factored' and 'lowrank': U and V, without or with the base. Keeps P = Vᵀ Xᵀ (r, N), or X. */
export class FactoredRoute implements Route {
  readonly operator: Operator;

  constructor(terms: Terms, bias: Term | undefined) {
    this.operator = new Operator(terms, bias);
  }

  apply({ op, tokens, input, y }: Batch): void {
    native.adapterForward(op, this.operator.handle(op), memoryOf(op, 'x', input), y, null, tokens);
  }

  record(batch: Batch, wanted: readonly LayerParameter[], { keeps, borrowed }: Saving): Recorded {
    const { op, tokens, y } = batch;
    const { operator } = this;
    const { vt } = operator.terms;
    const p = keeps === 'p' ? output(op, batch.input, [savedLength(op, vt.shape[0] as number, tokens)]) : null;
    const input = keeps === 'x' ? keptInput(batch, borrowed) : null;
    native.adapterForward(op, operator.handle(op), memoryOf(op, 'x', batch.input), y, p?.memory ?? null, tokens);
    const snapshot = operator.snapshot(op);
    const projected = p?.tensor() ?? null;
    return {
      saved: [projected, input, snapshot].filter((each) => each != null),
      pullBack: (backwardOp, dy, dx, sink) => {
        const gradients = gradientTargets(backwardOp, operator.terms, operator.bias, stillTrainable(wanted), sink);
        const layer = operator.handle(backwardOp);
        const read = (name: string, tensor: Matrix | null) => tensor && memoryOf(backwardOp, name, tensor);
        const [saved, again, given] = [read('this pass', projected), read('x', input), memoryOf(backwardOp, 'dy', dy)];
        native.adapterBackward(
          backwardOp,
          layer,
          ...snapshot.arguments,
          saved,
          again,
          given,
          dx,
          ...gradients.arguments,
          tokens,
        );
        gradients.commit();
      },
    };
  }

  dispose(): void {}
}

/** in, out, and whether the weight is stored as (in, out): the last arguments of the native calls through a weight. */
export function featuresOf(weight: Matrix, transposed: boolean): readonly [number, number, boolean] {
  const [rows, columns] = weight.shape as readonly [number, number];
  return transposed ? [rows, columns, true] : [columns, rows, false];
}

/** Y = X Wᵀ + b. */
export function throughWeight(
  { op, tokens, input, y }: Batch,
  weight: Matrix,
  transposed: boolean,
  bias: Term | undefined,
): void {
  const [memory, added] = [memoryOf(op, 'weight', weight), termMemory(op, 'bias', bias)];
  native.weightForward(op, memory, added, memoryOf(op, 'x', input), y, tokens, ...featuresOf(weight, transposed));
}

/** A weight in which nothing is trained: dX = dY W. */
export class FixedRoute implements Route {
  readonly #weight: Matrix;
  readonly #transposed: boolean;
  readonly #bias: Term | undefined;

  constructor(weight: Matrix, transposed: boolean, bias: Term | undefined) {
    this.#weight = weight;
    this.#transposed = transposed;
    this.#bias = bias;
  }

  apply(batch: Batch): void {
    throughWeight(batch, this.#weight, this.#transposed, this.#bias);
  }

  record(batch: Batch): Recorded {
    const { tokens } = batch;
    const weight = this.#weight.share();
    throughWeight(batch, weight, this.#transposed, this.#bias);
    const features = featuresOf(weight, this.#transposed);
    return {
      saved: [weight],
      pullBack: (op, dy, dx) => {
        const [memory, given] = [memoryOf(op, 'weight', weight), memoryOf(op, 'dy', dy)];
        native.weightBackward(op, memory, null, given, dx, null, null, false, tokens, ...features);
      },
    };
  }

  dispose(): void {}
}
