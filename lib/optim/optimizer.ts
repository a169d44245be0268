import { checkInteger, checkNumber, isRecord, readList, reject } from '../check.js';
import type { Operand } from '../native.js';
import type { Parameter } from '../parameter.js';
import { publish, uncloneable } from '../public-class.js';
import type { Real } from '../tensor/dtype.js';
import { copyOfNumbers } from '../tensor/dtype.js';
import { zeroOutput } from '../tensor/operand.js';
import { downloaded, isHost, uploaded } from '../tensor/storage.js';
import type { Tensor } from '../tensor/tensor.js';
import { type ParameterGroup, type Ready, readGroups, readySlots, type Slot } from './groups.js';

export interface Optimizer {
  /** The learning rate of every group that has none of its own. */
  lr: number;
  /** Multiplies every group's learning rate: set it to a schedule's value before each step. 1 at first. */
  lrScale: number;
  /** One update of every trainable parameter that has a gradient; the others keep their moments and step counts. */
  step(): void;
  /** Disposes every gradient and sets it to null. */
  zeroGrad(): void;
  /** A structured-cloneable snapshot, in parameter order. */
  state(): unknown;
  /**
   * Takes a snapshot of the same optimiser over parameters of the same sizes. All of it is checked first.
   *
   * @throws SigmaError INVALID_ARGUMENT
   */
  loadState(state: unknown): void;
}

/** What an optimiser remembers of one parameter: the steps it took, and arrays of the parameter's size, type and place. */
export interface Memory {
  step: number;
  readonly arrays: Readonly<Record<string, Operand>>;
}

const described = { name: 'Optimizer', instead: 'optimizer.state(), for loadState' };
const cloning = uncloneable(described);

/** What the optimisers share; a rule says what one step does to one parameter. */
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
  readonly #name: string;
  readonly #slots: readonly Slot[];
  readonly #memories: (Memory | undefined)[];
  readonly #arrayNames: readonly string[];
  readonly #weightDecay: number;

  protected constructor(
    name: string,
    parameters: readonly Parameter[] | readonly ParameterGroup[],
    options: { lr: number; weightDecay: number; arrayNames: readonly string[] },
  ) {
    this.#name = name;
    this.#slots = readGroups(name, parameters);
    this.#memories = this.#slots.map(() => undefined);
    this.#arrayNames = options.arrayNames;
    this.#weightDecay = checkNumber(name, 'options.weightDecay', options.weightDecay, 0);
    this.lr = options.lr;
  }

  get lr(): number {
    return this.#lr;
  }

  set lr(lr: number) {
    this.#lr = checkNumber(this.#name, 'lr', lr, 0);
  }

  get lrScale(): number {
    return this.#lrScale;
  }

  set lrScale(scale: number) {
    this.#lrScale = checkNumber(this.#name, 'lrScale', scale, 0);
  }

  step(): void {
    // All that may fail comes before the first update.
    const work = readySlots(`${this.#name}.step`, this.#slots).map((ready) => ({
      ready,
      memory: this.#memories[ready.index] ?? this.#emptyMemory(ready.tensor),
    }));
    for (const { ready, memory } of work) {
      const { slot, index, tensor } = ready;
      const lr = (slot.lr ?? this.#lr) * this.#lrScale;
      this.update(ready, lr, slot.weightDecay ?? this.#weightDecay, memory);
      tensor.written();
      memory.step += 1;
      this.#memories[index] = memory;
    }
  }

  /** One step on one parameter, in place; `memory.step` counts those before it. */
  protected abstract update(ready: Ready, lr: number, weightDecay: number, memory: Memory): void;

  zeroGrad(): void {
    for (const { parameter } of this.#slots) {
      parameter.grad?.dispose();
      parameter.grad = null;
    }
  }

  state(): unknown {
    const op = `${this.#name}.state`;
    const parameters = this.#memories.map((memory, i) => {
      if (memory === undefined) return null;
      const { dtype, size } = (this.#slots[i] as Slot).parameter.value;
      const copies = Object.entries(memory.arrays).map(([name, array]) => {
        const copy = isHost(array) ? array.slice() : downloaded(op, dtype, size, array);
        return [name, copy] as const;
      });
      return { step: memory.step, ...Object.fromEntries(copies) };
    });
    return { optimizer: this.#name, lr: this.#lr, lrScale: this.#lrScale, parameters };
  }

  loadState(state: unknown): void {
    const op = `${this.#name}.loadState`;
    if (!isRecord(state) || state['optimizer'] !== this.#name) {
      reject(op, 'state', `a state of ${this.#name}`, isRecord(state) ? state['optimizer'] : state);
    }
    const lr = checkNumber(op, 'state.lr', state['lr'], 0);
    const lrScale = checkNumber(op, 'state.lrScale', state['lrScale'], 0);
    const { parameters } = state;
    const saved = readList(op, 'state.parameters', parameters, `an array of ${this.#slots.length}`);
    if (saved.length !== this.#slots.length) {
      reject(op, 'state.parameters', `an array of ${this.#slots.length}`, parameters);
    }
    const loaded = saved.map((each, i) => this.#readMemory(op, `state.parameters[${i}]`, each, i));
    this.#lr = lr;
    this.#lrScale = lrScale;
    for (const [i, memory] of loaded.entries()) this.#memories[i] = memory;
  }

  #readMemory(op: string, path: string, saved: unknown, index: number): Memory | undefined {
    if (saved === null) return undefined;
    if (!isRecord(saved)) reject(op, path, 'an object or null', saved);
    const step = checkInteger(op, `${path}.step`, saved['step'], 0, Number.MAX_SAFE_INTEGER);
    const { value } = (this.#slots[index] as Slot).parameter;
    const names = Object.keys(saved).filter((name) => name !== 'step');
    if (String(names.toSorted()) !== String(this.#arrayNames.toSorted())) {
      reject(op, path, `the arrays [${this.#arrayNames.join(', ')}]`, names);
    }
    const type = value.dtype === 'float64' ? Float64Array : Float32Array;
    const arrays = this.#arrayNames.map((name) => {
      const array = saved[name];
      const { device, dtype } = value;
      const copy = copyOfNumbers(op, dtype as Real, array);
      if (copy?.length !== value.size) reject(op, `${path}.${name}`, `a ${type.name} of ${value.size}`, array);
      return [name, device === 'cpu' ? copy : uploaded(op, device, dtype, copy)] as const;
    });
    return { step, arrays: Object.fromEntries(arrays) };
  }

  #print(): string {
    return `${this.#name} of ${this.#slots.length} parameters, lr ${this.#lr}, lrScale ${this.#lrScale}`;
  }

  #emptyMemory(value: Tensor<Real>): Memory {
    const empty = () => zeroOutput(`${this.#name}.step`, value, [value.size]).memory;
    return { step: 0, arrays: Object.fromEntries(this.#arrayNames.map((name) => [name, empty()])) };
  }
}
