/** Safetensors files: what is written is read back, each tensor alone, and what cannot be read says so. */
import { spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import {
  type DType,
  memory,
  openSafetensors,
  readSafetensors,
  SafetensorsFile,
  Tensor,
  tensor,
  writeSafetensors,
} from 'sigmatune';
import t from 'tap';
import {
  assertSameBits,
  at,
  disposeAll,
  expectNoLeak,
  rejectsSigma,
  seeded,
  testDevice,
  throwsSigma,
} from '../support/helpers.js';
import { field, fileOf } from '../support/safetensors.js';

const folder = t.testdir({});
const path = join(folder, 'model.safetensors');

const dtypes: readonly DType[] = ['float32', 'float64', 'bfloat16', 'int32'];
const stored = { float32: 'F32', float64: 'F64', bfloat16: 'BF16', int32: 'I32' };
const shapes = [[], [1], [7], [3, 5], [2, 1, 4], Array<number>(32).fill(1)];

/** Numbers of every kind that the type has. */
function numbers(dtype: DType, size: number): number[] {
  const special =
    dtype === 'int32' ? [0, -1, 2 ** 31 - 1, -(2 ** 31)] : [0, -0, Infinity, -Infinity, NaN, 1e-40, -3.75];
  const random = seeded(size);
  const draw = () => (dtype === 'int32' ? random.integer(1000) - 500 : random.normal());
  return Array.from({ length: size }, (_, i) => special[i] ?? draw());
}

t.test('round trips of all types and shapes', async (t) => {
  await expectNoLeak(t, 'round trips', async () => {
    const tensors = new Map(
      dtypes.flatMap((dtype) =>
        shapes.map((shape) => {
          const size = shape.reduce((product, n) => product * n, 1);
          const made = tensor(numbers(dtype, size), shape, { dtype, device: testDevice });
          return [`${dtype} [${shape.length > 5 ? '32 × 1' : shape}]`, made] as const;
        }),
      ),
    );
    const given = { format: 'pt', 'with "quotes"': 'ü\n\u2028😀', ['__proto__']: 'x', empty: '' };
    await writeSafetensors(path, tensors, { metadata: given });
    const { tensors: read, metadata } = await readSafetensors(path);
    t.same(metadata, given, 'metadata');
    t.same([...read.keys()].sort(), [...tensors.keys()].sort(), 'names');
    for (const [name, wanted] of tensors) {
      const found = read.get(name);
      if (!found) continue;
      t.same([found.dtype, found.shape], [wanted.dtype, wanted.shape], name);
      assertSameBits(t, found.dataSync(), wanted.dataSync(), `${name}: bits`);
    }
    await using file = await openSafetensors(path);
    t.equal(file.names.length, tensors.size);
    for (const [name, { dtype, shape }] of tensors) {
      const bytes = shape.reduce((product, n) => product * n, dtype === 'float64' ? 8 : dtype === 'bfloat16' ? 2 : 4);
      t.same(file.info(name), { dtype: stored[dtype as keyof typeof stored], shape, bytes }, `${name}: info`);
    }
    disposeAll(...tensors.values(), ...read.values());
  });
});

t.test('a tensor that is read is of the usual kind', async (t) => {
  await writeSafetensors(path, [['w', tensor([1, 2, 3, 4], [2, 2])]]);
  const { tensors } = await readSafetensors(path);
  using w = tensors.get('w') as Tensor;
  t.equal(w.device, 'cpu');
  t.equal(Object.getPrototypeOf(w), Tensor.prototype);
  w.assign([5, 6, 7, 8]);
  t.same([...w.dataSync()], [5, 6, 7, 8]);
});

t.test('every float16 is widened exactly', async (t) => {
  const halves = Uint16Array.from({ length: 65536 }, (_, i) => i);
  writeFileSync(path, fileOf({ h: field('F16', [256, 256], 0, 131072) }, new Uint8Array(halves.buffer)));
  const { tensors } = await readSafetensors(path);
  using h = tensors.get('h') as Tensor;
  t.same([h.dtype, h.shape], ['float32', [256, 256]]);
  const found = h.dataSync();
  const wrong = halves.filter((half) => {
    const [sign, exponent, fraction] = [half >> 15 ? -1 : 1, (half >> 10) & 31, half & 1023];
    const wanted =
      exponent === 31
        ? fraction === 0
          ? sign * Infinity
          : NaN
        : sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
    return !Object.is(at(found, half), wanted);
  });
  t.same([...wrong], []);
  const bits = new Uint32Array(found.buffer, found.byteOffset, found.length);
  t.equal(at(bits, 0x7e01), 0x7fc02000, 'a NaN keeps its payload');
});

t.test('types that tensors lack can be listed, and read as bytes', async (t) => {
  const ids = BigInt64Array.from([1n, -2n, 2n ** 62n]);
  const data = Buffer.concat([new Uint8Array(ids.buffer), Buffer.from([1, 2, 3]), Buffer.alloc(4, 1)]);
  const header = {
    ids: field('I64', [3], 0, 24),
    bytes: field('U8', [3], 24, 27),
    none: field('F32', [2, 0], 27, 27),
    deep: field('F32', Array(33).fill(1), 27, 31),
  };
  writeFileSync(path, fileOf(header, data));
  await using file = await openSafetensors(path);
  t.same(file.info('ids'), { dtype: 'I64', shape: [3], bytes: 24 });
  t.same(new BigInt64Array((await file.readBytes('ids')).buffer), ids);
  t.same([...(await file.readBytes('bytes'))], [1, 2, 3]);
  t.equal((await file.readBytes('none')).length, 0);
  const says = ['readBytes', 'names'];
  await rejectsSigma(t, () => file.read('ids'), 'UNSUPPORTED', 'I64', "tensor 'ids'", 'got I64', 'F16', ...says);
  await rejectsSigma(t, () => file.read('bytes'), 'UNSUPPORTED', 'U8', "tensor 'bytes'", 'got U8', ...says);
  await rejectsSigma(t, () => file.read('none'), 'UNSUPPORTED', 'no elements', "tensor 'none'", '[2, 0]', ...says);
  await rejectsSigma(t, () => file.read('deep'), 'UNSUPPORTED', 'dimensions', "tensor 'deep'", '33', ...says);
  const before = memory();
  await rejectsSigma(t, () => readSafetensors(path), 'UNSUPPORTED', 'all of them', "tensor 'ids'");
  t.same(memory(), before, 'nothing was read');
  const { tensors } = await readSafetensors(path, { names: [] });
  t.equal(tensors.size, 0, 'an empty list of names reads nothing');
});

t.test('some of the tensors, in the order of their names', async (t) => {
  await expectNoLeak(t, 'names', async () => {
    const one = tensor([1]);
    await writeSafetensors(
      path,
      ['a', 'b', 'c'].map((name) => [name, one] as const),
    );
    const { tensors } = await readSafetensors(path, { names: ['c', 'a', 'c'] });
    t.same([...tensors.keys()], ['c', 'a']);
    disposeAll(one, ...tensors.values());
    await rejectsSigma(
      t,
      () => readSafetensors(path, { names: ['a', 'cc'] }),
      'INVALID_ARGUMENT',
      'a name',
      path,
      "'cc'",
      "did you mean 'c'",
    );
    await rejectsSigma(
      t,
      () => readSafetensors(path, { names: ['a', 1 as never] }),
      'INVALID_ARGUMENT',
      'a number',
      'name',
      'got 1',
    );
    await rejectsSigma(
      t,
      () => readSafetensors(path, { names: 'a' as never }),
      'INVALID_ARGUMENT',
      'a string',
      'options.names',
      "'a'",
    );
    await rejectsSigma(
      t,
      () => readSafetensors(path, { name: ['a'] } as never),
      'INVALID_ARGUMENT',
      'misspelt',
      'names',
    );
    await rejectsSigma(t, () => readSafetensors(path, { signal: AbortSignal.abort() }), 'ABORTED', 'aborted');
  });
});

t.test('an open file', async (t) => {
  using one = tensor([1, 2]);
  await writeSafetensors(path, [['layers.0.weight', one]], { metadata: { a: 'b' } });
  const file = await openSafetensors(path);
  t.equal(String(file), `SafetensorsFile '${path}', 1 tensors`);
  t.ok(
    Object.isFrozen(file.names) &&
      Object.isFrozen(file.metadata) &&
      Object.isFrozen(file.info('layers.0.weight').shape),
  );
  throwsSigma(
    t,
    () => file.info('layers.0.wieght'),
    'INVALID_ARGUMENT',
    'a misspelt name',
    "did you mean 'layers.0.weight'",
  );
  await rejectsSigma(t, () => file.read('x'), 'INVALID_ARGUMENT', 'no such name', 'SafetensorsFile.read');
  await rejectsSigma(t, () => file.readBytes(undefined as never), 'INVALID_ARGUMENT', 'no name', 'name', 'undefined');
  throwsSigma(t, () => JSON.stringify(file), 'UNSUPPORTED', 'JSON', 'path');
  t.throws(() => structuredClone(file), { name: 'DataCloneError' });
  throwsSigma(t, () => Reflect.construct(SafetensorsFile, [path]), 'INVALID_ARGUMENT', 'new', 'openSafetensors');
  await rejectsSigma(t, () => Reflect.apply(file.read, {}, ['x']), 'INVALID_ARGUMENT', 'detached', 'this');
  const [both, other] = await Promise.all([file.read('layers.0.weight'), file.read('layers.0.weight')]);
  t.not(both.dataSync().buffer, other.dataSync().buffer, 'each read has memory of its own');
  disposeAll(both, other);
  const pending = file.read('layers.0.weight').catch((error) => error);
  await Promise.all([file.close(), file.close()]);
  disposeAll(...[await pending].filter((each) => each instanceof Tensor));
  throwsSigma(t, () => file.info('layers.0.weight'), 'DISPOSED', 'after close', path, 'closed');
  await rejectsSigma(t, () => file.read('layers.0.weight'), 'DISPOSED', 'after close', path, 'closed');
  t.match(String(file), /closed/);
  t.same(file.names, ['layers.0.weight'], 'the names stay');
});

t.test('a file that becomes shorter while it is open', async (t) => {
  await expectNoLeak(t, 'truncated', async () => {
    using one = tensor(new Float32Array(1000));
    await writeSafetensors(path, [['w', one]]);
    await using file = await openSafetensors(path);
    truncateSync(path, 2000);
    await rejectsSigma(t, () => file.read('w'), 'CORRUPT_FILE', 'read', path, 'shorter');
    await rejectsSigma(t, () => file.readBytes('w'), 'CORRUPT_FILE', 'readBytes', path, 'shorter');
  });
});

t.test('paths that cannot be opened', async (t) => {
  const missing = join(folder, 'missing.safetensors');
  await rejectsSigma(t, () => openSafetensors(missing), 'INVALID_ARGUMENT', 'missing', missing, 'ENOENT');
  await rejectsSigma(t, () => readSafetensors(join(path, 'x')), 'INVALID_ARGUMENT', 'below a file', 'ENOTDIR');
  await rejectsSigma(
    t,
    () => openSafetensors(t.testdir({})),
    'INVALID_ARGUMENT',
    'a folder',
    'a folder with neither',
    'index.json',
  );
  await rejectsSigma(
    t,
    () => openSafetensors(`${folder}/${'x'.repeat(300)}`),
    'INVALID_ARGUMENT',
    'too long',
    'ENAMETOOLONG',
  );
  for (const wrong of [undefined, null, '', 7, 'a\0b', new URL('file:///x')]) {
    await rejectsSigma(t, () => openSafetensors(wrong as never), 'INVALID_ARGUMENT', String(wrong), 'path');
  }
  const pipe = join(folder, 'pipe');
  const made = process.platform !== 'win32' && spawnSync('mkfifo', [pipe]).status === 0;
  t.test('a named pipe without a writer', { skip: !made && 'no mkfifo' }, async (t) => {
    await rejectsSigma(t, () => openSafetensors(pipe), 'INVALID_ARGUMENT', 'a pipe', 'a pipe');
  });
});

t.test('what cannot be written', async (t) => {
  using one = tensor([1]);
  const written = (tensors: unknown, options?: unknown) => () =>
    writeSafetensors(path, tensors as never, options as never);
  writeFileSync(path, 'old');
  const cases: [label: string, body: () => Promise<void>, ...says: string[]][] = [
    ['an object', written({ a: one }), 'tensors', 'Object.entries', 'an object'],
    ['a string', written('ab'), 'tensors'],
    ['nothing', written(undefined), 'tensors', 'undefined'],
    ['no pair', written([one]), 'tensors[0]', 'a pair'],
    ['a triple', written([['a', one, one]]), 'tensors[0]', 'a pair'],
    ['a number as name', written([[1, one]]), 'tensors[0][0]', 'a string'],
    ['an array as tensor', written([['a', new Float32Array(1)]]), "tensors[0][1], 'a'", 'Tensor.wrap'],
    [
      'a name twice',
      written([
        ['a', one],
        ['a', one],
      ]),
      'tensors[1][0]',
      "'a' a second time",
    ],
    ['__metadata__', written([['__metadata__', one]]), 'tensors[0][0]', 'options.metadata'],
    ['half a character', written([['\ud800', one]]), 'tensors[0][0]', 'whole characters'],
    ['a hole', written(Array(1)), 'tensors[0]'],
    ['metadata of numbers', written([], { metadata: { a: 1 } }), 'options.metadata.a', 'a string'],
    ['metadata that is a Map', written([], { metadata: new Map() }), 'options.metadata'],
    [
      'half a character in metadata',
      written([], { metadata: { a: '\udc00' } }),
      'options.metadata.a',
      'whole characters',
    ],
    ['an option that is not known', written([], { meta: {} }), 'options', 'metadata'],
    ['a generator of numbers', written([1, 2].values()), 'tensors[0]', 'a pair'],
  ];
  await expectNoLeak(t, 'refused', async () => {
    for (const [label, body, ...says] of cases) await rejectsSigma(t, body, 'INVALID_ARGUMENT', label, ...says);
    const gone = tensor([1]);
    gone.dispose();
    await rejectsSigma(
      t,
      written([
        ['a', one],
        ['b', gone],
      ]),
      'DISPOSED',
      'a disposed tensor',
      "tensors[1][1], 'b'",
    );
  });
  t.equal(readFileSync(path, 'utf8'), 'old', 'the old file stays');
});

t.test('the order of the tensors, and where the data begins', async (t) => {
  const make = (dtype: DType) => tensor([1], [1], { dtype });
  const tensors = ['h', 'b', 'a', 'é', 'd', 'i', '😀', '\uffff'].map((name) => {
    const dtype = { h: 'bfloat16', d: 'float64', i: 'int32' }[name] ?? 'float32';
    return [name, make(dtype as DType)] as const;
  });
  for (const given of [tensors, tensors.values()]) {
    await writeSafetensors(path, given);
    const bytes = readFileSync(path);
    const length = Number(bytes.readBigUInt64LE());
    t.equal(length % 8, 0, 'the data is aligned');
    const header = JSON.parse(bytes.toString('utf8', 8, 8 + length));
    t.same(Object.keys(header), ['d', 'a', 'b', 'é', '\uffff', '😀', 'i', 'h'], 'wide types first, then by UTF-8');
  }
  disposeAll(...tensors.map(([, each]) => each));
});

t.test('tensors that come one at a time may be disposed when the next is asked for', async (t) => {
  await expectNoLeak(t, 'lazy', async () => {
    let most = 0;
    function* lazily() {
      for (let i = 0; i < 40; i++) {
        using each = tensor(new Float32Array(100_000).fill(i), undefined, { dtype: i % 2 ? 'float32' : 'float64' });
        yield [`t${i}`, each] as const;
        most = Math.max(most, memory().tensors);
      }
    }
    const before = memory().tensors;
    await writeSafetensors(path, lazily());
    t.ok(most - before <= 1, `${most - before} tensors at a time`);
    await using file = await openSafetensors(path);
    t.equal(file.names.length, 40);
    for (let i = 0; i < 40; i++) {
      using found = await file.read(`t${i}`);
      t.ok(found.size === 100_000 && found.dataSync().every((value) => value === i), `t${i}`);
    }
  });
  async function* later() {
    for (const name of ['x', 'y']) {
      await new Promise((resolve) => setImmediate(resolve));
      yield [name, tensor([1])] as const;
    }
  }
  await writeSafetensors(path, later());
  await using file = await openSafetensors(path);
  t.same(file.names, ['x', 'y'], 'asynchronous iterables too');
});

t.test('a tensor that is disposed while it is written', async (t) => {
  const numbers = Float32Array.from({ length: 3_000_000 }, (_, i) => i);
  const w = tensor(numbers);
  const written = writeSafetensors(path, [['w', w]]);
  w.dispose();
  const noise = tensor(new Float32Array(3_000_000).fill(7));
  await written;
  const { tensors } = await readSafetensors(path);
  const found = tensors.get('w') as Tensor;
  assertSameBits(t, found.dataSync(), numbers, 'is written as it was');
  disposeAll(found, noise);
});

t.test('five gigabytes are opened and read in part without memory for them', { timeout: 60_000 }, async (t) => {
  const giga = 1e9;
  const header = { big: field('F64', [(5 * giga) / 8], 0, 5 * giga), small: field('F32', [2], 5 * giga, 5 * giga + 8) };
  const head = fileOf(header);
  const end = head.length + 5 * giga;
  const fd = openSync(path, 'w');
  writeSync(fd, head);
  ftruncateSync(fd, end);
  writeSync(fd, new Uint8Array(new Float32Array([1.5, -2]).buffer), 0, 8, end);
  closeSync(fd);
  t.teardown(() => truncateSync(path, 0));
  const before = process.memoryUsage().rss;
  await using file = await openSafetensors(path);
  t.same(file.info('big'), { dtype: 'F64', shape: [(5 * giga) / 8], bytes: 5 * giga });
  using small = await file.read('small');
  t.same([...small.dataSync()], [1.5, -2]);
  const grown = process.memoryUsage().rss - before;
  t.ok(grown < 100e6, `${Math.round(grown / 1e6)} MB more`);
});

t.test('a signal stops a long read', async (t) => {
  const bytes = 400e6;
  const fd = openSync(path, 'w');
  writeSync(fd, fileOf({ w: field('F32', [bytes / 4], 0, bytes) }));
  ftruncateSync(fd, 8 + Number(readFileSync(path).readBigUInt64LE()) + bytes);
  closeSync(fd);
  t.teardown(() => truncateSync(path, 0));
  await expectNoLeak(t, 'aborted', async () => {
    const stop = new AbortController();
    const read = readSafetensors(path, { signal: stop.signal });
    setTimeout(() => stop.abort(), 5);
    await rejectsSigma(t, () => read, 'ABORTED', 'readSafetensors', 'signal');
    await using file = await openSafetensors(path);
    const other = new AbortController();
    const bytesRead = file.readBytes('w', { signal: other.signal });
    setTimeout(() => other.abort('enough'), 5);
    await rejectsSigma(t, () => bytesRead, 'ABORTED', 'readBytes', 'signal');
  });
});
