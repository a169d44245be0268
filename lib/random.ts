import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';

/** Seeded random numbers, the same on every platform. */
export interface Random {
  /** An integer from 0 to below `limit` ≤ 2^53. */
  below(limit: number): number;
  /** A standard normal number. */
  normal(): number;
}

export function random(seed: number): Random {
  const generator = xoroshiro128plus(seed);
  const unit = () => (uniformInt(generator, 0, 2 ** 53 - 2) + 1) / 2 ** 53;
  return {
    below: (limit) => uniformInt(generator, 0, limit - 1),
    // Box and Muller 1958; the second number of each pair is left unused, which keeps this without state.
    normal: () => Math.sqrt(-2 * Math.log(unit())) * Math.cos(2 * Math.PI * unit()),
  };
}
