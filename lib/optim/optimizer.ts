import { checkNumber, describe, fail, isRecord, reject } from '../runtime/check.js';
import type { Operand } from '../runtime/native.js';
import { publish, uncloneable } from '../runtime/public-class.js';
import type { Real } from '../tensor/dtype.js';
import { checkReal, zeroOutput } from '../tensor/operand.js';
import type { Parameter } from '../tensor/parameter.js';
import { downloaded, isHost, uploaded } from '../tensor/storage.js';
import { Tensor } from '../tensor/tensor.js';
import { checkFactor, holds, type ParameterGroup, type Ready, readGroups, readySlots, type Slot } from './groups.js';
import { matchEntries, type OptimizerState, readArrays, readEntries, type SavedParameter } from './state.js';

export interface Optimizer {
  /** The learning rate of every group that has none of its own. */
  lr: number;
  /** Multiplies every group's learning rate: set it to a schedule's value before each step. 1 at first. */
  lrScale: number;
  /**
   * One update of every trainable parameter that has a gradient; the others keep their moments and step counts. All of it
   * is checked first: what throws has changed nothing.
   *
   * @throws SigmaError INVALID_ARGUMENT (also for a learning rate that the parameter's type cannot hold), SHAPE_MISMATCH,
   * DTYPE_MISMATCH, DEVICE_MISMATCH, DISPOSED, OUT_OF_MEMORY
   */
  step(): void;
  /**
   * Sets every gradient to null and disposes it. All of them are checked first.
   *
   * @throws SigmaError INVALID_ARGUMENT for a gradient that is neither a tensor nor null
   */
  zeroGrad(): void;
  /**
   * A structured-cloneable snapshot: hyperparameters (those of groups too), and in parameter order each one's name, size,
   * type, step count and moments.
   */
  state(): unknown;
  /**
   * Takes a snapshot of the same optimiser over the same parameters, with its hyperparameters. Parameters are matched by
   * name, in any order. If a name occurs twice, or the snapshot has none (version 0.1), they are matched by position.
   * Sizes and types must agree. All of it is checked first.
   *
   * @throws SigmaError INVALID_ARGUMENT, which names the parameter
   */
  loadState(state: unknown): void;
}

/** What an optimiser remembers of one parameter: the steps it took, and arrays of the parameter's size, type and place. */
export interface Memory {
  step: number;
  readonly size: number;
  readonly dtype: Real;
  readonly device: Tensor['device'];
  readonly arrays: Readonly<Record<string, Operand>>;
}

/** What one step does to one parameter, and the hyperparameters that this takes. */
export interface Rule {
  /** What is remembered of each parameter, besides its steps. */
  readonly arrayNames: readonly string[];
  /** One step on one parameter, in place; `memory.step` counts those before it. */
  update(ready: Ready, lr: number, weightDecay: number, memory: Memory): void;
  /** The largest magnitude among the numbers that step number `step` multiplies with, besides those checked before. */
  largestFactor(lr: number, weightDecay: number, step: number): number;
  /** The hyperparameters, for a snapshot. */
  settings(): Readonly<Record<string, unknown>>;
  /** Checks the hyperparameters of a snapshot; the result makes them count. */
  readSettings(op: string, saved: Readonly<Record<string, unknown>>): () => void;
  /** The arrays of a snapshot by version 0.1, as they are called and meant today. */
  upgraded(op: string, arrays: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>>;
}

const described = { name: 'Optimizer', instead: 'optimizer.state(), for loadState' };
const cloning = uncloneable(described);

/** What the optimisers share. */
export abstract class BaseOptimizer implements Optimizer {
  static {
    publish<BaseOptimizer>(BaseOptimizer, {
      ...described,
      isOwn: (value) => #slots in value,
      print: (optimizer) => optimizer.#print(),
    });
  }

