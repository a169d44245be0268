// @ts-check
// What one call costs on tensors so small that there is hardly any arithmetic.
import { AdamW, matmul, SparsityPattern, spmm, svft } from 'sigmatune';
import { alternate, quartiles, timing } from '../alternate.js';
import { gaussianTensor } from '../data.js';

export const title = 'One call on 8 × 8, µs';
export const columns = ['call', 'µs', 'quartiles', 'goal'];

export async function* run({ rounds = 15 } = {}) {
  const weight = gaussianTensor([8, 8]);
  const x = gaussianTensor([1, 8]);
  const layer = await svft(weight, { pattern: 'banded', offDiagonals: 1, strategy: 'factored' });
  const pattern = SparsityPattern.banded(8, 1);
  const values = gaussianTensor([pattern.entries]);
  const dense = gaussianTensor([8, 1]);
  const optimizer = new AdamW(layer.parameters);
  const samples = await alternate(
    {
      matmul: () => matmul(x, weight, { transposeB: true }).dispose(),
      spmm: () => spmm(pattern, values, dense).dispose(),
      apply: () => layer.apply(x).dispose(),
      'forward and backward': () => {
        const pass = layer.forward(x);
        pass.backward(pass.y).dispose();
        pass.y.dispose();
      },
      'AdamW step, two parameters': () => optimizer.step(),
    },
    { rounds, repeat: 20_000 },
  );
  for (const [name, list] of Object.entries(samples)) {
    const micro = timing(list.map((ms) => 1000 * ms));
    const calls = name.includes('and backward') ? 2 : 1;
    yield [name, micro.median.toFixed(2), quartiles(micro), `≤ ${3 * calls} above the arithmetic`];
  }
}
