/** parity: 'svft-ref': the departures of the public reference code from the paper. */
import { SparsityPattern, svft } from 'sigmatune';
import t from 'tap';
import { tolerances } from '../support/cases.js';
import { assertClose, disposeAll, disposeSvd, rejectsSigma, snapshot, values } from '../support/helpers.js';
import { dense, disposeLayer, parameter } from '../support/layer.js';
import * as reference from '../support/reference.js';
import { cells, cellsOf, weightAndFactors } from '../support/svft-core.js';

t.test('parity: Kaiming and the dropped tail are the defaults', async (t) => {
  const { weight, factors } = await weightAndFactors(40, 40);
  const layer = await svft(weight, { factors, pattern: 'banded', offDiagonals: 10, parity: 'svft-ref', seed: 1 });
  const m = snapshot(parameter(layer, 'm').value);
  const variance = m.reduce((sum, value) => sum + value * value, 0) / m.length;
  t.ok(Math.abs(variance / (2 / m.length) - 1) < 0.3, `variance ${variance} about ${2 / m.length}`);
  t.same([...(values(parameter(layer, 'gate').value) as Float64Array)], [0], 'γ = 0');
  disposeLayer(layer);
  const dropped = await svft(weight, { factors, rank: 6, parity: 'svft-ref', init: 'zeros' });
  const merged = dropped.mergedWeight();
  const kept = snapshot(factors.s).map((value, i) => (i < 6 ? value : 0));
  const head = reference.matmul(reference.matmul(dense(factors.u), reference.diagonal(kept)), dense(factors.vt));
  assertClose(t, merged, head.data, tolerances.float64, 'the tail is dropped, and an explicit init is obeyed');
  merged.dispose();
  disposeLayer(dropped);
  disposeAll(weight);
  disposeSvd(factors);
});

t.test('parity: random draws with replacement', async (t) => {
  const { weight, factors } = await weightAndFactors(48, 48);
  const options = { factors, pattern: 'random', offDiagonals: 8, seed: 5 } as const;
  const parity = await svft(weight, { ...options, parity: 'svft-ref' });
  const expected = SparsityPattern.random(48, { offDiagonals: 8 }, { seed: 5, replacement: true });
  t.same(cellsOf(parity), cells(expected), 'the cells of replacement: true');
  t.ok(new Set(cells(expected)).size < expected.entries, 'some of them twice');
  disposeLayer(parity);
  const byDefault = await svft(weight, options);
  t.equal(new Set(cellsOf(byDefault)).size, expected.entries, 'each cell once by default');
  disposeLayer(byDefault);
  disposeAll(weight);
  disposeSvd(factors);
});

/** The cells with the largest signed scores [r, r]. */
function largestCells(scores: reference.Matrix, count: number): Set<string> {
  const order = Array.from(scores.data, (score, i) => ({
    score,
    key: `${Math.floor(i / scores.columns)},${i % scores.columns}`,
  }));
  order.sort((a, b) => b.score - a.score);
  return new Set(order.slice(0, count).map(({ key }) => key));
}

t.test('parity: top-k scores are the signed U · V, or the square factor if the weight is rectangular', async (t) => {
  for (const [rows, columns] of [
    [11, 11],
    [15, 8],
    [8, 15],
  ] as const) {
    const { weight, factors } = await weightAndFactors(rows, columns);
    const [u, vt] = [dense(factors.u), dense(factors.vt)];
    const scores = rows === columns ? reference.matmul(u, reference.transpose(vt)) : rows > columns ? vt : u;
    const layer = await svft(weight, { factors, pattern: 'topk', offDiagonals: 2, parity: 'svft-ref' });
    const count = SparsityPattern.banded(Math.min(rows, columns), 2).entries;
    t.same(new Set(cellsOf(layer)), largestCells(scores, count), `${rows} × ${columns}`);
    disposeLayer(layer);
    disposeAll(weight);
    disposeSvd(factors);
  }
});

t.test('parity: the residual is not orthogonal to the kept directions', async (t) => {
  const { weight, factors } = await weightAndFactors(10, 8);
  const overlap = async (options: { parity?: 'svft-ref' }): Promise<number> => {
    const layer = await svft(weight, { factors, rank: 3, residual: 'orthonormal', seed: 1, ...options });
    const u = dense(layer.factors.u);
    const vt = dense(layer.factors.vt);
    const off = (gram: reference.Matrix): number =>
      reference.largest(reference.subtract(gram, reference.identity(layer.rank)));
    const least = Math.min(
      off(reference.matmul(reference.transpose(u), u)),
      off(reference.matmul(vt, reference.transpose(vt))),
    );
    disposeLayer(layer);
    return least;
  };
  t.ok((await overlap({})) < 1e-13, 'by default it is');
  t.ok((await overlap({ parity: 'svft-ref' })) > 1e-3, 'the reference code leaves that out, of U and of V');
  disposeAll(weight);
  disposeSvd(factors);
});

t.test('parity: top-k of truncated factors fails, as in the reference code', async (t) => {
  for (const [rows, columns] of [
    [9, 9],
    [12, 7],
  ] as const) {
    const { weight, factors } = await weightAndFactors(rows, columns);
    await rejectsSigma(
      t,
      () => svft(weight, { factors, rank: 4, pattern: 'topk', parity: 'svft-ref' }),
      'SHAPE_MISMATCH',
      `${rows} × ${columns}`,
      'pattern',
      'topk',
    );
    disposeAll(weight);
    disposeSvd(factors);
  }
});
