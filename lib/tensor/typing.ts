import type { DType } from './dtype.js';
import type { Shape } from './tensor.js';

/** What the compiler shows where a tensor of another rank was given. */
export interface RankMismatch<R extends number> {
  readonly expectedRank: R;
}

/** Intersect with a parameter's type to refuse a shape whose rank is known not to be R; an unknown rank passes. */
export type OfRank<S extends Shape, R extends number> = R extends S['length'] ? unknown : RankMismatch<R>;

/** What the compiler shows where two tensors are known to have different dtypes. */
export interface DTypeMismatch<D extends DType> {
  readonly expectedDType: D;
}

/** The dtype of vectors (values, samples) beside matrices of dtype D. */
export type VectorDType<D extends DType> = D extends 'float64' ? 'float64' : 'float32';

/**
 * Intersect with a parameter's type to refuse a matrix's dtype E that is known not to go with vectors of D: bfloat16 goes
 * with float32, anything else with itself. A union passes to the run-time check.
 */
export type BesideDType<D extends DType, E extends DType> = 'float32' extends D
  ? SameDType<D | 'bfloat16', E>
  : SameDType<D, E>;

/** Intersect with a parameter's type to refuse a dtype E that is known not to be D; a union passes to the run-time check. */
export type SameDType<D extends DType, E extends DType> = [E] extends [D]
  ? unknown
  : [D] extends [E]
    ? unknown
    : DTypeMismatch<D>;
