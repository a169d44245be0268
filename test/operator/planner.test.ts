/** `explain` compared with an independent implementation of the cost model, and with what `forward` does. */
import { type AdaptedLinear, vectorFit } from 'sigmatune';
import t from 'tap';
import {
  dtypes,
  type FamilyCase,
  families,
  type LayerShape,
  makers,
  oneOfEach,
  type Strategy,
  truncated,
} from '../support/cases.js';
import {
  assertSameBits,
  bytes,
  disposeAll,
  expectNoLeak,
  Findings,
  gaussian,
  item,
  rejectsSigma,
  snapshot,
} from '../support/helpers.js';
import { type Bench, bench, clearGradients, disposeLayer, gradientsOf, perturb } from '../support/layer.js';
import { heldBy, layerWith, type Saving } from '../support/steps.js';

type Plan = ReturnType<AdaptedLinear['explain']>;

const shapes: readonly LayerShape[] = [
  { name: 'square', out: 12, in: 12, tokens: 9 },
  { name: 'a little tall', out: 13, in: 9, tokens: 10 },
  { name: 'a little wide', out: 9, in: 13, tokens: 10 },
  { name: 'twice as tall', out: 12, in: 6, tokens: 5 },
  { name: 'wide', out: 5, in: 19, tokens: 8 },
  { name: 'one output', out: 1, in: 11, tokens: 4 },
  { name: 'one by one', out: 1, in: 1, tokens: 3 },
];
const counts = [1, 7, 24, 25, 72, 73, 1000, 1_000_000];

// ── the cost model ───────────────────────────────────────────────────────────────────────────────────────

/** One plan of a layer: its columns of U, its cost, and what a pass keeps. */
interface Way {
  readonly strategy: string;
  readonly gemms: number;
  readonly bytes: number;
  /** P is recomputed from X. */
  readonly again: boolean;
}

/** The cost of two thin products, forward and backward: 2 + 2/ρ at full rank. */
const thin = (rank: number, { out, in: columns }: LayerShape): number => (2 * rank * (out + columns)) / (out * columns);

/** The strategies of a layer, and the number of columns of U that each uses. */
function ranks(family: FamilyCase, shape: LayerShape, strategy: Strategy): Map<string, number> {
  const full = Math.min(shape.out, shape.in);
  const few = truncated(full);
  // A truncated core that is filled up has full rank.
  const cut = family.name.includes('truncated') && !family.name.endsWith('fill') && few < full;
  const on = (rank: number, ...names: string[]) => new Map(names.map((name) => [name, rank]));
  if (family.family === 'siva') {
    if (strategy === 'factored') return on(full, 'factored');
    if (strategy !== 'auto') return on(few, strategy);
    // All directions, or the base and k directions: the cheaper one; among equals the latter.
    const whole = family.name !== 'siva, random basis' && thin(full, shape) < 2 + thin(few, shape);
    return whole ? on(full, 'factored', 'merged') : on(few, 'lowrank', 'merged');
  }
  if (family.denseCore) return strategy === 'auto' ? on(few, 'lowrank', 'merged') : on(few, strategy);
  const rank = cut ? few : full;
  if (strategy !== 'auto') return on(rank, strategy);
  return cut && family.name.endsWith('kept') ? on(rank, 'lowrank', 'merged') : on(rank, 'factored', 'merged');
}

/** In units of 2 · tokens · in · out flops, of the tokens of one pass. */
function price(
  { denseCore = false }: FamilyCase,
  strategy: string,
  rank: number,
  shape: LayerShape,
  tokens: number,
  step: number,
  trains: boolean,
) {
  const core = denseCore ? rank ** 2 / (shape.in * shape.out) : 0;
  if (strategy !== 'merged') {
    return thin(rank, shape) + (strategy === 'lowrank' ? 2 : 0) + core * (trains ? 3 : 2);
  }
  // W' is built, and its gradient is projected, once for all tokens of the step.
  const once = (rank + core * shape.in) / (tokens * step);
  return trains ? 3 + 2 * once : 2 + once;
}

/** Families with all of U and V and no base. */
const wholeAlone = oneOfEach.filter(({ family, denseCore }) => family !== 'siva' && !denseCore);

