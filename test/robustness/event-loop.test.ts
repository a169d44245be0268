/** Asynchronous functions do not block the event loop, even if their work is on JavaScript's thread. */
import { type AdaptedLinear, SparsityPattern, type SvftOptions, siva, svd, svft, type Tensor, tensor } from 'sigmatune';
import t from 'tap';
import {
  disposeAll,
  disposeSvd,
  expectNoLeak,
  gaussian,
  rejectsSigma,
  seeded,
  throwsSigma,
} from '../support/helpers.js';

const n = 512;
const weight = gaussian(seeded(1), [n, n], 'float32') as Tensor<'float32'>;
const factors = await svd(weight);
t.teardown(() => {
  disposeAll(weight);
  disposeSvd(factors);
});

type Options = Omit<SvftOptions, 'factors' | 'signal'>;
const ofSvft = (options: Options) => (signal?: AbortSignal) =>
  svft(weight, { ...options, factors, ...(signal && { signal }) });

/** Each does at least 30 ms of work, on another thread or in time slices. */
const works: Record<string, (signal?: AbortSignal) => Promise<AdaptedLinear>> = {
  'a top-k pattern': ofSvft({ pattern: 'topk', offDiagonals: 64 }),
  "the reference code's top-k pattern": ofSvft({ pattern: 'topk', offDiagonals: 64, parity: 'svft-ref' }),
  'a random pattern': ofSvft({ pattern: 'random', offDiagonals: 200 }),
  'a random pattern with repetitions': ofSvft({ pattern: 'random', offDiagonals: 200, replacement: true }),
  'a Kaiming start': ofSvft({ pattern: 'banded', offDiagonals: 200, init: 'kaiming' }),
  'an orthonormal residual': ofSvft({ rank: n / 2, residual: 'orthonormal' }),
  "SiVA's random basis": (signal) =>
    siva(weight, { basis: 'random', count: n / 2, factors, ...(signal && { signal }) }),
};

for (const [name, work] of Object.entries(works)) {
  t.test(`${name} does not block the event loop`, async (t) => {
    let turns = 0;
    let running = true;
    const turn = () => {
      turns += 1;
      if (running) setImmediate(turn);
    };
    setImmediate(turn);
    const layer = await work();
    running = false;
    layer.dispose();
    t.ok(turns >= 2, `${turns} turns`);
  });

  t.test(`${name} is aborted by its signal in the middle`, async (t) => {
    await expectNoLeak(t, name, async () => {
      const controller = new AbortController();
      setImmediate(() => controller.abort('enough'));
      await rejectsSigma(t, () => work(controller.signal), 'ABORTED', name, 'signal');
    });
  });
}

t.test('a pattern made synchronously equals a pattern made in time slices', async (t) => {
  for (const absolute of [true, false]) {
    const layer = await svft(weight, { pattern: 'topk', offDiagonals: 3, absolute, factors, init: 'kaiming' });
    const pattern = SparsityPattern.topK(factors.u, factors.vt, { offDiagonals: 3 }, { absolute });
    const again = await svft(weight, { pattern, factors, init: 'kaiming' });
    using merged = layer.mergedWeight();
    using wanted = again.mergedWeight();
    t.same(merged.dataSync(), wanted.dataSync(), `absolute: ${absolute}`);
    disposeAll(layer, again);
  }
});

t.test('top-k of NaN directions is NON_FINITE', async (t) => {
  const broken = tensor([
    [1, 0],
    [0, Number.NaN],
  ]);
  throwsSigma(t, () => SparsityPattern.topK(broken, broken, { entries: 2 }), 'NON_FINITE', 'NaN', 'NaN');
  broken.dispose();
});
