import { checkNumber, describe, fail, isRecord, reject } from '../runtime/check.js';
import type { Operand } from '../runtime/native.js';
import { publish, uncloneable } from '../runtime/public-class.js';
import type { Real } from '../tensor/dtype.js';
import { checkReal, zeroOutput } from '../tensor/operand.js';
import type { ParameterLike } from '../tensor/parameter.js';
import { downloaded, isHost, uploaded } from '../tensor/storage.js';
import { Tensor } from '../tensor/tensor.js';
import { viewOf } from '../tensor/view.js';
import { checkFactor, holds, type ParameterGroup, type Ready, readGroups, readySlots, type Slot } from './groups.js';
import { matchEntries, type OptimizerState, readArrays, readEntries, type SavedParameter } from './state.js';

/** What `AdamW` and `Sgd` have in common. */
export interface Optimizer {
  /** Learning rate of every group without its own. */
  lr: number;
  /** Multiplier of every group's learning rate. Set it to a schedule's value before each step. Initially 1. */
  lrScale: number;
  /**
   * Updates every trainable parameter that has a gradient. The others keep their moments and step counts. Everything is
   * checked first: if it throws, it has changed nothing.
   *
   * @throws SigmaError INVALID_ARGUMENT (also for a learning rate that overflows the parameter's type), SHAPE_MISMATCH,
   * DTYPE_MISMATCH, DEVICE_MISMATCH, DISPOSED, OUT_OF_MEMORY
   */
  step(): void;
  /**
   * Disposes every gradient and sets it to null. All gradients are checked first.
   *
   * @throws SigmaError INVALID_ARGUMENT for a gradient that is neither a tensor nor null
   */
  zeroGrad(): void;
  /**
   * A structured-cloneable snapshot for `loadState`: the hyperparameters (also those of groups), and for each parameter
   * its name, size, type, step count and moments.
   *
   * @example
   * const saved = structuredClone(optimizer.state());
   */
  state(): unknown;
  /**
   * Restores a snapshot of the same kind of optimiser over the same parameters, with its hyperparameters. Parameters
   * are matched by name, in any order. If a name occurs twice, or the snapshot has no names (version 0.1), they are
   * matched by position. Sizes and types must agree. Everything is checked before anything changes.
   *
   * @param state from `state()`
   * @throws SigmaError INVALID_ARGUMENT; the message names the parameter
   */
  loadState(state: unknown): void;
}

/** An optimiser's state of one parameter: the number of steps, and arrays of the parameter's size, type and device. */
export interface Memory {
  step: number;
  readonly size: number;
  readonly dtype: Real;
  readonly device: Tensor['device'];
  readonly arrays: Readonly<Record<string, Operand>>;
}

/** The update of one parameter; `memory.step` is the number of steps before this one. */
export interface Step {
  readonly ready: Ready;
  readonly memory: Memory;
  readonly lr: number;
  readonly weightDecay: number;
}

/** The update rule of an optimiser, with its hyperparameters. */
export interface Rule {
  /** Names of the state arrays of a parameter. */
  readonly arrayNames: readonly string[];
  /** Updates parameters of one type and device in place. */
  update(steps: readonly Step[]): void;
  /** The largest factor with which step number `step` multiplies, besides the hyperparameters themselves. */
  largestFactor(lr: number, weightDecay: number, step: number): number;
  /** The hyperparameters, for a snapshot. */
  settings(): Readonly<Record<string, unknown>>;
  /** Checks the hyperparameters of a snapshot. Calling the result applies them. */
  readSettings(op: string, saved: Readonly<Record<string, unknown>>): () => void;
  /** Converts the arrays of a snapshot of version 0.1 to the names and meaning of this version. */
  upgraded(op: string, arrays: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>>;
}

const described = { name: 'Optimizer', instead: 'optimizer.state(), for loadState' };
const cloning = uncloneable(described);

/** The common part of the optimisers. */
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
  /** Whether a parameter is float32. Its range then bounds the hyperparameters. */
  readonly #single: boolean;

  protected constructor(
    name: string,
    parameters: readonly ParameterLike[] | readonly ParameterGroup[],
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
    // Everything that may fail comes before the first update.
    const work = readySlots(op, this.#slots).map((ready) => {
      const slot = this.#slots[ready.index] as Slot;
      const memory = this.#memoryOf(op, slot, ready);
      const lr = (slot.lr ?? this.#lr) * this.#lrScale;
      const weightDecay = slot.weightDecay ?? this.#weightDecay;
      if (!holds(ready.tensor.dtype as Real, this.#rule.largestFactor(lr, weightDecay, memory.step + 1))) {
        const expected = `a learning rate that, with lrScale, weight decay and bias correction, is finite in ${ready.tensor.dtype} for '${slot.name}'`;
        fail('INVALID_ARGUMENT', op, 'lr', expected, `${slot.lr ?? this.#lr} with lrScale ${this.#lrScale}`);
      }
      return { ready, memory, lr, weightDecay };
    });
    for (const { ready } of work) ready.tensor.writing(op);
    for (const steps of alike(work)) this.#rule.update(steps);
    for (const { ready, memory } of work) {
      ready.tensor.written();
      memory.step += 1;
      this.#memories[ready.index] = memory;
    }
  }

  zeroGrad(): void {
    const op = `${this.#name}.zeroGrad`;
    const found = this.#slots.map(({ parameter, name }) => {
      const grad: unknown = parameter.grad ?? null;
      const tensor = grad === null || Tensor.is(grad) ? grad : viewOf(op, `${name}.grad`, grad);
      if (tensor === undefined) reject(op, `${name}.grad`, 'a Tensor or null', grad);
      return { parameter, grad: tensor };
    });
    for (const { parameter, grad } of found) {
      // In this order, so that after a throwing setter the gradient is still live.
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
    // Version 0.1 saved neither names nor settings; the settings then stay.
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

  /** A parameter's state, which must still fit the parameter; zeros before its first step. */
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
    if (memory.size === size && memory.dtype === dtype && memory.device === device) return memory;
    const argument = `${name}.value`;
    const before = 'as in the steps before (for another value make a new optimiser)';
    if (memory.size !== size) fail('SHAPE_MISMATCH', op, argument, `${memory.size} numbers, ${before}`, describe(size));
    if (memory.dtype !== dtype) fail('DTYPE_MISMATCH', op, argument, `${memory.dtype}, ${before}`, dtype);
    fail('DEVICE_MISMATCH', op, argument, `a tensor on ${memory.device}, ${before}`, device);
  }
}

/** In groups of one type and device, which one native call updates together. */
function alike(work: readonly Step[]): readonly (readonly Step[])[] {
  const groups = new Map<string, Step[]>();
  for (const step of work) {
    const { dtype, device } = step.ready.tensor;
    const key = `${dtype} ${device}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [step]);
    else group.push(step);
  }
  return [...groups.values()];
}
