/** The cache of factors: what it finds, what it must not find, damage, its limit, and several processes. */
import { existsSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { inspect } from 'node:util';
import {
  type DecomposeOptions,
  decompose,
  type Factors,
  openFactorCache,
  openSafetensors,
  svft,
  Tensor,
  tensor,
  writeSafetensors,
} from 'sigmatune';
import t, { type Test } from 'tap';
import { dtypes } from '../support/cases.js';
import {
  assertSameBits,
  cpuOnly,
  disposeAll,
  expectNoLeak,
  gaussian,
  item,
  put,
  refuses,
  rejectsSigma,
  seeded,
  throwsSigma,
} from '../support/helpers.js';
import { killRounds, runScript, startScripts } from '../support/process.js';

t.setTimeout(600_000); // a loaded machine takes ten times as long to start a process

const placeOf = (t: Test) => join(t.testdir({}), 'cache');
const entriesIn = (folder: string) => readdirSync(folder).map((name) => join(folder, name));

function assertSame(t: Test, found: Factors, wanted: Factors, label: string): void {
  for (const name of ['u', 's', 'vt'] as const) {
    assertSameBits(t, found[name], wanted[name], `${label}: ${name}`);
    t.same([found[name].shape, found[name].dtype], [wanted[name].shape, wanted[name].dtype]);
    t.equal(found[name].device, wanted[name].device);
  }
  t.same(found.error, wanted.error, `${label}: the errors`);
}

t.test('a second run reads what the first has computed', async (t) => {
  await expectNoLeak(t, 'runs', async () => {
    for (const dtype of dtypes) {
      for (const storage of [undefined, 'float32', 'float64', 'bfloat16'] as const) {
        const folder = join(placeOf(t), `${dtype}-${storage}`);
        const options: DecomposeOptions = storage === undefined ? {} : { storage };
        using weight = gaussian(seeded(1), [9, 14], dtype);
        using plain = await decompose(weight, options);
        const first = await openFactorCache(folder);
        using made = await first.decompose(weight, options);
        const second = await openFactorCache(folder);
        const seen: number[][] = [];
        using read = await second.decompose(weight, { ...options, onProgress: (...done) => seen.push(done) });
        for (const [factors, label] of [
          [made, 'computed'],
          [read, 'read'],
        ] as const)
          assertSame(t, factors, plain, `${dtype} as ${storage}, ${label}`);
        t.same([first.hits, first.misses, second.hits, second.misses], [0, 1, 1, 0]);
        t.same(seen, [[1, 1]], 'progress of a hit');
        t.equal(read.storage, storage ?? dtype);
        const [path = ''] = entriesIn(folder);
        t.same(await second.usage(), { entries: 1, bytes: statSync(path).size });
        t.match(path, /[0-9a-f]{64}\.safetensors$/);
      }
    }
  });
});

t.test('a layer takes factors of a cache', async (t) => {
  using weight = gaussian(seeded(2), [8, 6], 'float32');
  const cache = await openFactorCache(placeOf(t));
  disposeAll(await cache.decompose(weight));
  using factors = await cache.decompose(weight);
  using layer = await svft(weight, { factors });
  using own = await svft(weight);
  using x = gaussian(seeded(3), [4, 6], 'float32');
  const [y, z] = [layer.apply(x), own.apply(x)];
  assertSameBits(t, y, z, 'the same numbers as without a cache');
  disposeAll(y, z);
});

t.test('an entry is for one weight and one set of options', async (t) => {
  using weight = gaussian(seeded(4), [6, 8], 'float32');
  const folder = placeOf(t);
  const cache = await openFactorCache(folder);
  const wide = weight.cast('float64');
  const reshaped = weight.reshape([8, 6]);
  using other = gaussian(seeded(4), [6, 8], 'float32');
  put(other, 47, 0.125);
  const others: readonly (readonly [string, Tensor, DecomposeOptions])[] = [
    ['the plain one', weight, {}],
    ['another number', other, {}],
    ['the same numbers in another shape', reshaped, {}],
    ['the same numbers in another type', wide, {}],
    ['another storage', weight, { storage: 'bfloat16' }],
    ['a smaller rank', weight, { rank: 5 }],
    ['another driver', weight, { driver: 'gesvd' }],
  ];
  for (const [i, [label, given, options]] of others.entries()) {
    disposeAll(await cache.decompose(given as Tensor<'float32'>, options));
    t.same([cache.hits, cache.misses], [0, i + 1], label);
  }
  const same: readonly (readonly [string, DecomposeOptions])[] = [
    ['all options by name', { storage: 'float32', rank: 6, driver: 'auto' }],
    ['no options', {}],
  ];
  for (const [i, [label, options]] of same.entries()) {
    disposeAll(await cache.decompose(weight, options));
    t.equal(cache.hits, i + 1, `${label}: the same entry`);
  }
  const copy = tensor(weight.dataSync(), [6, 8]);
  disposeAll(await cache.decompose(copy), copy);
  t.equal(cache.hits, same.length + 1, 'a copy of the weight');
  disposeAll(wide, reshaped);
});

t.test('a damaged entry is computed again and replaced', async (t) => {
  await expectNoLeak(t, 'damage', async () => {
    using weight = gaussian(seeded(5), [7, 5], 'float32');
    using wanted = await decompose(weight);
    const folder = placeOf(t);
    const cache = await openFactorCache(folder);
    disposeAll(await cache.decompose(weight));
    const path = item(entriesIn(folder), 0);
    const whole = readFileSync(path);
    const flipped = (at: number) => {
      const bytes = Buffer.from(whole);
      bytes[at] = (bytes[at] as number) ^ 1;
      return bytes;
    };
    const text = (from: string, to: string) => {
      const at = whole.indexOf(from);
      t.ok(at > 0 && from.length === to.length, `${from} is in the file`);
      return Buffer.concat([whole.subarray(0, at), Buffer.from(to), whole.subarray(at + from.length)]);
    };
    const header = Number(whole.readBigUInt64LE());
    const cases: Record<string, Buffer> = {
      'no bytes': Buffer.alloc(0),
      'cut off': whole.subarray(0, -1),
      'one byte more': Buffer.concat([whole, Buffer.alloc(1)]),
      zeros: Buffer.alloc(whole.length),
      'zeros in the place of the numbers': Buffer.concat([
        whole.subarray(0, 8 + header),
        Buffer.alloc(whole.length - 8 - header),
      ]),
      'the first bit of the numbers': flipped(8 + header),
      'the last bit of the numbers': flipped(whole.length - 1),
      'the length of the header': flipped(0),
      'the error': text(`${wanted.error.residual}`.slice(0, 8), '0.000001'.replace(/./g, '9').replace(/^9./, '1.')),
      'no note': text('sigmatune_factors', 'sigmatune_fectors'),
      'a note that is no JSON': text('{\\"format_version', '[\\"format_version'),
      'another key': text(path.slice(-76, -12), '0'.repeat(64)),
      'another type': text('"F32","shape":[5]', '"I32","shape":[5]'),
    };
    for (const [label, bytes] of Object.entries(cases)) {
      writeFileSync(path, bytes);
      const { misses } = cache;
      using found = await cache.decompose(weight);
      assertSame(t, found, wanted, label);
      t.equal(cache.misses, misses + 1, `${label}: computed again`);
      t.ok(readFileSync(path).equals(whole), `${label}: the entry is whole again`);
    }
    for (let at = 0; at < whole.length; at++) {
      // A bit of the blanks that fill up the header, or of a name, is noticed too, or else does no harm.
      writeFileSync(path, flipped(at));
      using found = await cache.decompose(weight);
      if (!(await sameFactors(found, wanted))) t.fail(`bit 0 of byte ${at}`);
    }
  });
});

async function sameFactors(found: Factors, wanted: Factors): Promise<boolean> {
  const bits = async ({ u, s, vt, error }: Factors) =>
    JSON.stringify([error, ...(await Promise.all([u, s, vt].map(async (part) => Array.from(await part.data()))))]);
  return (await bits(found)) === (await bits(wanted));
}

t.test("another weight's entry under the name is not taken", async (t) => {
  const folder = placeOf(t);
  const cache = await openFactorCache(folder);
  using one = gaussian(seeded(6), [4, 4], 'float32');
  using two = gaussian(seeded(7), [4, 4], 'float32');
  using wanted = await decompose(one);
  disposeAll(await cache.decompose(one));
  const path = item(entriesIn(folder), 0);
  await cache.clear();
  disposeAll(await cache.decompose(two));
  writeFileSync(path, readFileSync(item(entriesIn(folder), 0)));
  using found = await cache.decompose(one);
  assertSame(t, found, wanted, 'the right factors');
  t.equal(cache.hits, 0);
});

t.test('the entries that were not used for the longest time make room', async (t) => {
  const folder = placeOf(t);
  const weights = Array.from({ length: 4 }, (_, i) => gaussian(seeded(20 + i), [8, 8], 'float32'));
  const [a, b, c, d] = weights as [Tensor<'float32'>, Tensor<'float32'>, Tensor<'float32'>, Tensor<'float32'>];
  const plain = await openFactorCache(folder);
  t.equal(plain.maxBytes, Infinity);
  const names = new Map<Tensor, string>();
  const known = new Set<string>();
  for (const weight of [a, b, c]) {
    disposeAll(await plain.decompose(weight));
    const [path = ''] = entriesIn(folder).filter((each) => !known.has(each));
    known.add(path);
    names.set(weight, path);
    // File systems may count in whole seconds.
    utimesSync(path, 1000, 1000 + known.size);
  }
  const { bytes } = await plain.usage();
  const limited = await openFactorCache(folder, { maxBytes: bytes + 1024 });
  t.equal((await limited.usage()).entries, 3, 'all fit');
  disposeAll(await limited.decompose(a));
  disposeAll(await limited.decompose(d));
  const there = (weight: Tensor) => existsSync(names.get(weight) ?? '');
  t.same([there(a), there(b), there(c)], [true, false, true], 'a was used, so b had to go');
  t.equal((await limited.usage()).entries, 3);
  await openFactorCache(folder, { maxBytes: bytes / 3 });
  t.equal((await limited.usage()).entries, 1, 'a smaller limit counts at once');
  const tiny = await openFactorCache(folder, { maxBytes: 64 });
  using wanted = await decompose(a);
  using found = await tiny.decompose(a);
  assertSame(t, found, wanted, 'factors that do not fit');
  t.same(await tiny.usage(), { entries: 0, bytes: 0 }, 'are not kept');
  disposeAll(...weights);
});

t.test('clear leaves other files alone', async (t) => {
  const folder = placeOf(t);
  const cache = await openFactorCache(folder);
  using weight = gaussian(seeded(8), [5, 4], 'float32');
  using factors = await cache.decompose(weight);
  using read = await cache.decompose(weight);
  const old = join(folder, '.sigmatune-00000000-0000-0000-0000-000000000000.tmp');
  const young = old.replace('0.tmp', '1.tmp');
  for (const name of [old, young, join(folder, 'README.md'), join(folder, 'w.safetensors')]) writeFileSync(name, 'x');
  utimesSync(old, 1000, 1000);
  await cache.clear();
  t.same(await cache.usage(), { entries: 0, bytes: 0 });
  t.same(readdirSync(folder).sort(), [young.slice(folder.length + 1), 'README.md', 'w.safetensors']);
  assertSame(t, read, factors, 'factors that were read stay valid');
  writeFileSync(old, 'x');
  utimesSync(old, 1000, 1000);
  await openFactorCache(folder);
  t.notOk(existsSync(old), 'what a killed process has left goes when the cache is opened');
  t.ok(existsSync(young), 'a file that may still be written stays');
});

t.test('while it decomposes', { skip: cpuOnly }, async (t) => {
  await expectNoLeak(t, 'meanwhile', async () => {
    const folder = placeOf(t);
    const cache = await openFactorCache(folder);
    const start = (seed: number) => gaussian(seeded(seed), [120, 100], 'float32');
    const written = start(10);
    const running = cache.decompose(written);
    await new Promise(setImmediate);
    put(written, 0, 5);
    disposeAll(await running, written);
    t.equal((await cache.usage()).entries, 0, 'factors of a weight that was written meanwhile are not kept');

    const disposed = start(11);
    const going = cache.decompose(disposed);
    disposed.dispose();
    disposeAll(await going);
    t.equal((await cache.usage()).entries, 1, 'a weight may be disposed meanwhile');

    const array = Float32Array.from(seeded(12).normals(12_000));
    using moved = Tensor.wrap(array, [120, 100]);
    const taken = cache.decompose(moved);
    structuredClone(array, { transfer: [array.buffer] });
    await rejectsSigma(
      t,
      () => taken,
      'INVALID_ARGUMENT',
      'a buffer that is detached meanwhile',
      'FactorCache.decompose',
    );

    using same = start(13);
    const both = await Promise.all([cache.decompose(same), cache.decompose(same)]);
    assertSame(t, both[0], both[1], 'two calls at once');
    disposeAll(...both);
    const stop = new Error('stop');
    const onProgress = () => {
      throw stop;
    };
    using fresh = start(14);
    for (const weight of [same, fresh])
      t.equal(await cache.decompose(weight, { onProgress }).catch((error: unknown) => error), stop);
    await rejectsSigma(t, () => cache.decompose(same, { signal: AbortSignal.abort() }), 'ABORTED', 'aborted');
  });
});

t.test('what cannot be', async (t) => {
  const folder = placeOf(t);
  const cache = await openFactorCache(folder);
  using weight = gaussian(seeded(15), [4, 3], 'float32');
  disposeAll(await cache.decompose(weight));
  const file = item(entriesIn(folder), 0);
  await refuses(t, openFactorCache, [
    ['no path', [5], 'INVALID_ARGUMENT', 'folder'],
    ['a file', [file], 'INVALID_ARGUMENT', 'folder', 'EEXIST'],
    ['below a file', [join(file, 'cache')], 'INVALID_ARGUMENT', 'folder', 'ENOTDIR'],
    ['no limit', [folder, { maxBytes: -1 }], 'INVALID_ARGUMENT', 'options.maxBytes', '-1'],
    ['half a byte', [folder, { maxBytes: 1.5 }], 'INVALID_ARGUMENT', 'options.maxBytes'],
    ['NaN', [folder, { maxBytes: Number.NaN }], 'INVALID_ARGUMENT', 'options.maxBytes'],
    ['a wrong option', [folder, { maxByte: 1 }], 'INVALID_ARGUMENT', 'maxBytes'],
  ]);
  const { hits } = cache;
  const call = (...args: unknown[]) => Reflect.apply(cache.decompose, cache, args);
  await refuses(t, call, [
    ['no tensor', [[[1]]], 'INVALID_ARGUMENT', 'weight'],
    ['a vector', [tensor([1, 2])], 'SHAPE_MISMATCH', 'weight'],
    ['int4', [weight, { storage: 'int4' }], 'INVALID_ARGUMENT', 'options.storage'],
    ['a driver', [weight, { driver: 'fast' }], 'INVALID_ARGUMENT', 'options.driver'],
    ['a rank', [weight, { rank: 4 }], 'INVALID_ARGUMENT', 'options.rank'],
    ['progress', [weight, { onProgress: 5 }], 'INVALID_ARGUMENT', 'options.onProgress'],
    ['NaN', [tensor([[Number.NaN]])], 'NON_FINITE', 'weight'],
  ]);
  t.equal(cache.hits, hits);
  const gone = await openFactorCache(join(folder, 'gone'));
  rmSync(gone.folder, { recursive: true });
  await expectNoLeak(t, 'an entry that cannot be written', () =>
    rejectsSigma(t, () => gone.decompose(weight), 'INVALID_ARGUMENT', 'a folder that is gone', 'ENOENT'),
  );
  await rejectsSigma(t, () => gone.usage(), 'INVALID_ARGUMENT', 'a folder that is gone', 'FactorCache.usage');
});

t.test('as an object', async (t) => {
  const folder = placeOf(t);
  const cache = await openFactorCache(relative(process.cwd(), folder), { maxBytes: 1000 });
  t.equal(cache.folder, folder, 'the path is absolute');
  t.equal(inspect(cache), `FactorCache '${folder}', at most 1000 bytes, 0 hits, 0 misses`);
  throwsSigma(t, () => JSON.stringify(cache), 'UNSUPPORTED', 'JSON', 'FactorCache.toJSON');
  t.throws(() => structuredClone(cache));
  const { usage } = cache;
  await rejectsSigma(t, () => usage(), 'INVALID_ARGUMENT', 'without its object', 'FactorCache.usage');
});

t.test('several processes', { skip: cpuOnly }, async (t) => {
  const place = t.testdir({});
  const [folder, path] = [join(place, 'cache'), join(place, 'weights.safetensors')];
  const names = Array.from({ length: 6 }, (_, i) => `w${i}`);
  const weights = names.map((name, i) => [name, gaussian(seeded(30 + i), [60, 50], 'float32')] as const);
  await writeSafetensors(path, weights);
  const both = await Promise.all(['once', 'once'].map((mode) => runScript('fill-cache.mjs', folder, path, mode)));
  const third = await runScript('fill-cache.mjs', folder, path, 'once');
  for (const { code, err, out } of both) t.same([code, err, out], [0, '', third.out], 'all have the same factors');
  t.match(third.out, /^ready\n[0-9a-f]{64}\n$/);
  t.equal(entriesIn(folder).length, names.length);

  const start = () => startScripts('fill-cache.mjs', ...['forever', 'forever'].map((mode) => [folder, path, mode]));
  const found = await killRounds(start, async () => {
    const entries = entriesIn(folder).filter((name) => name.endsWith('.safetensors'));
    for (const entry of entries) await (await openSafetensors(entry)).close();
    const cache = await openFactorCache(folder);
    for (const [, weight] of weights) disposeAll(await cache.decompose(weight));
    if (cache.hits !== entries.length) t.fail(`${cache.hits} of ${entries.length} entries were whole`);
    return entries.length > 0;
  });
  t.ok(found > 3, `${found} of 15 rounds left entries`);
  disposeAll(...weights.map(([, weight]) => weight));
});
