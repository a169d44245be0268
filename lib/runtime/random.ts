import generators from './generators.cjs';

const { uniformInt, xoroshiro128plus } = generators;

/** Seeded random numbers, the same on every platform. */
export interface Random {
  /** A uniform integer in [0, limit), limit ≤ 2^53. */
  below(limit: number): number;
  /** A standard normal number. */
  normal(): number;
}

/** Each use of a seed has its own `stream`, so that a pattern and an initialisation are independent. */
export function random(seed: number, stream = 0): Random {
  // The generator takes 32 bits; the higher ones of a large seed are folded in.
  const high = Math.imul(Math.floor(seed / 2 ** 32), 0x85ebca6b);
  const generator = xoroshiro128plus(((seed ^ high) + Math.imul(stream, 0x9e3779b9)) | 0);
  const unit = () => (uniformInt(generator, 0, 2 ** 53 - 2) + 1) / 2 ** 53;
  return {
    below: (limit) => uniformInt(generator, 0, limit - 1),
    // Box and Muller 1958. The second number of each pair is dropped, so there is no state to keep.
    normal: () => Math.sqrt(-2 * Math.log(unit())) * Math.cos(2 * Math.PI * unit()),
  };
}

/** A module's own seed: FNV-1a (Fowler, Noll and Vo) over the digits of `seed` and the UTF-16 code units of `name`, 32 bits. */
export function namedSeed(seed: number, name: string): number {
  const text = `${seed}/${name}`;
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}
