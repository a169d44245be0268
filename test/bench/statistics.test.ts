// Intervals: they hold what they should as often as they say, and nothing but the seed moves them.
import t from 'tap';
import { differenceInterval, interval } from '../support/bench.js';
import { seeded } from '../support/helpers.js';

const fast = { resamples: 1000 };

t.test('a 95 % interval holds the truth about 95 times in 100', async (t) => {
  const random = seeded(1);
  const trials = 600;
  let paired = 0;
  let unpaired = 0;
  for (let trial = 0; trial < trials; trial++) {
    const { low, high } = interval(
      Array.from(random.normals(10), (value) => 0.3 + 0.05 * value),
      fast,
    );
    if (low <= 0.3 && 0.3 <= high) paired++;
    const difference = differenceInterval([...random.normals(10)], [...random.normals(12)], fast);
    if (difference.low <= 0 && 0 <= difference.high) unpaired++;
  }
  // Ten values: a little less is the bootstrap's known price, a lot less would be a gate that cries wolf.
  t.ok(paired / trials > 0.9 && paired / trials < 0.99, `one sample: ${paired / trials}`);
  t.ok(unpaired / trials > 0.9 && unpaired / trials < 0.99, `two samples: ${unpaired / trials}`);
});

t.test('an interval narrows as the root of the number of values', async (t) => {
  const random = seeded(2);
  const width = (count: number): number => {
    const widths = Array.from({ length: 40 }, () => {
      const { low, high } = interval([...random.normals(count)], fast);
      return high - low;
    });
    return widths.reduce((sum, each) => sum + each, 0) / widths.length;
  };
  const ratio = width(10) / width(40);
  t.ok(ratio > 1.7 && ratio < 2.5, `four times the values: ${ratio} times as narrow`);
});

t.test('one process in a bad moment does not move it', async (t) => {
  const calm = Array.from({ length: 10 }, (_, i) => 0.001 * i);
  const disturbed = [...calm.slice(0, 9), 3];
  t.ok(Math.abs(interval(disturbed).centre - interval(calm).centre) < 1e-12, 'the middle half has not changed');
});

t.test('what is equal has an interval of no width, and a shift shifts it', async (t) => {
  t.same(interval([2, 2, 2, 2, 2]), { centre: 2, low: 2, high: 2 });
  const values = [1, 2, 3, 4, 5, 6, 7, 8, 9, 20];
  const [one, other] = [interval(values), interval(values.map((value) => value + 10))];
  t.same(other, { centre: one.centre + 10, low: one.low + 10, high: one.high + 10 });
});

t.test('the seed decides, and nothing else', async (t) => {
  const values = [...seeded(3).normals(10)];
  t.same(interval(values, { seed: 4 }), interval(values.toReversed(), { seed: 4 }), 'the same seed');
  t.notSame(interval(values, { seed: 4 }), interval(values, { seed: 5 }), 'another one');
});

t.test('a higher confidence is a wider interval', async (t) => {
  const values = [...seeded(6).normals(12)];
  const [usual, wide] = [interval(values), interval(values, { confidence: 0.99 })];
  t.ok(wide.low < usual.low && usual.high < wide.high);
});
