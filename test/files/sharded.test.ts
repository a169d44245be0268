/** Sharded checkpoints: an index and its shards agree, and no index leads out of its folder. */
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openSafetensors, readSafetensors, tensor, writeSafetensors } from 'sigmatune';
import t, { type Test } from 'tap';
import { disposeAll, rejectsSigma } from '../support/helpers.js';

const indexName = 'model.safetensors.index.json';
const shards = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'] as const;

/** A folder with two shards, 'a' and 'b' in the first, 'c' in the second, and an index of them. */
async function checkpoint(t: Test, index: unknown = weightMap({})) {
  const folder = t.testdir({});
  const one = tensor([1, 2]);
  await writeSafetensors(
    join(folder, shards[0]),
    [
      ['a', one],
      ['b', one],
    ],
    { metadata: { format: 'pt', part: '1' } },
  );
  await writeSafetensors(join(folder, shards[1]), [['c', one]], { metadata: { format: 'pt', part: '2' } });
  one.dispose();
  const path = join(folder, indexName);
  writeFileSync(path, typeof index === 'string' ? index : JSON.stringify(index));
  return { folder, path };
}

const weightMap = (changes: Record<string, unknown>) => ({
  metadata: { total_size: 24, nested: [{ deep: [1.5e3, null, true, 'x'] }] },
  weight_map: { c: shards[1], a: shards[0], b: shards[0], ...changes },
});

t.test('by the path of the index, and of the folder', async (t) => {
  const { folder, path } = await checkpoint(t);
  for (const each of [path, folder]) {
    await using file = await openSafetensors(each);
    t.same(file.names, ['c', 'a', 'b'], 'in the order of the index');
    t.same(file.metadata, { format: 'pt' }, 'what the shards have in common');
    t.same(file.info('c'), { dtype: 'F32', shape: [2], bytes: 8 });
    using c = await file.read('c');
    t.same([...c.dataSync()], [1, 2]);
    const { tensors } = await readSafetensors(each, { names: ['b', 'c'] });
    t.same([...tensors.keys()], ['b', 'c']);
    disposeAll(...tensors.values());
  }
});

t.test('a folder with one file', async (t) => {
  const folder = t.testdir({});
  using one = tensor([1]);
  await writeSafetensors(join(folder, 'model.safetensors'), [['a', one]]);
  await using file = await openSafetensors(folder);
  t.same(file.names, ['a']);
  writeFileSync(join(folder, indexName), '{}');
  await rejectsSigma(t, () => openSafetensors(folder), 'INVALID_ARGUMENT', 'both', 'a folder with both');
});

t.test('an index and shards that disagree', async (t) => {
  const wrong: [label: string, index: unknown, ...says: string[]][] = [
    ['a tensor that its shard lacks', weightMap({ d: shards[0] }), "tensor 'd'", shards[0], 'without it'],
    ['a tensor in another shard', weightMap({ a: shards[1] }), "tensor 'a'", 'without it'],
    [
      'a tensor that the index lacks',
      { weight_map: { a: shards[0], c: shards[1] } },
      "tensor 'b'",
      shards[0],
      'an index without it',
    ],
    ['no weight map', {}, 'weight_map'],
    ['a weight map of numbers', weightMap({ a: 1 }), 'the name of a shard', '1'],
    ['a weight map that is an array', { weight_map: [] }, 'weight_map to be an object'],
    ['a tensor twice', `{"weight_map":{"a":"${shards[0]}","a":"${shards[1]}"}}`, 'each key once', "'a'"],
    ['an array', '[]', 'an object'],
    ['nothing', '', 'the end of the text'],
    ['half of it', '{"weight_map":{"a":', 'the end of the text'],
    ['deep nesting', `{"metadata":${'['.repeat(100_000)}`, 'levels of nesting'],
    ['what is no JSON value', '{"metadata":undefined}', 'a value', "'undefined}'"],
    ['a number that is none', '{"metadata":01}', 'a value'],
  ];
  for (const [label, index, ...says] of wrong) {
    const { path } = await checkpoint(t, index);
    await rejectsSigma(t, () => openSafetensors(path), 'CORRUPT_FILE', label, path, ...says);
  }
  const { folder, path } = await checkpoint(t);
  rmSync(join(folder, shards[1]));
  await rejectsSigma(t, () => openSafetensors(path), 'INVALID_ARGUMENT', 'a missing shard', shards[1], 'ENOENT');
  writeFileSync(join(folder, shards[1]), 'nonsense');
  await rejectsSigma(t, () => openSafetensors(path), 'CORRUPT_FILE', 'a broken shard', shards[1]);
});

t.test('an index that leads out of its folder', async (t) => {
  const { folder } = await checkpoint(t);
  const inside = join(folder, 'inside');
  mkdirSync(inside);
  const path = join(inside, indexName);
  const open = (shard: string) => () => {
    writeFileSync(path, JSON.stringify({ weight_map: { c: shard } }));
    return openSafetensors(path);
  };
  for (const shard of [
    `../${shards[1]}`,
    `x/../../${shards[1]}`,
    join(folder, shards[1]),
    '..',
    '',
    `..\\${shards[1]}`,
    'C:x',
    'a\0b',
  ]) {
    await rejectsSigma(t, open(shard), 'CORRUPT_FILE', shard, "tensor 'c'", "inside of the index's folder");
  }
  symlinkSync(join(folder, shards[1]), join(inside, 'link'));
  await rejectsSigma(t, open('link'), 'CORRUPT_FILE', 'a link out', "tensor 'c'", 'a link to', shards[1]);
  symlinkSync(folder, join(inside, 'out'));
  await rejectsSigma(t, open(`out/${shards[1]}`), 'CORRUPT_FILE', 'a folder that is a link', 'a link to');
  mkdirSync(join(inside, 'in'));
  using one = tensor([1]);
  await writeSafetensors(join(inside, 'in', 'c'), [['c', one]]);
  symlinkSync(join(inside, 'in', 'c'), join(inside, 'fine'));
  for (const shard of ['in/c', 'fine']) {
    await using file = await open(shard)();
    t.same(file.names, ['c'], `${shard}: stays inside`);
  }
});

t.test("Hugging Face's cache, in which a snapshot is links", async (t) => {
  const { folder } = await checkpoint(t);
  const blobs = join(folder, 'blobs');
  const snapshot = join(folder, 'snapshots', '0123abcd');
  mkdirSync(blobs);
  mkdirSync(snapshot, { recursive: true });
  using one = tensor([1]);
  await writeSafetensors(join(blobs, 'f00'), [['c', one]]);
  writeFileSync(join(blobs, 'f01'), JSON.stringify({ weight_map: { c: shards[1] } }));
  symlinkSync('../../blobs/f00', join(snapshot, shards[1]));
  symlinkSync('../../blobs/f01', join(snapshot, indexName));
  for (const path of [snapshot, join(snapshot, indexName)]) {
    await using file = await openSafetensors(path);
    t.same(file.names, ['c']);
  }
  rmSync(join(snapshot, shards[1]));
  symlinkSync(`../../${shards[1]}`, join(snapshot, shards[1]));
  await rejectsSigma(t, () => openSafetensors(snapshot), 'CORRUPT_FILE', 'a link elsewhere', 'a link to');
});
