import fc from 'fast-check';
import { SparsityPattern, type Tensor } from 'sigmatune';
import t from 'tap';
import { patterns } from '../support/cases.js';
import {
  at,
  type Check,
  disposeAll,
  gaussian,
  item,
  orthonormal,
  real,
  seeded,
  snapshot,
  throwsSigma,
} from '../support/helpers.js';
import { coordinates } from '../support/reference.js';

/** Entries of a band of d off-diagonals on each side: r(2d+1) − d(d+1), clipped to r². */
function bandEntries(r: number, d: number): number {
  const width = Math.min(d, r - 1);
  return r * (2 * width + 1) - width * (width + 1);
}

/** Checks the contract of every pattern. */
function checkCsr(t: Check, pattern: SparsityPattern, r: number, label: string): void {
  const { rowPointers, columnIndices, entries } = pattern;
  t.same(pattern.shape, [r, r], `${label}: is r × r`);
  t.ok(rowPointers instanceof Int32Array && columnIndices instanceof Int32Array, `${label}: Int32Array`);
  t.equal(rowPointers.length, r + 1, `${label}: r + 1 row pointers`);
  t.equal(columnIndices.length, entries, `${label}: a column for each entry`);
  t.same([rowPointers[0], rowPointers[r]], [0, entries], `${label}: row pointers span the entries`);
  let sound = true;
  for (let i = 0; i < r; i++) {
    if (at(rowPointers, i) > at(rowPointers, i + 1)) sound = false;
    for (let p = at(rowPointers, i); p < at(rowPointers, i + 1); p++) {
      const column = at(columnIndices, p);
      if (column < 0 || column >= r) sound = false;
      if (p > at(rowPointers, i) && column < at(columnIndices, p - 1)) sound = false;
    }
  }
  t.ok(sound, `${label}: rows in order, columns in range and in order`);
}

const keys = (pattern: SparsityPattern): string[] => coordinates(pattern).map(({ row, column }) => `${row},${column}`);

t.test('every pattern of the table', async (t) => {
  for (const r of [1, 2, 3, 8, 33]) {
    for (const { name, make } of patterns) {
      const pattern = make(r);
      checkCsr(t, pattern, r, `${name}, r ${r}`);
      t.same(keys(make(r)), keys(pattern), `${name}, r ${r}: the same every time`);
    }
  }
});

t.test('diagonal', async (t) => {
  const pattern = SparsityPattern.diagonal(4);
  t.equal(pattern.kind, 'diagonal');
  t.same(keys(pattern), ['0,0', '1,1', '2,2', '3,3']);
});

t.test('banded', async (t) => {
  for (const r of [1, 2, 5, 12]) {
    for (const lower of [0, 1, 3, 11, 20]) {
      for (const upper of [0, 2, 4, 20]) {
        const pattern = SparsityPattern.banded(r, { lower, upper });
        const expected: string[] = [];
        for (let i = 0; i < r; i++)
          for (let j = 0; j < r; j++) if (i - j <= lower && j - i <= upper) expected.push(`${i},${j}`);
        t.same(keys(pattern), expected, `r ${r}, lower ${lower}, upper ${upper}`);
      }
    }
    for (const d of [0, 1, 4, 30]) {
      const pattern = SparsityPattern.banded(r, d);
      t.same(keys(pattern), keys(SparsityPattern.banded(r, { lower: d, upper: d })), `r ${r}, d ${d}: both sides`);
      t.equal(pattern.entries, bandEntries(r, d), `r ${r}, d ${d}: z(r, d) entries`);
    }
  }
  t.equal(SparsityPattern.banded(6, 2).kind, 'banded');
});

