import { fail, readRecord, reject } from '../runtime/check.js';
import type { Real } from '../tensor/dtype.js';
import { checkReal, copyInto, memoryOf, overlap } from '../tensor/operand.js';
import type { Matrix, Tensor } from '../tensor/tensor.js';
import type { AdapterOptions } from './types.js';

interface Bound {
  readonly role: string;
  readonly start: Tensor<Real>;
  readonly target: Tensor<Real>;
}

/** The caller's memory for the numbers of parameters, by their roles. */
export class Binding {
  readonly #op: string;
  readonly #given: ReadonlyMap<string, unknown>;
  readonly #bound: Bound[] = [];
  readonly #roles: string[] = [];

  constructor(op: string, bind: AdapterOptions['bind']) {
    this.#op = op;
    this.#given = new Map(bind === undefined ? [] : Object.entries(readRecord(op, 'options.bind', bind)));
  }

  /** The tensor of a new parameter: `start`, or a handle on the caller's memory, which `commit` fills from `start`. */
  place(role: string, start: Tensor<Real>): Tensor<Real> {
    this.#roles.push(role);
    const given = this.#given.get(role);
    if (given === undefined) return start;
    const target = checkReal(this.#op, `options.bind.${role}`, given, start).share();
    this.#bound.push({ role, start, target });
    return target;
  }

  /** Writes the starts. Before that it refuses unknown roles, and memory that overlaps with what the layer reads. */
  commit(reads: readonly (Matrix | undefined)[]): void {
    const unknown = [...this.#given.keys()].find((role) => !this.#roles.includes(role));
    if (unknown !== undefined) {
      const roles = this.#roles.map((role) => `'${role}'`).join(', ');
      fail('INVALID_ARGUMENT', this.#op, 'options.bind', `only the parameters ${roles}`, `'${unknown}'`);
    }
    const memory = (tensor: Tensor) => memoryOf(this.#op, 'options.bind', tensor);
    const others = reads.filter((tensor) => tensor?.disposed === false) as Matrix[];
    for (const [i, { role, target }] of this.#bound.entries()) {
      const before = this.#bound.slice(0, i).map((bound) => bound.target);
      if ([...others, ...before].some((other) => overlap(this.#op, memory(target), memory(other)))) {
        reject(this.#op, `options.bind.${role}`, 'memory of its own', target);
      }
    }
    for (const { start, target } of this.#bound) {
      target.writing(this.#op);
      copyInto(this.#op, memory(target), memory(start));
      target.written();
      start.dispose();
    }
  }
}
