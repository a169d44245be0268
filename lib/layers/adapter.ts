import type { Svd } from '../linalg/svd.js';
import { transposing } from '../linalg/transpose.js';
import type { Member } from '../operator/each.js';
import { mergeTerms } from '../operator/merged.js';
import { MergedRoute } from '../operator/merged-route.js';
import { AdapterPass, type Pass, type PassLayer } from '../operator/pass.js';
import { type Plan, type PlanInput, plan, reason, type Strategy } from '../operator/planner.js';
import { type Batch, FactoredRoute, type Recorded, type Route, recordNothing } from '../operator/route.js';
import { savedLength } from '../operator/saved.js';
import { coreParameters, type Operator, placeOf, sizesOf, type Term, type Terms, tensorOf } from '../operator/terms.js';
import {
  checkBoolean,
  checkChoice,
  checkInteger,
  checkOptions,
  checkSignal,
  describe,
  fail,
} from '../runtime/check.js';
import { SigmaError } from '../runtime/errors.js';
import { publish, uncloneable } from '../runtime/public-class.js';
import { atOnce } from '../runtime/slices.js';
import type { SparsityPattern } from '../sparse/pattern.js';
import type { Origin } from '../tensor/derived.js';
import { bytesPerElement, type FactorDType, isHalf, type MatrixDType } from '../tensor/dtype.js';
import { checkBatch, copyOf, output, outputInto, type Place } from '../tensor/operand.js';
import { LayerParameter } from '../tensor/parameter.js';
import { keep, type Scoped } from '../tensor/scope.js';
import { type Matrix, Tensor, type Vector } from '../tensor/tensor.js';
import type { TensorLike } from '../tensor/view.js';
import { type Base, BaseLayer } from './base.js';
import type { Recipe } from './recipe.js';
import { changeSpectrum, weightSpectrum } from './spectrum.js';
import { numbersGiven, numbersOfLayer } from './swap.js';
import {
  type CoreDiagonal,
  coreDiagonalOf,
  distancesOf,
  type Spectrum,
  type Telemetry,
  telemetryOf,
} from './telemetry.js';
import type { AdaptedLinear, OutOption, SavingOptions, SpectrumOptions, TrainedNumbers } from './types.js';

/** A family's design of a layer: everything that the layer computes with. */
export interface Blueprint {
  /** Makes the `rank` singular triples in use; called at most once. The layer owns them. */
  readonly factors: () => Svd<FactorDType>;
  readonly rank: number;
  readonly bias: Term | undefined;
  /** The terms of the strategies that use the factors. At least one of the two is given. */
  readonly factored: Terms | undefined;
  readonly lowrank: Terms | undefined;
  /** The terms from which W' is built; called for each build. */
  readonly merge: () => Terms;
  /** The pretrained layer, and what is known of its singular values. */
  readonly base: Base;
  readonly spectrum: Spectrum;
  /** The strategies that the planner may choose. */
  readonly choices: readonly Strategy[];
  /** What the layer disposes with itself, besides its parameters and bias. */
  readonly owned: readonly Scoped[];
}

/** What a layer consists of, and how it was made: for those who save it and make it again. */
export interface Anatomy {
  readonly recipe: Recipe;
  readonly terms: Terms;
  readonly bias: Term | undefined;
  readonly base: Base;
  readonly spectrum: Spectrum;
  /** The terms of W', also of a layer that is switched off. */
  readonly merge: () => Terms;
  /** Whether the diagonal of the core is a parameter. */
  readonly trainsDiagonal: boolean;
}

const described = { name: 'AdaptedLinear', instead: "the weight and the numbers of the layer's parameters" };
const cloning = uncloneable(described);

