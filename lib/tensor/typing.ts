import type { DType, HalfDType } from './dtype.js';
import type { Shape } from './tensor.js';

/** What the compiler shows for a tensor of the wrong rank. */
export interface RankMismatch<R extends number> {
  readonly expectedRank: R;
}

/** Intersect it with a parameter's type to refuse a shape whose rank is known not to be R. An unknown rank passes. */
export type OfRank<S extends Shape, R extends number> = R extends S['length'] ? unknown : RankMismatch<R>;

/** What the compiler shows for a tensor of the wrong dtype. */
export interface DTypeMismatch<D extends DType> {
  readonly expectedDType: D;
}

/** The dtype of vectors that go with matrices of dtype D. */
export type VectorDType<D extends DType> = D extends 'float64' ? 'float64' : 'float32';

/**
 * Intersect it with a parameter's type to refuse a matrix dtype E that is known not to go with vectors of dtype D.
 * bfloat16 and float16 go with float32, every other dtype with itself. A union passes; the run-time check decides.
 */
export type BesideDType<D extends DType, E extends DType> = 'float32' extends D
  ? SameDType<D | HalfDType, E>
  : SameDType<D, E>;

/** Intersect it with a parameter's type to refuse a dtype E that is known not to be D. A union passes. */
export type SameDType<D extends DType, E extends DType> = [E] extends [D]
  ? unknown
  : [D] extends [E]
    ? unknown
    : DTypeMismatch<D>;
