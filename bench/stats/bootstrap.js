// @ts-check
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';

/** @typedef {{ centre: number, low: number, high: number }} Interval */
/** @typedef {{ seed?: number, confidence?: number, resamples?: number }} Options */

/** A quarter of the values at each end is left out: one process in a bad moment does not move the rest. */
const trimmed = 0.25;

/**
 * The mean of the middle half of values that are given by how often each occurs, in ascending order.
 * @param {ArrayLike<number>} ascending @param {Uint16Array} counts @param {number} total
 */
function middleMean(ascending, counts, total) {
  const cut = Math.floor(trimmed * total);
  const end = total - cut;
  let seen = 0;
  let sum = 0;
  for (let i = 0; seen < end; i++) {
    const from = Math.max(seen, cut);
    seen += counts[i];
    const taken = Math.min(seen, end) - from;
    if (taken > 0) sum += taken * ascending[i];
  }
  return sum / (end - cut);
}

/** What a sample's middle says under resampling. */
class Resampled {
  #ascending;
  #counts;

  /** @param {readonly number[]} values */
  constructor(values) {
    this.#ascending = Float64Array.from(values).sort();
    this.#counts = new Uint16Array(values.length);
  }

  centre() {
    return middleMean(this.#ascending, this.#counts.fill(1), this.#counts.length);
  }

  /** @param {ReturnType<typeof xoroshiro128plus>} generator */
  draw(generator) {
    const counts = this.#counts.fill(0);
    const n = counts.length;
    // One draw less than there are values: the spread of n draws is too small by (n − 1)/n.
    const draws = Math.max(1, n - 1);
    for (let i = 0; i < draws; i++) counts[Math.floor(((generator.next() >>> 0) / 2 ** 32) * n)]++;
    return middleMean(this.#ascending, counts, draws);
  }
}

/** @param {() => number} draw @param {number} centre @param {Required<Options>} options @returns {Interval} */
function percentiles(draw, centre, { confidence, resamples }) {
  const drawn = Float64Array.from({ length: resamples }, draw).sort();
  const tail = Math.floor(((1 - confidence) / 2) * resamples);
  return { centre, low: drawn[tail], high: drawn[resamples - 1 - tail] };
}

/** @param {Options} options @returns {Required<Options>} */
const complete = ({ seed = 1, confidence = 0.95, resamples = 10_000 }) => ({ seed, confidence, resamples });

/** Where the middle of such values lies. @param {readonly number[]} values @param {Options} [options] @returns {Interval} */
export function interval(values, options = {}) {
  const given = complete(options);
  const generator = xoroshiro128plus(given.seed);
  const resampled = new Resampled(values);
  return percentiles(() => resampled.draw(generator), resampled.centre(), given);
}

/**
 * How far the middle of one list is from that of another that has nothing to do with it.
 * @param {readonly number[]} from @param {readonly number[]} to @param {Options} [options] @returns {Interval}
 */
export function differenceInterval(from, to, options = {}) {
  const given = complete(options);
  const generator = xoroshiro128plus(given.seed);
  const [one, other] = [new Resampled(from), new Resampled(to)];
  return percentiles(() => other.draw(generator) - one.draw(generator), other.centre() - one.centre(), given);
}
