/**
 * The addon's own checks, without lib/: a wrong length or type must never reach a kernel, whatever the TypeScript code
 * does.
 */
import { SigmaError } from 'sigmatune';
import t from 'tap';
import { addon, call } from '../support/addon.js';
import { rejectsSigma, throwsSigma } from '../support/helpers.js';

const single = (size: number): Float32Array => new Float32Array(size);
const double = (size: number): Float64Array => new Float64Array(size);
const pattern = call('pattern', Int32Array.of(0, 1, 2), Int32Array.of(0, 1));

t.test('an error has the class of `this` and the name of the calling function', async (t) => {
  class Own extends SigmaError {}
  const failure = (self: unknown): unknown => {
    try {
      addon['gemm']?.call(self, 'matmul', single(1), single(1), single(1), 2, 2, 2, false, false);
    } catch (error) {
      return error;
    }
    return undefined;
  };
  const own = failure(Object.create(addon, { SigmaError: { value: Own } }));
  t.ok(own instanceof Own);
  t.match(own, { op: 'matmul', code: 'INVALID_ARGUMENT', message: /^matmul: a: / });
  for (const self of [undefined, null, 5, {}, addon]) {
    t.match(failure(self), { name: 'Error', code: 'INVALID_ARGUMENT', message: /^a: / }, 'a plain error without one');
  }
});

t.test('patterns', async (t) => {
  const structures: [string, number[], number[]][] = [
    ['columnIndices', [0, 1, 2], [0, 2]],
    ['columnIndices', [0, 1, 2], [0, -1]],
    ['rowPointers', [0, 3, 2], [0, 1]],
    ['rowPointers', [0, -1, 2], [0, 1]],
    ['rowPointers', [1, 1, 2], [0, 1]],
    ['rowPointers', [0, 1, 1], [0, 1]],
    ['rowPointers', [0], []],
  ];
  for (const [name, rows, columns] of structures) {
    const make = (): unknown => call('pattern', Int32Array.from(rows), Int32Array.from(columns));
    throwsSigma(t, make, 'INVALID_ARGUMENT', `[${rows}], [${columns}]`, name);
  }
  throwsSigma(t, () => call('pattern', [0, 1], [0]), 'INVALID_ARGUMENT', 'plain arrays', 'rowPointers');
  const spmm = (handle: unknown, values: unknown, dense: unknown, out: unknown) => () =>
    call('spmm', handle, values, dense, out, 3, false);
  for (const bad of [{}, null, undefined, 5, single(2)]) {
    throwsSigma(t, spmm(bad, single(2), single(6), single(6)), 'INVALID_ARGUMENT', 'no handle', 'pattern');
  }
  throwsSigma(t, spmm(pattern, single(1), single(6), single(6)), 'INVALID_ARGUMENT', 'values', 'values', '2', '1');
  throwsSigma(t, spmm(pattern, single(2), single(5), single(6)), 'INVALID_ARGUMENT', 'dense', 'dense', '6', '5');
  throwsSigma(t, spmm(pattern, single(2), single(6), single(7)), 'INVALID_ARGUMENT', 'out', 'out', '6', '7');
  throwsSigma(t, spmm(pattern, single(2), double(6), single(6)), 'INVALID_ARGUMENT', 'types', 'out', 'float64');
});