  /** @internal */
  readonly cloning = cloning;
  #lr = 0;
  #lrScale = 1;
  #weightDecay: number;
  readonly #name: string;
  #slots: readonly Slot[];
  readonly #memories: (Memory | undefined)[];
  readonly #rule: Rule;
  /** Whether a parameter is float32, whose range then bounds the hyperparameters. */
  readonly #single: boolean;

  protected constructor(
    name: string,
    parameters: readonly Parameter[] | readonly ParameterGroup[],
    options: { lr: number; weightDecay: number; rule: (single: boolean) => Rule },
  ) {
    this.#name = name;
    this.#slots = readGroups(name, parameters);
    this.#single = this.#slots.some(({ dtype }) => dtype === 'float32');
    this.#memories = this.#slots.map(() => undefined);
    this.#rule = options.rule(this.#single);
    this.#weightDecay = checkFactor(name, 'options.weightDecay', options.weightDecay, this.#single);
    this.#lr = checkFactor(name, 'options.lr', options.lr, this.#single);
  }

  get lr(): number {
    return this.#lr;
  }

  set lr(lr: number) {
    this.#lr = checkFactor(this.#name, 'lr', lr, this.#single);
  }

  get lrScale(): number {
    return this.#lrScale;
  }

  set lrScale(scale: number) {
    this.#lrScale = checkNumber(this.#name, 'lrScale', scale, 0);
  }

  step(): void {
    const op = `${this.#name}.step`;
    // All that may fail comes before the first update.
    const work = readySlots(op, this.#slots).map((ready) => {
      const slot = this.#slots[ready.index] as Slot;
      const memory = this.#memoryOf(op, slot, ready);
      const lr = (slot.lr ?? this.#lr) * this.#lrScale;
      const weightDecay = slot.weightDecay ?? this.#weightDecay;
      if (!holds(ready.tensor.dtype as Real, this.#rule.largestFactor(lr, weightDecay, memory.step + 1))) {
        const expected = `a learning rate that, with lrScale, weight decay and bias correction, ${ready.tensor.dtype} holds for '${slot.name}'`;
        fail('INVALID_ARGUMENT', op, 'lr', expected, `${slot.lr ?? this.#lr} with lrScale ${this.#lrScale}`);
      }
      return { ready, memory, lr, weightDecay };
    });
    for (const { ready, memory, lr, weightDecay } of work) {
      this.#rule.update(ready, lr, weightDecay, memory);
      ready.tensor.written();
      memory.step += 1;
      this.#memories[ready.index] = memory;
    }
  }

  zeroGrad(): void {
    const op = `${this.#name}.zeroGrad`;
    const found = this.#slots.map(({ parameter, name }) => {
      const grad: unknown = parameter.grad ?? null;
      if (grad !== null && !Tensor.is(grad)) reject(op, `${name}.grad`, 'a Tensor or null', grad);
      return { parameter, grad };
    });
    for (const { parameter, grad } of found) {
      // In this order, so that a setter that throws leaves a live gradient.
      parameter.grad = null;
      grad?.dispose();
    }
  }