t.test('random', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 40 }), fc.nat(), fc.nat(), async (r, size, seed) => {
      const entries = 1 + (size % (r * r));
      const pattern = SparsityPattern.random(r, { entries }, { seed });
      if (pattern.entries !== entries || new Set(keys(pattern)).size !== entries) throw new Error(`${keys(pattern)}`);
      if (keys(SparsityPattern.random(r, { entries }, { seed })).join() !== keys(pattern).join())
        throw new Error('seed');
    }),
    { seed: 1 },
  );
  t.pass('without replacement: as many distinct cells as asked for, the same for the same seed');

  for (const [r, d] of [
    [1, 3],
    [6, 2],
    [6, 9],
    [64, 2],
  ] as const) {
    const pattern = SparsityPattern.random(r, { offDiagonals: d }, { seed: 2 });
    t.equal(pattern.entries, bandEntries(r, d), `r ${r}, offDiagonals ${d}: as many as the band has`);
  }

  const whole = SparsityPattern.random(5, { entries: 25 }, { seed: 3 });
  t.same(keys(whole), keys(SparsityPattern.banded(5, 5)), 'all cells');

  const first = SparsityPattern.random(30, { entries: 90 }, { seed: 1 });
  const second = SparsityPattern.random(30, { entries: 90 }, { seed: 2 });
  t.notSame(keys(first), keys(second), 'another seed, another pattern');
  checkCsr(t, first, 30, 'seed 1');

  for (const entries of [12, 13, 40]) {
    const pattern = SparsityPattern.random(12, { entries }, { seed: 4, includeDiagonal: true });
    const cells = new Set(keys(pattern));
    t.ok(
      Array.from({ length: 12 }, (_, i) => cells.has(`${i},${i}`)).every(Boolean),
      `${entries} entries: the diagonal is there`,
    );
    t.same([pattern.entries, cells.size], [entries, entries], `${entries} entries: the diagonal counts among them`);
  }
  throwsSigma(
    t,
    () => SparsityPattern.random(12, { entries: 11 }, { seed: 4, includeDiagonal: true }),
    'INVALID_ARGUMENT',
    'too few entries for the diagonal',
    'entries',
    '11',
    '12',
  );
  throwsSigma(
    t,
    () => SparsityPattern.random(3, { entries: 10 }, { seed: 1 }),
    'INVALID_ARGUMENT',
    'more cells than there are',
    'entries',
    '10',
    '9',
  );
});

t.test('random without replacement is uniform', async (t) => {
  // 4,000 draws of 8 cells of 16: each cell is expected 2,000 times, with a standard deviation of 32.
  const counts = new Float64Array(16);
  for (let seed = 0; seed < 4000; seed++) {
    for (const { row, column } of coordinates(SparsityPattern.random(4, { entries: 8 }, { seed }))) {
      counts[row * 4 + column] = at(counts, row * 4 + column) + 1;
    }
  }
  t.ok(
    counts.every((count) => Math.abs(count - 2000) < 200),
    `each cell about 2,000 times: ${counts}`,
  );
});

t.test('random with replacement', async (t) => {
  // r = 256, d = 16 gives 489 duplicates among 8,176 on average.
  const pattern = SparsityPattern.random(256, { offDiagonals: 16 }, { seed: 6, replacement: true });
  checkCsr(t, pattern, 256, 'with replacement');
  t.equal(pattern.entries, bandEntries(256, 16));
  const duplicates = pattern.entries - new Set(keys(pattern)).size;
  t.ok(duplicates > 380 && duplicates < 600, `${duplicates} duplicates, about 489 are expected`);
  const more = SparsityPattern.random(2, { entries: 50 }, { seed: 6, replacement: true });
  t.equal(more.entries, 50, 'more entries than cells');
  const diagonal = SparsityPattern.random(5, { entries: 60 }, { seed: 6, replacement: true, includeDiagonal: true });
  checkCsr(t, diagonal, 5, 'with replacement, and the diagonal');
  const drawn = new Set(keys(diagonal));
  t.same([diagonal.entries, drawn.has('0,0'), drawn.has('4,4')], [60, true, true], 'the diagonal is there as well');
});

t.test('a seed gives the same pattern on every platform and in every version', async (t) => {
  // Saved adapters depend on these patterns, so a change breaks them.
  const plain = SparsityPattern.random(7, { entries: 6 }, { seed: 42 });
  t.equal(keys(plain).join(' '), '0,2 0,4 1,4 3,4 4,0 4,2');
  const repeated = SparsityPattern.random(7, { entries: 6 }, { seed: 42, replacement: true });
  t.equal(keys(repeated).join(' '), '0,1 0,2 0,4 0,4 1,6 5,3');
  const diagonal = SparsityPattern.random(7, { entries: 9 }, { seed: 42, includeDiagonal: true });
  t.equal(keys(diagonal).join(' '), '0,0 1,1 2,2 3,3 4,3 4,4 5,5 6,1 6,6');
});

// ── top-k ────────────────────────────────────────────────────────────────────────────────────────────────

