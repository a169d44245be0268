/**
 * Large results are aligned to a cache line. The memory of disposed results is reused, unless other code may still see
 * it. The tests inspect the reuse cache through the addon.
 */
import { existsSync, readFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import {
  AdamW,
  clipGradNorm,
  matmul,
  memory,
  type Parameter,
  type Real,
  SparsityPattern,
  sddmm,
  spmm,
  svd,
  svft,
  Tensor,
  tensor,
  tidy,
  zeros,
} from 'sigmatune';
import t from 'tap';
import { addon, call } from '../support/addon.js';
import { dtypes, families } from '../support/cases.js';
import {
  assertSameBits,
  type Check,
  cpuOnly,
  disposeAll,
  disposeSvd,
  gaussian,
  seeded,
  snapshot,
  throwsSigma,
} from '../support/helpers.js';
import { bench, disposeLayer, makeLayer, perturb } from '../support/layer.js';

const line = 64;

/** Takes a cached buffer for a result of `bytes` bytes. */
function free(bytes: number): ArrayBuffer | undefined {
  return call('takeBuffer', bytes + line) as ArrayBuffer | undefined;
}

/** Empties the cache for this size. */
function drain(bytes: number): void {
  while (free(bytes) !== undefined);
}

const side = 64;
const bytes = 4 * side * side;
const random = seeded(1);
const a = gaussian(random, [side, side], 'float32');
const b = gaussian(random, [side, side], 'float32');
const product = snapshot(matmul(a, b));

/** A new result of `bytes` bytes; the cache for that size is empty. */
function result(): Tensor<'float32', readonly [number, number]> {
  drain(bytes);
  return matmul(a, b);
}

function detach(buffer: ArrayBufferLike): void {
  structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });
}

/** Whether an array is aligned to a cache line. */
function onLine({ buffer, byteOffset }: Float32Array | Float64Array | Int32Array | Uint16Array): boolean {
  return ((call('prepareBuffer', buffer) as number) - byteOffset) % line === 0;
}

t.test('large arrays are aligned to a cache line', { skip: cpuOnly }, async (t) => {
  for (const dtype of dtypes) {
    for (const [rows, columns] of [
      [32, 32],
      [33, 65],
      [700, 301],
    ] as const) {
      const x = gaussian(random, [rows, columns], dtype);
      const pattern = SparsityPattern.banded(rows, 40);
      const m = gaussian(random, [pattern.entries], dtype);
      const made = {
        tensor: x,
        zeros: zeros([rows, columns], { dtype }),
        matmul: matmul(x, x, { transposeA: true }),
        spmm: spmm(pattern, m, x),
        sddmm: sddmm(pattern, x, x),
        cast: x.cast(dtype === 'float32' ? 'float64' : 'float32'),
        values: m,
      };
      for (const [name, each] of Object.entries(made)) {
        const array = each.dataSync();
        t.ok(onLine(array), `${name} ${dtype} ${rows} × ${columns}`);
        t.ok(array instanceof (each.dtype === 'float32' ? Float32Array : Float64Array), `${name}: its own kind`);
        t.equal(array.length, each.size, `${name}: of its own length`);
      }
      disposeAll(...Object.values(made));
    }
  }
  const weight = gaussian(random, [side, side], 'float32');
  const factors = await svd(weight);
  const layer = await svft(weight, { factors, pattern: 'banded', offDiagonals: 9 });
  const pass = layer.forward(a);
  const dx = pass.backward(b);
  const [merged, grad] = [layer.mergedWeight(), layer.parameters[0]?.grad];
  const made = { u: factors.u, vt: factors.vt, y: pass.y, dx, merged, grad, m: layer.parameters[0]?.value };
  for (const [name, each] of Object.entries(made)) t.ok(onLine((each as Tensor<Real>).dataSync()), name);
  disposeLayer(layer);
  disposeSvd(factors);
  disposeAll(pass.y, dx, merged, weight);
  const half = zeros([4096], { dtype: 'bfloat16' });
  t.ok(onLine(half.dataSync()), 'bfloat16');
  const whole = zeros([4096], { dtype: 'int32' });
  t.ok(onLine(whole.dataSync()), 'int32');
  disposeAll(half, whole);
});

