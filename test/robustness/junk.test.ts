/** Any JavaScript value as an argument: a result or a SigmaError, never a crash. */
import * as sigmatune from 'sigmatune';
import { SigmaError, SparsityPattern, type Svd } from 'sigmatune';
import t from 'tap';
import { makers } from '../support/cases.js';
import { type Check, disposeSvd, expectNoLeak, gaussian, seeded } from '../support/helpers.js';

const junk: readonly unknown[] = [
  undefined,
  null,
  true,
  0,
  -1,
  1.5,
  Number.NaN,
  'text',
  Symbol('s'),
  10n,
  [],
  [null],
  {},
  () => {},
  new Map(),
  new Float32Array(2),
  new Date(0),
  Object.create(null),
];

/** Disposes the result of a valid call, such as `svft(x, {})`. */
function release(result: unknown): void {
  if (Array.isArray(result)) result.forEach(release);
  else if (typeof result === 'object' && result !== null) {
    if (Symbol.dispose in result) (result as Disposable)[Symbol.dispose]();
    else if ('vt' in result) disposeSvd(result as Svd);
  }
}

/** The call succeeds, or throws a SigmaError. */
function survives(t: Pick<Check, 'ok'>, label: string, call: () => unknown): void {
  try {
    const result = call();
    if (result instanceof Promise) {
      pending.push(
        result.then(release, (error) =>
          t.ok(error instanceof SigmaError, `${label}: rejects with a SigmaError, not ${describe(error)}`),
        ),
      );
    } else release(result);
    t.ok(true, label);
  } catch (error) {
    t.ok(error instanceof SigmaError, `${label}: throws a SigmaError, not ${describe(error)}`);
  }
}

const pending: Promise<unknown>[] = [];
const describe = (error: unknown): string => (error instanceof Error ? (error.stack ?? error.message) : typeof error);
const show = (value: unknown): string =>
  typeof value === 'symbol'
    ? 'a symbol'
    : Object.prototype.toString.call(value) + (Object(value) === value ? '' : String(value));

const promising = ['svd', ...Object.keys(makers)];

t.test('junk in every first argument', async (t) => {
  const api = sigmatune as unknown as Record<string, (...args: unknown[]) => unknown>;
  const functions = [
    'tensor',
    'zeros',
    'tidy',
    'svd',
    'matmul',
    'effectiveRank',
    'spmm',
    'sddmm',
    'parameterCount',
    ...Object.keys(makers),
  ];
  functions.push('linearSchedule', 'cosineSchedule', 'clipGradNorm');
  const x = gaussian(seeded(1), [3, 3], 'float32');
  await expectNoLeak(t, 'junk', async () => {
    for (const name of functions) {
      const fn = api[name];
      if (!fn) throw new Error(`no ${name}`);
      for (const bad of junk) {
        // An empty list is valid: there is nothing to decompose or to clip.
        survives(t, `${name}(${show(bad)})`, () => fn(bad, x));
      }
      if (!['tidy', 'tensor', 'effectiveRank'].includes(name)) {
        for (const bad of junk.slice(1)) survives(t, `${name}(x, ${show(bad)})`, () => fn(x, bad, bad));
      }
    }
    for (const name of ['AdamW', 'Sgd', 'AdaptiveVectorFreezing']) {
      const Class = api[name] as unknown as new (...args: unknown[]) => unknown;
      for (const bad of junk) survives(t, `new ${name}(${show(bad)})`, () => new Class(bad, bad));
    }
    for (const name of ['diagonal', 'banded', 'random', 'topK', 'fromCoordinates'] as const) {
      const statics = SparsityPattern as unknown as Record<string, (...args: unknown[]) => unknown>;
      for (const bad of junk) {
        survives(t, `SparsityPattern.${name}(${show(bad)})`, () => statics[name]?.(bad, bad, bad));
        survives(t, `SparsityPattern.${name}(4, ${show(bad)})`, () => statics[name]?.(4, bad, bad));
      }
    }
    await Promise.all(pending.splice(0));
  });
  x.dispose();
});

t.test('functions that return promises never throw', async (t) => {
  const api = sigmatune as unknown as Record<string, (...args: unknown[]) => unknown>;
  const weight = gaussian(seeded(1), [3, 3], 'float32');
  const hostile = {
    get rank(): number {
      throw new Error('a getter of the caller');
    },
  };
  for (const name of promising) {
    for (const args of [...junk.map((bad) => [bad]), [weight, 5], [weight, 'x'], [weight, hostile], []]) {
      let result: unknown;
      try {
        result = api[name]?.(...args);
      } catch (error) {
        t.fail(`${name}(${args.map(show)}) threw ${describe(error)}`);
        continue;
      }
      t.ok(result instanceof Promise, `${name}(${args.map(show)}) returns a promise`);
      await (result as Promise<unknown>).catch(() => {});
    }
  }
  weight.dispose();
});
