/** Merged weights as a checkpoint: names, types, layout, metadata and all other tensors are the base's. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  adaptModel,
  exportMerged,
  openSafetensors,
  readSafetensors,
  svft,
  type Tensor,
  tensor,
  vectorFit,
  writeSafetensors,
} from 'sigmatune';
import t from 'tap';
import {
  assertSameBits,
  disposeAll,
  expectNoLeak,
  fill,
  gaussian,
  type Refusal,
  refuses,
  rejectsSigma,
  seeded,
  snapshot,
} from '../support/helpers.js';
import { parameter, perturb } from '../support/layer.js';
import { field, fileOf } from '../support/safetensors.js';

const folder = t.testdir({});
const path = join(folder, 'merged.safetensors');
const basePath = join(folder, 'base.safetensors');

/** A file with these tensors, given by their bytes. */
function writeRaw(file: string, tensors: Record<string, { dtype: string; shape: number[]; bytes: Uint8Array }>): void {
  let begin = 0;
  const header: Record<string, unknown> = { __metadata__: { format: 'pt', note: 'base' } };
  for (const [name, { dtype, shape, bytes }] of Object.entries(tensors)) {
    header[name] = field(dtype, shape, begin, begin + bytes.length);
    begin += bytes.length;
  }
  writeFileSync(file, fileOf(header, Buffer.concat(Object.values(tensors).map(({ bytes }) => bytes))));
}

const bytesOf = (numbers: ArrayBufferView) => new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);

t.test('a model onto its base: everything else is copied', async (t) => {
  await expectNoLeak(t, 'exportMerged', async () => {
    const random = seeded(1);
    const weights: Record<string, Tensor> = {
      'h.0.q.weight': gaussian(random, [6, 4], 'float32'),
      'h.0.q.bias': gaussian(random, [6], 'float32'),
      'h.0.norm.weight': gaussian(random, [4], 'float64'),
      'h.0.fused.weight': gaussian(random, [4, 9], 'float64'),
      'h.0.fused.bias': gaussian(random, [9], 'float64'),
      'h.0.conv.weight': gaussian(random, [3, 2, 2], 'float32'),
      ids: tensor([1, 2, 3], [3], { dtype: 'int32' }),
    };
    await writeSafetensors(basePath, Object.entries(weights), { metadata: { format: 'pt', note: 'base' } });
    using model = await adaptModel(weights, {
      targets: ['q', 'fused.a', 'fused.c', 'conv'],
      family: 'vectorfit',
      layout: { fused: 'in-out' },
      split: { fused: ['a', 'b', 'c'] },
    });
    await exportMerged(path, model, { base: basePath });
    t.ok(readFileSync(path).equals(readFileSync(basePath)), 'an untrained model: the same bytes');
    for (const layer of model.layers.values()) perturb(layer);
    await exportMerged(path, model, { base: basePath, metadata: { note: 'merged' } });
    const { tensors, metadata } = await readSafetensors(path);
    t.same(metadata, { format: 'pt', note: 'merged' });
    t.same([...tensors.keys()].sort(), Object.keys(weights).sort());
    for (const name of ['h.0.norm.weight', 'ids'])
      assertSameBits(t, tensors.get(name) as Tensor, weights[name] as Tensor, name);
    for (const [name, merged] of model.merged()) {
      assertSameBits(t, tensors.get(name) as Tensor, merged, name);
      t.same(tensors.get(name)?.shape, weights[name]?.shape);
      t.equal(tensors.get(name)?.dtype, weights[name]?.dtype);
      merged.dispose();
    }
    const q = snapshot(parameter(model.layers.get('h.0.q.weight') as never, 'bias').value);
    assertSameBits(t, tensors.get('h.0.q.bias') as Tensor, q, 'a trained bias');
    const fused = snapshot(weights['h.0.fused.bias'] as Tensor);
    for (const [part, first] of [
      ['a', 0],
      ['c', 6],
    ] as const) {
      fused.set(snapshot(parameter(model.layers.get(`h.0.fused.${part}`) as never, 'bias').value), first);
    }
    assertSameBits(t, tensors.get('h.0.fused.bias') as Tensor, fused, 'trained parts of a fused bias');
    disposeAll(...tensors.values(), ...Object.values(weights));
  });
});