t.test('the memory of a disposed result is reused for the next result of its size', { skip: cpuOnly }, async (t) => {
  const ways: Record<string, () => void> = {
    dispose: () => result().dispose(),
    using: () => {
      using _ = result();
    },
    tidy: () => {
      tidy(() => {
        result();
      });
    },
    'the last of two owners': () => {
      const one = result();
      const other = one.reshape([side * side]);
      one.dispose();
      t.equal(free(bytes), undefined, 'not before the last one');
      other.dispose();
    },
  };
  for (const [way, dispose] of Object.entries(ways)) {
    const before = memory();
    dispose();
    const buffer = free(bytes);
    t.ok(buffer instanceof ArrayBuffer, `${way}: is ready`);
    call('parkBuffer', buffer);
    const next = matmul(a, b);
    t.equal(next.dataSync().buffer, buffer, `${way}: is used`);
    assertSameBits(t, next, product, `${way}: for the same numbers`);
    next.dispose();
    t.equal(memory().bytes['cpu'], before.bytes['cpu'], `${way}: and counts only while it lives`);
  }
  result().dispose();
  const [one, other] = [matmul(a, b), matmul(a, b)];
  t.not(one.dataSync().buffer, other.dataSync().buffer, 'one at a time');
  disposeAll(one, other);
});

t.test('the memory of a pass is reused', { skip: cpuOnly }, async (t) => {
  const layer = await svft(a, { strategy: 'factored' });
  // y, dx and P differ in size.
  const sizes = { y: 4 * 100 * side, dx: 4 * 100 * side, p: 4 * side * (call('adapterSavedLength', 1, 100) as number) };
  const x = gaussian(random, [100, side], 'float32');
  const pass = layer.forward(x);
  for (const size of Object.values(sizes)) drain(size);
  t.equal(free(sizes.p), undefined, 'P is kept');
  const dx = pass.backward(x);
  t.ok(free(sizes.p), 'until backward');
  disposeAll(pass.y, dx);
  t.ok(free(sizes.y) && free(sizes.dx), 'y and dx');
  const unused = layer.forward(x);
  drain(sizes.p);
  unused.dispose();
  t.ok(free(sizes.p), 'or until the pass is disposed');
  unused.y.dispose();
  disposeLayer(layer);
  x.dispose();
});

t.test('memory that the caller may still see is not reused', { skip: cpuOnly }, async (t) => {
  const held: unknown[] = [];
  const shown: Record<string, (one: Tensor<'float32', readonly [number, number]>) => unknown> = {
    dataSync: (one) => one.dataSync(),
    data: (one) => one.data(),
    'dataSync of a handle': (one) => {
      const other = one.reshape([side * side]);
      held.push(other.dataSync());
      other.dispose();
    },
    'a tensor wrapped around it': (one) => Tensor.wrap(one.dataSync(), [side, side]).dispose(),
  };
  for (const [way, show] of Object.entries(shown)) {
    const one = result();
    held.push(await show(one));
    one.dispose();
    t.equal(free(bytes), undefined, way);
  }
  const array = new Float32Array(side * side).fill(5);
  Tensor.wrap(array, [side, side]).dispose();
  t.equal(free(bytes), undefined, "a caller's own array");
  const whole = new Float32Array(new ArrayBuffer(bytes + line), line, side * side);
  Tensor.wrap(whole, [side, side]).dispose();
  t.equal(free(bytes), undefined, "a caller's own array of such a form");

  const one = result();
  const seen = one.dataSync();
  one.dispose();
  const other = matmul(b, a);
  assertSameBits(t, seen, product, 'an array that was shown keeps its numbers');
  other.dispose();
});

