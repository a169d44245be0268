import type { AdaptedWeight } from '../files/lora.js';
import { remember } from '../files/places.js';
import type { Adapter } from '../layers/adapter.js';
import type { AdaptedLinear } from '../layers/types.js';
import { publish, uncloneable } from '../runtime/public-class.js';
import type { MatrixDType, Real } from '../tensor/dtype.js';
import type { Parameter } from '../tensor/parameter.js';
import type { Scoped } from '../tensor/scope.js';
import type { Matrix } from '../tensor/tensor.js';
import { assembled, type MergedPart } from './parts.js';
import { about, type Chosen, type ModuleRow } from './plan.js';

const described = { name: 'AdaptedModel', instead: 'the numbers of its parameters' };
const cloning = uncloneable(described);

/** A layer of the model, and where its weight came from. */
export interface Part {
  readonly chosen: Chosen;
  readonly layer: Adapter;
  /** The name of the module whose layer it shares, if the two weights are tied. */
  readonly tied: string | undefined;
}

/** A weight of the model. */
export interface Whole {
  readonly shape: readonly number[];
  readonly size: number;
  /** The type in which it is merged. */
  readonly dtype: MatrixDType;
  /** W0, for the parts that stay as they are; undefined if there are none and the model does not have it. */
  readonly tensor: Matrix | undefined;
}

/** A weight to be merged. */
export interface MergedSource {
  readonly name: string;
  /** As errors name it. */
  readonly argument: string;
  /** As it is stored. */
  readonly shape: readonly number[];
  readonly dtype: MatrixDType;
  readonly merged: (op: string) => Matrix;
  /** Features of its bias. */
  readonly features: number;
  /** The layers that have a part of the bias, and where it begins. */
  readonly biases: readonly { readonly layer: Adapter; readonly first: number }[];
}

/** The layers of a model by the weights' names, made by `adaptModel`. */
export class AdaptedModel implements Disposable {
  static {
    publish<AdaptedModel>(AdaptedModel, {
      ...described,
      isOwn: (value) => #parts in value,
      print: (model) => model.#print(),
    });
  }

  /** @internal */
  readonly cloning = cloning;
  /** By the weight's name, or the part's: 'h.0.attn.c_attn.q'. Tied weights have one layer. */
  readonly layers: ReadonlyMap<string, AdaptedLinear>;
  /** Of all layers, in the order of the weights. */
  readonly parameters: readonly Parameter<Real>[];
  readonly parameterCount: number;
  readonly #parts: readonly Part[];
  readonly #byWeight: ReadonlyMap<string, readonly Part[]>;
  readonly #weights: ReadonlyMap<string, Whole>;
  readonly #owned: readonly Scoped[];

  private constructor(parts: readonly Part[], weights: ReadonlyMap<string, Whole>, owned: readonly Scoped[]) {
    this.#parts = parts;
    this.#weights = weights;
    const byWeight = new Map([...weights.keys()].map((name): [string, Part[]] => [name, []]));
    for (const part of parts) byWeight.get(part.chosen.module.weight)?.push(part);
    this.#byWeight = byWeight;
    this.#owned = owned;
    for (const { chosen, layer } of parts) {
      const { name, weight, block, firstFeature } = chosen.module;
      const { shape } = weights.get(weight) as Whole;
      const { first, stride } = block;
      remember(layer, name, { tensor: weight, shape, first, stride, feature: firstFeature });
    }
    this.layers = new Map(parts.map(({ chosen, layer }) => [chosen.module.name, layer]));
    const layers = [...new Set(parts.map(({ layer }) => layer))];
    this.parameters = Object.freeze(layers.flatMap(({ parameters }) => [...parameters]));
    this.parameterCount = layers.reduce((sum, { parameterCount }) => sum + parameterCount, 0);
  }

  /** @internal */
  static of(...given: [readonly Part[], ReadonlyMap<string, Whole>, readonly Scoped[]]): AdaptedModel {
    return new AdaptedModel(...given);
  }

  /**
   * One row for each layer, as `console.table` shows it. A tied weight has no row of its own.
   *
   * @throws SigmaError DISPOSED if the model was disposed
   */
  describe(): readonly ModuleRow[] {
    const op = 'AdaptedModel.describe';
    return this.#parts
      .filter(({ tied }) => tied === undefined)
      .map(({ chosen: { module, family }, layer }) => {
        const { name, out, in: inFeatures } = module;
        return { name, out, in: inFeatures, family, parameters: layer.parameterCount, bytes: layer.bytes(op) };
      });
  }

  /**
   * Every adapted weight with its layers merged, one at a time, under its own name and in its own shape and layout. The
   * caller disposes each. A fused weight comes whole: parts that stay as they are are copied from the base weight.
   *
   * @throws SigmaError DISPOSED if the model was disposed, or a base weight whose other parts are needed
   */
  *merged(): IterableIterator<readonly [name: string, weight: Matrix]> {
    const op = 'AdaptedModel.merged';
    for (const name of this.#weights.keys()) yield [name, this.#mergedWeight(op, name)];
  }

  #mergedWeight(op: string, name: string): Matrix {
    return about(op, name, () => this.#assembled(op, name));
  }

  #assembled(op: string, name: string): Matrix {
    const { shape, size, tensor } = this.#weights.get(name) as Whole;
    const merged: MergedPart[] = [];
    try {
      for (const { chosen, layer } of this.#byWeight.get(name) as readonly Part[]) {
        merged.push({ module: chosen.module, matrix: layer.mergedAsStored(op) });
      }
      const covered = merged.reduce((sum, { matrix }) => sum + matrix.size, 0);
      return assembled(op, covered < size ? tensor : undefined, shape, merged);
    } finally {
      for (const { matrix } of merged) matrix.dispose();
    }
  }

  /** @internal A model made here, and not an object that merely inherits from one. */
  static is(value: unknown): value is AdaptedModel {
    return typeof value === 'object' && value !== null && #parts in value;
  }

  /** @internal The adapted weights, each to be merged when its turn comes. */
  sources(): readonly MergedSource[] {
    return [...this.#weights].map(([name, { shape, size, dtype }]) => {
      const parts = this.#byWeight.get(name) as readonly [Part, ...Part[]];
      const [first] = parts;
      return {
        name,
        argument: `the weight '${name}'`,
        shape,
        dtype,
        merged: (op: string) => this.#mergedWeight(op, name),
        features: size / first.chosen.module.in,
        biases: parts.map(({ chosen: { module }, layer }) => ({ layer, first: module.firstFeature })),
      };
    });
  }

  /** @internal The adapted weights and their layers, by the names of `layers`. */
  weights(): readonly AdaptedWeight[] {
    return [...this.#weights].map(([name, { shape }]) => {
      const parts = this.#byWeight.get(name) as readonly Part[];
      return {
        name,
        shape,
        parts: parts.map(({ chosen: { module }, layer }) => ({ name: module.name, layer, first: module.firstFeature })),
      };
    });
  }

  /** Disposes every layer. The weights are the caller's. */
  dispose(): void {
    for (const each of this.#owned) each.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #print(): string {
    const families = new Set(this.#parts.map(({ chosen }) => chosen.family));
    return `AdaptedModel of ${this.layers.size} modules (${[...families].join(', ')}), ${this.parameterCount} parameters`;
  }
}
