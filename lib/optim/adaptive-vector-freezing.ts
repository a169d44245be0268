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
import { checkReal, numbersOf } from '../tensor/operand.js';
import type { Parameter } from '../tensor/parameter.js';
import type { Tensor } from '../tensor/tensor.js';
import { readParameters, type Seen } from './groups.js';
import { savedNumbers } from './state.js';

export interface FreezingOptions {
  /** t_i: the first step at which strengths are taken. */
  start: number;
  /** t_f: steps from one to the next. */
  every: number;
  /** n_f: how often. */
  count: number;
  /** k: how many vectors to freeze each time. */
  freeze: number;
  /** Of the moving average. Default 0.99. */
  beta?: number;
  /** Frees all vectors again, `every` steps after the last of these. Default false: the paper leaves it open. */
  release?: boolean;
}

interface Watched {
  readonly parameter: Parameter;
  readonly name: string;
  /** v0 */
  readonly initial: RealArray;
  /** S' */
  readonly strength: number;
}

/** What a resumed run needs, by parameter: structured-cloneable. */
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
 * VectorFit's Adaptive Vector Freezing (Eq. 4 and 5), on any family's parameters. At the steps start, start + every, …
 * (`count` of them) a vector's strength moves towards its mean distance from where it began,
 * S' ← beta · S' + (1 − beta) · ‖v0 − v‖₁ / dim(v), and the `freeze` strongest are frozen until the next of these steps;
 * after the last they stay frozen, unless `release`. Of equals the earlier parameter goes first. A parameter that is not
 * trainable at construction is left alone; what the caller freezes later stays frozen. A frozen vector's gradient is not
 * computed, and optimisers skip it wholly.
 *
 * Hegde et al., VectorFit, Section 3.2.
 *
 * @throws SigmaError INVALID_ARGUMENT, also for two parameters of one name
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

  constructor(parameters: readonly Parameter[], options: FreezingOptions) {
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

  /** S' by parameter name. */
  get strengths(): ReadonlyMap<string, number> {
    return new Map(this.#watched.map(({ name, strength }) => [name, strength]));
  }

  /** The names of the vectors that are frozen now. */
  get frozen(): readonly string[] {
    return [...this.#frozen];
  }

  /**
   * To be called after the optimiser's step t = 1, 2, …. What throws has changed neither strengths nor parameters.
   *
   * @throws SigmaError INVALID_ARGUMENT, SHAPE_MISMATCH where a vector has another size than at first, NON_FINITE,
   * DISPOSED
   */
  step(t: number): void {
    const op = 'AdaptiveVectorFreezing.step';
    checkInteger(op, 't', t, 1, Number.MAX_SAFE_INTEGER);
    const { start, every, count, freeze, beta, release } = this.#options;
    const turn = (t - start) / every;
    if (turn >= count && release) this.#freeze(this.#watched, []);
    if (turn < 0 || !Number.isInteger(turn) || turn >= count) return;

    // A framework's parameters may have getters: none is asked after the first memory was read.
    const values = this.#watched.map(({ parameter, name, initial }) => {
      const value = checkReal(op, `${name}.value`, parameter.value);
      if (value.size !== initial.length) {
        fail('SHAPE_MISMATCH', op, `${name}.value`, `${initial.length} numbers, as at first`, describe(value.size));
      }
      return value;
    });
    const now = this.#watched.map((watched, i) => {
      const strength = beta * watched.strength + (1 - beta) * distance(op, watched, values[i] as Tensor<Real>);
      return { ...watched, strength };
    });
    // The sort is stable, so of equals the earlier parameter comes first.
    const ranked = now.toSorted((a, b) => b.strength - a.strength).map(({ name }) => name);
    this.#freeze(now, ranked.slice(0, freeze));
  }

  /** A structured-cloneable snapshot: v0, strengths and who is frozen, in parameter order. */
  state(): unknown {
    const parameters = this.#watched.map(({ name, initial, strength }) => {
      return { name, initial: initial.slice(), strength, frozen: this.#frozen.includes(name) };
    });
    return { parameters } satisfies FreezingState;
  }

  /**
   * Takes a snapshot of the same vectors, and freezes those that were frozen. What the caller froze stays as it is. All of
   * it is checked first.
   *
   * @throws SigmaError INVALID_ARGUMENT
   */
  loadState(state: unknown): void {
    const op = 'AdaptiveVectorFreezing.loadState';
    const given = isRecord(state) ? state['parameters'] : undefined;
    if (!isArray(given)) reject(op, 'state.parameters', 'an array', given ?? state);
    const list = readList(op, 'state.parameters', given, 'an array');
    const saved = list.map((each, i) => readState(op, `state.parameters[${i}]`, each));
    // Who is watched is a matter of the state, too: whom it froze may have been frozen at this construction already.
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
      reject(op, 'state.parameters', `at most ${most} frozen ones, as \`freeze\` says`, strongest.length);
    }
    const freed = read.filter(({ name, frozen }) => !frozen && !watched.has(name)).map(({ name }) => name);
    this.#freeze(
      read.map(({ frozen: _, ...each }) => each),
      strongest.map(({ name }) => name),
      freed,
    );
  }

  /**
   * Watches these from now on, freezes those of them that are named, and frees what was frozen here before or is in
   * `freed`. What the caller froze meanwhile stays as it is.
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

/** Sets all of them or, where a framework's setter throws, none. */
function setTrainable(changes: readonly (readonly [Parameter, boolean])[]): void {
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
function distance(op: string, { name, initial }: Watched, value: Tensor<Real>): number {
  const numbers = numbersOf(op, `${name}.value`, value);
  let sum = 0;
  // Divided one by one, so that the sum does not overflow.
  for (let i = 0; i < initial.length; i++) {
    sum += Math.abs((initial[i] as number) - (numbers[i] as number)) / initial.length;
  }
  if (Number.isFinite(sum)) return sum;
  checkFinite(op, `${name}.value`, numbers);
  return fail('NON_FINITE', op, `${name}.value`, 'numbers at a finite distance from their start', describe(sum));
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