t.test('memory with another owner is not reused', { skip: cpuOnly }, async (t) => {
  const weight = gaussian(random, [side, side], 'float32');
  const layer = await svft(weight, { strategy: 'merged', borrowInputs: true });
  const x = result();
  const pass = layer.forward(x);
  x.dispose();
  t.equal(free(bytes), undefined, 'the input of a pass that borrows it');
  const others = [matmul(a, a), matmul(b, b)];
  const dx = pass.backward(b);
  const wanted = tensor(product, [side, side], { dtype: 'float32' });
  const again = layer.forward(wanted);
  const before = snapshot(layer.parameters[0]?.grad as Tensor);
  layer.parameters[0]?.grad?.dispose();
  for (const parameter of layer.parameters) parameter.grad = null;
  disposeAll(again.backward(b));
  assertSameBits(t, layer.parameters[0]?.grad as Tensor, before, 'which has the numbers it had');
  disposeAll(...others, dx, pass.y, again.y, wanted);
  disposeLayer(layer);

  // The weight may be disposed while the layer and a pass live.
  const base = result();
  const lowrank = await svft(base, { rank: 8, strategy: 'lowrank' });
  const open = lowrank.forward(a);
  drain(bytes); // the decomposition left some
  base.dispose();
  t.equal(free(bytes), undefined, 'the weight of a layer');
  const factored = await svft(weight, { strategy: 'factored' });
  const kept = factored.forward(a);
  drain(bytes);
  factored.factors.u.dispose();
  t.equal(free(bytes), undefined, 'factors that a pass has read');
  disposeAll(open.backward(b), open.y, kept, kept.y);
  for (const each of [lowrank, factored]) disposeLayer(each);
  weight.dispose();
});

t.test('memory that an asynchronous call uses is not reused', { skip: cpuOnly }, async (t) => {
  const matrices = Array.from({ length: 6 }, () => matmul(a, b));
  const wanted = await svd(tensor(product, [side, side], { dtype: 'float32' }));
  drain(bytes);
  const waiting = svd(matrices);
  disposeAll(...matrices);
  t.equal(free(bytes), undefined, 'matrices that wait their turn');
  const others = Array.from({ length: 8 }, () => matmul(b, a));
  for (const found of await waiting) {
    assertSameBits(t, found.u, wanted.u, 'u');
    assertSameBits(t, found.s, wanted.s, 's');
    disposeSvd(found);
  }
  disposeAll(...others);
  disposeSvd(wanted);
});

t.test('a detached buffer is not reused', { skip: cpuOnly }, async (t) => {
  result().dispose();
  const buffer = free(bytes) as ArrayBuffer;
  call('parkBuffer', buffer);
  detach(buffer);
  t.equal(free(bytes), undefined, 'while it lay ready');
  const one = result();
  detach(one.dataSync().buffer);
  one.dispose();
  t.equal(free(bytes), undefined, 'or before');
  t.equal(free(0 - line), undefined, 'nor as an empty one');
});

/** Bytes of this process's memory for which huge pages were asked. */
function hugeBytes(): number {
  const areas = readFileSync('/proc/self/smaps', 'utf8').matchAll(/^Size: +(\d+) kB\n(?:.*\n)*?VmFlags:(.*)$/gm);
  return [...areas].reduce((sum, [, size, flags]) => sum + (/\bhg\b/.test(flags ?? '') ? 1024 * Number(size) : 0), 0);
}

const noHugePages = !existsSync('/sys/kernel/mm/transparent_hugepage') && 'about systems with huge pages';

t.test('huge pages are asked for under large arrays', { skip: cpuOnly || noHugePages }, async (t) => {
  const large = 64 << 20;
  const before = hugeBytes();
  const one = zeros([large / 4]);
  const two = zeros([large / 4]);
  t.ok(hugeBytes() - before >= 2 * (large - (4 << 20)), `${hugeBytes() - before} of ${2 * large} bytes`);
  disposeAll(one, two);
});

