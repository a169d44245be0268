/**
 * By the type of the weight: how much of ‖ΔW‖ may be lost because singular vectors are others, as a part of it. Two routines
 * of float32 lose up to 1e-3 on a Gaussian matrix of 1024 columns, in which gaps between σ are small.
 */
export const tolerances = { float64: 1e-6, float32: 1e-2, bfloat16: 5e-2, float16: 1e-2 } as const;

/** How far σ may be off, and how near two of them count as equal, as a part of the largest. */
export const gaps = { float64: 1e-9, float32: 1e-4, bfloat16: 1e-2, float16: 2e-3 } as const;
