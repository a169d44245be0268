// @ts-check
// The operands of a case on its device: made there, and read back for the reference.
import { place } from './arena.js';
import { numbers } from './numbers.js';

/** @typedef {import('./case.js').Library} Library */
/** @typedef {import('sigmatune').Tensor} Tensor */
/** @typedef {'float32' | 'float64' | 'bfloat16' | 'float16'} DType */

/**
 * @typedef {object} Where what a case computes on
 * @property {'cpu' | 'cuda'} [device]
 * @property {DType} [dtype] of its matrices; vectors that go with 16 bits are float32
 * @property {boolean} [cold] operands come from the device's memory, not from its caches
 */

/** Bytes of one number. @param {DType} dtype */
export const width = (dtype) => ({ float64: 8, float32: 4, bfloat16: 2, float16: 2 })[dtype];

/** @param {string | undefined} dtype */
export const isHalf = (dtype) => dtype === 'bfloat16' || dtype === 'float16';

/** More than any cache holds. */
const beyondCaches = 2 ** 28;

/** Makes operands. One seed gives one sequence of numbers. */
export class Operands {
  /** @param {Library} library @param {number} seed @param {Where} [where] @param {boolean} [arena] false: only memory that is given back */
  constructor(library, seed, { device = 'cpu', dtype = 'float32', cold = false } = {}, arena = true) {
    this.library = library;
    this.device = device;
    this.dtype = dtype;
    this.cold = cold;
    this.arena = arena;
    this.random = numbers(seed);
  }

  /** The type of vectors. */
  get real() {
    return isHalf(this.dtype) ? 'float32' : this.dtype;
  }

  /** @param {Float32Array} given @param {readonly number[]} shape @param {DType} [dtype] @returns {Tensor} */
  tensor(given, shape, dtype = this.dtype) {
    if (this.device !== 'cpu' || dtype !== 'float32') {
      const wide = dtype === 'float64' ? Float64Array.from(given) : given;
      return this.library.tensor(wide, shape, { device: this.device, dtype });
    }
    const memory = this.arena ? place(given.length) : undefined;
    if (memory === undefined) {
      const made = this.library.zeros(shape);
      made.dataSync().set(given);
      return made;
    }
    memory.set(given);
    return this.library.Tensor.wrap(memory, shape);
  }

  /** @param {readonly number[]} shape @param {DType} [dtype] */
  zeros(shape, dtype = this.dtype) {
    if (this.device !== 'cpu') return this.library.zeros(shape, { device: this.device, dtype });
    return this.tensor(new Float32Array(sizeOf(shape)), shape, dtype);
  }

  /** @param {readonly number[]} shape @param {number} [scale] @param {DType} [dtype] */
  gaussian(shape, scale, dtype) {
    return this.tensor(this.random.gaussian(sizeOf(shape), scale), shape, dtype);
  }

  /** If operands are to be cold: as many copies as no cache holds, which calls take in turn. @param {Tensor} from */
  ring(from) {
    const bytes = from.size * width(/** @type {DType} */ (from.dtype));
    const count = this.cold ? Math.min(64, Math.max(1, Math.ceil(beyondCaches / bytes))) : 1;
    return [from, ...Array.from({ length: count - 1 }, () => from.cast(from.dtype))];
  }
}

/** @param {readonly number[]} shape */
const sizeOf = (shape) => shape.reduce((product, length) => product * length, 1);

/** What a tensor holds, on the host. @param {Tensor} tensor @returns {Float32Array | Float64Array} */
export function numbersOf(tensor) {
  if (!isHalf(tensor.dtype) && /** @type {string} */ (tensor.dtype) !== 'int8')
    return /** @type {Float32Array} */ (tensor.dataSync());
  const wide = tensor.cast('float32');
  const made = /** @type {Float32Array} */ (wide.dataSync());
  wide.dispose();
  return made;
}

/** @param {...({ dispose(): void } | null | undefined | readonly { dispose(): void }[])} things */
export function disposeAll(...things) {
  for (const thing of things.flat()) thing?.dispose();
}

/** What the cases of a group have in common: made once, and given back when the last case is done. */
export class Shared {
  /** @type {Map<string, { dispose(): void }>} */
  #made = new Map();

  /** @template {{ dispose(): void }} T @param {string} key @param {() => T} make @returns {T} */
  get(key, make) {
    const found = this.#made.get(key) ?? make();
    this.#made.set(key, found);
    return /** @type {T} */ (found);
  }

  dispose() {
    disposeAll(...this.#made.values());
    this.#made.clear();
  }
}