/** The largest alignments uᵢ · vⱼ by brute force. */
function bestAlignments(u: Tensor, vt: Tensor, r: number, entries: number, absolute: boolean): string[] {
  const [left, right] = [snapshot(u), snapshot(vt)];
  const scores: { key: string; score: number }[] = [];
  for (let i = 0; i < r; i++) {
    for (let j = 0; j < r; j++) {
      let dot = 0;
      for (let k = 0; k < r; k++) dot += at(left, k * r + i) * at(right, j * r + k);
      scores.push({ key: `${i},${j}`, score: absolute ? Math.abs(dot) : dot });
    }
  }
  scores.sort((a, b) => b.score - a.score);
  return scores.slice(0, entries).map(({ key }) => key);
}

t.test('top-k', async (t) => {
  for (const dtype of ['float32', 'float64'] as const) {
    for (const r of [1, 4, 15]) {
      const random = seeded(r);
      const u = real(orthonormal(random, r, r), [r, r], dtype);
      const vt = real(orthonormal(random, r, r), [r, r], dtype);
      for (const entries of [1, r, Math.ceil((r * r) / 3), r * r]) {
        for (const absolute of [true, false]) {
          const pattern = SparsityPattern.topK(u, vt, { entries }, { absolute });
          checkCsr(t, pattern, r, `top ${entries} of ${r}²`);
          t.same(
            new Set(keys(pattern)),
            new Set(bestAlignments(u, vt, r, entries, absolute)),
            `top ${entries} of ${r}², ${dtype}, ${absolute ? 'by magnitude' : 'signed'}`,
          );
        }
      }
      const byDefault = SparsityPattern.topK(u, vt, { offDiagonals: 1 });
      t.equal(byDefault.entries, bandEntries(r, 1), 'as many as a band of 1');
      t.same(
        new Set(keys(byDefault)),
        new Set(bestAlignments(u, vt, r, byDefault.entries, true)),
        'by magnitude unless told otherwise',
      );
      disposeAll(u, vt);
    }
  }
  // The alignments of the identity with itself are all 0 or 1.
  const unit = real([1, 0, 0, 0, 1, 0, 0, 0, 1], [3, 3], 'float64');
  t.same(keys(SparsityPattern.topK(unit, unit, { entries: 2 })), ['0,0', '1,1'], 'of equals the first');
  t.same(keys(SparsityPattern.topK(unit, unit, { entries: 5 })), ['0,0', '0,1', '0,2', '1,1', '2,2'], 'also of zeros');
  disposeAll(unit);
  const tall = gaussian(seeded(1), [6, 4], 'float32');
  const square = gaussian(seeded(1), [4, 4], 'float32');
  throwsSigma(
    t,
    () => SparsityPattern.topK(tall, square, { entries: 3 }),
    'SHAPE_MISMATCH',
    'a rectangular weight',
    '6',
    '4',
  );
  throwsSigma(
    t,
    () => SparsityPattern.topK(square, square, { entries: 17 }),
    'INVALID_ARGUMENT',
    'too many',
    'entries',
    '17',
    '16',
  );
  disposeAll(tall, square);
});

// ── coordinates ──────────────────────────────────────────────────────────────────────────────────────────

t.test('coordinates', async (t) => {
  const rows = [2, 0, 2, 1, 0, 2];
  const columns = [0, 3, 0, 1, 0, 3];
  const pattern = SparsityPattern.fromCoordinates(rows, columns, 4);
  checkCsr(t, pattern, 4, 'coordinates');
  t.equal(pattern.kind, 'csr');
  t.equal(pattern.entries, 6, 'duplicates keep a slot each');
  const { slots } = pattern;
  if (!slots) throw new Error('slots are there for coordinates');
  t.same([...slots].sort(), [0, 1, 2, 3, 4, 5], 'slots are a permutation');
  const cells = coordinates(pattern);
  rows.forEach((row, p) => {
    t.same(item(cells, at(slots, p)), { row, column: columns[p] }, `slots[${p}] is the slot of coordinate ${p}`);
  });
  t.ok(at(slots, 0) < at(slots, 2), 'duplicates keep their order');

  const given = [2, 0, 2, 1, 0, 2];
  const kept = SparsityPattern.fromCoordinates(given, columns, 4);
  given.fill(3);
  t.same(keys(kept), keys(pattern), 'the arrays are copied');

  const typed = SparsityPattern.fromCoordinates(Int32Array.from(rows), Uint8Array.from(columns), 4);
  t.same(keys(typed), keys(pattern), 'typed arrays');
});

