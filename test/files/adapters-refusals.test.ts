/** Other base weights, layers that cannot be saved and malformed folders are refused. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  loadAdapters,
  readSafetensors,
  SparsityPattern,
  saveAdapters,
  svd,
  svdiff,
  svft,
  type Tensor,
  tensor,
  writeSafetensors,
} from 'sigmatune';
import t from 'tap';
import {
  disposeAll,
  disposeSvd,
  expectNoLeak,
  gaussian,
  item,
  rejectsSigma,
  seeded,
  snapshot,
} from '../support/helpers.js';
import { perturb } from '../support/layer.js';

const folder = t.testdir({});
const configPath = join(folder, 'adapter_config.json');
const modelPath = join(folder, 'adapter_model.safetensors');

t.test('other base weights are refused', async (t) => {
  await expectNoLeak(t, 'refused', async () => {
    const random = seeded(6);
    using weight = gaussian(random, [8, 6], 'float32');
    using bias = gaussian(random, [8], 'float32');
    using layer = await svft(weight, { pattern: 'banded', offDiagonals: 1, bias });
    using second = await svdiff(weight);
    perturb(layer, 1);
    await saveAdapters(folder, { w: layer, v: second });
    const load =
      (weights: Record<string, unknown>, options: object = {}) =>
      () =>
        loadAdapters(folder, weights as never, options);
    using other = gaussian(random, [8, 6], 'float32');
    using nearly = tensor(
      snapshot(weight).map((value, i) => (i === 20 ? value * (1 + 2 ** -22) : value)),
      [8, 6],
      { dtype: 'float32' },
    );
    using turned = gaussian(random, [6, 8], 'float32');
    using numbers = tensor([1]);
    using strange = gaussian(random, [8], 'float32');
    const names = ['SHA-256', "weights['w']"];
    await rejectsSigma(t, load({ w: other, v: weight }), 'BASE_MISMATCH', 'another weight', ...names);
    await rejectsSigma(t, load({ w: nearly, v: weight }), 'BASE_MISMATCH', 'one number by one bit', ...names);
    await rejectsSigma(
      t,
      load({ w: turned, v: weight }),
      'BASE_MISMATCH',
      'another shape',
      "weights['w']",
      '[8, 6]',
      '[6, 8]',
    );
    await rejectsSigma(t, load({ w: numbers, v: weight }), 'BASE_MISMATCH', 'no matrix', "weights['w']", '[1]');
    await rejectsSigma(t, load({ w: weight }), 'INVALID_ARGUMENT', 'a missing weight', "weights['v']", 'undefined');
    await rejectsSigma(t, load({ w: weight, v: 7 }), 'INVALID_ARGUMENT', 'a number', "weights['v']", 'got 7');
    const both = { w: weight, v: weight };
    await rejectsSigma(
      t,
      load(both, { biases: { w: strange } }),
      'BASE_MISMATCH',
      'another bias',
      "options.biases['w']",
    );
    await rejectsSigma(
      t,
      load(both, { biases: { v: bias } }),
      'BASE_MISMATCH',
      'a bias where there was none',
      "options.biases['v']",
    );
    const factors = await svd(other);
    await rejectsSigma(
      t,
      load(both, { factors: { w: factors } }),
      'BASE_MISMATCH',
      'factors of another weight',
      "module 'w'",
      'options.factors',
    );
    disposeSvd(factors);
    await rejectsSigma(t, load(both, { signal: AbortSignal.abort() }), 'ABORTED', 'aborted');
    await rejectsSigma(t, load(both, { device: 'gpu' }), 'INVALID_ARGUMENT', 'no device', 'device');
    await rejectsSigma(t, load(both, { factor: {} }), 'INVALID_ARGUMENT', 'misspelt', 'factors');
    await rejectsSigma(t, load(null as never), 'INVALID_ARGUMENT', 'no weights', 'weights');
    using wide = other.cast('float64');
    await rejectsSigma(
      t,
      load({ w: wide, v: weight }),
      'BASE_MISMATCH',
      'another weight in another type',
      "weights['w']",
      'singular value',
    );
  });
});

t.test('what cannot be saved', async (t) => {
  using weight = gaussian(seeded(12), [4, 4], 'float32');
  using layer = await svdiff(weight);
  await rejectsSigma(t, () => saveAdapters('', { w: layer }), 'INVALID_ARGUMENT', 'no folder', 'folder');
  await rejectsSigma(t, () => saveAdapters(folder, layer as never), 'INVALID_ARGUMENT', 'a layer', 'layers');
  await rejectsSigma(
    t,
    () => saveAdapters(folder, { w: weight } as never),
    'INVALID_ARGUMENT',
    'a tensor',
    "layers['w']",
    'AdaptedLinear',
    'a Tensor',
  );
  await rejectsSigma(
    t,
    () => saveAdapters(folder, { w: layer }, { vectors: 1 } as never),
    'INVALID_ARGUMENT',
    'a number',
    'options.vectors',
  );
  await rejectsSigma(
    t,
    () => saveAdapters(folder, { w: layer }, { signal: AbortSignal.abort() }),
    'ABORTED',
    'aborted',
  );
  writeFileSync(join(folder, 'file'), '');
  await rejectsSigma(
    t,
    () => saveAdapters(join(folder, 'file'), { w: layer }),
    'INVALID_ARGUMENT',
    'a file',
    'folder',
    'EEXIST',
  );
  const gone = await svdiff(weight);
  gone.dispose();
  await rejectsSigma(t, () => saveAdapters(folder, { w: gone }), 'DISPOSED', 'a disposed layer');
  await rejectsSigma(
    t,
    () => loadAdapters(join(folder, 'none'), {}),
    'INVALID_ARGUMENT',
    'no such folder',
    'ENOENT',
    'adapter_config.json',
  );
  t.notOk(existsSync(join(folder, 'none')));
});

t.test('malformed folders', async (t) => {
  using weight = gaussian(seeded(13), [5, 4], 'float32');
  using layer = await svft(weight, { pattern: SparsityPattern.fromCoordinates([0, 1], [1, 2], 4) });
  await saveAdapters(folder, { w: layer });
  const config = readFileSync(configPath, 'utf8');
  const model = readFileSync(modelPath);
  const load = () => loadAdapters(folder, { w: weight });
  type Json = Record<string, unknown> & { modules: Record<string, unknown>[] };
  const changed = (change: (config: Json, module: Record<string, unknown>) => void) => {
    const json: Json = JSON.parse(config);
    change(json, item(json.modules, 0));
    writeFileSync(configPath, JSON.stringify(json));
  };
  const configs: [string, 'CORRUPT_FILE' | 'UNSUPPORTED', Parameters<typeof changed>[0], ...string[]][] = [
    [
      'a newer format',
      'UNSUPPORTED',
      (json) => Object.assign(json, { format_version: 2, library_version: '9.8.7' }),
      'format_version',
      'version 2',
      '9.8.7',
    ],
    [
      'another method',
      'UNSUPPORTED',
      (json) => Object.assign(json, { peft_type: 'LORA' }),
      'peft_type',
      'SIGMATUNE',
      "'LORA'",
    ],
    [
      'a family of the future',
      'UNSUPPORTED',
      (_, module) => Object.assign(module, { family: 'wavelet' }),
      "module 'w'",
      "'wavelet'",
      'vectorfit',
    ],
    ['no method', 'CORRUPT_FILE', (json) => delete json['peft_type'], 'peft_type', 'a string'],
    [
      'a version in words',
      'CORRUPT_FILE',
      (json) => Object.assign(json, { format_version: 'one' }),
      'format_version',
      'an integer',
    ],
    ['no modules', 'CORRUPT_FILE', (json) => Object.assign(json, { modules: {} }), 'modules', 'an array'],
    ['a module twice', 'CORRUPT_FILE', (json, module) => json.modules.push(module), "'w' a second time"],
    ['another save', 'CORRUPT_FILE', (json) => Object.assign(json, { save_id: 'x' }), 'save_id', "'x'"],
    [
      'an unknown option',
      'CORRUPT_FILE',
      (_, module) => Object.assign(module, { options: { patern: 1 } }),
      "module 'w'",
      'patern',
    ],
    [
      'a wrong option',
      'CORRUPT_FILE',
      (_, module) => Object.assign(module, { options: { gate: 'open' } }),
      "module 'w'",
      'options.gate',
    ],
    [
      'options that hide a name',
      'CORRUPT_FILE',
      (_, module) => Object.assign(module, { options: { bias: 1, gate: false } }),
      "module 'w'",
    ],
    ['another rank', 'CORRUPT_FILE', (_, module) => Object.assign(module, { rank: 3 }), 'module', 'w'],
    [
      'a rank of a billion',
      'CORRUPT_FILE',
      (_, module) => Object.assign(module, { rank: 1e9 }),
      'modules[0].rank',
      'at most 4',
    ],
    [
      'parameters that are no strings',
      'CORRUPT_FILE',
      (_, module) => Object.assign(module, { parameters: ['m', { toString: false }] }),
      'modules[0].parameters',
      'an array of strings',
    ],
    ['other parameters', 'CORRUPT_FILE', (_, module) => Object.assign(module, { parameters: ['m'] }), 'svft.gate'],
    [
      'a parameter more',
      'CORRUPT_FILE',
      (_, module) => Object.assign(module, { parameters: ['m', 'gate', 'z'] }),
      'svft.z',
      'without it',
    ],
    [
      'vectors that are not there',
      'CORRUPT_FILE',
      (_, module) => Object.assign(module, { vectors: true }),
      "sigmatune.u'",
    ],
    ['another type', 'CORRUPT_FILE', (_, module) => Object.assign(module, { dtype: 'float64' }), 'F64', 'F32'],
    [
      'a type that matrices lack',
      'CORRUPT_FILE',
      (_, module) => Object.assign(module, { dtype: 'int32' }),
      'dtype',
      'int32',
    ],
  ];
  await expectNoLeak(t, 'malformed', async () => {
    for (const [label, code, change, ...says] of configs) {
      changed(change);
      await rejectsSigma(t, load, code, label, 'loadAdapters', ...says);
    }
    for (const [label, text] of Object.entries({
      'no JSON': '{',
      'a list': '[]',
      'a key twice': '{"peft_type":"A","peft_type":"B"}',
      'no UTF-8': '\u{fffd}',
    })) {
      writeFileSync(configPath, label === 'no UTF-8' ? Buffer.from([0xff]) : text);
      await rejectsSigma(t, load, 'CORRUPT_FILE', label, configPath);
    }
    writeFileSync(configPath, config);

    const key = (name: string) => `base_model.model.w.${name}`;
    const files: [string, (tensors: Map<string, Tensor>) => void, ...string[]][] = [
      ['a tensor more', (tensors) => tensors.set('x', tensor([1])), "tensor 'x'"],
      ['a tensor less', (tensors) => tensors.delete(key('svft.m')), key('svft.m'), 'without it'],
      ['more numbers', (tensors) => tensors.set(key('svft.m'), tensor([1, 2, 3])), key('svft.m'), '[2]', '[3]'],
      [
        'numbers of another type',
        (tensors) => tensors.set(key('svft.m'), tensor([1, 2], [2], { dtype: 'int32' })),
        'F32',
        'I32',
      ],
      [
        'a sketch of another size',
        (tensors) => tensors.set(key('sigmatune.left'), tensor([1, 2], [2, 1])),
        key('sigmatune.left'),
        '[2, 2]',
      ],
      [
        'a row beyond the core',
        (tensors) => tensors.set(key('sigmatune.rows'), tensor([0, 9], [2], { dtype: 'int32' })),
        "module 'w'",
        '9',
      ],
      [
        'fewer columns',
        (tensors) => tensors.set(key('sigmatune.columns'), tensor([0], [1], { dtype: 'int32' })),
        "module 'w'",
        'columns',
      ],
    ];
    for (const [label, change, ...says] of files) {
      writeFileSync(modelPath, model);
      const { tensors, metadata } = await readSafetensors(modelPath);
      const before = [...tensors.values()];
      change(tensors);
      await writeSafetensors(modelPath, tensors, { metadata });
      disposeAll(...before, ...tensors.values());
      await rejectsSigma(t, load, ['CORRUPT_FILE', 'SHAPE_MISMATCH'], label, ...says);
    }
    writeFileSync(modelPath, model.subarray(0, -4));
    await rejectsSigma(t, load, 'CORRUPT_FILE', 'cut off', modelPath);
    rmSync(modelPath);
    await rejectsSigma(t, load, 'INVALID_ARGUMENT', 'no tensors', modelPath, 'ENOENT');
    writeFileSync(modelPath, model);
    disposeAll(...Object.values(await load()));
  });
});

t.test('onProgress is told of each layer, and a callback that throws leaves nothing behind', async (t) => {
  await expectNoLeak(t, 'progress', async () => {
    using weight = gaussian(seeded(8), [5, 4], 'float32');
    using one = await svdiff(weight);
    using two = await svft(weight, { pattern: 'plain' });
    await saveAdapters(folder, { one, two });
    const weights = { one: weight, two: weight };
    const seen: unknown[] = [];
    disposeAll(...Object.values(await loadAdapters(folder, weights, { onProgress: (done) => seen.push(done) })));
    t.same(seen, [
      { layers: 1, of: 2, name: 'one' },
      { layers: 2, of: 2, name: 'two' },
    ]);
    const broken = new Error('of the caller');
    const onProgress = () => {
      throw broken;
    };
    await t.rejects(loadAdapters(folder, weights, { onProgress }), broken);
    const wrong = () => loadAdapters(folder, weights, { onProgress: 1 as never });
    await rejectsSigma(t, wrong, 'INVALID_ARGUMENT', 'no function', 'options.onProgress');
  });
});
