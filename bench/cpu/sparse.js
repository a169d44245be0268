// @ts-check
// The sparse kernels and AdamW over what bounds them: a copy of their bytes, or their flops at the GEMM's rate. Results go
// into memory that stands, since new memory costs more than these kernels; hence the addon's own functions.
import { AdamW, SparsityPattern } from 'sigmatune';
import { native } from '../../dist/native.js';
import { alternate, ratio } from '../alternate.js';
import { gaussian, gaussianTensor } from '../data.js';

export const title = 'Sparse kernels and AdamW, as a share of what bounds them';
export const columns = ['kernel', 'size', 'bound', 'share of it', 'quartiles', 'goal'];

const r = 768;
const tokens = 2048 + 16; // the adapters pad their rows like this, off a power of two

export async function* run({ rounds = 15 } = {}) {
  const [dense, other, out] = [gaussian(r * tokens), gaussian(r * tokens), new Float32Array(r * tokens)];
  const square = gaussian(r * r);
  const gemmFlops = 2 * r * r * tokens;
  for (const [name, pattern] of Object.entries({
    diagonal: SparsityPattern.diagonal(r),
    'band, d = 2': SparsityPattern.banded(r, 2),
    'band, d = 8': SparsityPattern.banded(r, 8),
    '33 random a row': SparsityPattern.random(r, { offDiagonals: 16 }, { seed: 1 }),
  })) {
    const values = gaussian(pattern.entries);
    const samples0 = new Float32Array(pattern.entries);
    const { handle } = /** @type {any} */ (pattern);
    const samples = await alternate(
      {
        copy: () => out.set(dense),
        gemm: () => native.gemm(square, dense, out, r, tokens, r, false, false),
        spmm: () => native.spmm(handle, values, dense, out, tokens, false),
        'spmm, transposed': () => native.spmm(handle, values, dense, out, tokens, true),
        sddmm: () => native.sddmm(handle, dense, other, samples0, tokens),
      },
      { rounds, repeat: 5 },
    );
    const flops = 2 * pattern.entries * tokens;
    for (const operation of ['spmm', 'spmm, transposed', 'sddmm']) {
      const bandwidth = samples.copy; // reads one array of this size and writes one, or reads two
      const arithmetic = samples.gemm.map((ms) => (ms * flops) / gemmFlops);
      const bound = bandwidth.map((ms, i) => Math.max(ms, arithmetic[i]));
      const share = ratio(bound, samples[operation]);
      const binding = bandwidth[0] > arithmetic[0] ? 'copy' : 'flops';
      const quartiles = `${percent(share.low)} to ${percent(share.high)}`;
      yield [operation, `${name}, ${r} × ${tokens - 16}`, binding, percent(share.median), quartiles, '≥ 80 %'];
    }
  }
  yield* adamw(rounds);
}

async function* adamw(/** @type {number} */ rounds) {
  const count = 2 ** 22;
  const value = gaussianTensor([count]);
  const parameter = { name: 'p', value, grad: gaussianTensor([count], 1e-3), trainable: true };
  const optimizer = new AdamW([parameter], { lr: 1e-6 });
  const [from, to] = [new Float32Array(count), new Float32Array(count)];
  const samples = await alternate({ copy: () => to.set(from), step: () => optimizer.step() }, { rounds });
  // Four arrays are read and three written, where a copy reads one and writes one.
  const share = ratio(
    samples.copy.map((ms) => (ms * 7) / 2),
    samples.step,
  );
  yield [
    'AdamW step',
    `${count} numbers`,
    'copy',
    percent(share.median),
    `${percent(share.low)} to ${percent(share.high)}`,
    '≥ 80 %',
  ];
}

const percent = (/** @type {number} */ share) => `${(100 * share).toFixed(0)} %`;