t.test('coordinates, any order and any duplicates', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 12 }),
      fc.array(fc.tuple(fc.nat(), fc.nat()), { minLength: 1, maxLength: 60 }),
      async (r, pairs) => {
        const rows = pairs.map(([i]) => i % r);
        const columns = pairs.map(([, j]) => j % r);
        const pattern = SparsityPattern.fromCoordinates(rows, columns, r);
        const cells = coordinates(pattern);
        const slots = pattern.slots ?? new Int32Array();
        if (pattern.entries !== pairs.length || new Set(slots).size !== pairs.length) throw new Error('a permutation');
        rows.forEach((row, p) => {
          const cell = item(cells, at(slots, p));
          if (cell.row !== row || cell.column !== columns[p]) throw new Error(`coordinate ${p}`);
        });
      },
    ),
    { seed: 2 },
  );
  t.pass('slots lead from each coordinate to its cell');
});

t.test('a pattern is immutable', async (t) => {
  const pattern = SparsityPattern.banded(3, 1);
  const loose = pattern as unknown as Record<string, unknown>;
  for (const key of ['kind', 'entries', 'shape', 'rowPointers', 'columnIndices']) {
    const before = loose[key];
    try {
      loose[key] = undefined;
    } catch {
      // A frozen object throws in strict mode, or ignores the write.
    }
    t.equal(loose[key], before, `${key} cannot be replaced`);
  }
});

t.test('patterns refuse invalid arguments', async (t) => {
  for (const r of [0, -1, 1.5, Number.NaN, Infinity, 2 ** 31]) {
    throwsSigma(t, () => SparsityPattern.diagonal(r), 'INVALID_ARGUMENT', `diagonal of ${r}`, 'r', String(r));
    throwsSigma(t, () => SparsityPattern.banded(r, 0), 'INVALID_ARGUMENT', `banded, r = ${r}`, 'r', String(r));
    throwsSigma(
      t,
      () => SparsityPattern.random(r, { entries: 1 }, { seed: 1 }),
      'INVALID_ARGUMENT',
      `random, r = ${r}`,
      'r',
      String(r),
    );
    throwsSigma(
      t,
      () => SparsityPattern.fromCoordinates([0], [0], r),
      'INVALID_ARGUMENT',
      `coordinates, r = ${r}`,
      'r',
      String(r),
    );
  }
  for (const d of [-1, 0.5, Number.NaN, '2', null] as unknown as number[]) {
    throwsSigma(t, () => SparsityPattern.banded(4, d), 'INVALID_ARGUMENT', `${d} off-diagonals`, 'offDiagonals');
    throwsSigma(t, () => SparsityPattern.banded(4, { lower: d, upper: 1 }), 'INVALID_ARGUMENT', `lower ${d}`, 'lower');
  }
  for (const entries of [0, -2, 1.5, Number.NaN]) {
    throwsSigma(
      t,
      () => SparsityPattern.random(4, { entries }, { seed: 1 }),
      'INVALID_ARGUMENT',
      `${entries} entries`,
      'entries',
      String(entries),
    );
  }
  for (const seed of [0.5, Number.NaN, 'a', undefined] as unknown as number[]) {
    throwsSigma(
      t,
      () => SparsityPattern.random(4, { entries: 2 }, { seed }),
      'INVALID_ARGUMENT',
      `seed ${seed}`,
      'seed',
    );
  }
  throwsSigma(
    t,
    () => SparsityPattern.fromCoordinates([0, 4], [0, 0], 4),
    'INVALID_ARGUMENT',
    'a row out of range',
    'rows',
    '4',
  );
  throwsSigma(
    t,
    () => SparsityPattern.fromCoordinates([0, 0], [0, -1], 4),
    'INVALID_ARGUMENT',
    'a column out of range',
    'columns',
    '-1',
  );
  throwsSigma(t, () => SparsityPattern.fromCoordinates([0.5], [0], 4), 'INVALID_ARGUMENT', 'a fraction', 'rows', '0.5');
  throwsSigma(
    t,
    () => SparsityPattern.fromCoordinates([0, 1], [0], 4),
    ['SHAPE_MISMATCH', 'INVALID_ARGUMENT'],
    'lengths that differ',
    'columns',
    '2',
    '1',
  );
  throwsSigma(t, () => SparsityPattern.fromCoordinates([], [], 4), 'INVALID_ARGUMENT', 'no entries');
});

