import {
  AdamW,
  coreGradient,
  decompose,
  movedState,
  regrow,
  SparsityPattern,
  svft,
  type Tensor,
  zeros,
} from 'sigmatune';
import t from 'tap';
import {
  at,
  disposeAll,
  gaussian,
  item,
  type Random,
  real,
  seeded,
  snapshot,
  throwsSigma,
  values,
} from '../support/helpers.js';
import { parameter } from '../support/layer.js';
import { coordinates, densify } from '../support/reference.js';

/** Cells in row-major numbers, ascending. */
const cellsOf = (pattern: SparsityPattern): number[] =>
  coordinates(pattern).map(({ row, column }) => row * pattern.shape[0] + column);

/** The numbers of the `count` largest magnitudes, ascending; the first of equals. */
function largest(scores: ArrayLike<number>, count: number): number[] {
  const order = Array.from({ length: scores.length }, (_, i) => i);
  order.sort((a, b) => Math.abs(at(scores, b)) - Math.abs(at(scores, a)) || a - b);
  return order.slice(0, count).toSorted((a, b) => a - b);
}

t.test('fromGradient takes the largest magnitudes', async (t) => {
  for (const dtype of ['float32', 'float64'] as const) {
    for (const r of [1, 2, 9, 40]) {
      const scores = gaussian(seeded(r), [r, r], dtype);
      for (const entries of new Set([1, r, r * r])) {
        const pattern = SparsityPattern.fromGradient(scores, { entries });
        t.same(cellsOf(pattern), largest(values(scores), entries), `${entries} of ${r}², ${dtype}`);
      }
      const whole = SparsityPattern.fromGradient(scores, { entries: r }, { includeDiagonal: true });
      t.same(cellsOf(whole), cellsOf(SparsityPattern.diagonal(r)), 'a budget for the diagonal alone');
      disposeAll(scores);
    }
  }
  const scores = real([9, 1, 5, 0, 0, 7, 8, 0, 0.1], [3, 3], 'float64');
  const before = snapshot(scores);
  t.same(cellsOf(SparsityPattern.fromGradient(scores, { entries: 5 }, { includeDiagonal: true })), [0, 4, 5, 6, 8]);
  t.same(snapshot(scores), before, 'the scores are not written');
  t.equal(SparsityPattern.fromGradient(scores, { offDiagonals: 1 }).entries, 7, 'as many as a band');
  const equal = zeros([3, 3]);
  t.same(cellsOf(SparsityPattern.fromGradient(equal, { entries: 4 })), [0, 1, 2, 3], 'the first of equals');
  disposeAll(scores, equal);
});

t.test('fromGradients shares one budget', async (t) => {
  const scores = {
    a: gaussian(seeded(1), [5, 5], 'float32'),
    b: gaussian(seeded(2), [8, 8], 'float32', 3),
    c: zeros([2, 2]),
  };
  for (const entries of [3, 10, 60, 93]) {
    const patterns = SparsityPattern.fromGradients(scores, { entries });
    t.equal(
      Object.values(patterns).reduce((sum, each) => sum + each.entries, 0),
      entries,
      `${entries} in all`,
    );
    for (const [name, pattern] of Object.entries(patterns)) {
      const own = values(scores[name as 'a']);
      t.same(cellsOf(pattern), largest(own, pattern.entries), `${entries}: the largest of ${name}`);
    }
    if (entries === 10) {
      t.equal(patterns['c']?.entries, 1, 'a layer whose scores are all small has its least');
      const [a, b] = [item([patterns['a']], 0) as SparsityPattern, patterns['b'] as SparsityPattern];
      const weakest = (name: 'a' | 'b', pattern: SparsityPattern) =>
        Math.min(...cellsOf(pattern).map((cell) => Math.abs(at(values(scores[name]), cell))));
      const left = (name: 'a' | 'b', pattern: SparsityPattern) => {
        const taken = new Set(cellsOf(pattern));
        return Math.max(...Array.from(values(scores[name]), Math.abs).filter((_, cell) => !taken.has(cell)));
      };
      t.ok(weakest('b', b) >= left('a', a) && weakest('b', b) >= left('b', b), 'no better cell was left out');
    }
  }
  const least = SparsityPattern.fromGradients(scores, { entries: 30 }, { least: 4 });
  t.equal(least['c']?.entries, 4);
  t.ok((least['a']?.entries ?? 0) >= 4);
  const wide = { ...scores, d: gaussian(seeded(3), [3, 3], 'float64', 100) };
  t.equal(SparsityPattern.fromGradients(wide, { entries: 12 })['d']?.entries, 9, 'types may differ');
  const bad = real([1, Number.NaN, 0, 0], [2, 2], 'float32');
  const cases = [
    [() => SparsityPattern.fromGradients({}, { entries: 3 }), 'INVALID_ARGUMENT', 'scores'],
    [() => SparsityPattern.fromGradients(scores, { entries: 2 }), 'INVALID_ARGUMENT', 'at least 3'],
    [() => SparsityPattern.fromGradients(scores, { entries: 94 }), 'INVALID_ARGUMENT', 'at most 93'],
    [() => SparsityPattern.fromGradients(scores, { entries: 30 }, { least: 5 }), 'INVALID_ARGUMENT', "'c'"],
    [() => SparsityPattern.fromGradients({ bad }, { entries: 1 }), 'NON_FINITE', "['bad']"],
    [() => SparsityPattern.fromGradient(bad, { entries: 1 }), 'NON_FINITE', '[0, 1]'],
    [() => SparsityPattern.fromGradient(scores.a, { entries: 26 }), 'INVALID_ARGUMENT', '25'],
    [() => SparsityPattern.fromGradient(scores.a, { entries: 4 }, { includeDiagonal: true }), 'INVALID_ARGUMENT', '5'],
    [() => SparsityPattern.fromGradient(zeros([2, 3]), { entries: 4 }), 'SHAPE_MISMATCH', 'square'],
  ] as const;
  for (const [call, code, part] of cases) throwsSigma(t, call, code, part, part);
  const gone = zeros([2, 2]);
  const size = {
    get entries() {
      gone.dispose();
      return 2;
    },
  };
  throwsSigma(t, () => SparsityPattern.fromGradients({ gone }, size), 'DISPOSED', 'a getter that disposes', "['gone']");
  disposeAll(...Object.values(wide), bad);
});

