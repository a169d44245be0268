/** The spectrum of a layer, compared with a brute-force SVD of its merged weight. */
import { type AdaptedLinear, type Real, svft, type Tensor, vectorFit } from 'sigmatune';
import t from 'tap';
import { dtypes, families, layerShapes, tolerances } from '../support/cases.js';
import {
  assertClose,
  at,
  type Check,
  disposeAll,
  expectNoLeak,
  Findings,
  fill,
  item,
  rejectsSigma,
  snapshot,
  write,
} from '../support/helpers.js';
import { bench, disposeLayer, makeLayer, mergedOf, parameter, perturb } from '../support/layer.js';
import * as reference from '../support/reference.js';

const square = item(layerShapes, 0);
const tall = item(layerShapes, 1);
const wide = item(layerShapes, 2);

const spectrumTolerances = { float32: { atol: 3e-6, rtol: 0 }, float64: { atol: 1e-13, rtol: 0 } } as const;

function checkSpectrum(t: Check, found: Tensor, layer: AdaptedLinear, dtype: Real, label: string): void {
  const thin = Math.min(layer.inFeatures, layer.outFeatures);
  t.same([found.shape, found.dtype], [[thin], dtype], `${label}: shape and type`);
  const numbers = snapshot(found);
  t.ok(
    numbers.every((value, i) => value >= 0 && (i === 0 || value <= at(numbers, i - 1))),
    `${label}: descending, not below 0`,
  );
  assertClose(t, found, reference.singularValues(mergedOf(layer)), spectrumTolerances[dtype], label);
}

t.test('the spectrum of the merged weight', async (t) => {
  await expectNoLeak(t, 'spectrum', async () => {
    for (const dtype of dtypes) {
      for (const shape of [square, tall, wide, { name: 'one by one', out: 1, in: 1, tokens: 1 }]) {
        using on = await bench(shape, dtype);
        for (const family of families) {
          for (const strategy of family.strategies) {
            const findings = new Findings();
            const layer = await makeLayer(family, on, strategy);
            const start = await layer.spectrum();
            checkSpectrum(findings, start, layer, dtype, 'at the start');
            perturb(layer);
            const found = await layer.spectrum({});
            checkSpectrum(findings, found, layer, dtype, 'moved');
            fill(found, -1);
            const again = await layer.spectrum();
            checkSpectrum(findings, again, layer, dtype, 'a new tensor each time');
            t.same(findings.failures, [], `${family.name}, ${shape.name}, ${strategy}, ${dtype}`);
            disposeAll(start, found, again);
            disposeLayer(layer);
          }
        }
      }
    }
  });
});

t.test('a later write does not change a spectrum in progress', async (t) => {
  await expectNoLeak(t, 'spectra', async () => {
    using on = await bench(square, 'float64');
    for (const family of families) {
      const layer = await makeLayer(family, on, 'auto');
      perturb(layer);
      const expected = reference.singularValues(mergedOf(layer));
      const [first, second] = [layer.spectrum(), layer.spectrum()];
      for (const { value } of layer.parameters) fill(value, 7);
      disposeLayer(layer);
      for (const found of await Promise.all([first, second])) {
        assertClose(t, found, expected, spectrumTolerances.float64, `${family.name}: written and disposed meanwhile`);
        found.dispose();
      }
    }
  });
});

t.test('σ below zero, in the spectrum', async (t) => {
  using on = await bench(tall, 'float64');
  const layer = await vectorFit(on.weight, { factors: on.factors });
  write(parameter(layer, 'sigma').value, [1, -5, 0, 2, -3, -0]);
  const found = await layer.spectrum();
  assertClose(t, found, [5, 3, 2, 1, 0, 0], tolerances.float64, 'magnitudes, in order');
  found.dispose();
  disposeLayer(layer);
});

t.test('spectrum refuses invalid options', async (t) => {
  using on = await bench(tall, 'float32');
  for (const family of families) {
    const layer = await makeLayer(family, on, 'auto');
    await expectNoLeak(t, family.name, async () => {
      const reason = { why: 'enough' };
      await rejectsSigma(t, () => layer.spectrum({ signal: AbortSignal.abort(reason) }), 'ABORTED', family.name);
      const unknown = { signl: undefined } as unknown as { signal?: AbortSignal };
      await rejectsSigma(t, () => layer.spectrum(unknown), 'INVALID_ARGUMENT', family.name, 'signl');
      for (const bad of [null, 5, 'now', []] as unknown as { signal?: AbortSignal }[])
        await rejectsSigma(t, () => layer.spectrum(bad), 'INVALID_ARGUMENT', `${family.name}: ${bad}`, 'options');
      const signal = 5 as unknown as AbortSignal;
      await rejectsSigma(t, () => layer.spectrum({ signal }), 'INVALID_ARGUMENT', family.name, 'signal');
    });
    disposeLayer(layer);
  }
});

t.test('spectrum is aborted by its signal', async (t) => {
  await expectNoLeak(t, 'aborted', async () => {
    using on = await bench({ name: 'large', out: 90, in: 80, tokens: 1 }, 'float64');
    const layer = await svft(on.weight, { factors: on.factors, pattern: 'banded', offDiagonals: 1 });
    perturb(layer);
    const controller = new AbortController();
    const promise = layer.spectrum({ signal: controller.signal });
    controller.abort();
    await rejectsSigma(t, () => promise, 'ABORTED', 'aborted right after the call');
    const found = await layer.spectrum({ signal: new AbortController().signal });
    t.equal(found.size, 80, 'the layer is fine');
    found.dispose();
    disposeLayer(layer);
  });
});