t.test('the cache is bounded', { skip: cpuOnly }, async (t) => {
  const buffers = Array.from({ length: 3000 }, (_, i) => new ArrayBuffer(10 + i));
  for (const buffer of buffers) call('parkBuffer', buffer);
  const found = buffers.filter((buffer) => call('takeBuffer', buffer.byteLength) !== undefined);
  t.ok(found.length >= 256 && found.length <= 1024, `${found.length} of 3000`);
  t.equal(found.at(-1), buffers.at(-1), 'the latest among them');
  for (const bad of [undefined, null, 5, new Float32Array(2), new SharedArrayBuffer(8)]) {
    throwsSigma(t, () => call('parkBuffer', bad), 'INVALID_ARGUMENT', 'no buffer', 'buffer');
    throwsSigma(t, () => call('prepareBuffer', bad), 'INVALID_ARGUMENT', 'no buffer', 'buffer');
  }
  for (const bad of [-1, 1.5, Number.NaN, '8', undefined]) {
    throwsSigma(t, () => call('takeBuffer', bad), 'INVALID_ARGUMENT', `${bad}`, 'byteLength');
  }
});

t.test('cached buffers can be garbage-collected', { skip: cpuOnly }, async (t) => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const bytes = 123_456;
  call('parkBuffer', new ArrayBuffer(bytes));
  await setImmediate();
  collect();
  t.equal(call('takeBuffer', bytes), undefined, 'it is held weakly');
});

t.test('a getter that disposes an operand in the middle of a call', { skip: cpuOnly }, async (t) => {
  const weight = gaussian(random, [side, side], 'float32');
  const layer = await svft(weight, { strategy: 'factored' });
  const gate = layer.parameters[1] as Parameter;
  const during = (body: () => void) => {
    Object.defineProperty(gate, 'trainable', {
      configurable: true,
      get: () => {
        body();
        return true;
      },
    });
  };
  const x = result();
  during(() => x.dispose());
  throwsSigma(t, () => layer.forward(x), 'DISPOSED', 'x of forward', /(^|[^\w.])x:/);
  during(() => undefined);
  const pass = layer.forward(a);
  const dy = result();
  during(() => dy.dispose());
  throwsSigma(t, () => pass.backward(dy), 'DISPOSED', 'dy of backward', 'dy');
  during(() => pass.dispose());
  throwsSigma(t, () => pass.backward(b), 'DISPOSED', 'a pass in its backward', 'this pass');
  during(() => undefined);
  disposeAll(pass, pass.y);

  const one = result();
  const numbers = Object.defineProperty({ length: side * side } as number[], 0, {
    get: () => {
      one.dispose();
      return 1;
    },
  });
  for (let i = 1; i < side * side; i++) numbers[i] = 1;
  throwsSigma(t, () => one.assign(numbers), 'DISPOSED', 'the tensor that is assigned to', 'this');

  const parameters: Parameter[] = [1, 2].map((i) => ({
    name: `p${i}`,
    value: zeros([side, side]),
    grad: result(),
    trainable: true,
  }));
  const [first, second] = parameters as [Parameter, Parameter];
  const { grad } = second;
  const disposing = {
    get: () => {
      first.grad?.dispose();
      return grad;
    },
  };
  Object.defineProperty(second, 'grad', disposing);
  throwsSigma(t, () => new AdamW(parameters).step(), 'DISPOSED', 'a gradient of a step', 'p1.grad');
  first.grad = result();
  throwsSigma(t, () => clipGradNorm(parameters, 1), 'DISPOSED', 'a gradient to be clipped', 'p1.grad');
  disposeAll(grad, ...parameters.map(({ value }) => value), weight);
  disposeLayer(layer);
});

// ── stale numbers ─────────────────────────────────────────────────────────────────────────────────────────

/** Runs `body` with every result in memory full of NaN, and counts the buffers. */
async function poisoned<T>(body: () => Promise<T>): Promise<{ made: T; taken: number }> {
  const { takeBuffer } = addon;
  let taken = 0;
  addon['takeBuffer'] = (_op, size) => {
    const buffer = new ArrayBuffer(size as number);
    new Uint8Array(buffer).fill(255);
    taken++;
    return buffer;
  };
  try {
    return { made: await body(), taken };
  } finally {
    addon['takeBuffer'] = takeBuffer as () => unknown;
  }
}