t.test('products and optimisers', async (t) => {
  const gemm =
    (a: unknown, b: unknown, c: unknown, m = 2, n = 3, k = 4) =>
    () =>
      call('gemm', a, b, c, m, n, k, false, false);
  throwsSigma(t, gemm(single(7), single(12), single(6)), 'INVALID_ARGUMENT', 'a', 'a', '8', '7');
  throwsSigma(t, gemm(single(8), single(11), single(6)), 'INVALID_ARGUMENT', 'b', 'b', '12', '11');
  throwsSigma(t, gemm(single(8), single(12), single(5)), 'INVALID_ARGUMENT', 'c', 'c', '6', '5');
  throwsSigma(t, gemm(single(8), single(12), double(6)), 'INVALID_ARGUMENT', 'types', 'c', 'float64');
  throwsSigma(t, gemm(new Int32Array(8), single(12), single(6)), 'INVALID_ARGUMENT', 'integers', 'a', 'Float32Array');
  for (const bad of [0, -1, 1.5, Number.NaN, '2']) {
    throwsSigma(t, gemm(single(8), single(12), single(6), bad as number), 'INVALID_ARGUMENT', `m = ${bad}`, 'm');
  }
  throwsSigma(t, gemm(single(0), single(0), single(0), 2 ** 40, 2, 2 ** 40), 'INVALID_ARGUMENT', 'sizes', '2^53');
  const adamw = (gradient: unknown, m: unknown, v: unknown) => () =>
    call('adamw', [single(4), gradient, m, v], Float64Array.of(0.1, 0.9, 0.99, 1e-8, 0, 1));
  throwsSigma(t, adamw(single(3), single(4), single(4)), 'INVALID_ARGUMENT', 'gradient', 'gradient', '4', '3');
  throwsSigma(t, adamw(single(4), single(3), single(4)), 'INVALID_ARGUMENT', 'm', 'm', '4', '3');
  throwsSigma(t, adamw(single(4), single(4), double(4)), 'INVALID_ARGUMENT', 'v', 'v', 'float64');
  const four = [single(4), single(4), single(4), single(4)];
  for (const [what, tensors, settings] of [
    ['tensors: expected an array', single(4), new Float64Array(6)],
    ['settings: expected 6 numbers', four.slice(1), new Float64Array(6)],
    ['settings: expected 6 numbers', four, new Float64Array(5)],
    ['settings: expected 6 numbers', four, new Float32Array(6)],
    ['step: expected at least 1', four, new Float64Array(6)],
    ['step: expected at least 1', four, new Float64Array(6).fill(Number.NaN)],
  ] as const) {
    throwsSigma(t, () => call('adamw', tensors, settings), 'INVALID_ARGUMENT', what, what);
  }
});

t.test('supports', async (t) => {
  const supports = (operation: string, real: string, ...dtypes: string[]) =>
    call('supports', -1, operation, real, dtypes);
  t.equal(supports('gemm', 'float32', 'float32', 'float32', 'float32'), true);
  t.equal(supports('gemm', 'float64', 'float64'), true);
  t.equal(supports('gemm', 'float64', 'float32'), false, 'matrices that do not go with the vectors');
  t.equal(supports('gemm', 'float32', 'float32', 'float64', 'float32'), false, 'mixed matrices');
  t.equal(supports('gemm', 'float32', 'bfloat16', 'bfloat16', 'bfloat16'), true);
  t.equal(
    supports('gemm', 'float32', 'bfloat16', 'bfloat16', 'float32'),
    true,
    'a sum in the precision of the vectors',
  );
  t.equal(supports('gemm', 'float32', 'bfloat16', 'float32', 'float32'), false, 'factors of two types');
  t.equal(supports('gemm', 'float32', 'bfloat16', 'float16', 'float32'), false, 'two types of 16 bits');
  t.equal(supports('gemm', 'float32', 'float32', 'float32', 'bfloat16'), false, 'a result of fewer bits');
  t.equal(supports('gemm', 'float64', 'bfloat16'), false, 'narrow matrices next to float64 vectors');
  t.equal(supports('gemm', 'float32', 'int8'), false);
  t.equal(supports('adamw', 'float32'), true, 'an operation on vectors alone');
  throwsSigma(t, () => supports('gemv', 'float32'), 'INVALID_ARGUMENT', 'no such operation', 'operation', 'gemv');
  t.equal(supports('gemm', 'float32', 'float16', 'float16', 'float16'), true);
  t.equal(supports('gemm', 'float32', 'float16', 'float16', 'float32'), true);
  t.equal(supports('gemm', 'float32', 'float16', 'bfloat16', 'float16'), false, 'two types of 16 bits');
  throwsSigma(t, () => supports('gemm', 'float8'), 'INVALID_ARGUMENT', 'no such type', 'real', 'float8');
  throwsSigma(t, () => call('supports', -1, 'gemm', 'float32', 'float32'), 'INVALID_ARGUMENT', 'no list', 'dtypes');
});

t.test('decompositions', async (t) => {
  const whole = {
    a: single(6),
    first: 0,
    u: single(4),
    s: single(2),
    vt: single(6),
    at: 0,
    rows: 2,
    columns: 3,
    rank: 2,
  };
  const svd = (problem: Record<string, unknown>) => async () => call('svd', 0, [{ ...whole, ...problem }]);
  for (const [name, wrong] of [
    ['a', single(5)],
    ['u', single(3)],
    ['s', single(1)],
    ['vt', single(5)],
    ['vt', double(6)],
    ['rows', 0],
    ['columns', 2.5],
    ['first', -1],
    ['at', 0.5],
    ['rank', 0],
    ['rank', 3],
    ['rank', undefined],
  ] as const) {
    await rejectsSigma(t, svd({ [name]: wrong }), 'INVALID_ARGUMENT', name, name);
  }
  await rejectsSigma(t, svd({ first: 1 }), 'INVALID_ARGUMENT', 'beyond the end', 'a', '1 + 6', '6');
  await rejectsSigma(t, svd({ at: 1 }), 'INVALID_ARGUMENT', 'beyond the results', 'u', '4 + 4', '4');
  await rejectsSigma(t, svd({ at: 2 ** 52 }), 'INVALID_ARGUMENT', 'far beyond', '2^53');
});

