import { checkInteger, checkNumber, checkOptions } from '../check.js';
import { SigmaError } from '../errors.js';
import type { RealArray } from '../native.js';
import type { Parameter } from '../parameter.js';
import { memoryOf } from '../tensor/operand.js';
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
}

interface Watched {
  readonly parameter: Parameter;
  /** v0 */
  readonly initial: RealArray;
}

/**
 * VectorFit's Adaptive Vector Freezing (Eq. 4 and 5), on any family's parameters. At the steps start, start + every, …
 * (`count` of them) a vector's strength moves towards its mean distance from where it began,
 * S' ← beta · S' + (1 − beta) · ‖v0 − v‖₁ / dim(v), and the `freeze` strongest are frozen until the next of these steps;
 * after the last they stay frozen. Of equals the earlier parameter goes first. A parameter that is not trainable at
 * construction is left alone. Strengths and v0 are not part of an optimiser's state: a run that is resumed begins them anew.
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
  readonly #options: Required<FreezingOptions>;
  readonly #watched: readonly Watched[];
  readonly #strengths = new Map<string, number>();
  #frozen: readonly string[] = [];

  constructor(parameters: readonly Parameter[], options: FreezingOptions) {
    const op = 'AdaptiveVectorFreezing';
    const all = checkParameters(op, 'parameters', parameters);
    const twice = all.find(({ name }, i) => all.findIndex((other) => other.name === name) !== i);
    if (twice !== undefined) {
      throw new SigmaError('INVALID_ARGUMENT', op, `parameters: expected unique names, got '${twice.name}' twice`);
    }
    const list = all.filter(({ trainable }) => trainable);
    const given = checkOptions(op, 'options', options, ['start', 'every', 'count', 'freeze', 'beta']);
    this.#options = {
      start: checkInteger(op, 'options.start', given.start, 1),
      every: checkInteger(op, 'options.every', given.every, 1),
      count: checkInteger(op, 'options.count', given.count, 1),
      freeze: checkInteger(op, 'options.freeze', given.freeze, 0, list.length),
      beta: checkNumber(op, 'options.beta', given.beta ?? 0.99, 0, 1),
    };
    for (const { name } of list) this.#strengths.set(name, 0);
    this.#watched = list.map((parameter) => ({
      parameter,
      initial: memoryOf(op, `${parameter.name}.value`, parameter.value).slice(),
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
    const { start, every, count, freeze, beta } = this.#options;
    const turn = (t - start) / every;
    if (turn < 0 || !Number.isInteger(turn) || turn >= count) return;

    const moved = this.#watched.map(({ parameter, initial }) => {
      const value = memoryOf(op, `${parameter.name}.value`, parameter.value);
      let distance = 0;
      for (let i = 0; i < initial.length; i++) distance += Math.abs((initial[i] as number) - (value[i] as number));
      return distance / initial.length;
    });
    for (const [i, { parameter }] of this.#watched.entries()) {
      const before = this.#strengths.get(parameter.name) as number;
      this.#strengths.set(parameter.name, beta * before + (1 - beta) * (moved[i] as number));
    }
    // The sort is stable, so of equals the earlier parameter comes first.
    const ranked = [...this.#strengths].sort(([, a], [, b]) => b - a).map(([name]) => name);
    this.#frozen = ranked.slice(0, freeze);
    for (const { parameter } of this.#watched) parameter.trainable = !this.#frozen.includes(parameter.name);
  }
}
