import { copyFileSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import fsPromises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import {
  AdamW,
  type AdaptedLinear,
  listCheckpoints,
  loadCheckpoint,
  openSafetensors,
  Sgd,
  saveCheckpoint,
  svdiff,
  type TrainingRun,
  writeSafetensors,
} from 'sigmatune';
import t from 'tap';
import { smallDisk } from '../support/disk.js';
import { cpuOnly, fill, gaussian, item, rejectsSigma, seeded, snapshot } from '../support/helpers.js';
import { killAll, killRounds, startScripts } from '../support/process.js';

t.setTimeout(600_000); // a loaded machine takes ten times as long to start a process

const names = (folder: string) => readdirSync(folder).sort();
const fileOf = (number: number) => `checkpoint-${String(number).padStart(6, '0')}.safetensors`;

/** A run with one layer, whose trained numbers are all the number of the last save. */
async function makeRun(): Promise<{
  run: TrainingRun;
  save(folder: string, step: number, keep?: number): Promise<void>;
}> {
  using weight = gaussian(seeded(1), [3, 3], 'float32');
  const layer = (await svdiff(weight)) as AdaptedLinear;
  t.teardown(() => layer.dispose());
  const run = { layers: { w: layer }, optimizer: new AdamW(layer.parameters) };
  const save = async (folder: string, step: number, keep?: number) => {
    fill(item(layer.parameters, 0).value, step);
    await saveCheckpoint(folder, { ...run, extra: step }, keep === undefined ? undefined : { keep });
  };
  return { run, save };
}

const { run, save } = await makeRun();
const numbers = () => snapshot(item((run.layers as { w: AdaptedLinear }).w.parameters, 0).value);

t.test('the newest `keep` stay, and any of them can be loaded', async (t) => {
  const folder = join(t.testdir({}), 'run');
  t.same(await listCheckpoints(folder), [], 'no folder, no checkpoints');
  for (let step = 1; step <= 5; step++) {
    await save(folder, step, 3);
    t.equal(names(folder).length, Math.min(step, 3));
  }
  t.same(names(folder), [3, 4, 5].map(fileOf));
  t.equal(await loadCheckpoint(folder, run), 5, 'the newest');
  for (const checkpoint of [3, 4, 5]) {
    t.equal(await loadCheckpoint(folder, run, { checkpoint }), checkpoint);
    t.same(numbers(), [checkpoint, checkpoint, checkpoint]);
  }
  await rejectsSigma(
    t,
    () => loadCheckpoint(folder, run, { checkpoint: 2 }),
    'INVALID_ARGUMENT',
    'a number that was rotated out',
    'options.checkpoint',
    'one of 5, 4, 3',
    'got 2',
  );
  t.same(numbers(), [5, 5, 5], 'nothing is changed');
  const listed = await listCheckpoints(folder);
  t.same(
    listed.map(({ checkpoint, path }) => [checkpoint, path]),
    [5, 4, 3].map((each) => [each, join(folder, fileOf(each))]),
  );
  t.ok(listed.every(({ bytes, saved }) => bytes > 100 && Math.abs(Date.now() - saved.getTime()) < 60_000));
  await save(folder, 6, 1);
  t.same(names(folder), [fileOf(6)], 'a smaller `keep` removes more');
});

t.test('numbers have no end, and other files are left alone', async (t) => {
  const others = [
    'checkpoint-12.safetensors',
    'checkpoint-0000012.safetensors',
    'checkpoint-x.safetensors',
    'notes.txt',
  ];
  const folder = t.testdir(Object.fromEntries(others.map((name) => [name, 'mine'])));
  await save(folder, 1, 1);
  copyFileSync(join(folder, fileOf(1)), join(folder, fileOf(999_999)));
  await save(folder, 2, 2);
  await save(folder, 3, 2);
  t.same(names(folder), [...others, 'checkpoint-1000000.safetensors', 'checkpoint-1000001.safetensors'].sort());
  t.equal(await loadCheckpoint(folder, run), 3, 'compared as numbers, not as text');
  copyFileSync(join(folder, 'checkpoint-1000001.safetensors'), join(folder, fileOf(Number.MAX_SAFE_INTEGER)));
  await rejectsSigma(t, () => save(folder, 4, 2), 'INVALID_ARGUMENT', 'the largest number', 'folder');
});

t.test('with and without numbers in one folder', async (t) => {
  const folder = t.testdir({});
  await save(folder, 1);
  await save(folder, 2, 1);
  await save(folder, 3, 1);
  t.same(names(folder), [fileOf(2), 'checkpoint.safetensors'], 'the one without a number is never removed');
  t.equal(await loadCheckpoint(folder, run), 3, 'it is the oldest');
  t.equal(await loadCheckpoint(folder, run, { checkpoint: 0 }), 1, 'and has the number 0');
  const before = readFileSync(join(folder, 'checkpoint.safetensors'));
  await rejectsSigma(
    t,
    () => save(folder, 4),
    'INVALID_ARGUMENT',
    'no number after numbers',
    'options.keep',
    'up to 2',
  );
  t.ok(readFileSync(join(folder, 'checkpoint.safetensors')).equals(before));
  t.same(names(folder).length, 2, 'nothing is left behind');
});

t.test('arguments', async (t) => {
  const folder = t.testdir({ file: 'a file' });
  for (const keep of [0, -1, 1.5, Number.NaN, '3', null, {}]) {
    const attempt = () => saveCheckpoint(folder, run, { keep } as never);
    await rejectsSigma(t, attempt, 'INVALID_ARGUMENT', `keep ${String(keep)}`, 'options.keep');
  }
  await rejectsSigma(t, () => saveCheckpoint(folder, run, { kept: 1 } as never), 'INVALID_ARGUMENT', 'kept', 'keep');
  for (const checkpoint of [-1, 0.5, Number.NaN, '1', null, false]) {
    const attempt = () => loadCheckpoint(folder, run, { checkpoint } as never);
    await rejectsSigma(t, attempt, 'INVALID_ARGUMENT', `checkpoint ${String(checkpoint)}`, 'options.checkpoint');
  }
  const attempt = () => loadCheckpoint(folder, run, { skipDamaged: 1 } as never);
  await rejectsSigma(t, attempt, 'INVALID_ARGUMENT', 'skipDamaged', 'options.skipDamaged');
  t.same(names(folder), ['file'], 'nothing is written');
  for (const call of [() => listCheckpoints(join(folder, 'file')), () => listCheckpoints('')]) {
    await rejectsSigma(t, call, 'INVALID_ARGUMENT', 'no folder', 'folder');
  }
  await rejectsSigma(t, () => save(join(folder, 'file'), 1, 2), 'INVALID_ARGUMENT', 'a file for a folder', 'folder');
});

t.test('a damaged checkpoint', async (t) => {
  const folder = t.testdir({});
  for (let step = 1; step <= 3; step++) await save(folder, step, 3);
  const [oldest = '', middle = '', newest = ''] = names(folder).map((name) => join(folder, name));
  const whole = readFileSync(newest);
  const damages: Record<string, () => void> = {
    'cut off': () => truncateSync(newest, whole.length - 1),
    empty: () => truncateSync(newest, 0),
    'another number': () => writeFileSync(newest, whole.with(whole.length - 2, whole.at(-2) === 1 ? 2 : 1)),
    'a bit of the contents': () => {
      const text = whole.toString('latin1');
      writeFileSync(newest, text.replace(/("extra\\":\{\\"value\\":)3/, '$14'), 'latin1');
    },
    'another sort of file': () => writeFileSync(newest, 'nonsense'),
  };
  for (const [label, damage] of Object.entries(damages)) {
    writeFileSync(newest, whole);
    damage();
    t.notOk(readFileSync(newest).equals(whole), label);
    await rejectsSigma(
      t,
      () => loadCheckpoint(folder, run),
      'CORRUPT_FILE',
      label,
      newest,
      'checkpoint 2 is whole',
      'options.skipDamaged',
    );
    t.equal(await loadCheckpoint(folder, run, { skipDamaged: true }), 2, `${label}: skipped on request`);
    t.same(numbers(), [2, 2, 2]);
    const chosen = () => loadCheckpoint(folder, run, { checkpoint: 3, skipDamaged: true });
    await rejectsSigma(t, chosen, 'CORRUPT_FILE', `${label}, chosen`, newest, 'checkpoint 2 is whole');
  }
  writeFileSync(middle, 'nonsense');
  await rejectsSigma(t, () => loadCheckpoint(folder, run), 'CORRUPT_FILE', 'two', newest, 'checkpoint 1 is whole');
  t.equal(await loadCheckpoint(folder, run, { skipDamaged: true }), 1, 'two are skipped');
  writeFileSync(oldest, 'nonsense');
  for (const skipDamaged of [true, false]) {
    const error: Error = await loadCheckpoint(folder, run, { skipDamaged }).then(
      () => t.fail(),
      (each) => each,
    );
    t.match(error, { code: 'CORRUPT_FILE' });
    t.ok(error.message.includes(newest) && !error.message.includes('is whole'), 'no way out that is none');
  }
  t.same(numbers(), [1, 1, 1], 'nothing is changed');
  await save(folder, 4, 3);
  t.equal(await loadCheckpoint(folder, run), 4, 'a run goes on');
});

t.test('another run is no damage', async (t) => {
  const folder = t.testdir({});
  for (let step = 1; step <= 2; step++) await save(folder, step, 2);
  const { layers } = run;
  const optimizer = new Sgd((layers as { w: AdaptedLinear }).w.parameters, { lr: 1 });
  const attempt = () => loadCheckpoint(folder, { layers, optimizer }, { skipDamaged: true });
  await rejectsSigma(t, attempt, 'BASE_MISMATCH', 'it is refused, and no older one is taken', 'run.optimizer');
});

t.test('no byte can be damaged unnoticed', async (t) => {
  const folder = t.testdir({});
  await save(folder, 7, 1);
  const path = join(folder, fileOf(1));
  const whole = readFileSync(path);
  const codes = new Map<string, number>();
  for (let at = 0; at < whole.length; at += 3) {
    const flipped = Buffer.from(whole);
    flipped[at] = (flipped[at] as number) ^ (1 << (at % 7));
    writeFileSync(path, flipped);
    fill(item((run.layers as { w: AdaptedLinear }).w.parameters, 0).value, 0);
    const found = await loadCheckpoint(folder, run).catch((error) => error);
    // Damage of the checksum's own name leaves a file without one, and with the right contents.
    const right = found === 7 && numbers().every((value) => value === 7);
    const outcome = right ? 'right' : `${(found as { code?: string } | undefined)?.code}`;
    codes.set(outcome, (codes.get(outcome) ?? 0) + 1);
    if (!['right', 'CORRUPT_FILE', 'UNSUPPORTED'].includes(outcome)) t.fail(`byte ${at}: ${found}`);
  }
  t.ok((codes.get('right') ?? 0) < 12 && (codes.get('CORRUPT_FILE') ?? 0) > 300, JSON.stringify([...codes]));
});

t.test('saves at once in one process', async (t) => {
  const folder = t.testdir({});
  await Promise.all(Array.from({ length: 12 }, (_, i) => save(folder, i, 3)));
  t.same(names(folder), [10, 11, 12].map(fileOf), 'each has a number of its own');
  await loadCheckpoint(folder, run);
  t.equal(new Set(numbers()).size, 1);
});

t.test('a file system without hard links', async (t) => {
  const folder = t.testdir({});
  const { link } = fsPromises;
  let asked = 0;
  fsPromises.link = async () => {
    asked += 1;
    throw Object.assign(new Error('EPERM: operation not permitted, link'), { code: 'EPERM' });
  };
  syncBuiltinESMExports();
  try {
    for (let step = 1; step <= 4; step++) await save(folder, step, 2);
  } finally {
    fsPromises.link = link;
    syncBuiltinESMExports();
  }
  t.equal(asked, 4);
  t.same(names(folder), [3, 4].map(fileOf));
  t.equal(await loadCheckpoint(folder, run), 4);
});

t.test('processes that are killed while they save into one folder', async (t) => {
  const place = join(t.testdir({}), 'run');
  using weight = gaussian(seeded(7), [20, 20], 'float32');
  const weights = join(t.testdirName, 'weights.safetensors');
  await writeSafetensors(weights, [['w', weight]]);
  using layer = await svdiff(weight);
  const own = { layers: { w: layer as AdaptedLinear }, optimizer: new AdamW(layer.parameters) };
  let last = 0;
  const start = (round: number) => {
    const seeds = [1, 2].map((each) => String(round * 100_000 + each * 10_000));
    return startScripts('save-checkpoint.mjs', ...seeds.map((seed) => [place, weights, seed, '2']));
  };
  const replaced = await killRounds(start, async (round) => {
    const listed = await listCheckpoints(place);
    const newest = listed[0]?.checkpoint ?? 0;
    if (newest === 0) return false;
    if (newest < last) t.fail(`${last}, the newest, was removed`);
    // Each process of each round may have been killed before it removed what was too many.
    if (listed.length > 2 + 2 * (round + 1) || (last > 1 && listed.length < 2)) t.fail(`${listed.length} checkpoints`);
    for (const { checkpoint } of listed) {
      const { step } = (await loadCheckpoint(place, own, { checkpoint })) as { step: number };
      if (!snapshot(item(layer.parameters, 0).value).every((value) => value === step)) t.fail('a mixture');
    }
    const isNew = newest !== last;
    last = newest;
    return isNew;
  });
  t.ok(replaced > 3, `${replaced} of 15 rounds saved something`);
  await saveCheckpoint(place, own, { keep: 2 });
  t.equal((await listCheckpoints(place)).length, 2, 'the next save removes what they left');
  const left = names(place).filter((name) => !/^checkpoint-\d{6}\.safetensors$/.test(name));
  t.ok(
    left.every((name) => /^\.sigmatune-.*\.tmp$/.test(name)),
    'nothing but temporary files is left',
  );
});

t.test('a reader while another process rotates', async (t) => {
  const place = join(t.testdir({}), 'run');
  using weight = gaussian(seeded(7), [20, 20], 'float32');
  const weights = join(t.testdirName, 'weights.safetensors');
  await writeSafetensors(weights, [['w', weight]]);
  using layer = await svdiff(weight);
  const own = { layers: { w: layer as AdaptedLinear }, optimizer: new AdamW(layer.parameters) };
  const children = await startScripts('save-checkpoint.mjs', [place, weights, '1', '1']);
  const seen = new Set<number>();
  try {
    const until = Date.now() + 2000;
    while (Date.now() < until) {
      if ((await listCheckpoints(place)).length === 0) continue;
      const { step } = (await loadCheckpoint(place, own)) as { step: number };
      seen.add(step);
    }
  } finally {
    await killAll(children);
  }
  t.ok(seen.size > 3, `${seen.size} checkpoints were read, none of them half`);
});

const disk = smallDisk(t, '64k');

t.test('a full disk', { skip: disk.skip }, async (t) => {
  const folder = join(disk.folder, 'run');
  mkdirSync(folder);
  let step = 0;
  const failed = async () => {
    for (; step < 100; step++) await save(folder, step, 100);
  };
  const error = await failed().then(
    () => undefined,
    (each) => each,
  );
  t.match(error, { code: 'NATIVE', op: 'saveCheckpoint', detail: { code: 'ENOSPC' } });
  t.ok(step > 3, `${step} checkpoints had room`);
  t.same(
    names(folder),
    Array.from({ length: step }, (_, i) => fileOf(i + 1)),
    'all of them stay, and nothing else',
  );
  t.equal(await loadCheckpoint(folder, run), step - 1);
});

t.test('a base weight is hashed once for each layer', { skip: cpuOnly }, async (t) => {
  const folder = t.testdir({});
  const weight = gaussian(seeded(2), [4, 4], 'float32');
  using copy = weight.cast('float32');
  using layer = await svdiff(weight);
  const one = { layers: { w: layer as AdaptedLinear }, optimizer: new Sgd(layer.parameters, { lr: 1 }) };
  const hashInFile = async () => {
    await saveCheckpoint(folder, one);
    await using file = await openSafetensors(join(folder, 'checkpoint.safetensors'));
    return JSON.parse(file.metadata['sigmatune_checkpoint'] ?? '').layers[0].weight;
  };
  const first = await hashInFile();
  t.match(first, /^[0-9a-f]{64}$/);
  weight.dataSync()[0] = 9;
  t.equal(await hashInFile(), first, 'a weight that is written against the rules keeps its hash');
  weight.dispose();
  t.equal(await hashInFile(), first, 'and one that was disposed since');
  using again = await svdiff(copy);
  const other = { layers: { w: again as AdaptedLinear }, optimizer: new Sgd(again.parameters, { lr: 1 }) };
  t.equal(await loadCheckpoint(folder, other), undefined, 'the weight of the first save fits');
});
