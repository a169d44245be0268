/** Checkpoints: a run that is resumed equals one that was never interrupted, to the bit. */
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as fc from 'fast-check';
import {
  AdamW,
  type AdaptedLinear,
  AdaptiveVectorFreezing,
  loadCheckpoint,
  type MatrixDType,
  type Optimizer,
  openSafetensors,
  readSafetensors,
  Sgd,
  type Svd,
  saveCheckpoint,
  svd,
  svdiff,
  svft,
  type Tensor,
  tensor,
  vectorFit,
  writeSafetensors,
} from 'sigmatune';
import t from 'tap';
import { type FamilyCase, families, isHalf, matrixDTypes, type Strategy } from '../support/cases.js';
import {
  assertSameBits,
  disposeAll,
  disposeSvd,
  expectNoLeak,
  Findings,
  gaussian,
  item,
  rejectsSigma,
  seeded,
  snapshot,
} from '../support/helpers.js';
import { killRounds, startScripts } from '../support/process.js';

t.setTimeout(600_000); // a loaded machine takes ten times as long to start a process

const folder = t.testdir({});
const path = join(folder, 'checkpoint.safetensors');

const optimizers: Record<string, (layers: readonly AdaptedLinear[]) => Optimizer> = {
  AdamW: (layers) =>
    new AdamW(
      layers.map(({ parameters }, i) => ({ parameters, ...(i === 1 ? { lr: 0.003, weightDecay: 0.1 } : {}) })),
      { lr: 0.02, betas: [0.8, 0.95] },
    ),
  Sgd: (layers) =>
    new Sgd(
      layers.flatMap(({ parameters }) => parameters),
      { lr: 0.01, momentum: 0.9 },
    ),
};

/** A run of two layers of a family, one after the other. */
class Run {
  readonly layers: { first: AdaptedLinear; second: AdaptedLinear };
  readonly optimizer: Optimizer;
  readonly freezing: AdaptiveVectorFreezing;
  readonly #x: Tensor;

  private constructor(layers: Run['layers'], optimizer: Optimizer, x: Tensor) {
    this.layers = layers;
    this.optimizer = optimizer;
    this.#x = x;
    const parameters = Object.values(layers).flatMap((layer) => layer.parameters);
    this.freezing = new AdaptiveVectorFreezing(parameters, { start: 2, every: 3, count: 3, freeze: 1 });
  }

  static async start(
    family: FamilyCase,
    kind: string,
    weights: readonly Tensor[],
    x: Tensor,
    strategy: Strategy = 'auto',
  ): Promise<Run> {
    const first = await family.make(item(weights, 0), { name: 'first', strategy });
    const second = await family.make(item(weights, 1), { name: 'second', strategy });
    const layers = { first, second };
    return new Run(layers, (optimizers[kind] as (typeof optimizers)[string])(Object.values(layers)), x);
  }

