import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOptions,
  describe,
  fail,
  isArray,
  isRecord,
  readList,
  reject,
} from '../runtime/check.js';
import { SigmaError } from '../runtime/errors.js';
import type { RealArray } from '../runtime/native.js';
import { publish, uncloneable } from '../runtime/public-class.js';
import type { Real } from '../tensor/dtype.js';
import { meanDistance } from '../tensor/norm.js';
import { checkReal, numbersOf } from '../tensor/operand.js';
import type { ParameterLike } from '../tensor/parameter.js';
import type { Tensor } from '../tensor/tensor.js';
import { readParameters, type Seen } from './groups.js';
import { savedNumbers } from './state.js';

export interface FreezingOptions {
  /** t_i: the first freezing step. */
  start: number;
  /** t_f: optimiser steps between two freezing steps. */
  every: number;
  /** n_f: number of freezing steps. */
  count: number;
  /** k: number of vectors to freeze at each of them. */
  freeze: number;
  /** Factor of the moving average, in [0, 1). Default 0.99. */
  beta?: number;
  /** Unfreeze all vectors `every` steps after the last freezing step. Default false; the paper does not say. */
  release?: boolean;
}

interface Watched {
  readonly parameter: ParameterLike;
  readonly name: string;
  /** v0 */
  readonly initial: RealArray;
  /** S' */
  readonly strength: number;
}

/** What a resumed run needs, for each parameter. Structured-cloneable. */
interface FreezingState {
  readonly parameters: readonly {
    readonly name: string;
    readonly initial: RealArray;
    readonly strength: number;
    readonly frozen: boolean;
  }[];
}

const described = { name: 'AdaptiveVectorFreezing', instead: 'freezing.state(), for loadState' };
const cloning = uncloneable(described);

/**
 * Adaptive Vector Freezing (Hegde et al., VectorFit, Section 3.2, Equations 4 and 5), for the parameters of any family.
 *
 * The freezing steps are start, start + every, …, `count` in all. Each of them updates the strength of every vector v,
 * S' ← beta · S' + (1 − beta) · ‖v0 − v‖₁ / dim(v), where v0 is the vector at construction and S' starts at 0. It then
 * freezes the `freeze` strongest vectors until the next freezing step. After the last one they stay frozen, unless
 * `release`. Of equal vectors the earlier parameter is frozen first.
 *
 * A parameter that is frozen at construction is not watched, and a parameter that you freeze later stays frozen. No
 * gradient is computed for a frozen vector, and optimisers skip it.
 *
 * @throws SigmaError INVALID_ARGUMENT, also for two parameters with the same name; NON_FINITE, DTYPE_MISMATCH, DISPOSED
 * @example
 * const freezing = new AdaptiveVectorFreezing(layer.parameters, { start: 100, every: 20, count: 5, freeze: 1 });
 * for (let t = 1; t <= steps; t++) {
 *   optimizer.step();
 *   freezing.step(t);
 * }
 */
export class AdaptiveVectorFreezing {
  static {
    publish(AdaptiveVectorFreezing, {
      ...described,
      isOwn: (value) => #watched in value,
      print: (freezing) => {
        const frozen = freezing.#frozen.join(', ') || 'none';
        return `AdaptiveVectorFreezing of ${freezing.#watched.length} parameters, frozen: ${frozen}`;
      },
    });
  }

  /** @internal */
  readonly cloning = cloning;
  readonly #options: Required<FreezingOptions>;
  readonly #all: readonly Seen[];
  #watched: readonly Watched[];
  #frozen: readonly string[] = [];

