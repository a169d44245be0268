// @ts-check
import { tensor } from 'sigmatune';

let state = 1;
const uniform = () => {
  state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
  return (state + 1) / 2 ** 31;
};

/** Gaussian numbers, the same in every run. @param {number} count @param {number} [scale] */
export const gaussian = (count, scale = 1) =>
  Float32Array.from(
    { length: count },
    () => scale * Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()),
  );

/** @param {readonly number[]} shape @param {number} [scale] */
export const gaussianTensor = (shape, scale) =>
  tensor(
    gaussian(
      shape.reduce((a, b) => a * b, 1),
      scale,
    ),
    shape,
  );
