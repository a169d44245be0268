// @ts-check
// The same call a hundred times: every reduction gives the same bits, whatever ran before it.
import { matmul, sddmm, spmm, svd, svft, vectorFit } from 'sigmatune';
import { free, operand } from './data.js';
import { patterns } from './sparse.js';
import { weightWithFactors } from './weights.js';

export const title = 'The same bits every time';

const times = 100;

/** @param {import('./case.js').Context} context @returns {Generator<import('./case.js').Job>} */
export function* jobs(context) {
  const n = context.dry ? 72 : 1000;
  for (const dtype of /** @type {const} */ (['float32', 'bfloat16'])) {
    for (const [name, make] of Object.entries(patterns(n))) {
      yield { name: `spmm and sddmm, ${name}, ${dtype}`, run: () => products(context, name, make(), n, dtype) };
    }
    yield { name: `gradients of layers, ${dtype}`, run: () => layers(context, n, dtype) };
  }
  yield { name: 'matmul', run: () => gemm(context, n) };
  yield { name: 'svd', run: () => decomposition(context, n >> 2) };
}

/**
 * @param {import('./case.js').Context} context @param {string} name @param {string} dtype @param {string} size
 * @param {() => Promise<readonly import('sigmatune').Tensor[]> | readonly import('sigmatune').Tensor[]} body
 * @param {number} [count] @returns {Promise<import('./case.js').Case>}
 */
async function same(context, name, dtype, size, body, count = times) {
  const rounds = context.dry ? 2 : count;
  /** @type {string[] | undefined} */
  let first;
  let different = 0;
  for (let round = 0; round < rounds; round++) {
    const made = await body();
    const bits = await Promise.all(made.map(async (each) => checksum(await each.data())));
    free(made);
    first ??= bits;
    if (String(bits) !== String(first)) different++;
  }
  return { name, dtype, size, errors: [{ value: different, bound: 0, of: `of ${rounds} repeats differ` }] };
}

/** FNV over the bits: only equal bits have to give equal sums. @param {NodeJS.TypedArray} numbers */
function checksum(numbers) {
  const words = new Uint16Array(numbers.buffer, numbers.byteOffset, numbers.byteLength / 2);
  let [a, b] = [0x811c9dc5, 0x9e3779b9];
  for (let i = 0; i < words.length; i++) {
    a = Math.imul(a ^ words[i], 0x01000193);
    b = Math.imul(b + words[i], 0x85ebca6b) ^ (b >>> 15);
  }
  return `${words.length}:${a >>> 0}:${b >>> 0}`;
}

/**
 * @param {import('./case.js').Context} context @param {string} name @param {import('sigmatune').SparsityPattern} pattern
 * @param {number} n @param {import('./data.js').Narrow} dtype
 */
async function products(context, name, pattern, n, dtype) {
  const tokens = 2 * n + 7;
  const [x, dy, values] = [operand([n, tokens], dtype), operand([n, tokens], dtype), operand([pattern.entries])];
  const [from, by, m] = [x.on, dy.on, values.on].map((each) => /** @type {any} */ (each));
  const size = `r = ${n}, N = ${tokens}`;
  const made = [
    await same(context, `sddmm, ${name}`, dtype, size, () => [sddmm(pattern, by, from)]),
    await same(
      context,
      `spmm, both ways, ${name}`,
      dtype,
      size,
      () => [spmm(pattern, m, from), spmm(pattern, m, from, { transpose: true })],
      10,
    ),
  ];
  free(x.on, dy.on, values.on);
  return made;
}

/** @param {import('./case.js').Context} context @param {number} n @param {import('./data.js').Narrow} dtype */
async function layers(context, n, dtype) {
  const tokens = 2 * n + 7;
  const weight = await weightWithFactors(n, n, dtype);
  const bias = operand([n]);
  const { factors } = weight;
  const [x, dy] = [operand([tokens, n], dtype), operand([tokens, n], dtype)];
  const made = {
    "VectorFit's σ and bias": await vectorFit(weight.weight.on, { factors, bias: bias.on }),
    "SVFT's values and gate, band": await svft(weight.weight.on, { factors, pattern: 'banded', offDiagonals: 8 }),
    "SVFT's values and gate, random": await svft(weight.weight.on, {
      factors,
      pattern: 'random',
      offDiagonals: 8,
      seed: 1,
    }),
  };
  const cases = [];
  for (const [name, layer] of Object.entries(made)) {
    const gradients = () => {
      const pass = layer.forward(x.on);
      free(pass.y, pass.backward(dy.on));
      return layer.parameters.map((parameter) => {
        const { grad } = parameter;
        parameter.grad = null;
        return /** @type {import('sigmatune').Tensor} */ (grad);
      });
    };
    cases.push(await same(context, `gradients of ${name}`, dtype, `${n} × ${n}, N = ${tokens}`, gradients));
    layer.dispose();
  }
  free(weight, bias.on, x.on, dy.on);
  return cases;
}

/** @param {import('./case.js').Context} context @param {number} n */
async function gemm(context, n) {
  const [a, b] = [operand([n, n]), operand([n, n])];
  const body = () => [matmul(/** @type {any} */ (a.on), /** @type {any} */ (b.on))];
  const made = await same(context, 'matmul', 'float32', `${n}³`, body);
  free(a.on, b.on);
  return made;
}

/** @param {import('./case.js').Context} context @param {number} n */
async function decomposition(context, n) {
  const a = operand([n, n]);
  const body = async () => Object.values(await svd(/** @type {import('sigmatune').Tensor<'float32'>} */ (a.on)));
  const made = await same(context, "svd 'auto'", 'float32', `${n} × ${n}`, body, 10);
  free(a.on);
  return made;
}
