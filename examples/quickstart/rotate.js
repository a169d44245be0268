// @ts-check
import { PIXELS, SIDE } from './mnist.js';

/** @typedef {import('./mnist.js').Digits} Digits */

/**
 * For every pixel of a rotated image, the four pixels of the upright one around the point it comes from, and their
 * bilinear weights. The same for all images, so it is worked out once.
 * @param {number} degrees counter-clockwise
 */
function bilinearTaps(degrees) {
  const cos = Math.cos((degrees * Math.PI) / 180);
  const sin = Math.sin((degrees * Math.PI) / 180);
  const centre = (SIDE - 1) / 2;
  const sources = new Int32Array(4 * PIXELS);
  const weights = new Float32Array(4 * PIXELS);
  for (let pixel = 0; pixel < PIXELS; pixel++) {
    const x = (pixel % SIDE) - centre;
    const y = Math.floor(pixel / SIDE) - centre;
    const fromX = cos * x - sin * y + centre;
    const fromY = sin * x + cos * y + centre;
    for (let tap = 0; tap < 4; tap++) {
      const column = Math.floor(fromX) + (tap & 1);
      const row = Math.floor(fromY) + (tap >> 1);
      if (column < 0 || column >= SIDE || row < 0 || row >= SIDE) continue; // outside is black: weight 0
      sources[4 * pixel + tap] = row * SIDE + column;
      weights[4 * pixel + tap] = (1 - Math.abs(fromX - column)) * (1 - Math.abs(fromY - row));
    }
  }
  return { sources, weights };
}

/**
 * The same digits, turned about their centre.
 * @param {Digits} digits
 * @param {number} degrees counter-clockwise
 * @returns {Digits}
 */
export function rotate(digits, degrees) {
  const { sources, weights } = bilinearTaps(degrees);
  const images = new Float32Array(digits.images.length);
  for (let start = 0; start < images.length; start += PIXELS) {
    const upright = digits.images.subarray(start, start + PIXELS);
    for (let pixel = 0; pixel < PIXELS; pixel++) {
      let sum = 0;
      for (let tap = 4 * pixel; tap < 4 * pixel + 4; tap++) {
        const source = sources[tap];
        sum += weights[tap] * upright[source];
      }
      images[start + pixel] = sum;
    }
  }
  return { images, labels: digits.labels };
}
