// @ts-check
// Attention within each sentence, as one operation on TensorFlow.js's tape: products of the package on plain arrays.
import { matmul, tidy } from 'sigmatune';
import { operation } from './elementwise.js';

/** @typedef {{ data: Float32Array, shape: [number, number] }} View */

const heads = 4;

/** @type {import('./encoder.js').Parts['attention']} */
export function attention(qkv, { lengths }) {
  const [tokens, columns] = qkv.shape;
  const width = columns / 3;
  const size = width / heads;
  const scale = 1 / Math.sqrt(size);
  return operation([qkv], (x) => {
    const y = new Float32Array(tokens * width);
    const kept = blocks(lengths).map(({ first, length, head }) => {
      const [q, k, v] = [0, 1, 2].map((part) => columnsOf(x, first, length, columns, part * width + head * size, size));
      const weights = tidy(() => {
        const scores = view(numbers(matmul(q, k, { transposeB: true })).slice(), length, length);
        softmax(scores, scale);
        putColumns(y, numbers(matmul(scores, v)), first, length, width, head * size, size);
        return scores;
      });
      return { first, length, head, q, k, v, weights };
    });
    const pull = (/** @type {Float32Array} */ dy) => {
      const dx = new Float32Array(tokens * columns);
      for (const { first, length, head, q, k, v, weights } of kept) {
        tidy(() => {
          const dmixed = columnsOf(dy, first, length, width, head * size, size);
          const dscores = view(numbers(matmul(dmixed, v, { transposeB: true })), length, length);
          softmaxBackward(dscores, weights, scale);
          const dq = matmul(dscores, k);
          const dk = matmul(dscores, q, { transposeA: true });
          const dv = matmul(weights, dmixed, { transposeA: true });
          for (const [part, each] of [dq, dk, dv].entries()) {
            putColumns(dx, numbers(each), first, length, columns, part * width + head * size, size);
          }
        });
      }
      return [dx];
    };
    return { y, shape: [tokens, width], pull };
  });
}

/** Every head of every sentence. @param {readonly number[]} lengths */
function blocks(lengths) {
  let next = 0;
  return lengths.flatMap((length) => {
    const first = next;
    next += length;
    return Array.from({ length: heads }, (_, head) => ({ first, length, head }));
  });
}

/** @param {Float32Array} data @param {number} rows @param {number} columns @returns {View} */
const view = (data, rows, columns) => ({ data, shape: [rows, columns] });
const numbers = (/** @type {import('sigmatune').Tensor} */ tensor) => /** @type {Float32Array} */ (tensor.dataSync());

/**
 * Columns of some rows of a matrix, as a matrix of its own.
 * @param {Float32Array} from @param {number} first @param {number} rows @param {number} stride @param {number} column @param {number} count
 */
function columnsOf(from, first, rows, stride, column, count) {
  const data = new Float32Array(rows * count);
  for (let i = 0; i < rows; i++) {
    const start = (first + i) * stride + column;
    data.set(from.subarray(start, start + count), i * count);
  }
  return view(data, rows, count);
}

/**
 * The inverse of columnsOf.
 * @param {Float32Array} to @param {Float32Array} from @param {number} first @param {number} rows @param {number} stride
 * @param {number} column @param {number} count
 */
function putColumns(to, from, first, rows, stride, column, count) {
  for (let i = 0; i < rows; i++) to.set(from.subarray(i * count, (i + 1) * count), (first + i) * stride + column);
}

/** Of each row, scaled first; in place. @param {View} scores @param {number} scale */
function softmax({ data, shape: [rows, columns] }, scale) {
  for (let start = 0; start < rows * columns; start += columns) {
    let peak = Number.NEGATIVE_INFINITY;
    for (let j = start; j < start + columns; j++) peak = Math.max(peak, data[j]);
    let sum = 0;
    for (let j = start; j < start + columns; j++) {
      data[j] = Math.exp(scale * (data[j] - peak));
      sum += data[j];
    }
    for (let j = start; j < start + columns; j++) data[j] /= sum;
  }
}

/** The gradient of the scores from that of the weights, in place. @param {View} gradient @param {View} weights @param {number} scale */
function softmaxBackward({ data, shape: [rows, columns] }, weights, scale) {
  for (let start = 0; start < rows * columns; start += columns) {
    let dot = 0;
    for (let j = start; j < start + columns; j++) dot += data[j] * weights.data[j];
    for (let j = start; j < start + columns; j++) data[j] = scale * weights.data[j] * (data[j] - dot);
  }
}
