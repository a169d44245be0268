// @ts-check
import { tensor } from 'sigmatune';
import { numbers } from './cases/numbers.js';

export const { gaussian } = numbers(1);

/** Gaussian numbers, the same in every run. @param {readonly number[]} shape @param {number} [scale] */
export const gaussianTensor = (shape, scale) =>
  tensor(
    gaussian(
      shape.reduce((a, b) => a * b, 1),
      scale,
    ),
    shape,
  );
