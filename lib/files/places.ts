// Where the layers of a model belong in its checkpoint, so that a saved adapter finds the weights again.
import type { Adapter } from '../layers/adapter.js';

/** A layer's matrix in a weight of the checkpoint. */
export interface Place {
  /** The weight's name and shape. */
  readonly tensor: string;
  readonly shape: readonly number[];
  /** The matrix begins at this element, and has a row every `stride` elements. */
  readonly first: number;
  readonly stride: number;
  /** Of the weight's bias: the first feature that is the layer's. */
  readonly feature: number;
}

const places = new WeakMap<Adapter, Map<string, Place>>();

/** Remembers the place of a layer under one of its names. Tied weights have several. */
export function remember(layer: Adapter, name: string, place: Place): void {
  const own = places.get(layer) ?? new Map<string, Place>();
  places.set(layer, own.set(name, place));
}

/** The place of the layer under this name; undefined for a layer that no model has, or that has another name. */
export function placeOf(layer: Adapter, name: string): Place | undefined {
  return places.get(layer)?.get(name);
}
