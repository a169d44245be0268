/** The gradient of the effective rank: finite differences, a case by hand, invalid arguments. */
import fc from 'fast-check';
import { effectiveRank, effectiveRankGradient, tidy } from 'sigmatune';
import t from 'tap';
import { dtypes } from '../support/cases.js';
import { assertClose, assertSameBits, at, real, throwsSigma } from '../support/helpers.js';
import * as reference from '../support/reference.js';

t.test('effectiveRankGradient against finite differences', async (t) => {
  const magnitude = fc.double({ min: 0.05, max: 20, noNaN: true });
  const entry = fc.tuple(magnitude, fc.boolean()).map(([value, negative]) => (negative ? -value : value));
  fc.assert(
    fc.property(fc.array(entry, { minLength: 1, maxLength: 12 }), fc.nat(), (s, zeros) => {
      // Zeros do not affect the other values, and their own slope is 0.
      const padded = [...s];
      for (let k = 0; k < zeros % 3; k++) padded.splice((zeros * (k + 1)) % (padded.length + 1), 0, k % 2 ? -0 : 0);
      const gradient = effectiveRankGradient(padded);
      if (!(gradient instanceof Float64Array) || gradient.length !== padded.length) throw new Error('its form');
      padded.forEach((value, i) => {
        if (value === 0) {
          if (gradient[i] !== 0) throw new Error(`${gradient[i]} at a zero`);
          return;
        }
        const step = 1e-5 * Math.abs(value);
        const at = (moved: number): number =>
          reference.effectiveRank(padded.map((other, j) => (j === i ? moved : other)));
        const slope = (at(value + step) - at(value - step)) / (2 * step);
        const error = Math.abs((gradient[i] ?? Number.NaN) - slope);
        // The rounding of erank divided by the step, and the third derivative.
        const slack = (1e-9 * padded.length) / Math.abs(value) + 1e-7 * Math.abs(slope);
        if (!(error <= slack)) throw new Error(`${gradient[i]} for ${slope} at ${i}`);
      });
      const along = padded.reduce((sum, value, i) => sum + value * at(gradient, i), 0);
      if (Math.abs(along) > 1e-12 * padded.length ** 2) throw new Error(`Σ s g = ${along}: scaling changes nothing`);
    }),
    { seed: 7, numRuns: 300 },
  );
  t.pass('erank, by every value');
});

t.test('effectiveRankGradient by hand', async (t) => {
  assertClose(
    t,
    effectiveRankGradient([2, 2, 2, 2]),
    [0, 0, 0, 0],
    { atol: 0, rtol: 0 },
    'a flat spectrum is a summit',
  );
  t.same([...effectiveRankGradient([0, 0, 0])].map(Math.abs), [0, 0, 0], 'all zeros');
  t.same([...effectiveRankGradient([0, 5, 0])].map(Math.abs), [0, 0, 0], 'one value alone');
  t.same([...effectiveRankGradient([3])].map(Math.abs), [0], 'one value');
  // p = 3/4, 1/4; erank · −(log p + H) / 4.
  const entropy = -(0.75 * Math.log(0.75) + 0.25 * Math.log(0.25));
  const slopes = [0.75, 0.25].map((p) => (-Math.exp(entropy) * (Math.log(p) + entropy)) / 4);
  assertClose(t, effectiveRankGradient([3, 1]), slopes, { atol: 1e-15, rtol: 1e-14 }, 'two values');
  assertClose(
    t,
    effectiveRankGradient([-3, 1]),
    [-at(slopes, 0), at(slopes, 1)],
    { atol: 1e-15, rtol: 1e-14 },
    'the sign turns the slope',
  );
  const scaled = effectiveRankGradient([3e-200, 1e-200]).map((value) => value * 1e-200);
  assertClose(t, scaled, slopes, { atol: 1e-15, rtol: 1e-13 }, 'at the end of the range');
});

t.test('effectiveRankGradient takes what effectiveRank takes', async (t) => {
  const s = [4, -2, 0, 1.5];
  const wanted = effectiveRankGradient(s);
  for (const dtype of dtypes) {
    const tensor = real(s, [4], dtype);
    assertSameBits(t, effectiveRankGradient(tensor), wanted, `a tensor, ${dtype}`);
    assertSameBits(t, tensor, s, `${dtype}: which is not written`);
    tensor.dispose();
  }
  assertSameBits(t, effectiveRankGradient(Float64Array.from(s)), wanted, 'Float64Array');
  assertSameBits(t, effectiveRankGradient(Float32Array.from(s)), wanted, 'Float32Array');
  assertSameBits(t, effectiveRankGradient({ length: 4, 0: 4, 1: -2, 2: 0, 3: 1.5 }), wanted, 'anything array-like');

  const gone = real(s, [4], 'float64');
  gone.dispose();
  const integers = tidy(() => real(s, [4], 'float32').cast('int32'));
  for (const [label, bad, code, parts] of [
    ['nothing', undefined, 'INVALID_ARGUMENT', ['s']],
    ['null', null, 'INVALID_ARGUMENT', ['s']],
    ['a number', 5, 'INVALID_ARGUMENT', ['s', '5']],
    ['a text', '12', 'INVALID_ARGUMENT', ['s']],
    ['an empty array', [], 'INVALID_ARGUMENT', ['s']],
    ['texts', [1, '2'], 'INVALID_ARGUMENT', ['s[1]', "'2'"]],
    ['a disposed tensor', gone, 'DISPOSED', ['s']],
    ['integers', integers, 'DTYPE_MISMATCH', ['s', 'int32']],
  ] as const) {
    const value = bad as unknown as number[];
    throwsSigma(t, () => effectiveRank(value), code, `effectiveRank: ${label}`, /^effectiveRank: /, ...parts);
    throwsSigma(t, () => effectiveRankGradient(value), code, label, /^effectiveRankGradient: /, ...parts);
  }
  integers.dispose();
});