t.test('copies of blocks', async (t) => {
  const copy = (...args: unknown[]) => {
    const to = single(6);
    call('copyMatrix', Float32Array.of(1, 2, 3, 4, 5, 6), ...args.slice(0, 2), to, ...args.slice(2));
    return [...to];
  };
  // the last two columns of (2, 3) to the first two of (2, 3)
  t.same(copy(1, 3, 0, 3, 2, 2), [2, 3, 0, 5, 6, 0]);
  t.same(copy(0, 6, 0, 6, 1, 6), [1, 2, 3, 4, 5, 6]);
  for (const [what, args] of [
    ['first', [2, 3, 0, 3, 2, 2]],
    ['rows', [0, 3, 0, 3, 3, 1]],
    ['target', [0, 3, 3, 3, 2, 2]],
    ['stride', [0, 1, 0, 3, 2, 2]],
    ['far', [2 ** 53 - 1, 3, 0, 3, 2, 2]],
  ] as const) {
    throwsSigma(t, () => copy(...args), 'INVALID_ARGUMENT', what);
  }
  throwsSigma(t, () => call('copyMatrix', single(4), 0, 2, double(4), 0, 2, 2, 2), 'INVALID_ARGUMENT', 'types', 'to');
});

t.test('adapters', async (t) => {
  // in 3, out 4, rank 2, on 5 tokens
  const terms = {
    base: null,
    u: single(8),
    vt: single(6),
    diagonal: single(2),
    offset: null,
    origin: null,
    rectified: false,
    pattern,
    values: single(2),
    gate: null,
  };
  const kept: unknown[] = []; // a handle does not keep its operands alive
  const layer = (more: object): unknown => {
    const all = { in: 3, out: 4, rank: 2, ...terms, bias: null, ...more };
    kept.push(all);
    return call('layer', all);
  };
  const saved = call('adapterSavedLength', 2, 5) as number;
  const forward =
    (more: object, x = single(15), y: unknown = single(20), p: unknown = single(saved)) =>
    () =>
      call('adapterForward', layer(more), x, y, p, 5);
  forward({})();
  forward({ diagonal: null, pattern: null, values: single(4) })();
  for (const [what, wrong] of [
    ['too few', { diagonal: null, pattern: null, values: single(3) }],
    ['a dense core and a diagonal', { pattern: null, values: single(4) }],
    ['gated', { diagonal: null, pattern: null, values: single(4), gate: single(1) }],
  ] as const) {
    throwsSigma(t, forward(wrong), 'INVALID_ARGUMENT', `a dense core, ${what}`, 'values');
  }
  const larger = call('pattern', Int32Array.of(0, 1, 2, 3), Int32Array.of(0, 1, 2));
  for (const [name, wrong] of [
    ['base', single(11)],
    ['u', single(7)],
    ['vt', single(7)],
    ['vt', double(6)],
    ['diagonal', single(1)],
    ['offset', single(3)],
    ['origin', single(3)],
    ['pattern', {}],
    ['values', single(3)],
    ['gate', single(2)],
    ['bias', single(3)],
  ] as const) {
    throwsSigma(t, forward({ [name]: wrong }), 'INVALID_ARGUMENT', name, name);
  }
  for (const bad of [{}, null, 5, pattern]) {
    const use = () => call('adapterForward', bad, single(15), single(20), null, 5);
    throwsSigma(t, use, 'INVALID_ARGUMENT', 'no handle', 'layer');
  }
  for (const name of ['in', 'out', 'rank']) {
    throwsSigma(t, () => layer({ [name]: 0 }), 'INVALID_ARGUMENT', name, name);
    throwsSigma(t, forward({ [name]: 7 }), 'INVALID_ARGUMENT', `another ${name}`);
  }
  throwsSigma(t, forward({ values: null }), 'INVALID_ARGUMENT', 'no values', 'values');
  throwsSigma(t, () => layer({ u: 5 }), 'INVALID_ARGUMENT', 'no operand', 'u');
  throwsSigma(t, forward({ pattern: larger, values: single(3) }), 'INVALID_ARGUMENT', 'a larger core', 'pattern');
  throwsSigma(t, forward({}, single(14)), 'INVALID_ARGUMENT', 'x', 'x', '15', '14');
  throwsSigma(t, forward({}, single(15), single(21)), 'INVALID_ARGUMENT', 'y', 'y', '20', '21');
  throwsSigma(t, forward({}, single(15), single(20), single(saved - 1)), 'INVALID_ARGUMENT', 'saved', 'saved');

  const none = [null, null, null, null];
  const absent: unknown[] = [null, null, null];
  const backward =
    (p: unknown, dy: unknown, dx: unknown, gradients: unknown[], x: unknown = null, snapshot = absent) =>
    () =>
      call('adapterBackward', layer({}), ...snapshot, p, x, dy, dx, ...gradients, 5);
  backward(null, single(20), single(15), none)();
  backward(null, single(20), null, [single(2), null, null, null], single(15))();
  backward(single(saved), single(20), null, [single(2), null, null, null], null, [single(2), single(2), null])();
  for (const [i, name] of ['diagonal', 'values', 'gate'].entries()) {
    const wrong = absent.map((_, j) => (i === j ? single(9) : null));
    throwsSigma(t, backward(null, single(20), null, none, null, wrong), 'INVALID_ARGUMENT', `snapshot, ${name}`, name);
  }
  throwsSigma(t, backward(double(saved), single(20), null, none), 'INVALID_ARGUMENT', 'saved in another type', 'saved');
  throwsSigma(t, backward(single(saved), single(19), null, none), 'INVALID_ARGUMENT', 'dy', 'dy', '20', '19');
  throwsSigma(t, backward(single(saved), single(20), single(14), none), 'INVALID_ARGUMENT', 'dx', 'dx', '15', '14');
  throwsSigma(t, backward(null, single(20), null, none, single(14)), 'INVALID_ARGUMENT', 'x', 'x', '15', '14');
  const project = (g: unknown, gradients: unknown[]) => () =>
    call('adapterProject', layer({}), ...absent, g, ...gradients.slice(0, 3));
  project(single(12), none)();
  throwsSigma(t, project(single(11), none), 'INVALID_ARGUMENT', 'g', 'g', '12', '11');
  for (const gradients of [
    [single(2), null, null, null],
    [null, single(2), null, null],
    [null, null, single(1), null],
  ]) {
    throwsSigma(t, backward(null, single(20), null, gradients), 'INVALID_ARGUMENT', 'nothing was kept', 'saved');
  }
  const weight =
    (more: { x?: unknown; dx?: unknown; dbias?: unknown; g?: unknown; w?: unknown; dy?: unknown }) => () => {
      const { w = single(12), x = null, dy = single(20), dx = null, dbias = null, g = null } = more;
      return call('weightBackward', w, x, dy, dx, dbias, g, false, 5, 3, 4);
    };
  weight({ x: single(15), dx: single(15), dbias: single(4), g: single(12) })();
  for (const [name, length, wrong] of [
    ['weight', 12, { w: single(11) }],
    ['x', 15, { x: single(14) }],
    ['dy', 20, { dy: single(19) }],
    ['dx', 15, { dx: single(14) }],
    ['dbias', 4, { dbias: single(3) }],
    ['g', 12, { x: single(15), g: single(11) }],
  ] as const) {
    throwsSigma(t, weight(wrong), 'INVALID_ARGUMENT', name, name, String(length));
  }
  throwsSigma(t, weight({ g: single(12) }), 'INVALID_ARGUMENT', 'x was not kept', 'x');
  for (const [i, name] of ['ddiagonal', 'dvalues', 'dgate', 'dbias'].entries()) {
    const wrong = none.map((_, j) => (i === j ? single(9) : null));
    throwsSigma(t, backward(single(saved), single(20), null, wrong), 'INVALID_ARGUMENT', name, name);
    if (name === 'dbias') continue; // a projection has none
    throwsSigma(t, project(single(12), wrong), 'INVALID_ARGUMENT', `project, ${name}`, name);
  }
});