/** Runs the same in memory of zeros and in memory of NaN. */
async function sameInAny(t: Check, name: string, body: () => Promise<Tensor[]>): Promise<void> {
  const plain = await body();
  const { made, taken } = await poisoned(body);
  t.ok(taken > 0, `${name}: asks for memory`);
  for (const [i, each] of made.entries()) assertSameBits(t, each, plain[i] as Tensor, `${name}: result ${i}`);
  t.ok(
    plain.every((each) => snapshot(each).every(Number.isFinite)),
    `${name}: numbers`,
  );
  disposeAll(...plain, ...made);
}

t.test('results contain no stale numbers', { skip: cpuOnly }, async (t) => {
  for (const dtype of dtypes) {
    // Above and below the size from which products are split into tiles.
    for (const n of [40, 90]) {
      const [x, y] = [gaussian(seeded(2), [n, n], dtype), gaussian(seeded(3), [n, n], dtype)];
      for (const transposeA of [false, true]) {
        for (const transposeB of [false, true]) {
          await sameInAny(t, `matmul ${dtype} ${n}`, async () => [matmul(x, y, { transposeA, transposeB })]);
        }
      }
      for (const pattern of [
        SparsityPattern.diagonal(n),
        SparsityPattern.banded(n, 3),
        SparsityPattern.banded(n, { lower: 0, upper: n }),
        SparsityPattern.random(n, { entries: 3 * n }, { seed: 1, replacement: true }),
        SparsityPattern.fromCoordinates([1, n - 1], [0, 2], n),
      ]) {
        const m = gaussian(seeded(4), [pattern.entries], dtype);
        await sameInAny(t, `spmm ${dtype} ${n}`, async () => [
          spmm(pattern, m, x),
          spmm(pattern, m, x, { transpose: true }),
          sddmm(pattern, x, y),
        ]);
        m.dispose();
      }
      await sameInAny(t, `svd ${dtype} ${n}`, async () => Object.values(await svd(x)));
      await sameInAny(t, `svd ${dtype} ${n} of some`, async () => Object.values(await svd(x, { rank: n - 3 })));
      await sameInAny(t, `zeros, cast, tensor ${dtype} ${n}`, async () => [
        zeros([n, n], { dtype }),
        x.cast('float64'),
        x.cast('float32'),
        tensor(x.dataSync(), [n, n], { dtype }),
      ]);
      disposeAll(x, y);
    }
  }
});

t.test('layers and steps contain no stale numbers', { skip: cpuOnly }, async (t) => {
  for (const shape of [
    { name: 'tall', out: 70, in: 33, tokens: 45 },
    { name: 'wide', out: 36, in: 68, tokens: 50 },
    { name: 'square', out: 40, in: 40, tokens: 131 },
  ]) {
    using on = await bench(shape, 'float64');
    for (const family of families) {
      if (family.square && shape.out !== shape.in) continue;
      for (const strategy of family.strategies) {
        await sameInAny(t, `${family.name}, ${strategy}, ${shape.name}`, async () => {
          const layer = await makeLayer(family, on, strategy);
          const optimizer = new AdamW(layer.parameters);
          perturb(layer);
          const made: Tensor[] = [layer.apply(on.x), layer.mergedWeight()];
          for (let step = 0; step < 2; step++) {
            for (const inputGrad of [true, false]) {
              const pass = layer.forward(on.x);
              const dx = pass.backward(on.dy, { inputGrad });
              made.push(pass.y, ...(dx ? [dx] : []));
            }
            made.push(...layer.parameters.map(({ grad }) => tensor(snapshot(grad as Tensor), grad?.shape)));
            optimizer.step();
            optimizer.zeroGrad();
          }
          made.push(...layer.parameters.map(({ value }) => tensor(snapshot(value), value.shape)));
          layer.enabled = false;
          made.push(layer.apply(on.x), layer.mergedWeight());
          disposeLayer(layer);
          return made;
        });
      }
    }
  }
});