/** What `regrow` should give, from dense matrices. */
function reference(pattern: SparsityPattern, m: ArrayLike<number>, scores: ArrayLike<number>, drop: number) {
  const cells = cellsOf(pattern);
  const kept = new Set(largest(m, pattern.entries - drop).map((slot) => item(cells, slot)));
  const free = Array.from(scores, (score, cell) => (kept.has(cell) ? -1 : Math.abs(score)));
  const order = free.map((_, cell) => cell).filter((cell) => !kept.has(cell));
  order.sort((a, b) => at(free, b) - at(free, a) || a - b);
  return [...kept, ...order.slice(0, drop)].toSorted((a, b) => a - b);
}

const patternsOf = (random: Random, r: number) => [
  SparsityPattern.diagonal(r),
  SparsityPattern.banded(r, 1),
  SparsityPattern.random(r, { entries: 2 * r }, { seed: random.integer(1000) }),
];

t.test('regrow drops the smallest values and grows where the gradient is largest', async (t) => {
  for (const r of [2, 7, 20]) {
    const random = seeded(r);
    const scores = gaussian(random, [r, r], 'float64');
    for (const pattern of patternsOf(random, r)) {
      const m = gaussian(random, [pattern.entries], 'float32');
      for (const drop of new Set([1, r >> 1, pattern.entries])) {
        const next = regrow(pattern, m, scores, { drop });
        const label = `${pattern.kind}, r ${r}, drop ${drop}`;
        t.equal(next.pattern.entries, pattern.entries, `${label}: as many entries`);
        t.same(cellsOf(next.pattern), reference(pattern, values(m), values(scores), drop), `${label}: cells`);
        // As dense matrices: what stays is where it was.
        const [before, after] = [densify(pattern, values(m)), densify(next.pattern, values(next.values))];
        t.ok(
          after.data.every((value, i) => value === 0 || value === before.data[i]),
          `${label}: values`,
        );
        const stay = next.from.filter((slot) => slot >= 0);
        t.equal(stay.length, pattern.entries - drop, `${label}: as many stay`);
        t.ok(
          next.from.every((slot, i) => at(values(next.values), i) === (slot < 0 ? 0 : at(values(m), slot))),
          `${label}: from`,
        );
        disposeAll(next.values);
      }
      disposeAll(m);
    }
    disposeAll(scores);
  }
  const twice = SparsityPattern.fromCoordinates([0, 0, 1], [1, 1, 0], 2);
  const [m, scores] = [real([1, 2, 3], [3], 'float32'), real([1, 2, 3, 4], [2, 2], 'float32')];
  const calls = [
    [() => regrow(twice, m, scores, { drop: 1 }), 'INVALID_ARGUMENT', 'duplicate'],
    [() => regrow(twice, scores, scores, { drop: 1 }), 'SHAPE_MISMATCH', 'values'],
    [
      () => regrow(SparsityPattern.banded(3, { lower: 0, upper: 0 }), m, scores, { drop: 1 }),
      'SHAPE_MISMATCH',
      'scores',
    ],
    [() => regrow(twice, m, scores, { drop: 4 }), 'INVALID_ARGUMENT', 'options.drop'],
    [() => regrow({} as SparsityPattern, m, scores, { drop: 1 }), 'INVALID_ARGUMENT', 'pattern'],
  ] as const;
  for (const [call, code, part] of calls) throwsSigma(t, call, code, part, part);
  disposeAll(m, scores);
});