/** The layer class of all families. */
export class Adapter implements AdaptedLinear {
  static {
    publish(Adapter, { ...described, isOwn: (value) => #routes in value, print: (layer) => layer.#print() });
  }

  readonly cloning = cloning;
  readonly family: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly rank: number;
  readonly pattern: SparsityPattern | undefined;
  readonly parameters: readonly LayerParameter[];
  readonly parameterCount: number;
  readonly #blueprint: Blueprint;
  /** The terms of 'factored', or of 'lowrank' if the layer has no 'factored'. */
  readonly #terms: Terms;
  /** Those terms, with the bias. */
  readonly #operator: Operator;
  readonly #core: readonly LayerParameter[];
  #factors: Svd<FactorDType> | undefined;
  readonly #routes: Readonly<Record<Strategy, Route | undefined>>;
  readonly #merged: MergedRoute;
  readonly #base: BaseLayer;
  readonly #saving: SavingOptions;
  readonly #ofPasses: PassLayer;
  readonly #recipe: Recipe;
  #enabled = true;
  #last: (Pick<PlanInput, 'tokens' | 'training' | 'built' | 'trainsCore'> & { readonly plan: Plan }) | undefined;
  #disposed = false;

  constructor(family: string, blueprint: Blueprint, saving: SavingOptions, recipe: Recipe) {
    const { bias, factored, lowrank } = blueprint;
    const terms = (factored ?? lowrank) as Terms;
    this.family = family;
    const { in: inFeatures, out: outFeatures } = sizesOf(terms);
    this.outFeatures = outFeatures;
    this.inFeatures = inFeatures;
    this.rank = blueprint.rank;
    this.pattern = terms.core?.pattern;
    this.#terms = terms;
    const core = coreParameters(terms);
    this.#core = core;
    this.parameters = Object.freeze(bias instanceof LayerParameter ? [...core, bias] : core);
    this.parameterCount = this.parameters.reduce((sum, { value }) => sum + value.size, 0);
    this.#blueprint = blueprint;
    // In 16 bits W0 + U (C − diag σ) Vᵀ rounds to W0 until the change has grown: each entry of W0 is in the middle between
    // two rounding boundaries. The entries of U C Vᵀ lie anywhere, so small changes survive on average.
    const merge = factored !== undefined && isHalf(factored.dtype) ? () => factored : blueprint.merge;
    this.#merged = new MergedRoute(merge, bias);
    const routes = {
      factored: factored && new FactoredRoute(factored, bias),
      lowrank: lowrank && new FactoredRoute(lowrank, bias),
    };
    this.#routes = { ...routes, merged: this.#merged };
    this.#operator = (routes.factored ?? (routes.lowrank as FactoredRoute)).operator;
    this.#base = new BaseLayer(blueprint.base, terms.transposed);
    this.#saving = saving;
    this.#ofPasses = { family, inFeatures, reads: () => this.readTensors() };
    this.#recipe = recipe;
  }

  /** @internal A layer made here, and not an object that merely inherits from one. */
  static is(value: unknown): value is Adapter {
    return typeof value === 'object' && value !== null && #routes in value;
  }

  /** @internal */
  anatomy(op: string, argument?: string): Anatomy {
    this.checkAlive(op, argument);
    const { base, spectrum, merge, bias } = this.#blueprint;
    const terms = this.#terms;
    const trainsDiagonal = terms.diagonal instanceof LayerParameter;
    return { recipe: this.#recipe, terms, bias, base, spectrum, merge, trainsDiagonal };
  }

  /** @internal Type and device of the layer's matrices. */
  get place(): Place<MatrixDType> {
    return placeOf(this.#terms);
  }

  /** @internal The factors that the layer was made of. */
  get origin(): Origin | undefined {
    return this.#recipe.origin;
  }

  /** @internal The layer as a part of a batch through many layers. */
  member(op: string, argument: string): Member {
    this.checkAlive(op, argument);
    if (!this.#enabled) return { operator: this.#base.operator(op, this.#terms), wanted: [] };
    return { operator: this.#operator, wanted: this.parameters.filter(({ trainable }) => trainable) };
  }

  get enabled(): boolean {
    return this.#enabled;
  }

  set enabled(enabled: boolean) {
    this.#enabled = checkBoolean(this.family, 'enabled', enabled);
  }

  get factors(): Svd<MatrixDType> {
    if (this.#factors === undefined) {
      this.#factors = Object.freeze(this.#blueprint.factors());
      for (const tensor of Object.values(this.#factors)) keep(tensor);
    }
    // Those of a few layers are int8: their type says so when it is asked.
    return this.#factors as Svd<MatrixDType>;
  }

  /** @internal Of the layer's own memory: factors, parameters, and copies of them. The weight and the bias are the caller's. */
  bytes(op: string): number {
    this.checkAlive(op);
    const { owned, base } = this.#blueprint;
    const caller = [base.weight(), this.#terms.base];
    const held = [...owned, ...this.parameters.map(({ value }) => value)].filter((each) => each instanceof Tensor);
    const memories = new Map(held.map((tensor) => [tensor.read(op, 'this'), tensor.bytes]));
    for (const tensor of caller) if (tensor?.disposed === false) memories.delete(tensor.read(op, 'this'));
    return [...memories.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  apply(x: TensorLike, options?: OutOption): Matrix {
    const op = `${this.family}.apply`;
    const { batch, y } = this.#batch(op, x, options);
    if (batch.tokens === 0) return y.tensor();
    if (this.#enabled) this.#routes[this.#plan(op, batch.tokens, false).strategy]?.apply(batch);
    else this.#base.route(op).apply(batch);
    return y.tensor();
  }

  forward(x: TensorLike, options?: OutOption): Pass {
    const op = `${this.family}.forward`;
    const { batch, y } = this.#batch(op, x, options);
    const wanted = this.parameters.filter(({ trainable }) => trainable);
    const { saved, pullBack } = this.#record(batch, wanted);
    return new AdapterPass(this.#ofPasses, y.tensor(), saved, (backwardOp, dy, dx, sink) => {
      this.checkAlive(backwardOp);
      pullBack(backwardOp, dy, dx, sink);
    });
  }

  assign(source: AdaptedLinear | TrainedNumbers): void {
    const op = `${this.family}.assign`;
    const assignments = Adapter.is(source)
      ? numbersOfLayer(op, this, source)
      : numbersGiven(op, this.parameters, source as unknown);
    this.checkAlive(op);
    for (const { value } of this.parameters) value.read(op, 'this layer');
    // Nothing fails from here on, so that either all parameters are written or none.
    for (const [parameter, numbers] of assignments) parameter.value.assign(numbers);
  }

  mergedWeight(): Matrix {
    const op = `${this.family}.mergedWeight`;
    const stored = this.mergedAsStored(op);
    if (!this.#terms.transposed) return stored;
    try {
      return atOnce(transposing(op, stored));
    } finally {
      stored.dispose();
    }
  }

  /** @internal The same in the layout of the weight. */
  mergedAsStored(op: string): Matrix {
    this.checkAlive(op);
    return this.#enabled ? mergeTerms(op, this.#blueprint.merge()) : this.#base.weight(op);
  }

  mergedBias(): Vector | undefined {
    const op = `${this.family}.mergedBias`;
    this.checkAlive(op);
    const { bias } = this.#blueprint;
    if (!this.#enabled) return this.#base.bias(op);
    return bias && copyOf(op, 'bias', tensorOf(bias));
  }

  explain(tokens: number): { strategy: string; gemms: number; savedBytes: number; why: string } {
    const op = `${this.family}.explain`;
    this.checkAlive(op);
    checkInteger(op, 'tokens', tokens, 1);
    if (!this.#enabled) {
      const gemms = this.#base.gemms(op);
      return {
        strategy: 'base',
        gemms,
        savedBytes: 0,
        why: `base ${gemms.toFixed(2)} GEMMs: the layer is switched off`,
      };
    }
    const steady = this.#load(op, tokens, true, false);
    const { strategy, gemms, savedBytes } = plan(steady);
    return { strategy, gemms, savedBytes, why: reason(steady) };
  }

  telemetry(): Telemetry {
    const op = `${this.family}.telemetry`;
    this.checkAlive(op);
    const frozen = this.parameters.filter(({ trainable }) => !trainable).map(({ name }) => name);
    const { spectrum, bias, base } = this.#blueprint;
    const distances = distancesOf(op, this.#terms, spectrum, { bias, initial: base.bias });
    return { ...telemetryOf(op, this.#terms, spectrum), distances, frozen };
  }

  coreDiagonal(): CoreDiagonal {
    const op = `${this.family}.coreDiagonal`;
    const { terms, spectrum } = this.anatomy(op);
    return coreDiagonalOf(op, terms, spectrum);
  }

  async spectrum(options?: SpectrumOptions): Promise<Vector> {
    const op = `${this.family}.spectrum`;
    const { of, signal } = checkOptions(op, 'options', options, ['of', 'signal']);
    const wanted = checkChoice(op, 'options.of', of ?? 'weight', ['weight', 'change']);
    checkSignal(op, signal);
    const spectrumOf = wanted === 'change' ? changeSpectrum : weightSpectrum;
    return spectrumOf(this.anatomy(op), { op, thin: Math.min(this.inFeatures, this.outFeatures), signal });
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const route of Object.values(this.#routes)) route?.dispose();
    for (const parameter of this.parameters) parameter.dispose();
    const { bias, owned } = this.#blueprint;
    for (const each of [...owned, ...Object.values(this.#factors ?? {}), bias && tensorOf(bias)]) each?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #print(): string {
    const { u } = this.#terms;
    const state = this.#disposed ? ', disposed' : this.#enabled ? '' : ', switched off';
    const parameters = this.parameters.map(
      ({ name, value, trainable }) => `${name} [${value.size}]${trainable ? '' : ' (frozen)'}`,
    );
    return (
      `AdaptedLinear ${this.family} [${this.outFeatures}, ${this.inFeatures}] ${this.#terms.dtype} on ${u.device}${state}, ` +
      `rank ${this.rank}, parameters: ${parameters.join(', ') || 'none'}`
    );
  }

  /** @internal */
  checkAlive(op: string, argument = 'this layer'): void {
    if (this.#disposed) {
      throw new SigmaError('DISPOSED', op, `${argument}: expected a live layer, got one that was disposed`);
    }
  }

  // Small layers are called a million times a second, so what a plain call does not need is not done.
  #batch(op: string, x: TensorLike, options: OutOption | undefined): { batch: Batch; y: { tensor(): Matrix } } {
    const out = options === undefined ? undefined : checkOptions(op, 'options', options, ['out']).out;
    this.checkAlive(op);
    const { place } = this;
    const { dtype, device } = place;
    const { inFeatures, outFeatures } = this;
    const input = checkBatch(op, 'x', x, { shape: undefined, dtype, device });
    const { shape, size } = input;
    const { length } = shape;
    if (shape[length - 1] !== inFeatures) {
      fail('SHAPE_MISMATCH', op, 'x', `shape [..., ${inFeatures}]`, describe([...shape]));
    }
    const yShape = length === 2 ? [shape[0] as number, outFeatures] : [...shape.slice(0, -1), outFeatures];
    const y =
      out === undefined
        ? output(op, place, yShape)
        : outputInto(op, out, place, yShape, [input, ...this.readTensors()]);
    return { batch: { op, tokens: size / inFeatures, input, y: y.memory }, y };
  }

  /** @internal What a forward or a backward reads, apart from x and dy. */
  readTensors(): Matrix[] {
    const { owned, base, bias } = this.#blueprint;
    const terms = [...owned, ...this.parameters.map(({ value }) => value), base.weight(), bias && tensorOf(bias)];
    return terms.filter((each): each is Matrix => each instanceof Tensor && !each.disposed);
  }

  #record(batch: Batch, wanted: readonly LayerParameter[]): Recorded {
    const { op, tokens } = batch;
    if (tokens === 0) return recordNothing(this.#enabled ? wanted : []);
    const { borrowInputs: borrowed } = this.#saving;
    if (!this.#enabled) return this.#base.route(op).record(batch, wanted, { keeps: 'nothing', borrowed });
    const { strategy, keeps } = this.#plan(op, tokens, true);
    return (this.#routes[strategy] as Route).record(batch, wanted, { keeps, borrowed });
  }

  /** The plan for a batch. The last plan is cached. */
  #plan(op: string, tokens: number, training: boolean): Plan {
    // In training a plan must not depend on the cache of W', so that runs are reproducible and explain() is right.
    const built = !training && this.#blueprint.choices.length > 1 && this.#merged.stands(op);
    const trainsCore = this.#trainsCore();
    const last = this.#last;
    if (
      last?.tokens === tokens &&
      last.training === training &&
      last.built === built &&
      last.trainsCore === trainsCore
    ) {
      return last.plan;
    }
    const found = plan(this.#load(op, tokens, training, built));
    this.#last = { tokens, training, built, trainsCore, plan: found };
    return found;
  }

  #trainsCore(): boolean {
    return this.#core.some(({ trainable }) => trainable);
  }

  #load(op: string, tokens: number, training: boolean, built: boolean): PlanInput {
    const { inFeatures, outFeatures } = this;
    const { microBatches, borrowInputs, passBytes } = this.#saving;
    const rank = this.#terms.vt.shape[0] as number;
    const { choices } = this.#blueprint;
    const { core } = this.#terms;
    const bytes = bytesPerElement(this.#terms.dtype);
    return {
      inFeatures,
      outFeatures,
      rank,
      tokens,
      training,
      trainsCore: this.#trainsCore(),
      microBatches,
      built,
      denseCore: core !== undefined && core.pattern === undefined,
      choices,
      room: {
        p: bytes * savedLength(op, rank, tokens),
        x: bytes * tokens * inFeatures,
        borrowed: borrowInputs,
        most: passBytes,
      },
    };
  }
}
