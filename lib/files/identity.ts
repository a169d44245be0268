// What tells whether a layer is the one that was saved: hashes of its base weight and bias, and a sketch of its singular
// vectors. All of this is fixed when the layer is made, so it is computed once for each layer.
import type { Adapter, Anatomy } from '../layers/adapter.js';
import { givenWeight } from '../layers/base.js';
import { type Frame, frameOf, type Sketch, sketchOf } from '../layers/frame.js';
import { fingerprintOf } from './fingerprint.js';

/** Seed of the sketches' random vectors. Sketches of different seeds cannot be compared, so it is part of the formats. */
export const sketchSeed = 1;

interface Known {
  weight?: string;
  bias?: string;
  directions?: { readonly frame: Frame; readonly sketch: Sketch };
}

const known = new WeakMap<Adapter, Known>();

function knownOf(layer: Adapter): Known {
  const found = known.get(layer) ?? {};
  known.set(layer, found);
  return found;
}

/**
 * SHA-256 of the base weight and of the bias that the layer was made with. null for a weight that had been disposed when the
 * hash was first asked for, and without a bias. The layer borrows its weight, which must not be written: a later hash of a
 * changed weight would be that of its first save.
 */
export async function hashesOf(
  op: string,
  layer: Adapter,
  signal: AbortSignal | undefined,
): Promise<{ readonly weight: string | null; readonly bias: string | null }> {
  const values = knownOf(layer);
  const { base } = layer.anatomy(op);
  for (const [key, tensor] of [['weight', givenWeight(base)] as const, ['bias', base.bias] as const]) {
    if (values[key] === undefined && tensor !== undefined) values[key] = await fingerprintOf(op, tensor, signal);
  }
  return { weight: values.weight ?? null, bias: values.bias ?? null };
}

/** The directions that the layer's trained numbers multiply, and their sketch, which no one may write. */
export async function directionsOf(
  op: string,
  layer: Adapter,
  signal: AbortSignal | undefined,
): Promise<{ readonly anatomy: Anatomy; readonly frame: Frame; readonly sketch: Sketch }> {
  const values = knownOf(layer);
  const anatomy = layer.anatomy(op);
  if (values.directions === undefined) {
    const frame = frameOf(op, anatomy);
    values.directions = { frame, sketch: await sketchOf(op, anatomy, frame, sketchSeed, signal) };
  }
  return { anatomy, ...values.directions };
}
