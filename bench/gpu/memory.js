// @ts-check
// The peak of one layer and its step on the card, as nvidia-smi sees it: each in a process of its own, less an idle one's.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { AdamW, matmul, memory, svft, tensor, vectorFit } from 'sigmatune';
import { free, operand } from './data.js';

export const title = 'Peak memory of a training step, MB';

/** @type {Record<string, import('sigmatune').SvftOptions | null | undefined>} null is VectorFit, undefined is no layer */
const layers = {
  idle: undefined,
  'SVFT diagonal': {},
  'SVFT band, d = 8': { pattern: 'banded', offDiagonals: 8 },
  VectorFit: null,
};

/** @param {import('./case.js').Context} context @returns {Generator<import('./case.js').Job>} */
export function* jobs(context) {
  const sizes = context.dry
    ? [[48, 32, 16]]
    : [
        [4096, 4096, 2048],
        [14336, 4096, 2048],
      ];
  for (const dtype of /** @type {const} */ (['float32', 'bfloat16'])) {
    for (const [n, m, tokens] of sizes) {
      yield { name: `${n} × ${m}, ${dtype}`, run: () => peaks(context, n, m, tokens, dtype) };
    }
  }
}

/**
 * @param {import('./case.js').Context} context @param {number} n @param {number} m @param {number} tokens
 * @param {import('./data.js').Narrow} dtype @returns {Promise<readonly import('./case.js').Case[]>}
 */
async function peaks(context, n, m, tokens, dtype) {
  const child = (/** @type {string} */ what) => {
    const args = [fileURLToPath(import.meta.url), what, n, m, tokens, dtype].map(String);
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 120_000 });
    if (status !== 0) throw new Error(`${what}: ${stderr.trim().split('\n').at(-1)}`);
    return /** @type {{ used: number | null, counted: number }} */ (JSON.parse(stdout));
  };
  const idle = child('idle').used;
  if (idle === null && !context.dry) context.say('skipped: nvidia-smi, which tells the memory in use, is not there');
  return Object.keys(layers)
    .filter((what) => what !== 'idle')
    .map((what) => {
      const { used, counted } = child(what);
      const peak = used === null || idle === null ? undefined : used - idle;
      return {
        name: what,
        dtype,
        size: `${n} × ${m}, N = ${tokens}`,
        marks:
          peak === undefined || context.dry
            ? []
            : [{ what: 'peak, MB', value: peak, better: /** @type {const} */ ('lower') }],
        detail: `${(counted / 2 ** 20).toFixed(0)} MB stand between steps`,
      };
    });
}

/** A corner of the reflection I − 2 v vᵀ of that order, v constant: its columns or rows are orthonormal. */
function corner(/** @type {number} */ rows, /** @type {number} */ columns, /** @type {number} */ order) {
  const made = new Float32Array(rows * columns).fill(-2 / order);
  for (let i = 0; i < Math.min(rows, columns); i++) made[i * columns + i] += 1;
  return made;
}

/** MB in use on the card; null where nobody tells. */
function used() {
  const query = ['--query-gpu=memory.used', '--format=csv,noheader,nounits', '--id=0'];
  const { status, stdout } = spawnSync('nvidia-smi', query, { encoding: 'utf8' });
  return status === 0 ? Number(stdout) : null;
}

/** One layer as it is trained. What it is made of is told beforehand, so that nothing but the layer itself is measured. */
async function one(/** @type {string[]} */ [what, ...rest]) {
  const [n, m, tokens] = rest.map(Number);
  const dtype = /** @type {import('./data.js').Narrow} */ (rest[3]);
  const options = layers[what];
  const r = Math.min(n, m);
  // So that cuBLAS is there, too, in a process that does nothing.
  const small = operand([8, 8]).on;
  matmul(/** @type {any} */ (small), /** @type {any} */ (small)).dispose();
  if (options !== undefined) {
    const s = Float32Array.from({ length: r }, (_, i) => 2 - i / r);
    const on = (/** @type {Float32Array} */ numbers, /** @type {readonly number[]} */ shape) =>
      tensor(numbers, shape, { device: 'cuda' });
    const factors = { u: on(corner(n, r, n), [n, r]), s: on(s, [r]), vt: on(corner(r, m, m), [r, m]) };
    const weight = tensor(product(s, n, r, m), [n, m], { device: 'cuda', dtype });
    const layer = options ? await svft(weight, { ...options, factors }) : await vectorFit(weight, { factors });
    free(weight, factors.u, factors.s, factors.vt); // U and V stand for it, and the layer has its own handles
    const optimizer = new AdamW(layer.parameters);
    const [x, dy] = [operand([tokens, m], dtype).on, operand([tokens, n], dtype).on];
    const pass = layer.forward(x);
    free(pass.backward(dy), pass.y);
    optimizer.step();
    optimizer.zeroGrad();
    layer.parameters[0].value.dataSync();
  }
  console.log(JSON.stringify({ used: used(), counted: memory().bytes['cuda'] ?? 0 }));
}

/**
 * U diag(s) Vᵀ of two reflections, without r · n · m steps: the corner of U and Vᵀ that is an identity, less what the
 * reflections take away, which is the same in every row or column.
 * @param {Float32Array} s @param {number} n @param {number} r @param {number} m
 */
function product(s, n, r, m) {
  const total = s.reduce((sum, value) => sum + value, 0);
  const [a, b] = [2 / n, 2 / m];
  const made = new Float32Array(n * m).fill(a * b * total);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < m; j++) {
      const at = i * m + j;
      if (i < r) made[at] -= b * s[i];
      if (j < r) made[at] -= a * s[j];
      if (i === j && i < r) made[at] += s[i];
    }
  }
  return made;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await one(process.argv.slice(2));
