// @ts-check
// The encoder's linear layers and their decompositions, once for all methods.
import { decompose, Tensor } from 'sigmatune';

/** @typedef {import('./methods.js').Base} Base */

/** @param {import('./pretrained.js').Pretrained} pretrained @returns {Promise<Base[]>} */
export async function decomposeLinears({ linears }) {
  const bases = [];
  for (const [name, linear] of linears) {
    const weight = transpose(linear.weight);
    const bias = Tensor.wrap(linear.bias.data, [...linear.bias.shape]);
    bases.push({ name, linear, weight, bias, factors: await decompose(weight) });
  }
  return bases;
}

/** @param {import('./pretrained.js').Numbers} matrix [in, out] @returns {Tensor<'float32'>} [out, in] */
function transpose({ data, shape: [rows, columns] }) {
  const turned = new Float32Array(data.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) turned[j * rows + i] = data[i * columns + j];
  return Tensor.wrap(turned, [columns, rows]);
}
