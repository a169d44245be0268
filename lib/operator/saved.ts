import { native } from '../runtime/native.js';

/** What was asked before, by rank and then by tokens: training loops ask for the same few lengths again and again. */
const known = new Map<number, Map<number, number>>();
const mostKept = 256;

/** Elements of P = Vᵀ Xᵀ (r, N) as a pass keeps it, with padded rows. */
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
