import type { Site } from '../layers/site.js';
import { matmulWork } from '../linalg/matmul.js';
import type { Svd } from '../linalg/svd.js';
import { describe, fail } from '../runtime/check.js';
import type { RealArray } from '../runtime/native.js';
import type { Work } from '../runtime/slices.js';
import { type Band, bandedEntries } from '../sparse/banded.js';
import { SparsityPattern } from '../sparse/pattern.js';
import type { FactorDType } from '../tensor/dtype.js';
import { numbersOf, widened } from '../tensor/operand.js';
import type { FactorMatrix, MatrixShape } from '../tensor/tensor.js';

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

/** The pattern that SVFT's options select, on the r x r core of these factors. */
export function* patternOf(site: Site, choice: PatternChoice, factors: Svd<FactorDType>): Work<SparsityPattern> {
  const { op } = site;
  const { pattern, offDiagonals, seed, replacement, includeDiagonal } = choice;
  const r = factors.s.size;
  if (SparsityPattern.is(pattern)) return checkFits(op, pattern, r);
  switch (pattern) {
    case 'plain':
      return SparsityPattern.diagonal(r);
    case 'banded':
      return SparsityPattern.banded(r, offDiagonals);
    case 'random': {
      const entries = bandedEntries(r, offDiagonals);
      return yield* SparsityPattern.drawing(op, r, entries, { seed, replacement, includeDiagonal });
    }
    case 'topk': {
      const scores = yield* scoresOf(site, choice, factors);
      return yield* SparsityPattern.ranking(op, scores, r, bandedEntries(r, offDiagonals), choice.absolute);
    }
  }
}

function checkFits(op: string, pattern: SparsityPattern, r: number): SparsityPattern {
  if (pattern.shape[0] !== r) {
    fail('SHAPE_MISMATCH', op, 'options.pattern', `a pattern of the ${r} x ${r} core`, describe([...pattern.shape]));
  }
  return pattern;
}

/** The entries that the pattern of a core r x r will have. */
export function entriesOf(
  { op, outFeatures, inFeatures }: Pick<Site, 'op' | 'outFeatures' | 'inFeatures'>,
  { pattern, offDiagonals, parity }: Pick<PatternChoice, 'pattern' | 'offDiagonals' | 'parity'>,
  r: number,
): number {
  if (SparsityPattern.is(pattern)) return checkFits(op, pattern, r).entries;
  if (pattern === 'topk' && !parity) checkSquare(op, outFeatures, inFeatures);
  return bandedEntries(r, pattern === 'plain' ? { lower: 0, upper: 0 } : offDiagonals);
}

function checkSquare(op: string, out: number, inFeatures: number): void {
  if (out === inFeatures) return;
  const expected = `'topk' on a square weight only, because u_i · v_j needs equal lengths`;
  fail('SHAPE_MISMATCH', op, 'options.pattern', expected, `'topk' on ${describe([out, inFeatures])}`);
}

/** The scores (r, r) that top-k ranks: UᵀV, or the scores of the reference code. */
function* scoresOf(
  { op, signal, outFeatures, inFeatures, noTerms }: Site,
  { parity }: PatternChoice,
  factors: Svd<FactorDType>,
): Work<RealArray> {
  const square = outFeatures === inFeatures;
  if (parity && !square && noTerms.transposed) {
    fail('UNSUPPORTED', op, 'options.layout', `'out-in' with parity and 'topk' on a rectangular weight`, `'in-out'`);
  }
  const given = parity ? referenceScores(op, factors) : undefined;
  if (given !== undefined) return numbersOf(op, 'factors', given).slice();
  checkSquare(op, outFeatures, inFeatures);
  const [u, vt] = [widened(op, factors.u), widened(op, factors.vt)];
  try {
    const scores = noTerms.transposed
      ? yield* matmulWork(op, vt, u, { transposeA: parity, signal })
      : yield* matmulWork(op, u, vt, { transposeA: !parity, transposeB: true, signal });
    const numbers = numbersOf(op, 'scores', scores);
    scores.dispose();
    return numbers;
  } finally {
    for (const tensor of [u, vt]) tensor.dispose();
  }
}

/**
 * The scores of the public reference code for a rectangular weight: the entries of its square thin factor. For a square
 * weight they are the product U · V by rows (undefined here); the paper has Uᵀ V. With a truncated rank that code
 * fails.
 */
function referenceScores(op: string, { u, vt }: Svd<FactorDType>): FactorMatrix | undefined {
  const [out, r] = u.shape as MatrixShape;
  const columns = vt.shape[1] as number;
  if (r < Math.min(out, columns)) {
    fail(
      'SHAPE_MISMATCH',
      op,
      'options.pattern',
      `'plain', 'banded', 'random' or a SparsityPattern, because parity 'svft-ref' is combined with a truncated rank`,
      `'topk', for which the reference code fails`,
    );
  }
  if (out === columns) return undefined;
  return out > columns ? vt : u;
}
