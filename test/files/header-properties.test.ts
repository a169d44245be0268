/** Properties of headers over random ones: what is valid is read as it is, what is not is CORRUPT_FILE, never anything else. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { openSafetensors, SigmaError } from 'sigmatune';
import t from 'tap';
import { plainEnvironment, scriptPath } from '../support/process.js';
import { field, fileOf } from '../support/safetensors.js';

const folder = t.testdir({});
const path = join(folder, 'model.safetensors');

const widths = { BOOL: 1, U8: 1, F8_E4M3: 1, I16: 2, BF16: 2, F16: 2, F32: 4, U32: 4, F64: 8, C64: 8, I64: 8 };
type Width = keyof typeof widths;

const name = fc.string({ unit: 'binary' }).filter((text) => text !== '__metadata__');
const contents = fc.uniqueArray(
  fc.record({
    name,
    dtype: fc.constantFrom(...(Object.keys(widths) as Width[])),
    shape: fc.array(fc.nat({ max: 5 }), { maxLength: 4 }),
  }),
  { selector: (each) => each.name, maxLength: 8 },
);

t.test('what is valid is read as it is', async (t) => {
  await fc.assert(
    fc.asyncProperty(contents, fc.dictionary(name, name), fc.integer(), async (tensors, metadata, seed) => {
      let end = 0;
      const entries = tensors.map(({ name, dtype, shape }) => {
        const begin = end;
        end += shape.reduce((product, n) => product * n, widths[dtype]);
        return [name, field(dtype, shape, begin, end)] as const;
      });
      // Keys may be in any order.
      const shuffled = entries.toSorted(() => ((seed * 7919) % 13) - 6);
      const header = `{${[['__metadata__', metadata] as const, ...shuffled].map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`)}}`;
      writeFileSync(path, fileOf(header, end));
      await using file = await openSafetensors(path);
      t.strictSame(
        file.names,
        shuffled.map(([key]) => key),
      );
      t.strictSame(Object.entries(file.metadata), Object.entries(metadata));
      for (const [
        key,
        {
          dtype,
          shape,
          data_offsets: [begin = 0, last = 0],
        },
      ] of entries) {
        t.strictSame(file.info(key), { dtype, shape, bytes: last - begin });
      }
    }),
    { numRuns: 200 },
  );
});

/** Any JSON where the header is, with keys and values that come near to what is right. */
const nearly = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom<unknown>('F32', 'F64', 'Q8', 0, 1, 4, 8, -1, 0.5, 2 ** 53, 1e300, null, true, ''),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom('dtype', 'shape', 'data_offsets', '__metadata__', 'a', '__proto__'), tie('value'), {
      maxKeys: 4,
    }),
  ),
})).value;

/** Whether a header of parsed JSON is right for a file with so many bytes of data: the rules, written a second time. */
function isRight(header: unknown, data: number): boolean {
  if (typeof header !== 'object' || header === null || Array.isArray(header)) return false;
  const isNatural = (n: unknown) => Number.isSafeInteger(n) && !Object.is(n, -0) && (n as number) >= 0;
  const ranges: [number, number][] = [];
  for (const [key, value] of Object.entries(header)) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
    if (key === '__metadata__') {
      if (!Object.values(value).every((each) => typeof each === 'string')) return false;
      continue;
    }
    const { dtype, shape, data_offsets: offsets } = value as Record<string, unknown>;
    if (Object.keys(value).sort().join() !== 'data_offsets,dtype,shape') return false;
    if (dtype !== 'F32' && dtype !== 'F64') return false;
    if (!Array.isArray(shape) || !shape.every(isNatural)) return false;
    if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isNatural)) return false;
    const bytes = shape.reduce((product, n) => product * n, dtype === 'F32' ? 4 : 8);
    if (offsets[1] - offsets[0] !== bytes) return false;
    ranges.push([offsets[0], offsets[1]]);
  }
  ranges.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  let next = 0;
  for (const [begin, end] of ranges) {
    if (begin !== next) return false;
    next = end;
  }
  return next === data;
}

t.test('any JSON is judged by the rules', async (t) => {
  const seen = { right: 0, wrong: 0 };
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        nearly,
        fc.dictionary(
          fc.constantFrom('a', 'b', '__metadata__'),
          fc.record({
            dtype: fc.constantFrom('F32', 'F64', 'F65'),
            shape: fc.array(fc.nat({ max: 2 }), { maxLength: 2 }),
            data_offsets: fc.tuple(fc.constantFrom(0, 4, 8), fc.constantFrom(0, 4, 8, 16)),
          }),
          { minKeys: 1 },
        ),
      ),
      fc.constantFrom(0, 4, 8, 16),
      async (header, data) => {
        const text = JSON.stringify(header);
        writeFileSync(path, fileOf(text, data));
        const right = isRight(JSON.parse(text), data);
        seen[right ? 'right' : 'wrong'] += 1;
        const error = await openSafetensors(path).then(
          (file) => file.close(),
          (error: unknown) => error,
        );
        if (right) return error === undefined;
        return error instanceof SigmaError && error.code === 'CORRUPT_FILE' && error.message.includes(path);
      },
    ),
    { numRuns: 3000 },
  );
  t.ok(seen.right > 5 && seen.wrong > 500, `${seen.right} right, ${seen.wrong} wrong`);
});

t.test('mutated files', async (t) => {
  const script = scriptPath('mutate-safetensors.mjs');
  const seed = Math.floor(Math.random() * 2 ** 31);
  const { stdout, stderr, status } = spawnSync(process.execPath, [script, folder, '3000', String(seed)], {
    env: plainEnvironment(),
    encoding: 'utf8',
  });
  t.same([status, stderr], [0, '']);
  const { failures, outcomes, beyond, slowest } = JSON.parse(stdout);
  t.same(failures, [], `seed ${seed}`);
  t.ok(outcomes.CORRUPT_FILE > 1000 && outcomes.UNSUPPORTED > 10, JSON.stringify(outcomes));
  t.equal(beyond, 0, 'no buffer is larger than its file');
  t.ok(slowest < 2000, `${slowest} ms for the slowest`);
});

t.test('a header of 90 MB that would fill the heap', { timeout: 60_000 }, async (t) => {
  for (const unit of ['[', '{"a":', '[[],', '{},']) {
    const text = `{"a":${unit}`.padEnd(90_000_000, unit);
    writeFileSync(path, fileOf(text));
    const began = performance.now();
    await t.rejects(openSafetensors(path), { code: 'CORRUPT_FILE' }, unit);
    t.ok(performance.now() - began < 5000, 'soon');
  }
  writeFileSync(path, '');
});
