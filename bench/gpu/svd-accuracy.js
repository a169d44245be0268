// @ts-check
// What a decomposition is worth: its residual and its orthogonality in float64 on the device, and its singular values
// beside those of the CPU in float64 where that takes no minutes.
import { matmul, SparsityPattern, spmm, svd, tensor } from 'sigmatune';
import { free } from './data.js';
import { some } from './reference.js';

/** In float32. The answers of 'auto' are promised; a named driver gives what it gives, and only nonsense is an error. */
const bounds = { auto: { residual: 5e-6, orthogonality: 1e-5 }, named: { residual: 5e-5, orthogonality: 5e-5 } };

/** What the project wants of Gram matrices in float64. */
const goal = 1e-6;

/**
 * @param {Float32Array} a [batch, m, n] @param {import('sigmatune').Svd} answer of the stack
 * @param {{ batch: number, m: number, n: number }} size @param {string} driver
 * @returns {Promise<{ errors: readonly import('./case.js').Deviation[], marks: readonly import('./case.js').Mark[] }>}
 */
export async function accuracy(a, { u, s, vt }, { batch, m, n }, driver) {
  const r = Math.min(m, n);
  const [us, ss, vts] = [await u.data(), await s.data(), await vt.data()];
  const worst = { residual: 0, u: 0, v: 0, sigma: 0 };
  // Of a batch a few, the first and the last among them.
  const chosen = [...new Set([0, batch - 1, ...some(batch, 2)])];
  for (const at of chosen) {
    const part = (/** @type {ArrayLike<number>} */ list, /** @type {number} */ count) =>
      new Float64Array(/** @type {Float32Array} */ (list).subarray(at * count, (at + 1) * count));
    const found = await judge(part(a, m * n), part(us, m * r), part(ss, r), part(vts, r * n), m, n);
    for (const key of /** @type {const} */ (['residual', 'u', 'v', 'sigma'])) {
      // NaN stays.
      if (!(worst[key] >= found[key])) worst[key] = found[key];
    }
  }
  const { residual, orthogonality } = driver === 'auto' ? bounds.auto : bounds.named;
  const errors = [
    { value: worst.residual, bound: residual, of: '‖A − U S Vᵀ‖ / ‖A‖' },
    { value: worst.u, bound: orthogonality, of: '‖UᵀU − I‖₂' },
    { value: worst.v, bound: orthogonality, of: '‖VᵀV − I‖₂' },
    ...(r <= 1024 ? [{ value: worst.sigma, bound: 2e-6, of: 'σ beside LAPACK in float64, over σ₁' }] : []),
  ];
  const judged = ['auto', 'gram64'].includes(driver) && r > 32;
  const marks = judged
    ? [
        { what: 'residual', value: worst.residual },
        { what: 'orthogonality', value: Math.max(worst.u, worst.v) },
      ].map((each) => ({ ...each, goal, better: /** @type {const} */ ('lower'), met: each.value <= goal }))
    : [];
  return { errors, marks };
}

/**
 * @param {Float64Array} a @param {Float64Array} u @param {Float64Array} s @param {Float64Array} vt
 * @param {number} m @param {number} n
 */
async function judge(a, u, s, vt, m, n) {
  const r = s.length;
  const on = (/** @type {Float64Array} */ numbers, /** @type {readonly number[]} */ shape) =>
    tensor(numbers, shape, { device: 'cuda' });
  const [left, sigma, right] = [on(u, [m, r]), on(s, [r]), on(vt, [r, n])];
  const scaled = spmm(SparsityPattern.diagonal(r), sigma, right);
  const whole = matmul(left, scaled);
  const product = await whole.data();
  let [difference, size] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    difference += (a[i] - product[i]) ** 2;
    size += a[i] ** 2;
  }
  const uu = matmul(left, left, { transposeA: true });
  const vv = matmul(right, right, { transposeB: true });
  const orthogonality = [norm(await uu.data(), r), norm(await vv.data(), r)];
  free(left, sigma, right, scaled, whole, uu, vv);
  return {
    residual: Math.sqrt(difference / size),
    u: orthogonality[0],
    v: orthogonality[1],
    sigma: r <= 1024 ? await fromLapack(a, s, m, n) : 0,
  };
}

/** ‖G − I‖₂ of a symmetric G, by the power method: it comes from below, by a few per cent. @param {Float64Array} g */
function norm(g, /** @type {number} */ r) {
  let z = new Float64Array(r).map((_, i) => 1 + ((i * 7919) % 13) / 13);
  let found = 0;
  for (let round = 0; round < 8; round++) {
    const size = length(z);
    const next = new Float64Array(r);
    for (let i = 0; i < r; i++) {
      let sum = -z[i];
      for (let j = 0; j < r; j++) sum += g[i * r + j] * z[j];
      next[i] = sum / size;
    }
    found = length(next);
    if (found === 0) return 0;
    z = next;
  }
  return found;
}

const length = (/** @type {Float64Array} */ z) => Math.sqrt(z.reduce((sum, value) => sum + value * value, 0));

/** @param {Float64Array} a @param {Float64Array} s @param {number} m @param {number} n */
async function fromLapack(a, s, m, n) {
  const host = tensor(a, [m, n]);
  const exact = await svd(host);
  const sigma = /** @type {Float64Array} */ (exact.s.dataSync());
  let most = 0;
  for (let i = 0; i < s.length; i++) {
    const off = Math.abs(s[i] - sigma[i]) / sigma[0];
    most = most >= off ? most : off;
  }
  free(host, exact.u, exact.s, exact.vt);
  return most;
}