function cheapest(ways: readonly Way[]): number {
  return Math.min(...ways.map(({ gemms }) => gemms));
}

/** The cheapest plans that fit, else the smallest. Several plans if they are equal to rounding. */
function best(ways: readonly Way[], most: number): Way[] {
  const fitting = ways.filter((way) => way.bytes <= most);
  const least = Math.min(...ways.map((way) => way.bytes));
  const from = fitting.length > 0 ? fitting : ways.filter((way) => way.bytes === least);
  return from.filter(({ gemms }) => gemms - cheapest(from) < 1e-9);
}

function isOneOf(plan: Plan, ways: readonly Way[]): boolean {
  return ways.some(
    (way) => way.strategy === plan.strategy && Math.abs(way.gemms - plan.gemms) < 1e-9 && way.bytes === plan.savedBytes,
  );
}

const told = (plan: Plan): string => `${plan.strategy} ${plan.gemms} ${plan.savedBytes} (${plan.why})`;

function core(layer: AdaptedLinear) {
  return layer.parameters.filter(({ name }) => !name.endsWith('bias'));
}

t.test('the cost of every family, shape and strategy', async (t) => {
  for (const shape of shapes) {
    for (const dtype of dtypes) {
      using on = await bench(shape, dtype);
      const size = dtype === 'float32' ? 4 : 8;
      for (const family of families) {
        const findings = new Findings();
        for (const strategy of family.strategies) {
          const found = ranks(family, shape, strategy);
          for (const microBatches of [undefined, 1, 3, 64]) {
            const layer = await layerWith(family, on, strategy, microBatches === undefined ? {} : { microBatches });
            for (const trains of [true, false]) {
              for (const entry of core(layer)) entry.trainable = trains;
              for (const tokens of counts) {
                const plan = layer.explain(tokens);
                const label = `${strategy}, ${tokens} × ${microBatches}, ${trains ? 'trained' : 'frozen'}`;
                const prices = [...found].map(([name, rank]) => ({
                  name,
                  rank,
                  gemms: price(family, name, rank, shape, tokens, microBatches ?? 1, trains),
                }));
                const least = Math.min(...prices.map(({ gemms }) => gemms));
                const chosen = prices.find(({ name, gemms }) => name === plan.strategy && gemms - least < 1e-9);
                findings.ok(chosen, `${label}: ${told(plan)} is not the cheapest of ${JSON.stringify(prices)}`);
                findings.ok(Math.abs(plan.gemms - least) < 1e-9, `${label}: ${plan.gemms} for ${least}`);
                findings.ok(plan.why.includes(plan.strategy), `${label}: says what (${plan.why})`);
                findings.ok(plan.why.includes(String(tokens)), `${label}: says for how many (${plan.why})`);
                if (!trains) findings.equal(plan.savedBytes, 0, `${label}: keeps nothing`);
                else if (plan.strategy === 'merged') {
                  findings.equal(plan.savedBytes, size * tokens * shape.in, `${label}: keeps X`);
                } else {
                  // Rows of P are padded by less than eight cache lines.
                  const numbers = plan.savedBytes / size / (chosen?.rank ?? Number.NaN);
                  findings.ok(numbers >= tokens && numbers < tokens + 128, `${label}: keeps ${plan.savedBytes} bytes`);
                }
              }
            }
            disposeLayer(layer);
          }
        }
        t.same(findings.failures.slice(0, 5), [], `${family.name}, ${shape.name}, ${dtype}`);
      }
    }
  }
});

t.test('full rank: factored is 2 + 2/ρ, merged 3 + 2r/N', async (t) => {
  for (const shape of shapes) {
    using on = await bench(shape, 'float32');
    const r = Math.min(shape.out, shape.in);
    const ratio = Math.max(shape.out, shape.in) / r;
    for (const family of wholeAlone) {
      const factored = await layerWith(family, on, 'factored');
      const merged = await layerWith(family, on, 'merged', { microBatches: 4 });
      for (const tokens of counts) {
        const label = `${family.name}, ${shape.name}, ${tokens}`;
        t.ok(Math.abs(factored.explain(tokens).gemms - (2 + 2 / ratio)) < 1e-12, `${label}: factored`);
        t.ok(Math.abs(merged.explain(tokens).gemms - (3 + (2 * r) / (4 * tokens))) < 1e-12, `${label}: merged`);
      }
      disposeLayer(factored);
      disposeLayer(merged);
    }
  }
});

