import { native, type RealArray } from '../native.js';
import type { LayerParameter } from '../parameter.js';
import type { Real } from '../tensor/dtype.js';
import { memoryOf, output } from '../tensor/operand.js';
import type { Tensor } from '../tensor/tensor.js';
import { MergedWeight } from './merged.js';
import {
  coreParameters,
  frozenArguments,
  gradientTargets,
  layerArguments,
  slopeOf,
  type Term,
  type Terms,
  termMemory,
} from './operator.js';
import type { PullBack } from './pass.js';

/** One batch on its way: X (N, in) and where Y (N, out) goes. */
export interface Batch {
  readonly op: string;
  readonly tokens: number;
  readonly x: RealArray;
  readonly y: RealArray;
}

/** A pull-back, and the tensors that it keeps alive. */
export interface Recorded {
  readonly saved: readonly Tensor[];
  readonly pullBack: PullBack;
}

/** A way through the operator; all give the same results, to rounding. */
export interface Route {
  /** Fills y, keeping nothing. */
  apply(batch: Batch): void;
  /** Fills y and records the pull-back for the parameters in `wanted`. */
  record(batch: Batch, wanted: ReadonlySet<LayerParameter>): Recorded;
  dispose(): void;
}

function trainsCore(terms: Terms, wanted: ReadonlySet<LayerParameter>): boolean {
  return coreParameters(terms).some((parameter) => wanted.has(parameter));
}

/** What was wanted at the forward pass and has not been frozen since. */
function stillTrainable(wanted: ReadonlySet<LayerParameter>): Set<LayerParameter> {
  return new Set([...wanted].filter(({ trainable }) => trainable));
}

/** Through U and V, with or without the base: the strategies 'factored' and 'lowrank'. Keeps P = Vᵀ Xᵀ (r, N). */
export class FactoredRoute implements Route {
  readonly #terms: Terms;
  readonly #bias: Term | undefined;

  constructor(terms: Terms, bias: Term | undefined) {
    this.#terms = terms;
    this.#bias = bias;
  }

  apply({ op, tokens, x, y }: Batch): void {
    native.adapterForward(...layerArguments(op, this.#terms, this.#bias), x, y, null, tokens);
  }

  record({ op, tokens, x, y }: Batch, wanted: ReadonlySet<LayerParameter>): Recorded {
    const terms = this.#terms;
    const args = layerArguments(op, terms, this.#bias);
    const [rank] = terms.vt.shape as readonly [number];
    const p = trainsCore(terms, wanted) ? output(op, terms.u.dtype, [native.adapterSavedLength(rank, tokens)]) : null;
    native.adapterForward(...args, x, y, p?.array ?? null, tokens);
    const frozen = frozenArguments(args);
    const slope = slopeOf(op, terms);
    return {
      saved: p === null ? [] : [p.tensor()],
      pullBack: (backwardOp, dy, dx) => {
        const gradients = gradientTargets(backwardOp, terms, this.#bias, stillTrainable(wanted), slope);
        native.adapterBackward(...frozen, p?.array ?? null, dy, dx, ...gradients.arguments, tokens);
        gradients.commit();
      },
    };
  }

  dispose(): void {}
}

/** Y = X Wᵀ + b. */
function throughWeight({ op, tokens, x, y }: Batch, weight: Tensor<Real>, bias: Term | undefined): void {
  const [outFeatures, inFeatures] = weight.shape as readonly [number, number];
  const memory = memoryOf(op, 'weight', weight);
  native.adapterMergedForward(memory, termMemory(op, 'bias', bias), x, y, tokens, inFeatures, outFeatures);
}

/** Through a weight in which nothing is trained: dX = dY W. */
export class FixedRoute implements Route {
  readonly #weight: Tensor<Real>;
  readonly #bias: Term | undefined;

  constructor(weight: Tensor<Real>, bias: Term | undefined) {
    this.#weight = weight;
    this.#bias = bias;
  }

  apply(batch: Batch): void {
    throughWeight(batch, this.#weight, this.#bias);
  }

  record(batch: Batch): Recorded {
    const weight = this.#weight.share();
    throughWeight(batch, weight, this.#bias);
    const [outFeatures, inFeatures] = weight.shape as readonly [number, number];
    return {
      saved: [weight],
      pullBack: (op, dy, dx) => {
        if (dx === null) return;
        const memory = memoryOf(op, 'weight', weight);
        native.gemm(dy, memory, dx, batch.tokens, inFeatures, outFeatures, false, false);
      },
    };
  }

  dispose(): void {}
}

/** Through W' itself: the strategy 'merged'. Keeps a copy of X (N, in), and the W' of the forward pass. */
export class MergedRoute implements Route {
  readonly #terms: () => Terms;
  readonly #bias: Term | undefined;
  readonly #merged = new MergedWeight();

  constructor(terms: () => Terms, bias: Term | undefined) {
    this.#terms = terms;
    this.#bias = bias;
  }

  apply(batch: Batch): void {
    const terms = this.#terms();
    throughWeight(batch, this.#merged.current(batch.op, terms), this.#bias);
  }

  record(batch: Batch, wanted: ReadonlySet<LayerParameter>): Recorded {
    const { op, tokens } = batch;
    const terms = this.#terms();
    const merged = this.#merged.current(op, terms);
    const copy = trainsCore(terms, wanted) ? output(op, merged.dtype, [batch.x.length]) : null;
    copy?.array.set(batch.x);
    throughWeight(batch, merged, this.#bias);
    const args = frozenArguments(layerArguments(op, terms, undefined));
    const slope = slopeOf(op, terms);
    const weight = merged.read(op, 'merged') as RealArray;
    return {
      saved: copy === null ? [merged.share()] : [merged.share(), copy.tensor()],
      pullBack: (backwardOp, dy, dx) => {
        const gradients = gradientTargets(backwardOp, terms, this.#bias, stillTrainable(wanted), slope);
        const x = copy?.array ?? null;
        native.adapterMergedBackward(...args, weight, x, dy, dx, ...gradients.arguments, tokens);
        gradients.commit();
      },
    };
  }

  dispose(): void {
    this.#merged.dispose();
  }
}
