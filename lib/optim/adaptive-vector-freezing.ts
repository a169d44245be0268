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
} from '../check.js';
import { SigmaError } from '../errors.js';
import type { RealArray } from '../native.js';
import type { Parameter } from '../parameter.js';
import { publish, uncloneable } from '../public-class.js';
import { copyOfNumbers, type Real } from '../tensor/dtype.js';
import { numbersOf } from '../tensor/operand.js';
import { checkParameters } from './groups.js';

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
  /** v0 */
  readonly initial: RealArray;
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
  readonly #all: readonly Parameter[];
  #watched: readonly Watched[];
  #strengths: Map<string, number>;
  #frozen: readonly string[] = [];

  constructor(parameters: readonly Parameter[], options: FreezingOptions) {
    const op = 'AdaptiveVectorFreezing';
    const all = checkParameters(op, 'parameters', parameters);
    const twice = all.find(({ name }, i) => all.findIndex((other) => other.name === name) !== i);
    if (twice !== undefined) {
      throw new SigmaError('INVALID_ARGUMENT', op, `parameters: expected unique names, got '${twice.name}' twice`);
    }
    const list = all.filter(({ trainable }) => trainable);
    const given = checkOptions(op, 'options', options, ['start', 'every', 'count', 'freeze', 'beta', 'release']);
    this.#options = {
      start: checkInteger(op, 'options.start', given.start, 1),
      every: checkInteger(op, 'options.every', given.every, 1),
      count: checkInteger(op, 'options.count', given.count, 1),
      freeze: checkInteger(op, 'options.freeze', given.freeze, 0, list.length),
      beta: checkNumber(op, 'options.beta', given.beta ?? 0.99, 0, 1),
      release: checkBoolean(op, 'options.release', given.release ?? false),
    };
    this.#all = all;
    this.#strengths = new Map(list.map(({ name }) => [name, 0]));
    this.#watched = list.map((parameter) => ({
      parameter,
      initial: numbersOf(op, `${parameter.name}.value`, parameter.value).slice(),
    }));
  }

  /** S' by parameter name. */
  get strengths(): ReadonlyMap<string, number> {
    return new Map(this.#strengths);
  }

  /** The names of the vectors that are frozen now. */
  get frozen(): readonly string[] {
    return [...this.#frozen];
  }

  /** To be called after the optimiser's step t = 1, 2, …. */
  step(t: number): void {
    const op = 'AdaptiveVectorFreezing.step';
    checkInteger(op, 't', t, 1, Number.MAX_SAFE_INTEGER);
    const { start, every, count, freeze, beta, release } = this.#options;
    const turn = (t - start) / every;
    if (turn >= count && release) this.#freeze([]);
    if (turn < 0 || !Number.isInteger(turn) || turn >= count) return;

    const moved = this.#watched.map(({ parameter, initial }) => {
      const value = numbersOf(op, `${parameter.name}.value`, parameter.value);
      let distance = 0;
      for (let i = 0; i < initial.length; i++) distance += Math.abs((initial[i] as number) - (value[i] as number));
      if (!Number.isFinite(distance)) {
        const broken = value.find((each) => !Number.isFinite(each)) ?? distance;
        fail('NON_FINITE', op, `${parameter.name}.value`, 'finite numbers', describe(broken));
      }
      return distance / initial.length;
    });
    for (const [i, { parameter }] of this.#watched.entries()) {
      const before = this.#strengths.get(parameter.name) as number;
      this.#strengths.set(parameter.name, beta * before + (1 - beta) * (moved[i] as number));
    }
    // The sort is stable, so of equals the earlier parameter comes first.
    const ranked = [...this.#strengths].sort(([, a], [, b]) => b - a).map(([name]) => name);
    this.#freeze(ranked.slice(0, freeze));
  }

  /** A structured-cloneable snapshot: v0, strengths and who is frozen, in parameter order. */
  state(): unknown {
    const parameters = this.#watched.map(({ parameter: { name }, initial }) => {
      const strength = this.#strengths.get(name) as number;
      return { name, initial: initial.slice(), strength, frozen: this.#frozen.includes(name) };
    });
    return { parameters } satisfies FreezingState;
  }

  /**
   * Takes a snapshot of the same vectors, and freezes those that were frozen. All of it is checked first.
   *
   * @throws SigmaError INVALID_ARGUMENT
   */
  loadState(state: unknown): void {
    const op = 'AdaptiveVectorFreezing.loadState';
    const given = isRecord(state) ? state['parameters'] : undefined;
    if (!isArray(given)) reject(op, 'state.parameters', 'an array', given ?? state);
    const saved = readList(op, 'state.parameters', given, 'an array');
    // Who is watched is a matter of the state, too: whom it froze may have been frozen at this construction already.
    const named = new Set(saved.map((each: unknown) => (isRecord(each) ? each['name'] : undefined)));
    const watched = new Set(this.#watched.map(({ parameter }) => parameter));
    const expected = this.#all.filter((parameter) => watched.has(parameter) || named.has(parameter.name));
    if (saved.length !== expected.length) reject(op, 'state.parameters', `an array of ${expected.length}`, saved);
    const read = expected.map((parameter, i) => readState(op, `state.parameters[${i}]`, saved[i], parameter));
    const most = this.#options.freeze;
    const frozen = read.filter((each) => each.frozen).length;
    if (frozen > most) reject(op, 'state.parameters', `at most ${most} frozen ones, as \`freeze\` says`, frozen);
    this.#watched = read;
    this.#strengths = new Map(read.map(({ parameter, strength }) => [parameter.name, strength]));
    const strongest = read.toSorted((a, b) => b.strength - a.strength);
    for (const { parameter } of read) parameter.trainable = true;
    this.#freeze(strongest.filter(({ frozen }) => frozen).map(({ parameter }) => parameter.name));
  }

  /** Frees what was frozen here, and freezes these; what the caller froze meanwhile stays as it is. */
  #freeze(names: readonly string[]): void {
    for (const { parameter } of this.#watched) {
      if (names.includes(parameter.name)) parameter.trainable = false;
      else if (this.#frozen.includes(parameter.name)) parameter.trainable = true;
    }
    this.#frozen = names;
  }
}

function readState(
  op: string,
  path: string,
  saved: unknown,
  parameter: Parameter,
): Watched & { strength: number; frozen: boolean } {
  if (!isRecord(saved)) reject(op, path, 'an object', saved);
  const { name, strength, frozen, initial } = saved;
  if (name !== parameter.name) reject(op, `${path}.name`, `'${parameter.name}'`, name);
  const { value } = parameter;
  const type = value.dtype === 'float64' ? Float64Array : Float32Array;
  const numbers = copyOfNumbers(op, value.dtype as Real, initial);
  if (numbers?.length !== value.size) reject(op, `${path}.initial`, `a ${type.name} of ${value.size}`, initial);
  return {
    parameter,
    initial: numbers,
    strength: checkNumber(op, `${path}.strength`, strength, 0),
    frozen: checkBoolean(op, `${path}.frozen`, frozen),
  };
}