t.test('merged is cheaper from 2ρr / (2 − ρ) tokens per step', async (t) => {
  for (const [out, columns, crossing] of [
    [12, 12, 24],
    [16, 12, 48],
    [12, 16, 48],
    [18, 12, 72],
    [10, 15, 60],
    [23, 12, 552],
  ] as const) {
    using on = await bench({ name: 'near square', out, in: columns, tokens: 1 }, 'float32');
    for (const family of wholeAlone) {
      for (const microBatches of [1, 2, 4, 12]) {
        const layer = await layerWith(family, on, 'auto', { microBatches });
        const at = crossing / microBatches;
        t.equal(layer.explain(at - 1).strategy, 'factored', `${family.name}, ${out} × ${columns}, ${at} − 1 tokens`);
        t.equal(layer.explain(at + 1).strategy, 'merged', `${family.name}, ${out} × ${columns}, ${at} + 1 tokens`);
        disposeLayer(layer);
      }
      // The same number of tokens in more passes makes the same step.
      const [single, many] = [
        await layerWith(family, on, 'auto'),
        await layerWith(family, on, 'auto', { microBatches: 5 }),
      ];
      for (const tokens of [1, 4, 5, 10, 15, 40, 200]) {
        const [whole, part] = [single.explain(5 * tokens), many.explain(tokens)];
        t.same([part.strategy, part.gemms], [whole.strategy, whole.gemms], `${family.name}: 5 × ${tokens} tokens`);
      }
      disposeLayer(single);
      disposeLayer(many);
    }
  }
});

t.test('a weight twice as long as wide is never merged', async (t) => {
  for (const [out, columns] of [
    [16, 8],
    [8, 16],
    [40, 3],
    [11, 1],
    [1, 2],
  ] as const) {
    using on = await bench({ name: 'long', out, in: columns, tokens: 1 }, 'float32');
    for (const family of oneOfEach.filter(({ strategies }) => strategies.includes('factored'))) {
      for (const microBatches of [1, 1000]) {
        const layer = await layerWith(family, on, 'auto', { microBatches });
        const found = new Set([1, 100, 10_000, 2 ** 31 - 1].map((tokens) => layer.explain(tokens).strategy));
        t.notOk(found.has('merged'), `${family.name}, ${out} × ${columns}, ${microBatches}: ${[...found]}`);
        disposeLayer(layer);
      }
    }
  }
});

t.test('freezing a part of the core does not make it a frozen core', async (t) => {
  using on = await bench(item(shapes, 0), 'float64');
  for (const family of families) {
    const layer = await layerWith(family, on, 'auto', { microBatches: 2 });
    const [whole, list] = [layer.explain(20), core(layer)];
    for (const entry of layer.parameters) entry.trainable = false;
    for (const entry of list) {
      entry.trainable = true;
      t.same(layer.explain(20), whole, `${family.name}: ${entry.name} alone costs as much as all`);
      entry.trainable = false;
    }
    const bias = layer.parameters.filter((entry) => !list.includes(entry));
    for (const entry of bias) entry.trainable = true;
    t.equal(layer.explain(20).savedBytes, 0, `${family.name}: a bias alone keeps nothing`);
    disposeLayer(layer);
  }
  const frozen = await vectorFit(on.weight, { factors: on.factors, bias: on.bias, train: { sigma: false } });
  const [few, many] = [frozen.explain(6), frozen.explain(7)];
  t.same([few.strategy, few.gemms, few.savedBytes], ['factored', 4, 0], 'σ fixed for good: at 2 + r/N = 4');
  t.same([many.strategy, many.savedBytes], ['merged', 0], 'σ fixed for good: and above');
  frozen.dispose();
});

// ── bytes ────────────────────────────────────────────────────────────────────────────────────────────────

