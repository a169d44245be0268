import { isRecord } from '../runtime/check.js';
import { SparsityPattern } from '../sparse/pattern.js';
import type { Origin } from '../tensor/derived.js';

/** How a layer was made: with the same weight and bias this makes it again. */
export interface Recipe {
  /** What the caller gave, without tensors and without what only matters while the layer is made. */
  options: Readonly<Record<string, unknown>>;
  /** Options that stand in their place, because what the caller gave depends on rounding; undefined for those to leave out. */
  settled: Readonly<Record<string, unknown>>;
  /** The factors that the layer was made of: layers with the same can share a batch. */
  origin: Origin | undefined;
}

/** Tensors, and what only matters while a layer is made. The trained numbers replace any start. */
const passing = ['bias', 'bind', 'factors', 'weight', 'device', 'signal', 'init'];

/** The options to remember, as a copy that no one else can write. */
export function remembered(given: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(given)
      .filter(([key]) => !passing.includes(key))
      .map(([key, value]) => [key, copied(value)]),
  );
}

/** Patterns are immutable. */
function copied(value: unknown): unknown {
  if (!isRecord(value) || SparsityPattern.is(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, copied(each)]));
}
