// @ts-check
import { CLASSES, PIXELS, SIDE } from './mnist.js';
import { greyPng } from './png.js';

/** @typedef {import('./mnist.js').Digits} Digits */

/**
 * The first image of each digit, 0 to 9.
 * @param {Digits} digits
 */
export const firstOfEach = ({ labels }) => Int32Array.from({ length: CLASSES }, (_, digit) => labels.indexOf(digit));

/**
 * The chosen images side by side, dark ink on white.
 * @param {Digits} digits
 * @param {Int32Array} indices
 */
export function strip({ images }, indices) {
  const width = SIDE * indices.length;
  const pixels = new Uint8Array(PIXELS * indices.length);
  indices.forEach((index, place) => {
    for (let pixel = 0; pixel < PIXELS; pixel++) {
      const at = Math.floor(pixel / SIDE) * width + place * SIDE + (pixel % SIDE);
      pixels[at] = Math.round(255 * (1 - images[index * PIXELS + pixel]));
    }
  });
  return greyPng(pixels, width);
}