/** All plans of a layer for these tokens. The size of P comes from layers that keep it. */
async function waysOf(family: FamilyCase, on: Bench, strategy: Strategy, tokens: number, saving: Saving) {
  const { microBatches = 1, borrowInputs = false } = saving;
  const { shape, dtype } = on;
  const ways: Way[] = [];
  for (const [name, rank] of ranks(family, shape, strategy)) {
    const gemms = price(family, name, rank, shape, tokens, microBatches, true);
    if (name === 'merged') {
      const ofX = (dtype === 'float32' ? 4 : 8) * tokens * shape.in;
      ways.push({ strategy: name, gemms, bytes: borrowInputs ? 0 : ofX, again: false });
    } else {
      const layer = await layerWith(family, on, name as Strategy);
      ways.push({ strategy: name, gemms, bytes: layer.explain(tokens).savedBytes, again: false });
      disposeLayer(layer);
      if (borrowInputs) ways.push({ strategy: name, gemms: gemms + rank / shape.out, bytes: 0, again: true });
    }
  }
  return ways;
}

t.test('passBytes excludes plans that keep more', async (t) => {
  const seen = new Set<string>();
  for (const shape of shapes.slice(0, 3)) {
    using on = await bench(shape, 'float64');
    for (const family of families) {
      const findings = new Findings();
      for (const strategy of family.strategies) {
        for (const borrowInputs of [false, true]) {
          for (const microBatches of [1, 6]) {
            for (const tokens of [3, 40]) {
              const ways = await waysOf(family, on, strategy, tokens, { borrowInputs, microBatches });
              const limits = new Set([0, ...ways.flatMap((way) => [way.bytes - 1, way.bytes, way.bytes + 1])]);
              for (const passBytes of [...limits, 2 ** 40].filter((limit) => limit >= 0)) {
                const layer = await layerWith(family, on, strategy, { borrowInputs, microBatches, passBytes });
                const plan = layer.explain(tokens);
                const right = best(ways, passBytes);
                const label = `${strategy}, borrowed ${borrowInputs}, ${tokens} × ${microBatches}, ${passBytes} bytes`;
                findings.ok(isOneOf(plan, right), `${label}: ${told(plan)} for ${JSON.stringify(right)}`);
                const again = right.every((way) => way.again);
                if (right.length === 1)
                  findings.equal(
                    /P computed again/.test(plan.why.split(' GEMMs')[0] ?? ''),
                    again,
                    `${label}: ${plan.why}`,
                  );
                if (again) seen.add('again');
                // Plans that would be cheaper with more room.
                const missed = ways.filter((way) => way.bytes > passBytes && way.gemms < plan.gemms - 1e-9);
                for (const way of missed) {
                  const named = [way.strategy, String(way.bytes), String(passBytes)];
                  if (plan.savedBytes > passBytes) continue;
                  seen.add('missed');
                  findings.ok(
                    named.every((word) => plan.why.includes(word)),
                    `${label}: ${plan.why} names ${named}`,
                  );
                }
                if (plan.savedBytes > passBytes) {
                  seen.add('too large');
                  if (ways.length > 1) {
                    const words = [String(passBytes), 'keeps least'];
                    findings.ok(
                      words.every((word) => plan.why.includes(word)),
                      `${label}: ${plan.why} names ${words}`,
                    );
                  }
                }
                if (borrowInputs)
                  findings.ok(plan.savedBytes <= passBytes, `${label}: borrowed, something always fits`);
                disposeLayer(layer);
              }
            }
          }
        }
      }
      t.same(findings.failures.slice(0, 5), [], `${family.name}, ${shape.name}`);
    }
  }
  t.same([...seen].sort(), ['again', 'missed', 'too large'], 'every kind of answer came up');
});