t.test('more entries than a pattern can hold', async (t) => {
  const most = String(2 ** 31 - 1);
  for (const [label, make] of [
    ['a number', () => SparsityPattern.banded(200_000, 199_999)],
    ['both sides', () => SparsityPattern.banded(200_000, { lower: 199_999, upper: 10 })],
  ] as const) {
    throwsSigma(t, make, 'INVALID_ARGUMENT', label, /^SparsityPattern\.banded: /, 'entries', most);
  }
});

t.test('the error states the bound that was exceeded', async (t) => {
  const most = String(2 ** 31 - 1);
  const least = /an integer of at least 1, got/;
  for (const r of [0, -1, 1.5]) {
    throwsSigma(t, () => SparsityPattern.diagonal(r), 'INVALID_ARGUMENT', `r = ${r}`, least, String(r));
  }
  throwsSigma(t, () => SparsityPattern.diagonal(2 ** 31), 'INVALID_ARGUMENT', 'too large', 'from 1 to', most);
  throwsSigma(
    t,
    () => SparsityPattern.banded(4, 2 ** 40),
    'INVALID_ARGUMENT',
    'a band too wide',
    'offDiagonals',
    'from 0 to',
    most,
  );
});

t.test('large seeds are distinct', async (t) => {
  const largest = Number.MAX_SAFE_INTEGER;
  const of = (seed: number): string => keys(SparsityPattern.random(30, { entries: 90 }, { seed })).join();
  // Seeds with equal low 32 bits are still distinct.
  const seeds = [
    0,
    5,
    2 ** 31 - 1,
    2 ** 31,
    2 ** 32,
    2 ** 32 + 5,
    2 ** 33 + 5,
    2 ** 40 + 5,
    2 ** 52,
    largest - 1,
    largest,
  ];
  const all = [...seeds, -1, -(2 ** 40), -largest];
  t.equal(new Set(all.map(of)).size, all.length, 'each gives a pattern of its own');
  for (const seed of all) t.equal(of(seed), of(seed), `${seed}: the same every time`);
  for (const seed of [largest + 1, -largest - 1]) {
    throwsSigma(t, () => of(seed), 'INVALID_ARGUMENT', `${seed}`, 'seed', String(largest));
  }
});

t.test('sizes from a band with different sides', async (t) => {
  const u = real(orthonormal(seeded(1), 9, 9), [9, 9], 'float64');
  const vt = real(orthonormal(seeded(2), 9, 9), [9, 9], 'float64');
  for (const [lower, upper] of [
    [0, 0],
    [0, 3],
    [2, 0],
    [2, 5],
    [40, 1],
    [40, 40],
  ] as const) {
    let entries = 0;
    for (let i = 0; i < 9; i++) for (let j = 0; j < 9; j++) if (i - j <= lower && j - i <= upper) entries++;
    const size = { offDiagonals: { lower, upper } };
    const label = `${lower} below, ${upper} above`;
    const random = SparsityPattern.random(9, size, { seed: 3 });
    t.equal(random.entries, entries, `random, ${label}`);
    t.same(keys(random), keys(SparsityPattern.random(9, { entries }, { seed: 3 })), `random, ${label}: as by entries`);
    const top = SparsityPattern.topK(u, vt, size);
    t.same(new Set(keys(top)), new Set(bestAlignments(u, vt, 9, entries, true)), `top-k, ${label}`);
  }
  for (const [label, bad, part] of [
    ['one side alone', { lower: 1 }, 'upper'],
    ['a third side', { lower: 1, upper: 1, middle: 1 }, 'middle'],
    ['a fraction', { lower: 0.5, upper: 1 }, 'lower'],
    ['below zero', { lower: 0, upper: -1 }, 'upper'],
    ['a pair', [1, 2], 'offDiagonals'],
    ['nothing', null, 'offDiagonals'],
  ] as const) {
    const offDiagonals = bad as unknown as number;
    for (const [name, make] of [
      ['banded', () => SparsityPattern.banded(9, offDiagonals)],
      ['random', () => SparsityPattern.random(9, { offDiagonals }, { seed: 1 })],
      ['top-k', () => SparsityPattern.topK(u, vt, { offDiagonals })],
    ] as const) {
      throwsSigma(t, make, 'INVALID_ARGUMENT', `${name}: ${label}`, 'offDiagonals', part);
    }
  }
  disposeAll(u, vt);
});
