// @ts-check
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';

/** @typedef {ReturnType<typeof numbers>} Numbers */

/** More numbers than these are drawn from a table. */
const many = 2 ** 20;

/** @type {Float32Array | undefined} */
let table;

/** Random numbers that a seed decides, the same on every platform. @param {number} seed */
export function numbers(seed) {
  const generator = xoroshiro128plus(seed);
  const uniform = () => (generator.next() >>> 0) / 2 ** 32;

  /** Box and Muller's transform, which makes two at a time. @param {number} count @param {number} scale */
  const exact = (count, scale) => {
    const made = new Float32Array(count);
    for (let i = 0; i < count; i += 2) {
      const radius = scale * Math.sqrt(-2 * Math.log(1 - uniform()));
      const angle = 2 * Math.PI * uniform();
      made[i] = radius * Math.cos(angle);
      if (i + 1 < count) made[i + 1] = radius * Math.sin(angle);
    }
    return made;
  };

  /** Each one of 2^16 Gaussian numbers, two for a step of xorshift: 2^26 take a third of a second. @param {number} count @param {number} scale */
  const drawn = (count, scale) => {
    table ??= numbers(1).gaussian(2 ** 16);
    const made = new Float32Array(count);
    let state = generator.next() | 1;
    for (let i = 0; i < count; i++) {
      if ((i & 1) === 0) {
        state ^= state << 13;
        state ^= state >>> 17;
        state ^= state << 5;
      }
      made[i] = scale * table[i & 1 ? state >>> 16 : state & 0xffff];
    }
    return made;
  };

  return {
    uniform,
    /** @param {number} count @param {number} [scale] */
    gaussian: (count, scale = 1) => (count > many ? drawn(count, scale) : exact(count, scale)),
    /** A whole number below `end`. @param {number} end */
    below: (end) => Math.floor(uniform() * end),
    /** +1 or −1. @param {number} count */
    signs: (count) => Float64Array.from({ length: count }, () => (uniform() < 0.5 ? -1 : 1)),
  };
}