t.test('training goes on after a regrowth, with the moments of the entries that stayed', async (t) => {
  const random = seeded(9);
  const weight = gaussian(random, [12, 8], 'float32');
  const x = gaussian(random, [64, 8], 'float32');
  const factors = await decompose(weight);
  // The map to learn differs from W0 in eight entries of the core.
  const truth = SparsityPattern.random(8, { entries: 8 }, { seed: 2 });
  const teacher = await svft(weight, { factors, pattern: truth, gate: false, init: { m: random.normals(8, 2) } });
  const wanted = snapshot(teacher.apply(x));
  /** Half the squared error, and its gradient. */
  const loss = (y: Tensor): { value: number; dy: Tensor } => {
    const difference = Float32Array.from(values(y), (value, i) => (value - at(wanted, i)) / 64);
    return { value: 32 * difference.reduce((sum, d) => sum + d * d, 0), dy: real(difference, [64, 12], 'float32') };
  };
  const run = async (learned: boolean) => {
    let pattern = SparsityPattern.diagonal(8);
    let layer = await svft(weight, { factors, pattern, gate: false, name: 'q' });
    let optimizer = new AdamW(layer.parameters, { lr: 0.05, weightDecay: 0 });
    let last = 0;
    for (let step = 1; step <= 240; step++) {
      const pass = layer.forward(x);
      const { value, dy } = loss(pass.y);
      disposeAll(pass.backward(dy));
      if (learned && step % 40 === 0 && step < 200) {
        const scores = coreGradient(layer, x, dy);
        const next = regrow(pattern, parameter(layer, 'q.m').value, scores, { drop: 3 });
        const made = await svft(weight, {
          factors,
          pattern: next.pattern,
          gate: false,
          name: 'q',
          init: { m: values(next.values) },
        });
        const moved = new AdamW(made.parameters, { lr: 0.05, weightDecay: 0 });
        moved.loadState(movedState(optimizer.state(), { 'q.m': next.from }));
        const [from, to] = [optimizer.state(), moved.state()].map((state) => (state as State).parameters[0]);
        for (const key of ['m', 'rms']) {
          const [before, after] = [from?.arrays[key], to?.arrays[key]] as [Float32Array, Float32Array];
          t.ok(
            next.from.every((slot, i) => at(after, i) === (slot < 0 ? 0 : at(before, slot))),
            `${key} has moved`,
          );
        }
        disposeAll(layer, scores, next.values);
        [layer, optimizer, pattern] = [made, moved, next.pattern];
      } else optimizer.step();
      optimizer.zeroGrad();
      last = value;
      disposeAll(dy, pass.y);
    }
    disposeAll(layer);
    return last;
  };
  const [learned, fixed] = [await run(true), await run(false)];
  t.ok(
    learned < 0.5 * fixed,
    `a learned pattern (${learned.toFixed(3)}) fits better than the diagonal (${fixed.toFixed(3)})`,
  );
  disposeAll(weight, x, factors, teacher);
});

interface State {
  readonly parameters: readonly { readonly arrays: Readonly<Record<string, Float32Array>> }[];
}

t.test('movedState refuses what does not fit', async (t) => {
  const p = {
    name: 'p',
    value: real([1, 2, 3], [3], 'float32'),
    grad: real([1, 1, 1], [3], 'float32'),
    trainable: true,
  };
  const optimizer = new AdamW([p]);
  const fresh = movedState(optimizer.state(), { p: Int32Array.of(2, 1, 0) });
  t.same(fresh, optimizer.state(), 'no moments yet');
  optimizer.step();
  const state = optimizer.state();
  t.same(movedState(state, {}), state, 'no moves');
  const before = structuredClone(state);
  movedState(state, { p: Int32Array.of(-1, 0, 2) });
  t.same(state, before, 'the state is not changed');
  const calls = [
    [() => movedState(null, {}), 'state'],
    [() => movedState(state, { q: Int32Array.of(0) }), "'q'"],
    [() => movedState(state, { p: Int32Array.of(0, 1) }), '3 slots'],
    [() => movedState(state, { p: Int32Array.of(0, 1, 3) }), "moves['p'][2]"],
    [() => movedState(state, { p: [0, 1, 2] as unknown as Int32Array }), 'Int32Array'],
  ] as const;
  for (const [call, part] of calls) throwsSigma(t, call, 'INVALID_ARGUMENT', part, part);
  disposeAll(p.value, p.grad);
});
