/** Inputs of any number of axes, results in memory of the caller's, and the pull-back as a function. */
import { AdamW, type AdaptedLinear, type MatrixDType, type Pass, type Tensor, tidy, vectorFit, zeros } from 'sigmatune';
import t from 'tap';
import { families, isHalf, type LayerShape, matrixDTypes, oneOfEach, type Strategy } from '../support/cases.js';
import {
  assertSameBits,
  disposeAll,
  expectNoLeak,
  fill,
  gaussian,
  item,
  seeded,
  snapshot,
  throwsSigma,
} from '../support/helpers.js';
import { type Bench, bench, clearGradients, disposeLayer, gradientsOf, makeLayer, perturb } from '../support/layer.js';

const shape: LayerShape = { name: 'square', out: 12, in: 12, tokens: 12 };
const leading = [[12], [3, 4], [2, 1, 6], [1, 12], [12, 1]];

type Use = (layer: AdaptedLinear, on: Bench<MatrixDType>, label: string, strategy: Strategy) => void | Promise<void>;

/** Every family with every strategy it has. */
async function eachLayer(use: Use): Promise<void> {
  for (const dtype of ['float32', ...matrixDTypes.filter(isHalf)] as const) {
    using on = await bench(shape, dtype);
    for (const family of families) {
      for (const strategy of family.strategies) {
        const layer = await makeLayer(family, on, strategy);
        perturb(layer);
        await use(layer, on, `${family.name}, ${strategy}, ${dtype}`, strategy);
        disposeLayer(layer);
      }
    }
  }
}

t.test('leading axes are those of the flat batch', async (t) => {
  await expectNoLeak(t, 'axes', () =>
    eachLayer((layer, { x, dy }, label) => {
      const flat = layer.forward(x);
      const dx = flat.backward(dy);
      const gradients = gradientsOf(layer);
      for (const lead of leading) {
        clearGradients(layer);
        const [shaped, dyShaped] = [x.reshape([...lead, 12]), dy.reshape([...lead, 12])];
        const y = layer.apply(shaped);
        const pass = layer.forward(shaped);
        const back = pass.backward(dyShaped);
        const at = `${label}, [${lead}]`;
        for (const each of [y, pass.y, back]) t.same(each.shape, [...lead, 12], at);
        assertSameBits(t, pass.y, flat.y, `${at}: y`);
        assertSameBits(t, back, dx, `${at}: dx`);
        for (const [i, gradient] of gradientsOf(layer).entries()) {
          assertSameBits(t, gradient, item(gradients, i), `${at}: gradient ${i}`);
        }
        disposeAll(shaped, dyShaped, y, pass.y, back);
      }
      disposeAll(flat.y, dx);
    }),
  );
});

t.test('one vector [in]', async (t) => {
  await expectNoLeak(t, 'vector', async () => {
    using on = await bench({ name: 'tall', out: 9, in: 7, tokens: 1 }, 'float64');
    for (const family of oneOfEach) {
      const layer = await makeLayer(family, on, 'auto');
      const [x, dy] = [on.x.reshape([7]), on.dy.reshape([9])];
      const pass = layer.forward(x);
      const dx = pass.backward(dy);
      t.same([pass.y.shape, dx.shape], [[9], [7]], family.name);
      const y = layer.apply(on.x);
      t.same(y.shape, [1, 9]);
      disposeAll(x, dy, pass.y, dx, y);
      disposeLayer(layer);
    }
  });
});

t.test('results in memory of the caller', async (t) => {
  await expectNoLeak(t, 'out', () =>
    eachLayer((layer, { x, dy, dtype }, label) => {
      const pass = layer.forward(x);
      const dx = pass.backward(dy);
      const place = () => zeros([12, 12], { dtype });
      const [y2, y3, dx2] = [place(), place(), place()];
      for (const each of [y2, y3, dx2]) fill(each, Number.NaN);
      t.equal(layer.apply(x, { out: y2 }), y2, 'apply returns it');
      const second = layer.forward(x, { out: y3 });
      t.equal(second.y, y3, 'forward returns it');
      t.equal(second.backward(dy, { out: dx2 }), dx2, 'backward returns it');
      assertSameBits(t, y3, pass.y, `${label}: y`);
      assertSameBits(t, dx2, dx, `${label}: dx`);
      const applied = layer.apply(x);
      assertSameBits(t, y2, applied, `${label}: apply`);
      disposeAll(pass.y, dx, y2, y3, dx2, applied);
    }),
  );
});