t.test('a borrowed input costs nothing to keep', async (t) => {
  using on = await bench(item(shapes, 1), 'float32');
  for (const family of families) {
    for (const strategy of family.strategies.filter((each) => each !== 'auto')) {
      const label = `${family.name}, ${strategy}`;
      const [kept, borrowed, small] = [
        await layerWith(family, on, strategy),
        await layerWith(family, on, strategy, { borrowInputs: true }),
        await layerWith(family, on, strategy, { borrowInputs: true, passBytes: 1 }),
      ];
      const plans = [kept, borrowed, small].map((layer) => layer.explain(50));
      const [first, second, third] = [item(plans, 0), item(plans, 1), item(plans, 2)];
      t.equal(second.gemms, first.gemms, `${label}: borrowing changes no price`);
      t.equal(second.savedBytes, strategy === 'merged' ? 0 : first.savedBytes, `${label}: P is still the pass's own`);
      t.equal(third.savedBytes, 0, `${label}: nothing is kept`);
      const [rank] = ranks(family, on.shape, strategy).values();
      const extra = strategy === 'merged' ? 0 : (rank ?? Number.NaN) / on.shape.out;
      t.ok(Math.abs(third.gemms - first.gemms - extra) < 1e-12, `${label}: P again costs ${extra}`);
      t.equal(third.why.includes('computed again'), strategy !== 'merged', `${label}: ${third.why}`);
      for (const layer of [kept, borrowed, small]) disposeLayer(layer);
    }
  }
});

t.test('a forward pass keeps what explain says, and does what it says', async (t) => {
  const seen = new Set<string>();
  for (const shape of shapes.slice(0, 5)) {
    using on = await bench(shape, 'float64');
    const x = gaussian(on.random, [26, shape.in], 'float64');
    for (const family of families) {
      const findings = new Findings();
      for (const strategy of family.strategies) {
        const savings: Saving[] = [true, false].flatMap((borrowInputs) =>
          [undefined, 0, 8 * 26 * shape.in].flatMap((passBytes) =>
            [1, 50].map((microBatches) => ({
              borrowInputs,
              microBatches,
              ...(passBytes === undefined ? {} : { passBytes }),
            })),
          ),
        );
        for (const saving of savings) {
          for (const frozen of ['nothing', 'core', 'all']) {
            const label = `${strategy}, ${JSON.stringify(saving)}, ${frozen} frozen`;
            const layer = await layerWith(family, on, strategy, saving);
            for (const entry of layer.parameters) {
              entry.trainable = frozen === 'nothing' || (frozen === 'core' && entry.name === 'bias');
            }
            const plan = layer.explain(26);
            const before = bytes();
            const pass = layer.forward(x);
            findings.equal(heldBy(pass), plan.savedBytes, `${label}: held against ${told(plan)}`);
            pass.y.dispose();
            const weight = bytes() - before;
            const merged = plan.strategy === 'merged' ? 8 * shape.out * shape.in : 0;
            findings.equal(weight, merged, `${label}: W' against ${told(plan)}`);
            seen.add(`${plan.strategy} ${plan.savedBytes > 0}`);
            disposeLayer(layer);
          }
        }
      }
      t.same(findings.failures.slice(0, 5), [], `${family.name}, ${shape.name}`);
    }
    x.dispose();
  }
  const every = ['factored', 'lowrank', 'merged'].flatMap((name) => [`${name} false`, `${name} true`]);
  t.same([...seen].sort(), every, 'every strategy came up, with and without something to keep');
});

t.test("a cached W' does not change the plan of a training step", async (t) => {
  // Square, r = 12: a step is merged from 24 tokens, whatever was applied before.
  using on = await bench(item(shapes, 0), 'float64');
  const x = gaussian(on.random, [40, 12], 'float64');
  const layer = await layerWith(item(oneOfEach, 0), on, 'auto');
  disposeAll(layer.apply(x));
  for (const tokens of [12, 13, 24, 25]) {
    const batch = gaussian(on.random, [tokens, 12], 'float64');
    const pass = layer.forward(batch);
    const { strategy, savedBytes } = layer.explain(tokens);
    t.equal(strategy, tokens > 24 ? 'merged' : 'factored', `${tokens} tokens`);
    t.equal(heldBy(pass), savedBytes, `${tokens} tokens: what is held`);
    disposeAll(pass.y, batch);
  }
  disposeAll(x);
  disposeLayer(layer);
});

// ── purity ───────────────────────────────────────────────────────────────────────────────────────────────

