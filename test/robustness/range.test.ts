/** Numbers near overflow and underflow, and non-finite numbers, in functions that are computed in JavaScript. */
import fc from 'fast-check';
import { effectiveRank, effectiveRankGradient, siva, svft, tensor, vectorFit } from 'sigmatune';
import t from 'tap';
import { at, expectNoLeak, item, put, seeded, snapshot, throwsSigma, withSpectrum } from '../support/helpers.js';
import { disposeLayer, parameter } from '../support/layer.js';

t.test('effective rank is between 1 and the number of nonzero values, at any scale', async (t) => {
  for (let n = 1; n <= 60; n++) {
    for (const scale of [1, 1e-310, 5e-324, 1e308]) {
      const found = effectiveRank([...new Array(n).fill(scale), 0, 0]);
      t.ok(found <= n && found > n * (1 - 1e-13), `${n} equal values of ${scale}: ${found}`);
    }
  }
  t.equal(effectiveRank([1e308, 5e-324]), 1, 'a value that is negligible compared with another');
  const value = fc.oneof(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.constant(0), fc.constant(1));
  fc.assert(
    fc.property(fc.array(value, { minLength: 1, maxLength: 8 }), (values) => {
      const rank = effectiveRank(values);
      const most = values.filter((each) => each !== 0).length;
      return most === 0 ? rank === 0 : rank >= 1 && rank <= most;
    }),
  );
  for (const bad of [Number.NaN, Infinity, -Infinity]) {
    t.ok(Number.isNaN(effectiveRank([1, bad, 2])), `${bad} is told`);
    t.ok(effectiveRankGradient([1, bad, 2]).every(Number.isNaN), `${bad} is told by every slope`);
  }
});

t.test('the gradient of effective rank is finite at values that are tiny compared with others', async (t) => {
  for (const [large, small] of [
    [1e10, 1e-320],
    [1e308, 1e-20],
    [1, 5e-324],
  ] as const) {
    const [first, second] = effectiveRankGradient([large, -small]);
    // p = small / large and H ≈ 0: erank · −log p / S
    const wanted = -(Math.log(large) - Math.log(small)) / large;
    t.ok(Math.abs((second ?? 0) / wanted - 1) < 1e-9, `${large}, ${small}: ${second} for ${wanted}`);
    t.ok(Number.isFinite(first), `${large}: ${first}`);
  }
  t.same([...effectiveRankGradient([0, 0])], [0, 0], 'zeros');
});

t.test('each number of a spectrum is read once', async (t) => {
  for (const call of [effectiveRank, effectiveRankGradient]) {
    let reads = 0;
    const spectrum = {
      length: 2,
      0: 3,
      get 1() {
        reads++;
        return reads === 1 ? 1 : 'no number';
      },
    };
    t.same(call(spectrum as unknown as number[]), call([3, 1]));
    t.equal(reads, 1);
    throwsSigma(t, () => call({ length: 2 ** 52 }), 'INVALID_ARGUMENT', 'a length that no array has', 's');
  }
});

t.test('‖ΔW‖ neither overflows nor underflows', async (t) => {
  await expectNoLeak(t, 'telemetry', async () => {
    for (const scale of [1e-200, 1e-310, 1e200]) {
      const weight = tensor(withSpectrum(seeded(3), 5, 5, [5, 4, 3, 2, 1]), [5, 5], { dtype: 'float64' });
      for (const layer of [
        await siva(weight, { count: 5 }),
        await svft(weight, { pattern: 'banded', offDiagonals: 1, gate: false }),
      ]) {
        const [{ value } = parameter(layer, 's')] = layer.parameters;
        value.assign(new Float64Array(value.size).fill(scale));
        const wanted = scale * Math.sqrt(value.size);
        const { change } = layer.telemetry();
        t.ok(Math.abs((change ?? 0) / wanted - 1) < 1e-9, `${layer.family}, ${scale}: ${change} for ${wanted}`);
        disposeLayer(layer);
      }
      weight.dispose();
    }
    const weight = tensor(withSpectrum(seeded(3), 4, 4, [4, 3, 2, 1]), [4, 4], { dtype: 'float64' });
    const layer = await vectorFit(weight);
    put(item(layer.parameters, 0).value, 1, Number.NaN);
    const { change, drift, effectiveRank: rank } = layer.telemetry();
    t.ok([change, drift?.mean, drift?.max, rank.after].every(Number.isNaN), 'NaN is told by each');
    disposeLayer(layer);
    weight.dispose();
  });
});

t.test("siva's init takes energies of any size", async (t) => {
  for (const energy of [1e-300, 1e300]) {
    const square = tensor(withSpectrum(seeded(2), 4, 4, [4, 3, 2, 1]), [4, 4], { dtype: 'float64' });
    const layer = await siva(square, { count: 2, init: { energy } });
    const norm = Math.hypot(...snapshot(item(layer.parameters, 0).value));
    t.ok(Math.abs(norm / Math.sqrt(energy) - 1) < 1e-12, `‖s‖ = √${energy}`);
    disposeLayer(layer);
    square.dispose();
    const zeros = tensor(new Float64Array(9), [3, 3], { dtype: 'float64' });
    const still = await siva(zeros, { count: 3, init: { energy: 5e-324 } });
    t.ok(at(snapshot(item(still.parameters, 0).value), 0) > 0, 'the least energy is not lost');
    disposeLayer(still);
    zeros.dispose();
  }
});