t.test('memory that is no place for a result', async (t) => {
  await expectNoLeak(t, 'bad out', async () => {
    using on = await bench(shape, 'float32');
    for (const family of oneOfEach) {
      const layer = await makeLayer(family, on, 'auto');
      const { x, dy, weight, bias } = on;
      const before = snapshot(x);
      const wrong = zeros([12, 11]);
      const double = zeros([12, 12], { dtype: 'float64' });
      const refused = (out: unknown, code: string, label: string) => {
        for (const call of ['apply', 'forward'] as const) {
          throwsSigma(
            t,
            () => layer[call](x, { out: out as Tensor }),
            code as never,
            `${family.name}, ${call}: ${label}`,
            'out',
          );
        }
      };
      refused(wrong, 'SHAPE_MISMATCH', 'another shape');
      refused(double, 'DTYPE_MISMATCH', 'another type');
      refused(5, 'INVALID_ARGUMENT', 'no tensor');
      refused(x, 'INVALID_ARGUMENT', 'x itself');
      refused(weight, 'INVALID_ARGUMENT', 'the weight');
      if (layer.factors.u.size === 144) refused(layer.factors.u, 'INVALID_ARGUMENT', 'U');
      throwsSigma(t, () => layer.apply(x, { into: x } as never), 'INVALID_ARGUMENT', 'unknown option', 'options');
      const pass = layer.forward(x);
      throwsSigma(t, () => pass.backward(dy, { out: dy }), 'INVALID_ARGUMENT', 'dy itself', 'options.out');
      throwsSigma(t, () => pass.backward(dy, { out: wrong }), 'SHAPE_MISMATCH', 'dx of another shape', 'options.out');
      for (const [what, out] of Object.entries({ weight, U: layer.factors.u, V: layer.factors.vt })) {
        if (out.size !== 144) continue;
        throwsSigma(t, () => pass.backward(dy, { out }), 'INVALID_ARGUMENT', `dx into ${what}`, 'options.out');
        throwsSigma(t, () => pass.pullBack(dy, { out }), 'INVALID_ARGUMENT', `dx into ${what}`, 'options.out');
      }
      const none = { inputGrad: false, out: wrong } as const;
      throwsSigma(t, () => pass.backward(dy, none), 'INVALID_ARGUMENT', 'out without dx', 'options.out');
      assertSameBits(t, x, before, 'x is as it was');
      t.ok(
        layer.parameters.every(({ grad }) => grad === null),
        'no gradient was added',
      );
      disposeAll(pass.backward(dy), pass.y, wrong, double);
      t.equal(bias.size, 12);
      disposeLayer(layer);
    }
  });
});

t.test('dx does not go into an input that the pass still reads', async (t) => {
  await expectNoLeak(t, 'borrowed', async () => {
    using on = await bench(shape, 'float32');
    const layer = await vectorFit(on.weight, { strategy: 'merged', borrowInputs: true });
    const pass = layer.forward(on.x);
    throwsSigma(t, () => pass.backward(on.dy, { out: on.x }), 'INVALID_ARGUMENT', 'x', 'options.out');
    disposeAll(pass.backward(on.dy), pass.y);
    layer.enabled = false;
    const base = layer.forward(on.x);
    throwsSigma(t, () => base.backward(on.dy, { out: on.weight }), 'INVALID_ARGUMENT', 'W0', 'options.out');
    disposeAll(base, base.y);
    disposeLayer(layer);
  });
});

