// @ts-check
// Beside PyTorch in the same run, side by side: SIGMATUNE_PYTHON names a Python that has torch, else `python3` is asked.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { SparsityPattern, spmm, svd, svft, threads } from 'sigmatune';
import { quartiles, ratio } from '../alternate.js';
import { step } from '../cpu/adapters.js';
import { gaussianTensor } from '../data.js';
import { python, torchVersion } from './python.js';

export const title = 'Beside PyTorch: its time over ours';
export const columns = ['what', 'of PyTorch', 'times ours', 'quartiles', 'goal'];

/** One Python process that does what it is told, a line at a time; times are taken on its side. */
function openTorch() {
  const child = spawn(python, [fileURLToPath(new URL('rival_torch.py', import.meta.url)), String(threads())], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    /** @param {readonly unknown[]} call @returns {Promise<number>} milliseconds */
    async ask(call) {
      child.stdin.write(`${JSON.stringify(call)}\n`);
      const { value, done } = await lines.next();
      if (done) throw new Error('the Python process ended');
      return Number(value);
    },
    close: () => child.stdin.end(),
  };
}

export async function* run({ rounds = 11 } = {}) {
  const version = torchVersion();
  if (version === undefined) return;
  console.log(`| PyTorch ${version}, ${threads()} threads | | | | |`);
  const torch = openTorch();
  const beside = async (/** @type {() => unknown} */ ours, /** @type {readonly unknown[]} */ theirs) => {
    /** @type {number[]} */
    const mine = [];
    /** @type {number[]} */
    const other = [];
    const own = async () => {
      const start = performance.now();
      await ours();
      return performance.now() - start;
    };
    for (let round = -2; round < rounds; round++) {
      // In turn, the one first and then the other; the first two rounds warm both up.
      const pair =
        round % 2 ? [await own(), await torch.ask(theirs)] : [await torch.ask(theirs), await own()].reverse();
      if (round < 0) continue;
      mine.push(pair[0]);
      other.push(pair[1]);
    }
    const times = ratio(other, mine);
    return [times.median.toFixed(2), quartiles(times)];
  };

  for (const [n, m, goal] of /** @type {const} */ ([
    [768, 768, '≥ 1.5'],
    [3072, 768, '≥ 1.5'],
    [768, 3072, '≥ 2.3'],
  ])) {
    const tokens = 2048;
    const weight = gaussianTensor([n, m], 1 / Math.sqrt(m));
    const [x, dy] = [gaussianTensor([tokens, m]), gaussianTensor([tokens, n])];
    const factors = await svd(weight);
    const band = await svft(weight, { factors, pattern: 'banded', offDiagonals: 8 });
    const plain = await svft(weight, { factors });
    const shape = `${n} × ${m}, N = ${tokens}`;
    const train = (/** @type {import('sigmatune').AdaptedLinear} */ layer) => () => step(layer, x, dy);
    yield [
      `SVFT band d = 8, ${shape}`,
      'public SVFT code',
      ...(await beside(train(band), ['svft_reference', n, m, tokens])),
      goal,
    ];
    yield [
      `SVFT plain, ${shape}`,
      'factored form',
      ...(await beside(train(plain), ['svft_factored', n, m, tokens])),
      '',
    ];
    yield [`SVFT plain, ${shape}`, 'LoRA r = 8', ...(await beside(train(plain), ['lora', n, m, tokens])), ''];
    for (const each of [weight, x, dy, ...Object.values(factors)]) each.dispose();
    for (const layer of [band, plain]) layer.dispose();
  }

  const list = Array.from({ length: 16 }, () => gaussianTensor([768, 768]));
  const batch = async () => {
    for (const { u, s, vt } of await svd(list)) for (const each of [u, s, vt]) each.dispose();
  };
  yield ['svd of 16 × 768²', 'loop', ...(await beside(batch, ['svd_loop', 16, 768])), '≥ 1.9'];
  const one = async () => {
    for (const each of Object.values(await svd(list[0]))) each.dispose();
  };
  yield ['svd of 768²', 'one', ...(await beside(one, ['svd_loop', 1, 768])), ''];

  const pattern = SparsityPattern.random(768, { entries: 33 * 768 }, { seed: 1, replacement: true });
  const [values, dense] = [gaussianTensor([pattern.entries]), gaussianTensor([768, 2048])];
  const product = () => spmm(pattern, values, dense).dispose();
  yield ['spmm, 33 a row, 768 × 2048', 'torch.sparse CSR', ...(await beside(product, ['sparse', 768, 2048])), '≥ 3'];
  torch.close();
}