t.test("explain is the same before and after W' was built", async (t) => {
  await expectNoLeak(t, 'explaining', async () => {
    using on = await bench(item(shapes, 0), 'float64');
    const x = gaussian(on.random, [40, 12], 'float64');
    for (const family of families) {
      for (const strategy of family.strategies) {
        const label = `${family.name}, ${strategy}`;
        const layer = await layerWith(family, on, strategy, { microBatches: 2 });
        perturb(layer);
        const explain = (): Plan[] => counts.map((tokens) => layer.explain(tokens));
        const before = explain();
        const held = bytes();
        t.same(explain(), before, `${label}: twice`);
        t.equal(bytes(), held, `${label}: it builds nothing`);

        disposeAll(layer.apply(x));
        t.same(explain(), before, `${label}: after apply`);
        const pass = layer.forward(x);
        t.same(explain(), before, `${label}: after forward`);
        const dy = pass.y.cast('float64');
        pass.backward(dy, { inputGrad: false });
        t.same(explain(), before, `${label}: after backward`);
        gradientsOf(layer);
        t.same(explain(), before, `${label}: after the gradients were read`);
        perturb(layer, 6);
        t.same(explain(), before, `${label}: after a write`);
        clearGradients(layer);
        disposeAll(pass.y, pass, dy);
        disposeLayer(layer);
      }
    }
    x.dispose();
  });
});

t.test('explain has no side effects', async (t) => {
  using on = await bench(item(shapes, 0), 'float64');
  for (const family of oneOfEach) {
    for (const strategy of family.strategies) {
      const run = async (explains: boolean): Promise<Float64Array[]> => {
        const layer = await layerWith(family, on, strategy);
        perturb(layer);
        const explain = (): void => {
          if (explains) for (const tokens of counts) layer.explain(tokens);
        };
        const results: Float64Array[] = [];
        for (let round = 0; round < 3; round++) {
          explain();
          const pass = layer.forward(on.x);
          explain();
          const dx = pass.backward(on.dy);
          explain();
          results.push(snapshot(pass.y), snapshot(dx));
          disposeAll(pass.y, pass, dx);
          if (round === 1) {
            results.push(...gradientsOf(layer));
            perturb(layer, 8);
          }
        }
        results.push(...gradientsOf(layer), ...layer.parameters.map(({ value }) => snapshot(value)));
        t.ok(
          layer.parameters.every(({ trainable }) => trainable),
          `${family.name}, ${strategy}: no parameter is frozen`,
        );
        disposeLayer(layer);
        return results;
      };
      const [with_, without] = [await run(true), await run(false)];
      without.forEach((each, i) => {
        assertSameBits(t, item(with_, i), each, `${family.name}, ${strategy}: result ${i}`);
      });
    }
  }
});

// ── options ──────────────────────────────────────────────────────────────────────────────────────────────

t.test('invalid values of the options', async (t) => {
  await expectNoLeak(t, 'refused options', async () => {
    using on = await bench(item(shapes, 0), 'float32');
    const bad: Record<string, readonly unknown[]> = {
      microBatches: [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '2', true, [2], {}],
      borrowInputs: [0, 1, 'true', '', Number.NaN, [], {}],
      passBytes: [-1, 1.5, Number.NaN, Number.NEGATIVE_INFINITY, '0', true, null, [0], {}],
    };
    for (const [name, make] of Object.entries(makers)) {
      for (const [option, values] of Object.entries(bad)) {
        for (const value of values) {
          await rejectsSigma(
            t,
            () => make(on.weight, { factors: on.factors, [option]: value }),
            'INVALID_ARGUMENT',
            `${name}, ${option}: ${typeof value} ${JSON.stringify(value)}`,
            option,
            name,
          );
        }
      }
      const layer = await make(on.weight, {
        factors: on.factors,
        microBatches: 1,
        borrowInputs: false,
        passBytes: Number.MAX_SAFE_INTEGER,
      });
      const plain = await make(on.weight, { factors: on.factors });
      for (const tokens of counts) {
        const { why: _, ...plan } = layer.explain(tokens);
        const { why: __, ...other } = plain.explain(tokens);
        t.same(plan, other, `${name}, ${tokens} tokens: the defaults, written out`);
      }
      disposeLayer(layer);
      disposeLayer(plain);
    }
  });
});
