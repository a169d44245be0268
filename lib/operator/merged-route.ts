import { native, type Operand } from '../runtime/native.js';
import { type Real, vectorType } from '../tensor/dtype.js';
import { memoryOf, type Output, output } from '../tensor/operand.js';
import type { LayerParameter } from '../tensor/parameter.js';
import { keep } from '../tensor/scope.js';
import type { Matrix, MatrixShape } from '../tensor/tensor.js';
import { type Built, MergedWeight } from './merged.js';
import type { PullBack } from './pass.js';
import {
  type Batch,
  featuresOf,
  keptInput,
  type Recorded,
  type Route,
  type Saving,
  stillTrainable,
  throughWeight,
} from './route.js';
import { accumulatorOf, coreParameters, gradientTargets, intoGrad, type Term, type Terms } from './terms.js';

/** What belongs to G (out, in), the sum of dYᵀ X over the backwards since the last projection, all with one W'. */
interface Gathered {
  readonly op: string;
  readonly built: Built;
  readonly wanted: readonly LayerParameter[];
}

/**
 * The strategy 'merged': computes with W' itself. A pass keeps X (N, in) and the W' of its forward. Backward
 * accumulates the gradient of W'. It is projected onto the core when a parameter's `grad` is read, once a step.
 */
export class MergedRoute implements Route {
  readonly #terms: () => Terms;
  readonly #bias: Term | undefined;
  readonly #merged = new MergedWeight();
  #g: Matrix | null = null;
  #gathered: Gathered | null = null;
  // One closure for all passes, because a closure of a pass would keep that pass alive.
  readonly #settle = () => this.#project();

  constructor(terms: () => Terms, bias: Term | undefined) {
    this.#terms = terms;
    this.#bias = bias;
  }

  /** Whether the cached W' is up to date. */
  stands(op: string): boolean {
    return this.#merged.stands(op);
  }

  apply(batch: Batch): void {
    const { weight, operator } = this.#merged.current(batch.op, this.#terms);
    throughWeight(batch, weight, operator.terms.transposed, this.#bias);
  }

  record(batch: Batch, wanted: readonly LayerParameter[], { keeps, borrowed }: Saving): Recorded {
    const { tokens } = batch;
    const built = this.#merged.current(batch.op, this.#terms);
    const weight = built.weight.share();
    const input = keeps === 'x' ? keptInput(batch, borrowed) : null;
    const { transposed } = built.operator.terms;
    throughWeight(batch, weight, transposed, this.#bias);
    const pullBack: PullBack = (op, dy, dx, sink) => {
      const now = stillTrainable(wanted);
      const ofCore = coreParameters(built.operator.terms).filter((parameter) => now.includes(parameter));
      const bias = accumulatorOf(op, this.#bias, now, sink);
      const sizes = [tokens, ...featuresOf(weight, transposed)] as const;
      // No code of the caller runs from here on, so the memory stays valid.
      const [w, given] = [memoryOf(op, 'weight', weight), memoryOf(op, 'dy', dy)];
      if (input === null || ofCore.length === 0) {
        native.weightBackward(op, w, null, given, dx, bias?.memory ?? null, null, false, ...sizes);
      } else if (sink !== intoGrad) {
        const gradients = gradientTargets(op, built.operator.terms, undefined, ofCore, sink);
        const g = gradientOf(op, weight);
        native.weightBackward(
          op,
          w,
          memoryOf(op, 'x', input),
          given,
          dx,
          bias?.memory ?? null,
          g.memory,
          false,
          ...sizes,
        );
        const layer = built.operator.handle(op);
        native.adapterProject(op, layer, ...built.snapshot.arguments, g.memory, ...gradients.arguments);
        g.tensor().dispose();
        gradients.commit();
      } else {
        const x = memoryOf(op, 'x', input);
        for (const parameter of ofCore) parameter.claim(op);
        const [g, adds] = this.#gather(op, built, ofCore);
        native.weightBackward(op, w, x, given, dx, bias?.memory ?? null, g, adds, ...sizes);
        this.#gathered = { op, built, wanted: ofCore };
        for (const parameter of ofCore) parameter.settleWith(this.#settle);
      }
      bias?.commit();
    };
    return { saved: input ? [weight, input] : [weight], pullBack };
  }

  dispose(): void {
    this.#merged.dispose();
    this.#g?.dispose();
    this.#g = null;
    this.#gathered = null;
  }

  /** G, and whether to accumulate into it. A sum that belongs to another W' or other parameters is projected first. */
  #gather(op: string, built: Built, wanted: readonly LayerParameter[]): [Operand, boolean] {
    const before = this.#gathered;
    if (before !== null && !(before.built === built && sameMembers(before.wanted, wanted))) this.#project();
    this.#g ??= keep(gradientOf(op, built.weight).tensor());
    return [memoryOf(op, 'gradient', this.#g), this.#gathered !== null];
  }

  /** Adds the projection of G onto the core to the gradients. */
  #project(): void {
    if (this.#gathered === null || this.#g === null) return;
    const { op, built, wanted } = this.#gathered;
    const gradients = gradientTargets(op, built.operator.terms, undefined, wanted, intoGrad);
    const layer = built.operator.handle(op);
    const g = memoryOf(op, 'gradient', this.#g);
    native.adapterProject(op, layer, ...built.snapshot.arguments, g, ...gradients.arguments);
    gradients.commit();
    this.#gathered = null;
  }
}

/** Uninitialised memory for G (out, in), in the vectors' type: float32 next to 16 bits, because G is a sum. */
function gradientOf(op: string, { device, dtype, shape }: Matrix): Output<Real, MatrixShape> {
  return output(op, { device, dtype: vectorType(dtype) }, shape as MatrixShape);
}

function sameMembers<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((member) => b.includes(member));
}
