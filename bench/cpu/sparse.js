// @ts-check
// The sparse kernels and AdamW over what bounds them: a copy of their bytes, or their flops at the GEMM's rate. Results go
// into tensors that stand, since new memory costs more than these kernels do.
import { AdamW, matmul, SparsityPattern, sddmm, spmm, zeros } from 'sigmatune';
import { alternate, ratio } from '../alternate.js';
import { gaussianTensor } from '../data.js';

export const title = 'Sparse kernels and AdamW, as a share of what bounds them';
export const columns = ['kernel', 'size', 'bound', 'share of it', 'quartiles', 'goal'];

const r = 768;
const tokens = 2048 + 80; // rows off a power of two, as the adapters pad theirs

export async function* run({ rounds = 15 } = {}) {
  const [dense, other, square] = [gaussianTensor([r, tokens]), gaussianTensor([r, tokens]), gaussianTensor([r, r])];
  const out = zeros([r, tokens]);
  const [from, to] = [dense.dataSync(), out.dataSync()];
  const gemmFlops = 2 * r * r * tokens;
  for (const [name, pattern] of Object.entries({
    diagonal: SparsityPattern.diagonal(r),
    'band, d = 2': SparsityPattern.banded(r, 2),
    'band, d = 8': SparsityPattern.banded(r, 8),
    '33 random a row': SparsityPattern.random(r, { offDiagonals: 16 }, { seed: 1 }),
  })) {
    const values = gaussianTensor([pattern.entries]);
    const gradient = zeros([pattern.entries]);
    const samples = await alternate(
      {
        copy: () => to.set(from),
        gemm: () => matmul(square, dense, { out }),
        spmm: () => spmm(pattern, values, dense, { out }),
        'spmm, transposed': () => spmm(pattern, values, dense, { transpose: true, out }),
        sddmm: () => sddmm(pattern, dense, other, { out: gradient }),
      },
      { rounds, repeat: 5 },
    );
    const flops = 2 * pattern.entries * tokens;
    for (const operation of ['spmm', 'spmm, transposed', 'sddmm']) {
      const bandwidth = samples.copy; // reads one array of this size and writes one, or reads two
      const arithmetic = samples.gemm.map((ms) => (ms * flops) / gemmFlops);
      const bound = bandwidth.map((ms, i) => Math.max(ms, arithmetic[i]));
      const share = ratio(bound, samples[operation]);
      const copies = bandwidth.filter((ms, i) => ms > arithmetic[i]).length;
      const binding = 2 * copies > bandwidth.length ? 'copy' : 'flops';
      const quartiles = `${percent(share.low)} to ${percent(share.high)}`;
      yield [operation, `${name}, ${r} × ${tokens - 80}`, binding, percent(share.median), quartiles, '≥ 80 %'];
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
