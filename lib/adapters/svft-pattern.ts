import { describe, fail } from '../check.js';
import { matmul } from '../linalg/matmul.js';
import type { Svd } from '../linalg/svd.js';
import type { RealArray } from '../native.js';
import { type Band, bandedEntries } from '../sparse/banded.js';
import { SparsityPattern } from '../sparse/pattern.js';
import { widened } from '../tensor/operand.js';
import type { MatrixShape, Tensor } from '../tensor/tensor.js';

export const patternNames = ['plain', 'banded', 'random', 'topk'] as const;
export type PatternName = (typeof patternNames)[number];

export interface PatternChoice {
  readonly pattern: PatternName | SparsityPattern;
  readonly offDiagonals: Band;
  readonly seed: number;
  readonly replacement: boolean;
  readonly includeDiagonal: boolean;
  readonly absolute: boolean;
  readonly parity: boolean;
}

/** The structure that SVFT's options name, on the r x r core of these factors. */
export function patternOf(op: string, choice: PatternChoice, factors: Svd): SparsityPattern {
  const { pattern, offDiagonals, seed, replacement, includeDiagonal } = choice;
  const r = factors.s.size;
  if (SparsityPattern.is(pattern)) {
    if (pattern.shape[0] !== r) {
      fail('SHAPE_MISMATCH', op, 'options.pattern', `a pattern of the ${r} x ${r} core`, describe([...pattern.shape]));
    }
    return pattern;
  }
  switch (pattern) {
    case 'plain':
      return SparsityPattern.diagonal(r);
    case 'banded':
      return SparsityPattern.banded(r, offDiagonals);
    case 'random':
      return SparsityPattern.random(r, { offDiagonals }, { seed, replacement, includeDiagonal });
    case 'topk': {
      const [u, vt] = [widened(op, factors.u), widened(op, factors.vt)];
      try {
        return mostAligned(op, choice, u, vt);
      } finally {
        for (const tensor of [u, vt]) tensor.dispose();
      }
    }
  }
}

function mostAligned(op: string, choice: PatternChoice, u: Tensor, vt: Tensor): SparsityPattern {
  const { offDiagonals, absolute, parity } = choice;
  const r = vt.shape[0] as number;
  return parity
    ? SparsityPattern.ofLargest(op, referenceScores(op, u, vt), r, bandedEntries(r, offDiagonals), absolute)
    : aligned(op, choice, u, vt);
}

function aligned(op: string, { offDiagonals, absolute }: PatternChoice, u: Tensor, vt: Tensor): SparsityPattern {
  if (u.shape[0] !== vt.shape[1]) {
    const expected = `'topk' on a square weight only, since u_i · v_j needs equal lengths`;
    fail('SHAPE_MISMATCH', op, 'options.pattern', expected, `'topk' on ${describe([u.shape[0], vt.shape[1]])}`);
  }
  return SparsityPattern.topK(u, vt, { offDiagonals }, { absolute });
}

/**
 * The scores of the public reference code: U · V by rows, where the paper has Uᵀ V, and for a rectangular weight the
 * square one of its thin factors as it stands. Under truncation that code fails on shape.
 */
function referenceScores(op: string, u: Tensor, vt: Tensor): RealArray {
  const [out, r] = u.shape as MatrixShape;
  const columns = vt.shape[1] as number;
  if (r < Math.min(out, columns)) {
    fail(
      'SHAPE_MISMATCH',
      op,
      'options.pattern',
      `'plain', 'banded', 'random' or a pattern of your own where parity 'svft-ref' meets a truncated rank`,
      `'topk', with which the reference code fails`,
    );
  }
  if (out > columns) return vt.dataSync() as RealArray;
  if (out < columns) return u.dataSync() as RealArray;
  const scores = matmul(u as Tensor<'float64', MatrixShape>, vt as Tensor<'float64', MatrixShape>, {
    transposeB: true,
  });
  const product = scores.dataSync();
  scores.dispose();
  return product;
}