  train(from: number, to: number): void {
    const { first, second } = this.layers;
    for (let step = from; step <= to; step++) {
      const one = first.forward(this.#x);
      const two = second.forward(one.y);
      const between = two.backward(two.y);
      const dx = one.backward(between);
      this.optimizer.lrScale = 1 / step;
      this.optimizer.step();
      this.optimizer.zeroGrad();
      this.freezing.step(step);
      disposeAll(dx, between, two.y, one.y, one, two);
    }
  }

  get parameters() {
    return Object.values(this.layers).flatMap((layer) => layer.parameters);
  }

  dispose(): void {
    disposeAll(...Object.values(this.layers));
  }
}

/** Trains a run, and one that is saved after step 4 and continued by a new one: `findings` has what differs after step 9. */
async function compareResumed(
  findings: Findings,
  family: FamilyCase,
  kind: string,
  dtype: MatrixDType = 'float32',
  strategy?: Strategy,
): Promise<void> {
  const random = seeded(3);
  const weights = [gaussian(random, [9, 9], dtype, 0.3), gaussian(random, [9, 9], dtype, 0.3)];
  using x = gaussian(random, [4, 9], dtype);
  const start = () => Run.start(family, kind, weights, x, strategy);
  const unbroken = await start();
  unbroken.train(1, 9);
  const before = await start();
  before.train(1, 4);
  await saveCheckpoint(folder, { ...before, extra: { step: 4 } });
  before.train(5, 6);
  before.dispose();
  const after = await start();
  findings.same(await loadCheckpoint(folder, after), { step: 4 }, 'extra');
  after.train(5, 9);
  findings.same(after.freezing.state(), unbroken.freezing.state(), 'freezing');
  findings.same(after.optimizer.state(), unbroken.optimizer.state(), 'the optimiser');
  for (const [i, { name, value, trainable }] of after.parameters.entries()) {
    const wanted = item(unbroken.parameters, i);
    assertSameBits(findings, value, wanted.value, name);
    findings.equal(trainable, wanted.trainable, `${name}: frozen`);
  }
  after.dispose();
  unbroken.dispose();
  disposeAll(...weights);
}

t.test('a resumed run equals an unbroken one', async (t) => {
  for (const family of families) {
    for (const kind of Object.keys(optimizers)) {
      const findings = new Findings();
      await expectNoLeak(findings, 'a run', () => compareResumed(findings, family, kind));
      t.same(findings.failures, [], `${family.name}, ${kind}`);
    }
  }
});

t.test("so does one whose layers keep W' in 16 bits", async (t) => {
  for (const family of families.filter(({ strategies }) => strategies.includes('merged'))) {
    for (const dtype of matrixDTypes.filter(isHalf)) {
      const findings = new Findings();
      await expectNoLeak(findings, 'a run', () => compareResumed(findings, family, 'AdamW', dtype, 'merged'));
      t.same(findings.failures, [], `${family.name}, ${dtype}`);
    }
  }
});

t.test('who the caller has frozen', async (t) => {
  using weight = gaussian(seeded(1), [5, 4], 'float64');
  using bias = gaussian(seeded(2), [5], 'float64');
  using layer = await vectorFit(weight, { bias });
  const optimizer = new AdamW(layer.parameters);
  item(layer.parameters, 1).trainable = false;
  await saveCheckpoint(folder, { layers: new Map([['fc', layer as AdaptedLinear]]), optimizer });
  item(layer.parameters, 0).trainable = false;
  item(layer.parameters, 1).trainable = true;
  t.equal(await loadCheckpoint(folder, { layers: { fc: layer as AdaptedLinear }, optimizer }), undefined, 'no extra');
  t.same(
    layer.parameters.map(({ trainable }) => trainable),
    [true, false],
  );
  await using file = await openSafetensors(path);
  t.ok(file.names.includes('layers.fc.sigma') && file.names.includes('layers.fc.bias'));
});

t.test('extra comes back as it was', async (t) => {
  using weight = gaussian(seeded(1), [3, 3], 'float32');
  using layer = await svdiff(weight);
  const run = { layers: { a: layer as AdaptedLinear }, optimizer: new Sgd(layer.parameters, { lr: 1 }) };
  const there = async (extra: unknown) => {
    await saveCheckpoint(folder, { ...run, extra });
    return loadCheckpoint(folder, run);
  };
  const given = {
    epoch: 3,
    odd: [NaN, Infinity, -Infinity, -0, 5e-324, 2 ** 53],
    order: Array.from({ length: 1000 }, (_, i) => (i === 500 ? -0 : i * 1.1)),
    typed: [new Float32Array([1.5, -0]), new Float64Array(70).fill(NaN), new Int32Array([-7]), new Float64Array(0)],
    none: null,
    text: 'ü\ud83d\ude00\n"',
    $array: 'a key like ours',
    nested: { $number: { $pairs: [] } },
    ['__proto__']: { x: 1 },
    list: [[], {}, [true, 'a', null]],
  };
  t.strictSame(await there(given), given);
  const zeros = [-0, ...Array<number>(100).fill(-0)];
  for (const list of [zeros.slice(0, 2), zeros]) {
    t.ok(
      ((await there(list)) as number[]).every((zero) => Object.is(zero, -0)),
      `${list.length} zeros keep their sign`,
    );
  }
  for (const extra of [null, 0, -0, '', false, [], {}])
    t.ok(Object.is(JSON.stringify(await there(extra)), JSON.stringify(extra)), JSON.stringify(extra));
  t.same(await there({ a: undefined, b: 1 }), { b: 1 }, 'undefined is left out, as in JSON');
  await fc.assert(
    fc.asyncProperty(fc.jsonValue(), async (value) => {
      t.strictSame(JSON.stringify(await there(value)), JSON.stringify(value));
    }),
    { numRuns: 60 },
  );
  const loop: unknown[] = [];
  loop.push(loop);
  for (const [label, extra, ...says] of [
    ['a function', { f: () => 1 }, 'run.extra.f', 'plain data', 'a function'],
    ['a bigint', [1n], 'run.extra[0]', 'plain data'],
    ['a Date', { at: new Date(0) }, 'run.extra.at', 'plain data', 'a Date'],
    ['a Map', new Map(), 'run.extra', 'plain data'],
    ['a tensor', { w: weight }, 'run.extra.w', 'plain data', 'a Tensor'],
    ['undefined in a list', [undefined], 'run.extra[0]', 'plain data'],
    ['a Uint8Array', { bytes: new Uint8Array(1) }, 'run.extra.bytes', 'Float64Array'],
    ['a loop', loop, 'levels of nesting'],
    ['too much', Array.from({ length: 600_000 }, () => 'x'), 'run.extra', '500000 values'],
  ] as [string, unknown, ...string[]][]) {
    await rejectsSigma(t, () => saveCheckpoint(folder, { ...run, extra }), 'INVALID_ARGUMENT', label, ...says);
  }
});

t.test('a run that was built in another way is refused, and nothing is changed', async (t) => {
  const random = seeded(5);
  using weight = gaussian(random, [6, 6], 'float64');
  using otherWeight = gaussian(random, [6, 6], 'float64');
  using bias = gaussian(random, [6], 'float64');
  const factors = await svd(weight);
  const flipped: Svd = {
    u: tensor(
      snapshot(factors.u).map((value, p) => (p % 6 === 2 ? -value : value)),
      [6, 6],
      { dtype: 'float64' },
    ),
    s: factors.s,
    vt: tensor(
      snapshot(factors.vt).map((value, p) => (Math.floor(p / 6) === 2 ? -value : value)),
      [6, 6],
      { dtype: 'float64' },
    ),
  };
  const make = (options: object = {}, from = weight) =>
    svft(from, { pattern: 'banded', offDiagonals: 1, bias, factors, ...options }) as Promise<AdaptedLinear>;
  using layer = await make();
  for (const { value } of layer.parameters) value.assign(random.normals(value.size));
  const optimizer = new AdamW(layer.parameters, { lr: 0.1 });
  await saveCheckpoint(folder, { layers: { fc: layer }, optimizer });

  const cases: [string, () => Promise<AdaptedLinear>, ...string[]][] = [
    [
      'another weight',
      () => make({ factors: undefined }, otherWeight),
      'the weight that the saved layer was made with',
    ],
    ['another bias', () => make({ bias: undefined }), 'the bias', 'none'],
    ['other signs', () => make({ factors: flipped }), 'singular vectors', '1 of them', 'option factors'],
    ['another pattern', () => make({ pattern: 'random', seed: 1 }), 'pattern'],
    ['a wider band', () => make({ offDiagonals: 2 }), 'pattern'],
    ['no gate', () => make({ gate: false }), 'the parameters m [16], gate [1]'],
    ['another rank', () => make({ rank: 4 }), 'rank 6', 'got 4'],
    ['another family', () => svdiff(weight, { bias }) as Promise<AdaptedLinear>, "family 'svft'", "'svdiff'"],
    [
      'another shape',
      async () => {
        using narrow = gaussian(random, [6, 5], 'float64');
        return (await svft(narrow)) as AdaptedLinear;
      },
      'in 6',
      'got 5',
    ],
    [
      'another type',
      async () => {
        using single = weight.cast('float32');
        return (await svft(single, { pattern: 'banded', offDiagonals: 1 })) as AdaptedLinear;
      },
      "dtype 'float64'",
    ],
  ];
  for (const [label, build, ...says] of cases) {
    const other = await build();
    const before = other.parameters.map(({ value }) => snapshot(value));
    const own = new AdamW(other.parameters, { lr: 0.5 });
    await rejectsSigma(
      t,
      () => loadCheckpoint(folder, { layers: { fc: other }, optimizer: own }),
      'BASE_MISMATCH',
      label,
      "run.layers['fc']",
      ...says,
    );
    t.same(
      other.parameters.map(({ value }) => snapshot(value)),
      before,
      `${label}: the numbers stay`,
    );
    t.equal(own.lr, 0.5, `${label}: the optimiser stays`);
    other.dispose();
  }

  const load = (run: object) => () => loadCheckpoint(folder, { layers: { fc: layer }, optimizer, ...run } as never);
  const before = snapshot(item(layer.parameters, 0).value);
  await rejectsSigma(t, load({ layers: { other: layer } }), 'BASE_MISMATCH', 'another name', "'fc'");
  await rejectsSigma(t, load({ layers: {} }), 'BASE_MISMATCH', 'no layers', "'fc'");
  await rejectsSigma(t, load({ layers: { fc: layer, more: layer } }), 'BASE_MISMATCH', 'a layer more', "'more'");
  await rejectsSigma(
    t,
    load({ optimizer: new Sgd(layer.parameters, { lr: 1 }) }),
    'BASE_MISMATCH',
    'another optimiser',
    'run.optimizer',
    'AdamW',
  );
  await rejectsSigma(
    t,
    load({ optimizer: new AdamW(layer.parameters.slice(1)) }),
    'BASE_MISMATCH',
    'of fewer parameters',
    'run.optimizer',
  );
  const freezing = new AdaptiveVectorFreezing(layer.parameters, { start: 1, every: 1, count: 1, freeze: 1 });
  await rejectsSigma(t, load({ freezing }), 'BASE_MISMATCH', 'freezing where there was none', 'run.freezing');
  await saveCheckpoint(folder, { layers: { fc: layer }, optimizer, freezing });
  await rejectsSigma(t, load({}), 'BASE_MISMATCH', 'no freezing', 'run.freezing', 'none');
  const fewer = new AdaptiveVectorFreezing(layer.parameters.slice(1), { start: 1, every: 1, count: 1, freeze: 1 });
  optimizer.lr = 0.7;
  await rejectsSigma(t, load({ freezing: fewer }), 'BASE_MISMATCH', 'other freezing', 'run.freezing');
  t.equal(optimizer.lr, 0.7, 'what was loaded before is taken back');
  t.same(snapshot(item(layer.parameters, 0).value), before);

  for (const [label, run, ...says] of [
    ['nothing', undefined, 'run'],
    ['no layers', { optimizer }, 'run.layers'],
    ['no optimiser', { layers: { fc: layer } }, 'run.optimizer'],
    ['a tensor as layer', { layers: { fc: weight }, optimizer }, "run.layers['fc']", 'AdaptedLinear'],
    ['parameters as optimiser', { layers: { fc: layer }, optimizer: layer.parameters }, 'run.optimizer'],
    ['an object as freezing', { layers: { fc: layer }, optimizer, freezing: {} }, 'run.freezing'],
    ['misspelt', { layers: { fc: layer }, optimiser: optimizer }, 'optimizer'],
  ] as [string, unknown, ...string[]][]) {
    await rejectsSigma(t, () => saveCheckpoint(folder, run as never), 'INVALID_ARGUMENT', `save: ${label}`, ...says);
    await rejectsSigma(t, () => loadCheckpoint(folder, run as never), 'INVALID_ARGUMENT', `load: ${label}`, ...says);
  }
  await rejectsSigma(
    t,
    () => loadCheckpoint(join(folder, 'none'), { layers: { fc: layer }, optimizer }),
    'INVALID_ARGUMENT',
    'no folder',
    'ENOENT',
  );
  disposeSvd(factors);
  disposeAll(flipped.u, flipped.vt);
});

t.test('malformed checkpoints', async (t) => {
  using weight = gaussian(seeded(1), [3, 3], 'float32');
  using layer = await svdiff(weight);
  const run = { layers: { a: layer as AdaptedLinear }, optimizer: new AdamW(layer.parameters, { lr: 1 }) };
  item(layer.parameters, 0).grad = tensor([1, 2, 3]);
  run.optimizer.step();
  await saveCheckpoint(folder, { ...run, extra: new Float64Array(3) });
  const { tensors, metadata } = await readSafetensors(path);
  const content = JSON.parse(metadata['sigmatune_checkpoint'] ?? '');
  const rewritten = async (change: object, tensorsChanged: (tensors: Map<string, Tensor>) => void = () => {}) => {
    const copy = new Map(tensors);
    tensorsChanged(copy);
    await writeSafetensors(path, copy, {
      metadata: { sigmatune_checkpoint: JSON.stringify({ ...content, ...change }) },
    });
  };
  const load = () => loadCheckpoint(folder, run);
  const key = [...tensors.keys()].find((name) => name.startsWith('arrays.')) ?? '';
  const cases: [
    string,
    'CORRUPT_FILE' | 'UNSUPPORTED',
    object,
    ((tensors: Map<string, Tensor>) => void) | undefined,
    ...string[],
  ][] = [
    [
      'a newer format',
      'UNSUPPORTED',
      { format_version: 2, library_version: '9.8.7' },
      undefined,
      'format_version',
      '9.8.7',
    ],
    ['no version', 'CORRUPT_FILE', { format_version: null }, undefined, 'format_version'],
    ['no layers', 'CORRUPT_FILE', { layers: 1 }, undefined, 'a list of layers'],
    ['a missing array', 'CORRUPT_FILE', {}, (copy) => copy.delete(key), 'array'],
    ['a longer array', 'CORRUPT_FILE', {}, (copy) => copy.set(key, tensor(new Float64Array(99))), 'array'],
    ['missing numbers', 'CORRUPT_FILE', {}, (copy) => copy.delete('layers.a.delta'), 'layers.a.delta'],
    [
      'more numbers',
      'CORRUPT_FILE',
      {},
      (copy) => copy.set('layers.a.delta', tensor([1])),
      'layers.a.delta',
      '[3]',
      '[1]',
    ],
    ['no sketch', 'CORRUPT_FILE', {}, (copy) => copy.delete('layers.a.sigmatune.left'), 'sigmatune.left'],
    [
      'an unknown kind of array',
      'CORRUPT_FILE',
      { extra: { value: { $array: 'Uint8Array', length: 0 } } },
      undefined,
      'float64',
    ],
    ['pairs that are none', 'CORRUPT_FILE', { extra: { value: { $pairs: [1] } } }, undefined, 'pairs'],
  ];
  for (const [label, code, change, tensorsChanged, ...says] of cases) {
    await rewritten(change, tensorsChanged);
    await rejectsSigma(t, load, code, label, 'loadCheckpoint', path, ...says);
  }
  await writeSafetensors(path, tensors, { metadata: { sigmatune_checkpoint: '{' } });
  await rejectsSigma(t, load, 'CORRUPT_FILE', 'no JSON', path);
  await writeSafetensors(path, tensors);
  await rejectsSigma(t, load, 'CORRUPT_FILE', 'another file', 'sigmatune_checkpoint');
  writeFileSync(path, 'nonsense');
  await rejectsSigma(t, load, 'CORRUPT_FILE', 'nonsense', path);
  await rewritten({});
  t.same(await load(), new Float64Array(3));
  disposeAll(...tensors.values(), item(layer.parameters, 0).grad);
});

t.test('a process that is killed while it saves', async (t) => {
  const place = join(t.testdir({}), 'run');
  using weight = gaussian(seeded(7), [20, 20], 'float32');
  const weights = join(folder, 'weights.safetensors');
  await writeSafetensors(weights, [['w', weight]]);
  using layer = await svdiff(weight);
  const optimizer = new AdamW(layer.parameters);
  let last = 0;
  const start = (round: number) => startScripts('save-checkpoint.mjs', [place, weights, String(round * 1000 + 1)]);
  const replaced = await killRounds(start, async () => {
    if (!existsSync(join(place, 'checkpoint.safetensors'))) return false;
    const { step } = (await loadCheckpoint(place, { layers: { w: layer as AdaptedLinear }, optimizer })) as {
      step: number;
    };
    const numbers = snapshot(item(layer.parameters, 0).value);
    if (!numbers.every((value) => value === step)) t.fail('a mixture');
    const isNew = step !== last;
    last = step;
    return isNew;
  });
  t.ok(replaced > 3, `${replaced} of 15 rounds replaced the checkpoint`);
  const left = readdirSync(place).filter((name) => name !== 'checkpoint.safetensors');
  t.ok(
    left.every((name) => /^\.sigmatune-.*\.tmp$/.test(name)),
    'nothing but temporary files is left',
  );
});
