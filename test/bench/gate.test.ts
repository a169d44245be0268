// The gate's decisions, on measurements that are made up.
import t from 'tap';
import {
  type Block,
  type CaseBlock,
  droppedCases,
  exampleGate,
  exitCode,
  gateTable,
  judgeRounds,
  type MeasureBlock,
  overall,
  runGate,
  summary,
  takeTurns,
} from '../support/bench.js';
import { type Random, seeded } from '../support/helpers.js';

const settings = { tolerance: 0.1, seed: 1 };
const one = [{ name: 'a', bound: 1e-5 }];

/** Times of a machine with noise, where the head takes so many times the base's. */
const noisy = (random: Random, ratio: number, noise: number): Block => {
  const ms = (): number => 2 * Math.exp(noise * random.normal());
  return { base: ms(), again: ms(), head: ratio * ms() };
};

/** A gate over made-up cases: each name with what its blocks find. */
async function decide(
  cases: Record<string, (block: number) => CaseBlock>,
  options: Parameters<typeof runGate>[2] = {},
): Promise<{ verdicts: Record<string, string>; asked: string[][] }> {
  const asked: string[][] = [];
  const measure: MeasureBlock = async (names, block) => {
    asked.push([...names]);
    return new Map(names.map((name) => [name, cases[name]?.(block) ?? {}]));
  };
  const list = Object.keys(cases).map((name) => ({ name, bound: 1e-5 }));
  const results = await runGate(list, measure, options);
  return { verdicts: Object.fromEntries(results.map(({ name, verdict }) => [name, verdict])), asked };
}

t.test('the same build passes, in one round', async (t) => {
  const random = seeded(1);
  const { verdicts, asked } = await decide({ a: () => ({ times: noisy(random, 1, 0.03) }) });
  t.same(verdicts, { a: 'pass' });
  t.equal(asked.length, 10, 'ten processes a side');
});

t.test('a slower build is told, but only when a second round shows it too', async (t) => {
  const random = seeded(2);
  const { verdicts, asked } = await decide({ a: () => ({ times: noisy(random, 1.25, 0.03) }) });
  t.same(verdicts, { a: 'regression' });
  t.equal(asked.length, 20);
});

t.test('what was slow in the first round alone is no regression', async (t) => {
  const random = seeded(3);
  const { verdicts } = await decide({ a: (block) => ({ times: noisy(random, block < 10 ? 1.3 : 1, 0.02) }) });
  t.notSame(verdicts, { a: 'regression' });
});

t.test('a build within the tolerance passes, a faster one too', async (t) => {
  const random = seeded(4);
  const within = () => ({ times: noisy(random, 1.04, 0.02) });
  const faster = () => ({ times: noisy(random, 0.5, 0.02) });
  t.same((await decide({ within, faster })).verdicts, { within: 'pass', faster: 'pass' });
});

t.test('at the tolerance itself it stays undecided, up to the cap', async (t) => {
  const times = (block: number): Block => ({ base: 2, again: 2, head: 2 * (block % 2 ? 1.05 : 1.15) });
  const { verdicts, asked } = await decide({ a: (block) => ({ times: times(block) }) }, { rounds: 3 });
  t.same(verdicts, { a: 'inconclusive' });
  t.equal(asked.length, 30);
});

t.test('a base that does not agree with itself is noisy, but for a head that stands out of it', async (t) => {
  for (const [head, verdict] of [
    [0.5, 'noisy'],
    [1, 'noisy'],
    [1.6, 'noisy'],
    [4, 'regression'],
  ] as const) {
    const { verdicts } = await decide({ a: () => ({ times: { base: 1, again: 1.5, head } }) }, { rounds: 2 });
    t.same(verdicts, { a: verdict }, `head ${head}`);
  }
});

t.test('a fast wrong kernel does not pass, and needs no second look', async (t) => {
  for (const error of [1e-3, Number.NaN, Number.POSITIVE_INFINITY]) {
    const { verdicts, asked } = await decide({ a: () => ({ times: { base: 2, again: 2, head: 1 }, error }) });
    t.same(verdicts, { a: 'wrong' }, `error ${error}`);
    t.equal(asked.length, 1);
  }
  t.same((await decide({ a: () => ({ times: { base: 2, again: 2, head: 1 }, error: 1e-6 }) })).verdicts, { a: 'pass' });
});

t.test('a case that a side cannot run', async (t) => {
  t.same((await decide({ a: () => ({ brokenHead: 'no such function' }) })).verdicts, { a: 'broken' });
  t.same((await decide({ a: () => ({ brokenBase: 'no such function' }) })).verdicts, { a: 'not compared' });
  t.same(
    (await decide({ a: () => ({ brokenBase: 'no such function', error: 1 }) })).verdicts,
    { a: 'wrong' },
    'a new case has to be right all the same',
  );
});

t.test('further rounds measure only what is open', async (t) => {
  const random = seeded(5);
  const { asked } = await decide({
    quick: () => ({ times: noisy(random, 1, 0.01) }),
    slow: () => ({ times: noisy(random, 1.4, 0.01) }),
  });
  t.same(asked[9], ['quick', 'slow']);
  t.same(asked[10], ['slow']);
});