t.test('a batch through many adapters', async (t) => {
  const pattern = call('pattern', Int32Array.of(0, 1, 2), Int32Array.of(1, 0));
  const kept: unknown[] = [];
  const layer = (more: object = {}): unknown => {
    const terms = {
      in: 3,
      out: 4,
      rank: 2,
      base: null,
      u: single(8),
      vt: single(6),
      diagonal: single(2),
      offset: null,
      origin: null,
      transposed: false,
      rectified: false,
      pattern,
      values: single(2),
      gate: single(1),
      bias: single(4),
      ...more,
    };
    kept.push(terms);
    return call('layer', terms);
  };
  const order = call('pattern', Int32Array.of(0, 1, 2, 3, 4, 5), Int32Array.of(4, 2, 0, 1, 3));
  const [first, second] = [layer(), layer({ u: single(8) })];
  const whole = {
    layers: [first, second] as unknown,
    starts: Int32Array.of(0, 2, 5) as unknown,
    order: order as unknown,
    ones: single(5).fill(1) as unknown,
  };
  const saved = (call('adapterSavedLength', 2, 2) as number) + (call('adapterSavedLength', 2, 3) as number);
  const forward =
    (more: Partial<typeof whole>, x: unknown = single(15), y: unknown = single(20), p: unknown = single(saved)) =>
    () => {
      const { layers, starts, order: by, ones } = { ...whole, ...more };
      return call('eachForward', layers, starts, by, ones, x, y, p);
    };
  forward({})();
  forward({ order: null, ones: null })();
  const larger = call('pattern', Int32Array.of(0, 1, 2, 3), Int32Array.of(0, 1, 2));
  const twice = call('pattern', Int32Array.of(0, 1, 2, 3, 4, 5), Int32Array.of(4, 2, 0, 1, 4));
  const uneven = call('pattern', Int32Array.of(0, 2, 2, 3, 4, 5), Int32Array.of(1, 4, 2, 0, 3));
  for (const [name, more] of [
    ['layers', { layers: 5 }],
    ['layers', { layers: [] }],
    ['layer', { layers: [first, {}] }],
    ['starts', { starts: Int32Array.of(0, 5) }],
    ['starts', { starts: Int32Array.of(1, 2, 5) }],
    ['starts', { starts: Int32Array.of(0, 2, 2) }],
    ['starts', { starts: Int32Array.of(0, 6, 5) }],
    ['starts', { starts: single(3) }],
    ['order', { order: {} }],
    ['order', { order: larger }],
    ['order', { order: twice }],
    ['order', { order: uneven }],
    ['ones', { ones: single(4) }],
    ['layers[1]', { layers: [first, layer({ in: 2, vt: single(4) })] }],
  ] as const) {
    throwsSigma(t, forward(more), 'INVALID_ARGUMENT', name, name);
  }
  throwsSigma(t, forward({ starts: Int32Array.of(0, 2, 4) }), 'INVALID_ARGUMENT', 'fewer rows than the order', 'order');
  throwsSigma(t, forward({}, single(14)), 'INVALID_ARGUMENT', 'x', 'x', '15', '14');
  throwsSigma(t, forward({}, double(15)), 'INVALID_ARGUMENT', 'x in another type', 'x');
  throwsSigma(t, forward({}, single(15), single(19)), 'INVALID_ARGUMENT', 'y', 'y', '20', '19');
  throwsSigma(t, forward({}, single(15), single(20), single(saved - 1)), 'INVALID_ARGUMENT', 'saved', 'saved');

  const none = Array(8).fill(null);
  const backward =
    (p: unknown, dy: unknown, dx: unknown, gradients: unknown = none, snapshots: unknown = Array(6).fill(null)) =>
    () =>
      call('eachBackward', ...Object.values(whole), snapshots, p, dy, dx, gradients);
  const all = [single(2), single(2), single(1), single(4), null, single(2), null, null];
  backward(single(saved), single(20), single(15), all)();
  backward(null, single(20), null)();
  throwsSigma(t, backward(null, single(20), null, all), 'INVALID_ARGUMENT', 'nothing was kept', 'saved');
  throwsSigma(t, backward(single(saved), single(19), null, all), 'INVALID_ARGUMENT', 'dy', 'dy', '20', '19');
  throwsSigma(t, backward(single(saved), single(20), single(16), all), 'INVALID_ARGUMENT', 'dx', 'dx', '15', '16');
  throwsSigma(t, backward(single(saved), single(20), null, all.slice(1)), 'INVALID_ARGUMENT', 'gradients', 'gradients');
  throwsSigma(t, backward(single(saved), single(20), null, none, []), 'INVALID_ARGUMENT', 'snapshots', 'snapshots');
  for (const [i, name] of ['ddiagonal', 'dvalues', 'dgate', 'dbias'].entries()) {
    const wrong = none.map((_, j) => (j === 4 + i ? single(9) : null));
    throwsSigma(t, backward(single(saved), single(20), null, wrong), 'INVALID_ARGUMENT', name, name);
  }
  for (const [i, name] of ['diagonal', 'values', 'gate'].entries()) {
    const wrong = Array.from({ length: 6 }, (_, j) => (j === 3 + i ? single(9) : null));
    throwsSigma(t, backward(null, single(20), null, none, wrong), 'INVALID_ARGUMENT', `snapshot, ${name}`, name);
  }
});
