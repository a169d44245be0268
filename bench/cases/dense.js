// @ts-check
// What other cases are held against: bare GEMMs, and copies.
import { distance, times, timesTransposed, view } from '../reference/dense.js';
import { whereWords } from './case.js';
import { disposeAll, numbersOf, Operands, width } from './operands.js';

/** @typedef {import('./case.js').Case} Case */
/** @typedef {import('./operands.js').Where} Where */

/** TF32 would be off by 3e-4. */
const bounds = { float32: 1e-5, float64: 1e-12, bfloat16: 1e-2, float16: 2e-3 };

/**
 * y = x Wᵀ into memory that stands; with `both` dx = dy W, too. matmul has float32 and float64; in bfloat16 it is a layer
 * that is switched off, whose passes are one GEMM each with the base weight.
 * @param {{ out: number, inFeatures: number, tokens: number, both?: boolean } & Where} given @returns {Case}
 */
export function gemmCase(given) {
  const { out, inFeatures, tokens, both = false, dtype = 'float32' } = given;
  const count = both ? 2 : 1;
  return {
    name: `gemm ${out} × ${inFeatures}, ${tokens} tokens${both ? ', both ways' : ''}${whereWords(given)}`,
    suite: 'gemm',
    panel: 'GEMM, by numbers in the weight',
    series: dtype,
    size: out * inFeatures,
    parameters: { out, in: inFeatures, tokens },
    flops: 2 * count * tokens * out * inFeatures,
    bytes: width(dtype) * count * (out * inFeatures + tokens * (out + inFeatures)),
    bound: bounds[dtype],
    prepare: async (library) => {
      const operands = new Operands(library, 9, given);
      /** @type {any} */
      const weight = operands.gaussian([out, inFeatures], 1 / Math.sqrt(inFeatures));
      /** @type {any[]} */
      const [x, dy] = [operands.gaussian([tokens, inFeatures]), operands.gaussian([tokens, out])];
      const { run, results, dispose } = await (dtype === 'bfloat16' ? ofLayer() : ofMatmul());
      return {
        call: run,
        error: () => {
          const z = operands.random.signs(out);
          const made = results();
          const [y] = made;
          const found = times(view(tokens, out, numbersOf(y)), z);
          const projected = timesTransposed(view(out, inFeatures, numbersOf(weight)), z);
          disposeAll(dtype === 'bfloat16' ? made : []);
          return distance(found, times(view(tokens, inFeatures, numbersOf(x)), projected));
        },
        outputs: () => [library.matmul(x, weight, { transposeB: true })],
        dispose: () => {
          dispose();
          disposeAll(weight, x, dy);
        },
      };

      async function ofMatmul() {
        /** @type {any[]} */
        const outs = [operands.zeros([tokens, out]), ...(both ? [operands.zeros([tokens, inFeatures])] : [])];
        const run = () => {
          library.matmul(x, weight, { transposeB: true, out: outs[0] });
          if (both) library.matmul(dy, weight, { out: outs[1] });
        };
        const results = () => {
          run();
          return outs;
        };
        return { run, results, dispose: () => disposeAll(outs) };
      }

      async function ofLayer() {
        const factors = await library.svd(weight);
        const layer = await library.svft(weight, { factors });
        layer.enabled = false;
        const results = () => {
          if (!both) return [layer.apply(x)];
          const pass = layer.forward(x);
          return [pass.y, pass.backward(dy)];
        };
        const dispose = () => disposeAll(layer, ...Object.values(factors));
        return { run: () => disposeAll(results()), results, dispose };
      }
    },
  };
}

/**
 * One thread's copy of an array on the CPU, a copy within the memory of a device.
 * @param {{ count: number } & Where} given @returns {Case}
 */
export function copyCase(given) {
  const { count, device = 'cpu', dtype = 'float32' } = given;
  const megabytes = (count * width(dtype)) / 2 ** 20;
  return {
    name: `copy ${megabytes < 1 ? megabytes.toPrecision(2) : Math.round(megabytes)} MB${whereWords(given)}`,
    suite: 'copy',
    panel: 'Copies, by numbers',
    series: dtype,
    size: count,
    parameters: { count },
    flops: 1,
    bytes: 2 * count * width(dtype),
    bound: 1e-30,
    prepare: (library) => {
      const operands = new Operands(library, 10, given);
      const from = operands.ring(operands.gaussian([count]));
      const onCpu = device === 'cpu' ? [from[0], operands.zeros([count])].map((each) => each.dataSync()) : undefined;
      /** @type {() => import('sigmatune').Tensor[]} */
      const outputs = () => [from[0].cast(dtype)];
      return {
        call: onCpu
          ? () => /** @type {Float32Array} */ (onCpu[1]).set(/** @type {Float32Array} */ (onCpu[0]))
          : (i = 0) => from[i % from.length].cast(dtype).dispose(),
        error: () => {
          const [copied] = outputs();
          const [got, wanted] = [numbersOf(copied), numbersOf(from[0])];
          const same = wanted.every((/** @type {number} */ value, /** @type {number} */ i) => value === got[i]);
          copied.dispose();
          return same ? 0 : Number.POSITIVE_INFINITY;
        },
        outputs,
        dispose: () => disposeAll(from),
      };
    },
  };
}