  constructor(parameters: readonly ParameterLike[], options: FreezingOptions) {
    const op = 'AdaptiveVectorFreezing';
    const all = readParameters(op, 'parameters', parameters);
    const twice = all.find(({ name }, i) => all.findIndex((other) => other.name === name) !== i);
    if (twice !== undefined) {
      throw new SigmaError('INVALID_ARGUMENT', op, `parameters: expected unique names, got '${twice.name}' twice`);
    }
    const list = all.filter(({ trainable }) => trainable);
    const given = checkOptions(op, 'options', options, ['start', 'every', 'count', 'freeze', 'beta', 'release']);
    const { beta = 0.99, release = false } = given;
    this.#options = {
      start: checkInteger(op, 'options.start', given.start, 1),
      every: checkInteger(op, 'options.every', given.every, 1),
      count: checkInteger(op, 'options.count', given.count, 1),
      freeze: checkInteger(op, 'options.freeze', given.freeze, 0, list.length),
      beta: checkNumber(op, 'options.beta', beta, 0, 1),
      release: checkBoolean(op, 'options.release', release),
    };
    this.#all = all;
    this.#watched = list.map(({ parameter, name, value }) => {
      const initial = numbersOf(op, `${name}.value`, value).slice();
      checkFinite(op, `${name}.value`, initial);
      return { parameter, name, initial, strength: 0 };
    });
  }

  /** @internal An object made here, and not one that merely inherits from it. */
  static is(value: unknown): value is AdaptiveVectorFreezing {
    return typeof value === 'object' && value !== null && #watched in value;
  }

  /** The strengths S', by parameter name. */
  get strengths(): ReadonlyMap<string, number> {
    return new Map(this.#watched.map(({ name, strength }) => [name, strength]));
  }

  /**
   * The distances S = ‖v0 − v‖₁ / dim(v) (Eq. 4) of the vectors as they are now, by parameter name. `strengths` are
   * their moving averages at the freezing steps. With `freeze: 0` an object only measures.
   *
   * @throws SigmaError SHAPE_MISMATCH if the size of a vector has changed, NON_FINITE, DTYPE_MISMATCH, DISPOSED
   */
  get distances(): ReadonlyMap<string, number> {
    const measured = this.#measure('AdaptiveVectorFreezing.distances');
    return new Map(measured.map(({ name, distance }) => [name, distance]));
  }

  /** The names of the vectors that this object has frozen now. */
  get frozen(): readonly string[] {
    return [...this.#frozen];
  }

  /**
   * Call it after the optimiser's step t. It does nothing unless t is a freezing step. If it throws, it has changed
   * neither strengths nor parameters.
   *
   * @param t the number of the step, from 1
   * @throws SigmaError INVALID_ARGUMENT, SHAPE_MISMATCH if the size of a vector has changed, NON_FINITE,
   * DTYPE_MISMATCH, DISPOSED
   */
  step(t: number): void {
    const op = 'AdaptiveVectorFreezing.step';
    checkInteger(op, 't', t, 1, Number.MAX_SAFE_INTEGER);
    const { start, every, count, freeze, beta, release } = this.#options;
    const turn = (t - start) / every;
    if (turn >= count && release) this.#freeze(this.#watched, []);
    if (turn < 0 || !Number.isInteger(turn) || turn >= count) return;

    const now = this.#measure(op).map(({ distance, ...watched }) => {
      return { ...watched, strength: beta * watched.strength + (1 - beta) * distance };
    });
    // The sort is stable, so among equals the earlier parameter comes first.
    const ranked = now.toSorted((a, b) => b.strength - a.strength).map(({ name }) => name);
    this.#freeze(now, ranked.slice(0, freeze));
  }

  /**
   * A structured-cloneable snapshot for `loadState`: each vector's name, v0, strength, and whether it is frozen.
   *
   * @example
   * const saved = structuredClone({ optimizer: optimizer.state(), freezing: freezing.state() });
   */
  state(): unknown {
    const parameters = this.#watched.map(({ name, initial, strength }) => {
      return { name, initial: initial.slice(), strength, frozen: this.#frozen.includes(name) };
    });
    return { parameters } satisfies FreezingState;
  }

  /**
   * Restores a snapshot of the same vectors, and freezes those that were frozen. A parameter that you froze stays
   * frozen. Everything is checked before anything changes.
   *
   * @param state from `state()`, with the same names in the same order
   * @throws SigmaError INVALID_ARGUMENT, NON_FINITE
   */
  loadState(state: unknown): void {
    const op = 'AdaptiveVectorFreezing.loadState';
    const given = isRecord(state) ? state['parameters'] : undefined;
    if (!isArray(given)) reject(op, 'state.parameters', 'an array', given ?? state);
    const list = readList(op, 'state.parameters', given, 'an array');
    const saved = list.map((each, i) => readState(op, `state.parameters[${i}]`, each));
    // The state also decides which vectors are watched: one that it froze may have been frozen at this construction.
    const named = new Set(saved.map(({ name }) => name));
    const watched = new Set(this.#watched.map(({ name }) => name));
    const expected = this.#all.filter(({ name }) => watched.has(name) || named.has(name));
    if (saved.length !== expected.length) reject(op, 'state.parameters', `an array of ${expected.length}`, given);
    const read = expected.map(({ parameter, name }, i) => {
      const entry = saved[i] as SavedVector;
      if (entry.name !== name) reject(op, `${entry.path}.name`, `'${name}'`, entry.name);
      const { dtype, size } = checkReal(op, `${name}.value`, parameter.value);
      const initial = savedNumbers(op, `${entry.path}.initial`, entry.initial, { name, dtype, size });
      checkFinite(op, `${entry.path}.initial`, initial);
      return { parameter, name, initial, strength: entry.strength, frozen: entry.frozen };
    });
    const most = this.#options.freeze;
    const strongest = read.filter(({ frozen }) => frozen).toSorted((a, b) => b.strength - a.strength);
    if (strongest.length > most) {
      reject(op, 'state.parameters', `at most ${most} frozen vectors, as \`freeze\` says`, strongest.length);
    }
    const freed = read.filter(({ name, frozen }) => !frozen && !watched.has(name)).map(({ name }) => name);
    this.#freeze(
      read.map(({ frozen: _, ...each }) => each),
      strongest.map(({ name }) => name),
      freed,
    );
  }

  /** The watched vectors, each with its distance S. */
  #measure(op: string): (Watched & { readonly distance: number })[] {
    // A framework's parameters may have getters, so read all values before the first memory.
    const watched = this.#watched;
    const values = watched.map(({ parameter, name, initial }) => {
      const value = checkReal(op, `${name}.value`, parameter.value);
      const { size } = value;
      if (size !== initial.length) {
        fail('SHAPE_MISMATCH', op, `${name}.value`, `${initial.length} numbers, as at construction`, describe(size));
      }
      return value;
    });
    return watched.map((each, i) => ({ ...each, distance: distanceOf(op, each, values[i] as Tensor<Real>) }));
  }

  /**
   * Watches `watched`, freezes those in `names`, and unfreezes the others that this object had frozen or that are in
   * `freed`. A parameter that the caller froze stays frozen.
   */
  #freeze(watched: readonly Watched[], names: readonly string[], freed: readonly string[] = []): void {
    const released = new Set([...this.#frozen, ...freed]);
    const changes = watched
      .filter(({ name }) => names.includes(name) || released.has(name))
      .map(({ parameter, name }) => [parameter, !names.includes(name)] as const);
    setTrainable(changes);
    this.#watched = watched;
    this.#frozen = names;
  }
}

