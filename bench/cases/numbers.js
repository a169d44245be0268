// @ts-check
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';

/** @typedef {ReturnType<typeof numbers>} Numbers */

/** Random numbers that a seed decides, the same on every platform. @param {number} seed */
export function numbers(seed) {
  const generator = xoroshiro128plus(seed);
  const uniform = () => (generator.next() >>> 0) / 2 ** 32;
  /** Box and Muller's transform, which makes two at a time. @param {number} count @param {number} [scale] */
  const gaussian = (count, scale = 1) => {
    const made = new Float32Array(count);
    for (let i = 0; i < count; i += 2) {
      const radius = scale * Math.sqrt(-2 * Math.log(1 - uniform()));
      const angle = 2 * Math.PI * uniform();
      made[i] = radius * Math.cos(angle);
      if (i + 1 < count) made[i + 1] = radius * Math.sin(angle);
    }
    return made;
  };
  return {
    uniform,
    gaussian,
    /** A whole number below `end`. @param {number} end */
    below: (end) => Math.floor(uniform() * end),
    /** +1 or −1. @param {number} count */
    signs: (count) => Float64Array.from({ length: count }, () => (uniform() < 0.5 ? -1 : 1)),
  };
}