t.test('no round begins when the time is over', async (t) => {
  const { verdicts, asked } = await decide({ a: () => ({ times: { base: 2, again: 2, head: 4 } }) }, { seconds: 1e-9 });
  t.ok(asked.length <= 10);
  t.ok(['noisy', 'inconclusive'].includes(verdicts['a'] ?? ''), 'nothing is proved');
});

t.test('of many cases on a noisy machine none is called slower by chance', async (t) => {
  const random = seeded(7);
  const names = Array.from({ length: 40 }, (_, i) => `case ${i}`);
  const cases = Object.fromEntries(names.map((name) => [name, () => ({ times: noisy(random, 1, 0.12) })]));
  const { verdicts } = await decide(cases);
  t.notOk(Object.values(verdicts).includes('regression'));
});

t.test('the second round has to show it by itself', async (t) => {
  const slow = Array.from({ length: 10 }, (): Block => ({ base: 1, again: 1, head: 1.6 }));
  const fair = Array.from({ length: 10 }, (): Block => ({ base: 1, again: 1, head: 1.01 }));
  t.equal(judgeRounds([slow], settings).decided, 'open', 'a suspicion');
  t.equal(judgeRounds([slow, slow], settings).decided, 'slower');
  t.not(judgeRounds([slow, fair], settings).decided, 'slower');
});

t.test('what the cases come to together', async (t) => {
  const verdict = (...verdicts: string[]): [string, number] => {
    const found = overall(verdicts.map((verdict) => ({ verdict })));
    return [found, exitCode(found)];
  };
  t.same(verdict('pass', 'pass'), ['pass', 0]);
  t.same(verdict('pass', 'not compared'), ['pass', 0]);
  t.same(verdict('pass', 'regression', 'noisy'), ['regression', 1]);
  t.same(verdict('pass', 'dropped'), ['inconclusive', 2], 'what is no longer measured is not shown to be as fast');
  t.same(verdict('wrong'), ['regression', 1]);
  t.same(verdict('broken'), ['regression', 1]);
  t.same(verdict('pass', 'inconclusive'), ['inconclusive', 2]);
  t.same(verdict('inconclusive', 'noisy', 'pass'), ['noisy', 2], 'noisy is not a pass');
});

t.test('a case that only the base has is named, whatever the verdict', async (t) => {
  const dropped = droppedCases(['a', 'b', 'b'], [{ name: 'a' }]);
  t.match(dropped, [{ name: 'b', verdict: 'dropped' }]);
  const { cases } = exampleGate();
  const about = { base: 'main', head: 'here', tolerance: 0.1 };
  const said = summary([...cases, ...dropped], 'regression', about);
  t.match(said, /^\*\*regression\*\*: proved slower, wrong or broken: svd 'two'\.$/m);
  t.match(said, /^The base has cases that this gate did not measure: b\.$/m);
  t.match(summary(dropped, 'inconclusive', about), /no longer measured: b\./);
});

t.test('failures stand first in the table', async (t) => {
  const names = gateTable(exampleGate().cases).split('\n').slice(2);
  t.match(names[0], /svd 'two' +\| regression/);
  t.match(names[1], /svd one +\| pass/);
});

t.test('what a broken build says becomes one plain line', async (t) => {
  const results = await runGate(one, async () => new Map([['a', { brokenHead: 'no \x1b[31msuch\nfunction' }]]));
  t.equal((results[0] as { note?: string }).note, 'the head cannot run it: no \uFFFD[31msuch');
});

t.test('a case without measurements is never a pass', async (t) => {
  const results = await runGate(one, async () => new Map(), { rounds: 2 });
  t.not(results[0]?.verdict, 'pass');
});

t.test('a case may have longer turns', async (t) => {
  const lengths = new Set<unknown>();
  const session = {
    ask: async (task: string, argument?: unknown): Promise<unknown> => {
      if (task === 'turn') lengths.add(argument);
      return [1];
    },
  };
  const random = { below: () => 0 };
  await takeTurns([session], 'any', random);
  await takeTurns([session], 'any', random, async () => {}, 30);
  t.same([...lengths], [5, 30]);
});

t.test('turns: balanced, and the least sample of each', async (t) => {
  const order: number[] = [];
  const session = (index: number) => ({
    ask: async (task: string): Promise<unknown> => {
      if (task !== 'turn') return null;
      order.push(index);
      return [5 + index, 3 + index, 9];
    },
  });
  const random = { below: (end: number) => order.length % end };
  const found = await takeTurns([0, 1, 2].map(session), 'any', random);
  t.same(found, [{ min: 3 }, { min: 4 }, { min: 5 }]);
  t.equal(order.length, 24);
  for (let i = 0; i < order.length; i += 6) {
    t.same(order.slice(i, i + 3).toReversed(), order.slice(i + 3, i + 6), 'there and back again');
    t.same(order.slice(i, i + 3).toSorted(), [0, 1, 2], 'each has its turn');
  }
});
