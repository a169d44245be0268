/** Other decompositions of a weight, and what a loaded adapter computes. */
import { type AdaptedLinear, type Real, type Svd, type Tensor, tensor } from 'sigmatune';
import { at, seeded, snapshot } from './helpers.js';
import { mergedOf } from './layer.js';

/** Changes the sign of some singular pairs, at random. */
export function otherSigns({ u, s, vt }: Svd, seed: number): Svd {
  const random = seeded(seed);
  const signs = Float64Array.from({ length: s.size }, (_, i) => (i === 0 || random.uniform() < 0.5 ? -1 : 1));
  const columns = at(vt.shape, 1);
  const like = (source: Tensor, sign: (p: number) => number) =>
    tensor(
      snapshot(source).map((value, p) => value * sign(p)),
      source.shape,
      { dtype: source.dtype as Real, device: source.device },
    );
  return {
    u: like(u, (p) => at(signs, p % s.size)),
    s: like(s, () => 1),
    vt: like(vt, (p) => at(signs, Math.floor(p / columns))),
  };
}

/** W' as numbers; none for a layer that was not loaded. */
export function mergedNumbers(layer: AdaptedLinear | undefined): Float64Array {
  return layer ? mergedOf(layer).data : new Float64Array();
}