/** Sets all of them; if a framework's setter throws, none. */
function setTrainable(changes: readonly (readonly [ParameterLike, boolean])[]): void {
  const undo: (() => void)[] = [];
  try {
    for (const [parameter, trainable] of changes) {
      const before = parameter.trainable;
      parameter.trainable = trainable;
      undo.push(() => {
        parameter.trainable = before;
      });
    }
  } catch (error) {
    for (const each of undo) each();
    throw error;
  }
}

/** ‖v0 − v‖₁ / dim(v) */
function distanceOf(op: string, { name, initial }: Watched, value: Tensor<Real>): number {
  const numbers = numbersOf(op, `${name}.value`, value);
  const mean = meanDistance(numbers, initial);
  if (Number.isFinite(mean)) return mean;
  checkFinite(op, `${name}.value`, numbers);
  return fail('NON_FINITE', op, `${name}.value`, 'numbers at a finite distance from their start', describe(mean));
}

function checkFinite(op: string, argument: string, numbers: RealArray): void {
  const broken = numbers.find((each) => !Number.isFinite(each));
  if (broken !== undefined) fail('NON_FINITE', op, argument, 'finite numbers', describe(broken));
}

/** One vector's part of a snapshot, each property read once. */
interface SavedVector {
  readonly path: string;
  readonly name: unknown;
  readonly initial: unknown;
  readonly strength: number;
  readonly frozen: boolean;
}

function readState(op: string, path: string, saved: unknown): SavedVector {
  if (!isRecord(saved)) reject(op, path, 'an object', saved);
  const { name, strength, frozen, initial } = saved;
  return {
    path,
    name,
    initial,
    strength: checkNumber(op, `${path}.strength`, strength, 0),
    frozen: checkBoolean(op, `${path}.frozen`, frozen),
  };
}
