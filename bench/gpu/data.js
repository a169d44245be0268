// @ts-check
// Numbers for devices: millions of Gaussian ones in little time, on the host for the reference and on the device.
import { tensor } from 'sigmatune';
import { gaussian } from '../data.js';

/** @typedef {'float32' | 'bfloat16'} Narrow */
/** @typedef {{ host: Float32Array, on: import('sigmatune').Tensor }} Operand the same numbers in both places */

/** 2^16 Gaussian numbers, of mean 0 and variance 1 to the last digit: others are drawn from them. */
const drawn = (() => {
  const numbers = gaussian(2 ** 16);
  const mean = numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
  const deviation = Math.sqrt(numbers.reduce((sum, value) => sum + (value - mean) ** 2, 0) / numbers.length);
  return numbers.map((value) => (value - mean) / deviation);
})();

let state = 0x2545f491;

/** Two draws a step of xorshift, so that 2^26 numbers take a third of a second. @param {number} count */
export function normal(count, scale = 1) {
  const numbers = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    if ((i & 1) === 0) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
    }
    numbers[i] = scale * drawn[i & 1 ? state >>> 16 : state & 0xffff];
  }
  return numbers;
}

/** Rounds to bfloat16, to nearest even, in place. @param {Float32Array} numbers */
export function rounded(numbers) {
  const bits = new Uint32Array(numbers.buffer, numbers.byteOffset, numbers.length);
  for (let i = 0; i < bits.length; i++) bits[i] = (bits[i] + 0x7fff + ((bits[i] >>> 16) & 1)) & 0xffff0000;
  return numbers;
}

/** @param {readonly number[]} shape @param {Narrow} dtype @param {number} [scale] @returns {Operand} */
export function operand(shape, dtype = 'float32', scale = 1) {
  const numbers = normal(
    shape.reduce((a, b) => a * b, 1),
    scale,
  );
  const host = dtype === 'bfloat16' ? rounded(numbers) : numbers;
  return { host, on: tensor(host, shape, { device: 'cuda', dtype }) };
}

/** What a tensor holds, as numbers on the host. @param {import('sigmatune').Tensor} from @returns {Promise<Float32Array>} */
export async function numbersOf(from) {
  if (from.dtype === 'float32') return /** @type {Float32Array} */ (await from.data());
  const wide = from.cast('float32');
  const numbers = await wide.data();
  wide.dispose();
  return numbers;
}

/** Bytes of one number. @param {string} dtype */
export const width = (dtype) => ({ float64: 8, float32: 4, bfloat16: 2 })[dtype] ?? Number.NaN;

/**
 * As many copies of an operand as leave no cache a chance: what a benchmark reads again at once would come from there.
 * @param {import('sigmatune').Tensor} from @param {boolean} dry @returns {readonly import('sigmatune').Tensor[]}
 */
export function ring(from, dry, bytes = 2 ** 28) {
  const own = from.size * width(from.dtype);
  const count = dry ? 1 : Math.min(64, Math.max(1, Math.ceil(bytes / own)));
  return [from, ...Array.from({ length: count - 1 }, () => from.cast(from.dtype))];
}

/** @param {...({ dispose(): void } | null | undefined | readonly { dispose(): void }[])} all */
export function free(...all) {
  for (const each of all.flat()) each?.dispose();
}