t.test('pullBack returns the gradients that backward adds', async (t) => {
  await expectNoLeak(t, 'pullBack', () =>
    eachLayer((layer, { x, dy }, label) => {
      const pass = layer.forward(x);
      const dx = pass.backward(dy);
      const added = gradientsOf(layer);
      const tape = layer.forward(x);
      const { dx: back, gradients } = tape.pullBack(dy);
      for (const [i, before] of gradientsOf(layer).entries()) {
        assertSameBits(t, before, item(added, i), `${label}: grad is left alone`);
      }
      t.same([...gradients.keys()].sort(), [...layer.parameters].sort(), `${label}: every parameter`);
      for (const [i, entry] of layer.parameters.entries()) {
        const gradient = gradients.get(entry) as Tensor;
        t.same(gradient.shape, entry.value.shape);
        assertSameBits(t, gradient, item(added, i), `${label}: ${entry.name}`);
      }
      assertSameBits(t, back as Tensor, dx, `${label}: dx`);
      throwsSigma(t, () => tape.pullBack(dy), 'CONSUMED', `${label}: once only`, 'pullBack');
      throwsSigma(t, () => tape.backward(dy), 'CONSUMED', `${label}: nor backward`, 'backward');
      disposeAll(pass.y, dx, tape.y, back, ...gradients.values());
    }),
  );
});

t.test('pullBack between backwards of one step', async (t) => {
  await expectNoLeak(t, 'mixed', () =>
    eachLayer((layer, { x, dy }, label) => {
      const run = (mixed: boolean) => {
        clearGradients(layer);
        for (let i = 0; i < 3; i++) {
          const pass = layer.forward(x);
          disposeAll(pass.backward(dy), pass.y);
          if (mixed) {
            const other = layer.forward(dy.shape[1] === 12 ? dy : x);
            const { dx, gradients } = other.pullBack(dy);
            disposeAll(other.y, dx, ...gradients.values());
          }
        }
        return gradientsOf(layer);
      };
      const alone = run(false);
      for (const [i, gradient] of run(true).entries())
        assertSameBits(t, gradient, item(alone, i), `${label}: gradient ${i}`);
    }),
  );
});

t.test('pullBack: frozen parameters, no dx, tidy, and a layer that is gone', async (t) => {
  await expectNoLeak(t, 'cases', () =>
    eachLayer((layer, { x, dy, dtype }, label) => {
      const [first, ...rest] = layer.parameters;
      if (first === undefined) return;
      const pass = layer.forward(x);
      first.trainable = false;
      const { dx, gradients } = pass.pullBack(dy, { inputGrad: false });
      t.equal(dx, undefined, `${label}: no dx`);
      t.same(new Set(gradients.keys()), new Set(rest), `${label}: none for a frozen parameter`);
      first.trainable = true;
      disposeAll(pass.y, ...gradients.values());
      const kept = tidy(() => layer.forward(x).pullBack(dy).gradients);
      t.ok(
        [...kept.values()].every(({ disposed }) => !disposed),
        'tidy keeps what is returned',
      );
      disposeAll(...kept.values());
      const none: Pass = layer.forward(x);
      none.dispose();
      throwsSigma(t, () => none.pullBack(dy), 'DISPOSED', label, 'pullBack');
      none.y.dispose();
      const last = layer.forward(x);
      const short = gaussian(seeded(1), [11, 12], dtype);
      throwsSigma(t, () => last.pullBack(short), 'SHAPE_MISMATCH', label, 'dy');
      short.dispose();
      disposeLayer(layer);
      throwsSigma(t, () => last.pullBack(dy), 'DISPOSED', label, 'pullBack');
      disposeAll(last, last.y);
    }),
  );
});

t.test('a tape trains as backward does', async (t) => {
  await expectNoLeak(t, 'tape', async () => {
    using on = await bench(shape, 'float32');
    for (const family of oneOfEach) {
      const layers = [await makeLayer(family, on, 'auto'), await makeLayer(family, on, 'auto')] as const;
      const optimizers = layers.map(({ parameters }) => new AdamW(parameters, { lr: 0.05 }));
      for (let step = 0; step < 4; step++) {
        for (const [i, layer] of layers.entries()) {
          const pass = layer.forward(on.x);
          if (i === 0) pass.backward(pass.y, { inputGrad: false });
          else {
            const { gradients } = pass.pullBack(pass.y, { inputGrad: false });
            for (const [parameter, gradient] of gradients) parameter.grad = gradient;
          }
          item(optimizers, i).step();
          item(optimizers, i).zeroGrad();
          pass.y.dispose();
        }
      }
      for (const [i, { value }] of layers[0].parameters.entries()) {
        assertSameBits(t, item(layers[1].parameters, i).value, value, `${family.name}: ${i}`);
      }
      for (const layer of layers) disposeLayer(layer);
    }
  });
});