t.test("the base's types, also those that tensors do not have", async (t) => {
  using exact = gaussian(seeded(2), [3, 4], 'float32');
  using wide = exact.cast('float64');
  const numbers = [
    1,
    -0,
    65504,
    2 ** -24,
    2 ** -25,
    3 * 2 ** -25,
    1 + 2 ** -11,
    1 + 3 * 2 ** -11,
    1e-3,
    -7.77,
    2 ** -14,
    1e-9,
  ];
  using halves = tensor(numbers, [3, 4]);
  writeRaw(basePath, {
    half: { dtype: 'F16', shape: [3, 4], bytes: new Uint8Array(24) },
    brain: { dtype: 'BF16', shape: [3, 4], bytes: new Uint8Array(24) },
    'double.weight': { dtype: 'F64', shape: [3, 4], bytes: new Uint8Array(96) },
    ids: { dtype: 'I64', shape: [2], bytes: bytesOf(BigInt64Array.of(5n, -1n)) },
    odd: { dtype: 'U8', shape: [3], bytes: Uint8Array.of(1, 2, 3) },
    empty: { dtype: 'F8_E4M3', shape: [0, 3], bytes: new Uint8Array() },
  });
  using half = await svft(halves);
  using brain = await svft(exact);
  await exportMerged(path, { half, brain, double: brain }, { base: basePath });
  await using file = await openSafetensors(path);
  t.same(
    file.names,
    ['ids', 'double.weight', 'brain', 'half', 'empty', 'odd'],
    'in the order of the reference implementation',
  );
  t.same(file.metadata, { format: 'pt', note: 'base' });
  t.same([...(await file.readBytes('odd'))], [1, 2, 3]);
  t.same([...new BigInt64Array((await file.readBytes('ids')).buffer)], [5n, -1n]);
  using readHalf = await file.read('half');
  const rounded = [
    1,
    -0,
    65504,
    2 ** -24,
    0,
    2 ** -23,
    1,
    1 + 2 ** -9,
    0.0010004043579101562,
    -7.76953125,
    2 ** -14,
    0,
  ];
  t.same([...readHalf.dataSync()], rounded, 'F16: the nearest, ties to even');
  using readBrain = await file.read('brain');
  using cast = exact.cast('bfloat16');
  assertSameBits(t, readBrain, cast, 'BF16');
  using readDouble = await file.read('double.weight');
  assertSameBits(t, readDouble, wide, 'F64');
});

t.test('every float16 comes back from float32', async (t) => {
  const all = Uint16Array.from({ length: 2 ** 16 }, (_, i) => i).filter((half) => (half & 0x7c00) !== 0x7c00);
  // W0 + 0 turns −0 into 0.
  all[all.indexOf(0x8000)] = 0;
  const shape = [all.length / 64, 64];
  writeRaw(basePath, { w: { dtype: 'F16', shape, bytes: bytesOf(all) } });
  const { tensors } = await readSafetensors(basePath);
  const weight = tensors.get('w') as Tensor;
  using layer = await svft(weight);
  await exportMerged(path, { w: layer }, { base: basePath });
  await using file = await openSafetensors(path);
  t.ok(Buffer.from(await file.readBytes('w')).equals(Buffer.from(bytesOf(all))));
  fill(parameter(layer, 'm').value, 3e38);
  await rejectsSigma(
    t,
    () => exportMerged(path, { w: layer }, { base: basePath }),
    'NON_FINITE',
    'too large',
    "source['w']",
    '65504',
  );
  weight.dispose();
});

t.test('layers without a base', async (t) => {
  using weight = gaussian(seeded(3), [4, 6], 'float32');
  using stored = await svft(weight, { layout: 'in-out' });
  using layer = await vectorFit(weight, { createBias: true });
  for (const each of [stored, layer]) perturb(each);
  await exportMerged(path, { 'a.weight': stored, 'b.weight': layer });
  const { tensors, metadata } = await readSafetensors(path);
  t.same(metadata, { format: 'pt' });
  t.same([...tensors.keys()].sort(), ['a.weight', 'b.bias', 'b.weight']);
  t.same(tensors.get('a.weight')?.shape, [4, 6], 'as it is stored');
  using merged = layer.mergedWeight();
  assertSameBits(t, tensors.get('b.weight') as Tensor, merged, "W'");
  using bias = layer.mergedBias() as Tensor;
  assertSameBits(t, tensors.get('b.bias') as Tensor, bias, "b'");
  disposeAll(...tensors.values());
  stored.enabled = false;
  layer.enabled = false;
  await exportMerged(path, new Map(Object.entries({ a: stored, b: layer })), { metadata: {} });
  const off = await readSafetensors(path);
  t.same([...off.tensors.keys()], ['a', 'b'], 'switched off: the base weights');
  for (const each of off.tensors.values()) assertSameBits(t, each, weight, 'W0');
  disposeAll(...off.tensors.values());
});

