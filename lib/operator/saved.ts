import { native } from '../runtime/native.js';

/** Cache of lengths, by rank and then by tokens: training loops use few of them. */
const known = new Map<number, Map<number, number>>();
const mostKept = 256;

/** Number of elements of P = Vᵀ Xᵀ (r, N) with padded rows, as a pass keeps it. */
export function savedLength(op: string, rank: number, tokens: number): number {
  const ofRank = known.get(rank);
  const found = ofRank?.get(tokens);
  if (found !== undefined) return found;
  const length = native.adapterSavedLength(op, rank, tokens);
  if (known.size >= mostKept || (ofRank?.size ?? 0) >= mostKept) known.clear();
  const lengths = known.get(rank) ?? new Map<number, number>();
  known.set(rank, lengths.set(tokens, length));
  return length;
}
