// The benchmarks' cases: each right on this build, each able to see that a build is not.
import { availableParallelism } from 'node:os';
import * as sigmatune from 'sigmatune';
import { memory, setThreads, type Tensor, threads } from 'sigmatune';
import t from 'tap';
import { type BenchCase, benchCases, type Library, onAllThreads, select } from '../support/bench.js';

/** Small enough for a test; every suite, family, pattern and direction is among them. */
const quick = benchCases.filter(({ flops }) => flops < 1e7);

async function errorOf(each: BenchCase, library: Library): Promise<number> {
  const prepared = await each.prepare(library);
  try {
    return await prepared.error();
  } finally {
    prepared.dispose();
  }
}

t.test('the table', async (t) => {
  const names = benchCases.map(({ name }) => name);
  t.equal(new Set(names).size, names.length, 'every name is there once');
  for (const each of benchCases) {
    const most = /, b?float16$/.test(each.name) ? 3e-2 : 1e-4;
    if (!(each.flops > 0 && each.bytes > 0 && each.bound > 0 && each.bound < most)) t.fail(each.name);
    if (!each.name.startsWith(`${each.suite} `)) t.fail(`${each.name} begins with its suite`);
  }
  const suites = new Set(benchCases.map(({ suite }) => suite));
  t.same([...suites], ['svd', 'sparse', 'adapters', 'each', 'optimisers', 'calls']);
  t.same(new Set(quick.map(({ suite }) => suite)), suites, 'the quick ones are of every suite');
  t.same(new Set(select([], { short: true }).map(({ suite }) => suite)), suites, 'so are the short ones');
});

t.test('words choose the cases that have all of them', async (t) => {
  const found = select(['SVD', 'tall']);
  t.ok(found.length > 0 && found.every(({ name }) => name.includes('svd tall')));
  t.throws(() => select(['svd', 'no such thing']), { message: /'svd' and 'no such thing'/ });
});

t.test('names choose cases by their whole names', async (t) => {
  const names = ['calls apply 8 × 8', 'calls matmul 8 × 8'];
  t.same(
    select([], { names }).map(({ name }) => name),
    names,
  );
  t.throws(() => select([], { names: ['calls'] }), { message: /no case has the name 'calls'/ });
});

t.test('a short case runs on all threads, and leaves their number as it was', async (t) => {
  t.equal(select(['all threads'], { short: true }).length, 1);
  const before = threads();
  setThreads(1);
  t.teardown(() => setThreads(before));
  const [given] = select(['calls matmul']);
  if (!given) throw new Error('no such case');
  const prepared = await onAllThreads(given).prepare(sigmatune);
  t.equal(threads(), Math.min(availableParallelism(), 64));
  prepared.dispose();
  t.equal(threads(), 1);
  const fails = onAllThreads({ ...given, prepare: () => Promise.reject(new Error('no')) });
  await t.rejects(async () => fails.prepare(sigmatune));
  t.equal(threads(), 1, 'also if it cannot be prepared');
});

t.test('each quick case is within its bound, runs, and leaves nothing behind', async (t) => {
  const before = memory().tensors;
  for (const each of quick) {
    const prepared = await each.prepare(sigmatune);
    for (let call = 0; call < 2; call++) {
      prepared.before?.();
      await prepared.call();
    }
    const error = await prepared.error();
    prepared.dispose();
    if (!(error <= each.bound)) t.fail(`${each.name}: ${error} beyond ${each.bound}`);
  }
  t.equal(memory().tensors, before, 'tensors');
});

/** One number of a result, off by a hundredth of the largest. */
function spoilt<T extends Tensor>(result: T): T {
  const numbers = result.dataSync();
  const largest = Math.max(...Array.from(numbers, Math.abs));
  const middle = numbers.length >> 1;
  numbers[middle] = (numbers[middle] ?? 0) + 1e-2 * largest;
  return result;
}

/** A library with one function that is wrong. */
function wrong(part: Partial<Record<keyof Library, unknown>>): Library {
  return { ...sigmatune, ...part } as Library;
}

t.test('each suite sees one wrong number', async (t) => {
  const svd = async (...args: Parameters<typeof sigmatune.svd>) => {
    const found = (await sigmatune.svd(...args)) as unknown as { u: Tensor }[];
    for (const each of found) spoilt(each.u);
    return found;
  };
  const spmm = (...args: Parameters<typeof sigmatune.spmm>) => spoilt(sigmatune.spmm(...args));
  const sddmm = (...args: Parameters<typeof sigmatune.sddmm>) => spoilt(sigmatune.sddmm(...args));
  const matmul = (...args: Parameters<typeof sigmatune.matmul>) => spoilt(sigmatune.matmul(...args));
  class AdamW extends sigmatune.AdamW {
    constructor(parameters: ConstructorParameters<typeof sigmatune.AdamW>[0], options?: sigmatune.AdamWOptions) {
      super(parameters, { ...options, weightDecay: 0.02 });
    }
  }
  const cases: [string, Library][] = [
    ['svd single 64² auto', wrong({ svd })],
    ['svd ragged, 8 shapes up to 200 × 96 auto', wrong({ svd })],
    ['sparse spmm, band 8, 128 × 128', wrong({ spmm })],
    ['sparse spmm transposed, random 17, 128 × 128', wrong({ spmm })],
    ['sparse sddmm, diagonal, 128 × 128', wrong({ sddmm })],
    ['calls matmul 8 × 8', wrong({ matmul })],
    ['optimisers AdamW, 1024 numbers', wrong({ AdamW })],
  ];
  for (const [name, library] of cases) {
    const [each] = select([name]);
    if (!each) throw new Error(name);
    t.ok((await errorOf(each, sigmatune)) <= each.bound, `${name}: right`);
    t.ok((await errorOf(each, library)) > each.bound, `${name}: wrong`);
  }
});

t.test('the adapters see a wrong y, dx and gradient', async (t) => {
  type Pass = ReturnType<sigmatune.AdaptedLinear['forward']>;
  const spoil: Record<string, (pass: Pass, layer: sigmatune.AdaptedLinear) => Pass> = {
    y: (pass) => {
      spoilt(pass.y);
      return pass;
    },
    dx: (pass) => ({ ...pass, y: pass.y, backward: ((dy: Tensor) => spoilt(pass.backward(dy))) as Pass['backward'] }),
    gradient: (pass, layer) => ({
      ...pass,
      y: pass.y,
      backward: ((dy: Tensor) => {
        const dx = pass.backward(dy);
        for (const { grad } of layer.parameters) {
          const numbers = grad?.dataSync() ?? [];
          for (let i = 0; i < numbers.length; i++) numbers[i] = (numbers[i] ?? 0) * 1.0001;
        }
        return dx;
      }) as Pass['backward'],
    }),
  };
  const { svft, siva, vectorFit } = sigmatune;
  for (const [family, made] of Object.entries({ svft, siva, vectorFit })) {
    for (const [what, change] of Object.entries(spoil)) {
      const make = async (...args: Parameters<typeof sigmatune.svft>) => {
        const layer = await (made as typeof svft)(...args);
        const forward = layer.forward.bind(layer);
        return Object.assign(layer, { forward: (x: Tensor) => change(forward(x), layer) });
      };
      const [each] = select([`adapters ${family.toLowerCase()}`, '256 × 256, 64 tokens', 'step']);
      if (!each) throw new Error(family);
      t.ok((await errorOf(each, wrong({ [family]: make }))) > each.bound, `${each.name}: ${what}`);
    }
  }
});
