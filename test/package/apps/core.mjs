// The package's core through its public names, for any runtime, package manager and bundler: prints one line.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  AdamW,
  cudaStatus,
  matmul,
  readSafetensors,
  SigmaError,
  siva,
  svd,
  svft,
  systemInfo,
  tensor,
  vectorFit,
  writeSafetensors,
} from 'sigmatune';

function check(holds, what) {
  if (!holds) throw new Error(`does not hold: ${what}`);
}

const close = (a, b, tolerance) => a.every((value, i) => Math.abs(value - b[i]) <= tolerance);
const numbers = (count, seed) => Float64Array.from({ length: count }, (_, i) => Math.sin(seed + 1.7 * i * i));
const float64 = { dtype: 'float64' };

async function decomposes() {
  const [m, n] = [40, 24];
  const a = tensor(numbers(m * n, 1), [m, n], float64);
  const { u, s, vt } = await svd(a);
  const sigma = s.dataSync();
  const scaled = tensor(
    u.dataSync().map((value, i) => value * sigma[i % n]),
    [m, n],
    float64,
  );
  check(close(matmul(scaled, vt).dataSync(), a.dataSync(), 1e-12), 'U diag(s) Vt = A');
  const small = await svd(
    tensor(
      [
        [0, 2],
        [3, 0],
      ],
      undefined,
      float64,
    ),
  );
  check(close(small.s.dataSync(), [3, 2], 1e-14), 'singular values 3 and 2');
}

/** A layer's gradient of <y, dy>, compared with central differences. */
async function differentiates(make) {
  const weight = tensor(numbers(12 * 8, 2), [12, 8], float64);
  const layer = await make(weight);
  const [x, dy] = [tensor(numbers(5 * 8, 3), [5, 8], float64), tensor(numbers(5 * 12, 4), [5, 12], float64)];
  const loss = () => {
    const [y, d] = [layer.apply(x).dataSync(), dy.dataSync()];
    return y.reduce((sum, value, i) => sum + value * d[i], 0);
  };
  layer.forward(x).backward(dy);
  for (const parameter of layer.parameters) {
    const values = parameter.value.dataSync().slice();
    const gradient = parameter.grad.dataSync();
    const at = Math.floor(values.length / 2);
    const shifted = (by) => {
      const moved = values.slice();
      moved[at] += by;
      parameter.value.assign(moved);
      return loss();
    };
    const difference = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
    parameter.value.assign(values);
    check(Math.abs(difference - gradient[at]) < 1e-6 * (1 + Math.abs(difference)), `gradient of ${parameter.name}`);
  }
  const before = loss();
  new AdamW(layer.parameters, { lr: 1e-3 }).step();
  check(loss() < before, 'a step lowers the loss');
}

async function refuses() {
  const error = await svd(tensor([[Number.NaN]])).then(
    () => undefined,
    (reason) => reason,
  );
  check(error instanceof SigmaError && error.code === 'NON_FINITE', 'SVD of NaN is refused');
}

async function keepsFiles() {
  const folder = mkdtempSync(join(tmpdir(), 'sigmatune-app-'));
  try {
    const file = join(folder, 'a.safetensors');
    await writeSafetensors(file, [['a', tensor(numbers(6, 5), [2, 3], float64)]]);
    const { tensors } = await readSafetensors(file);
    check(close(tensors.get('a').dataSync(), numbers(6, 5), 0), 'a file gives back what was written');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export async function core() {
  await decomposes();
  for (const family of [(w) => svft(w, { pattern: 'banded', offDiagonals: 1 }), (w) => siva(w), (w) => vectorFit(w)]) {
    await differentiates(family);
  }
  await refuses();
  await keepsFiles();
  check(typeof cudaStatus().available === 'boolean', 'cudaStatus does not throw');
  return `core ok, sigmatune ${systemInfo().sigmatune}`;
}

core().then(console.log, (error) => {
  console.error(error);
  process.exitCode = 1;
});