  state(): unknown {
    const op = `${this.#name}.state`;
    const parameters = this.#slots.map(({ name, size, dtype, lr = null, weightDecay = null }, i) => {
      const memory = this.#memories[i];
      const saved = { name, size: memory?.size ?? size, dtype: memory?.dtype ?? dtype, lr, weightDecay };
      if (memory === undefined) return { ...saved, step: 0, arrays: null };
      const copies = Object.entries(memory.arrays).map(([key, array]) => {
        const copy = isHost(array) ? array.slice() : downloaded(op, memory.dtype, memory.size, array);
        return [key, copy] as const;
      });
      return { ...saved, step: memory.step, arrays: Object.fromEntries(copies) };
    });
    return {
      optimizer: this.#name,
      lr: this.#lr,
      lrScale: this.#lrScale,
      settings: { weightDecay: this.#weightDecay, ...this.#rule.settings() },
      parameters,
    } satisfies OptimizerState;
  }

  loadState(state: unknown): void {
    const op = `${this.#name}.loadState`;
    if (!isRecord(state)) reject(op, 'state', `a state of ${this.#name}`, state);
    const { optimizer, lr: savedLr, lrScale: savedScale, settings, parameters } = state;
    if (optimizer !== this.#name) reject(op, 'state', `a state of ${this.#name}`, optimizer);
    const lr = checkFactor(op, 'state.lr', savedLr, this.#single);
    const lrScale = checkNumber(op, 'state.lrScale', savedScale, 0);
    const entries = readEntries(op, parameters, this.#single);
    // Version 0.1 saved neither names nor settings, which then stay.
    if (settings !== undefined && !isRecord(settings)) reject(op, 'state.settings', 'an object', settings);
    const weightDecay =
      settings && checkFactor(op, 'state.settings.weightDecay', settings['weightDecay'], this.#single);
    const applySettings = settings && this.#rule.readSettings(op, settings);
    const matched = matchEntries(op, entries, this.#slots);
    const memories = matched.map((entry, i) => this.#readMemory(op, entry, this.#slots[i] as Slot));
    const slots = this.#slots.map((slot, i) => {
      const { name, lr: groupLr, weightDecay: groupDecay } = matched[i] as SavedParameter;
      return name === undefined ? slot : { ...slot, lr: groupLr, weightDecay: groupDecay };
    });
    this.#lr = lr;
    this.#lrScale = lrScale;
    this.#weightDecay = weightDecay ?? this.#weightDecay;
    applySettings?.();
    this.#slots = slots;
    for (const [i, memory] of memories.entries()) this.#memories[i] = memory;
  }

  #readMemory(op: string, entry: SavedParameter, { parameter, name }: Slot): Memory | undefined {
    const { size, dtype, device } = checkReal(op, `${name}.value`, parameter.value);
    const given = entry.arrays && (entry.name === undefined ? this.#rule.upgraded(op, entry.arrays) : entry.arrays);
    const wanted = { name, names: this.#rule.arrayNames, dtype, size };
    const arrays = given && readArrays(op, `${entry.path}.arrays`, given, wanted);
    if ((entry.size ?? size) !== size || (entry.dtype ?? dtype) !== dtype) {
      fail(
        'INVALID_ARGUMENT',
        op,
        entry.path,
        `'${name}' with ${size} ${dtype} numbers`,
        `${entry.size} ${entry.dtype}`,
      );
    }
    if (arrays === undefined) return undefined;
    const placed = Object.entries(arrays).map(([key, array]) => {
      return [key, device === 'cpu' ? array : uploaded(op, device, dtype, array)] as const;
    });
    return { step: entry.step, size, dtype, device, arrays: Object.fromEntries(placed) };
  }

  #print(): string {
    return `${this.#name} of ${this.#slots.length} parameters, lr ${this.#lr}, lrScale ${this.#lrScale}`;
  }

  /** What is remembered of a parameter, which must still fit it; zeros before its first step. */
  #memoryOf(op: string, { name }: Slot, { index, tensor }: Ready): Memory {
    const { size, dtype, device } = tensor;
    const memory = this.#memories[index];
    if (memory === undefined) {
      const empty = () => zeroOutput(op, tensor, [size]).memory;
      return {
        step: 0,
        size,
        dtype,
        device,
        arrays: Object.fromEntries(this.#rule.arrayNames.map((key) => [key, empty()])),
      };
    }
    const argument = `${name}.value`;
    const before = 'as in the steps before (another value takes a new optimiser)';
    if (memory.size !== size) fail('SHAPE_MISMATCH', op, argument, `${memory.size} numbers, ${before}`, describe(size));
    if (memory.dtype !== dtype) fail('DTYPE_MISMATCH', op, argument, `${memory.dtype}, ${before}`, dtype);
    if (memory.device !== device)
      fail('DEVICE_MISMATCH', op, argument, `a tensor on ${memory.device}, ${before}`, device);
    return memory;
  }
}
