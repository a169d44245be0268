/** Recorded outputs of the public SVFT implementation, in float64: fixtures/svft-reference.json. */
import { readFileSync } from 'node:fs';
import { SparsityPattern, svft } from 'sigmatune';
import t from 'tap';
import { strategies } from '../support/cases.js';
import { assertClose, disposeAll, expectNoLeak, real, type Tolerance } from '../support/helpers.js';
import { disposeLayer, parameter } from '../support/layer.js';
import * as reference from '../support/reference.js';
import { inSlotOrder, type RecordedCase } from '../support/svft-core.js';

interface Case extends RecordedCase {
  readonly bias: readonly number[];
  readonly rank: number;
}

const cases: readonly Case[] = JSON.parse(
  readFileSync(new URL('../fixtures/svft-reference.json', import.meta.url), 'utf8'),
);
const tolerance: Tolerance = { atol: 1e-9, rtol: 0 };

for (const entry of cases) {
  const { out, inp, tokens, rank } = entry;

  t.test(`${entry.name}: this suite's own reference`, async (t) => {
    const pattern = SparsityPattern.fromCoordinates(entry.rows, entry.cols, rank);
    const operator: reference.Operator = {
      u: reference.matrix(out, rank, entry.u),
      vt: reference.matrix(rank, inp, entry.vt),
      sigma: entry.s,
      m: { pattern, values: inSlotOrder(pattern, entry.values) },
      gate: entry.gate,
      bias: entry.bias,
    };
    const x = reference.matrix(tokens, inp, entry.x);
    const gradients = reference.backward(operator, x, reference.matrix(tokens, out, entry.dy));
    assertClose(t, reference.forward(operator, x).data, entry.y, tolerance, 'y');
    assertClose(t, gradients.dx.data, entry.dx, tolerance, 'dx');
    assertClose(t, gradients.m, inSlotOrder(pattern, entry.dvalues), tolerance, 'dvalues');
    assertClose(t, [gradients.gate], entry.dgate, tolerance, 'dgate');
    assertClose(t, reference.mergedWeight(operator).data, entry.merged, tolerance, 'merged');
  });

  for (const strategy of strategies) {
    t.test(`${entry.name}, ${strategy}`, async (t) => {
      await expectNoLeak(t, entry.name, async () => {
        const weight = real(entry.weight, [out, inp], 'float64');
        const bias = real(entry.bias, [out], 'float64');
        const factors = {
          u: real(entry.u, [out, rank], 'float64'),
          s: real(entry.s, [rank], 'float64'),
          vt: real(entry.vt, [rank, inp], 'float64'),
        };
        const x = real(entry.x, [tokens, inp], 'float64');
        const dy = real(entry.dy, [tokens, out], 'float64');
        const pattern = SparsityPattern.fromCoordinates(entry.rows, entry.cols, rank);
        const init = { m: inSlotOrder(pattern, entry.values), gate: entry.gate };
        const layer = await svft(weight, { bias, factors, pattern, init, strategy });

        const applied = layer.apply(x);
        const pass = layer.forward(x);
        const dx = pass.backward(dy);
        const merged = layer.mergedWeight();
        assertClose(t, applied, entry.y, tolerance, 'y, applied');
        assertClose(t, pass.y, entry.y, tolerance, 'y');
        assertClose(t, dx, entry.dx, tolerance, 'dx');
        assertClose(t, parameter(layer, 'm').grad ?? [], inSlotOrder(pattern, entry.dvalues), tolerance, 'dvalues');
        assertClose(t, parameter(layer, 'gate').grad ?? [], entry.dgate, tolerance, 'dgate');
        assertClose(t, merged, entry.merged, tolerance, 'merged');

        disposeAll(applied, pass.y, pass, dx, merged, weight, bias, factors.u, factors.s, factors.vt, x, dy);
        disposeLayer(layer);
      });
    });
  }
}