t.test('onto itself, and from a sharded base', async (t) => {
  using one = gaussian(seeded(4), [3, 3], 'float32');
  using other = gaussian(seeded(5), [2, 3], 'float32');
  await writeSafetensors(join(folder, 'm-1.safetensors'), [['one', one]], { metadata: { format: 'pt' } });
  await writeSafetensors(join(folder, 'm-2.safetensors'), [['other', other]], { metadata: { format: 'pt' } });
  const index = { weight_map: { one: 'm-1.safetensors', other: 'm-2.safetensors' } };
  writeFileSync(join(folder, 'm.safetensors.index.json'), JSON.stringify(index));
  using layer = await svft(one);
  perturb(layer);
  await exportMerged(path, { one: layer }, { base: join(folder, 'm.safetensors.index.json') });
  await exportMerged(path, { one: layer }, { base: path });
  const { tensors } = await readSafetensors(path);
  using merged = layer.mergedWeight();
  assertSameBits(t, tensors.get('one') as Tensor, merged, 'merged');
  assertSameBits(t, tensors.get('other') as Tensor, other, 'copied');
  disposeAll(...tensors.values());
});

t.test('errors name the argument, and leave the old file', async (t) => {
  using weight = gaussian(seeded(6), [3, 4], 'float32');
  using layer = await svft(weight);
  const gone = await svft(weight);
  gone.dispose();
  using fused = await adaptModel(
    { w: weight, 'w.bias': weight.reshape([12]) },
    { targets: ['a'], family: 'vectorfit', split: { w: { a: 2, b: 1 } }, biases: { 'w.a': tensor([1, 2]) } },
  );
  for (const each of fused.layers.values()) perturb(each);
  writeRaw(basePath, {
    w: { dtype: 'F32', shape: [4, 3], bytes: new Uint8Array(48) },
    eight: { dtype: 'F8_E4M3', shape: [3, 4], bytes: new Uint8Array(12) },
  });
  writeFileSync(path, 'old');
  const base = basePath;
  const cases: Refusal[] = [
    ['no path', ['', { layer }], 'INVALID_ARGUMENT', 'path'],
    ['no layers', [path, {}], 'INVALID_ARGUMENT', 'source'],
    ['a weight', [path, { weight }], 'INVALID_ARGUMENT', "source['weight']"],
    ['null', [path, null], 'INVALID_ARGUMENT', 'source'],
    ['a misspelt option', [path, { layer }, { bas: base }], 'INVALID_ARGUMENT', 'base'],
    ['base', [path, { layer }, { base: 1 }], 'INVALID_ARGUMENT', 'options.base'],
    ['no base', [path, { layer }, { base: join(folder, 'none') }], 'INVALID_ARGUMENT', 'none'],
    ['metadata', [path, { layer }, { metadata: { a: 1 } }], 'INVALID_ARGUMENT', 'options.metadata.a'],
    ['a weight that the base lacks', [path, { layer }, { base }], 'INVALID_ARGUMENT', "source['layer']"],
    ['another shape', [path, { w: layer }, { base }], 'SHAPE_MISMATCH', "source['w']", '[4, 3]'],
    ['another type', [path, { eight: layer }, { base }], 'UNSUPPORTED', "source['eight']", 'F8_E4M3'],
    ['a disposed layer', [path, { gone }], 'DISPOSED', "source['gone']"],
    ['aborted', [path, { layer }, { signal: AbortSignal.abort() }], 'ABORTED', 'signal'],
    ['a part of a bias', [path, fused], 'UNSUPPORTED', "'w'", 'bias'],
  ];
  await refuses(t, exportMerged, cases);
  t.equal(readFileSync(path, 'utf8'), 'old');
});
