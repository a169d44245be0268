/** Integration: whole training loops. */
import {
  AdamW,
  type AdaptedLinear,
  clipGradNorm,
  cosineSchedule,
  type MatrixDType,
  type Optimizer,
  Sgd,
  type Tensor,
  tidy,
} from 'sigmatune';
import t from 'tap';
import { type FamilyCase, isHalf, layerShapes, matrixDTypes, oneOfEach, type Strategy } from '../support/cases.js';
import { assertClose, at, disposeAll, expectNoLeak, gaussian, item, snapshot, write } from '../support/helpers.js';
import { type Bench, bench, disposeLayer, makeLayer, perturb } from '../support/layer.js';

const square = item(layerShapes, 0);

/** ½‖y − target‖², and its gradient y − target. */
function squared(y: Tensor, target: ArrayLike<number>): { loss: number; dy: Float64Array } {
  const dy = snapshot(y).map((value, i) => value - at(target, i));
  return { loss: dy.reduce((sum, value) => sum + value * value, 0) / 2, dy };
}

function train(
  layer: AdaptedLinear,
  optimizer: Optimizer,
  x: Tensor,
  target: ArrayLike<number>,
  steps: number,
): number[] {
  const schedule = cosineSchedule({ warmup: 5, total: steps });
  const losses: number[] = [];
  for (let step = 0; step < steps; step++) {
    tidy(() => {
      const pass = layer.forward(x);
      const { loss, dy } = squared(pass.y, target);
      losses.push(loss);
      const gradient = gaussianLike(pass.y, dy);
      pass.backward(gradient, { inputGrad: false });
    });
    clipGradNorm(layer.parameters, 100);
    optimizer.lrScale = schedule(step);
    optimizer.step();
    optimizer.zeroGrad();
  }
  return losses;
}

/** A tensor of the same shape and type with other numbers. */
function gaussianLike(like: Tensor, numbers: ArrayLike<number>): Tensor {
  const copy = like.cast(like.dtype);
  write(copy, numbers);
  return copy;
}

/** The layer's output with other parameters: a target that it can reach. */
async function reachable(family: FamilyCase, on: Bench<MatrixDType>, x: Tensor): Promise<Float64Array> {
  const teacher = await makeLayer(family, on, 'auto');
  perturb(teacher, 77);
  const y = teacher.apply(x);
  const target = snapshot(y);
  y.dispose();
  disposeLayer(teacher);
  return target;
}

for (const dtype of matrixDTypes) {
  t.test(`a layer learns a target that it can represent, ${dtype}`, async (t) => {
    await expectNoLeak(t, 'training', async () => {
      using on = await bench(square, dtype);
      const x = gaussian(on.random, [64, square.in], dtype);
      for (const family of oneOfEach) {
        const target = await reachable(family, on, x);
        const ends = new Map<Strategy, Float64Array[]>();
        for (const strategy of family.strategies) {
          const layer = await makeLayer(family, on, strategy);
          const losses = train(layer, new AdamW(layer.parameters, { lr: 0.05, weightDecay: 0 }), x, target, 200);
          const [first, last] = [at(losses, 0), at(losses, losses.length - 1)];
          // In 16 bits y itself has an error.
          t.ok(last < first / (isHalf(dtype) ? 100 : 1000), `${family.name}, ${strategy}: loss ${first} to ${last}`);
          ends.set(
            strategy,
            layer.parameters.map(({ value }) => snapshot(value)),
          );
          disposeLayer(layer);
        }
        const [one, ...others] = [...ends.values()];
        for (const other of others) {
          // Rounding differs between strategies, and AdamW magnifies it if a gradient is near 0.
          const tolerance = { atol: isHalf(dtype) ? 0.1 : dtype === 'float32' ? 1e-2 : 1e-6, rtol: 0 };
          other.forEach((values, i) => {
            assertClose(t, values, one?.[i] ?? [], tolerance, `${family.name}: every strategy ends at the same place`);
          });
        }
      }
      x.dispose();
    });
  });
}

t.test('a layer learns with SGD and momentum', async (t) => {
  using on = await bench(square, 'float64');
  const x = gaussian(on.random, [64, square.in], 'float64');
  for (const family of oneOfEach) {
    const target = await reachable(family, on, x);
    const layer = await makeLayer(family, on, 'auto');
    const losses = train(layer, new Sgd(layer.parameters, { lr: 2e-3, momentum: 0.9 }), x, target, 200);
    t.ok(at(losses, losses.length - 1) < at(losses, 0) / 100, `${family.name}: ${losses[0]} to ${losses.at(-1)}`);
    disposeLayer(layer);
  }
  disposeAll(x);
});
