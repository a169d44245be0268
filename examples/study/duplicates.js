// @ts-check
// Near-duplicates: texts whose runs of three words overlap by a half or more (Jaccard's index), found without a comparison of
// all pairs.

const run = 3;
const limit = 0.5;

/**
 * The first of each group of texts that are nearly the same. Words count, without case, digits and punctuation. Texts of fewer
 * than three words are compared as wholes.
 * @template T
 * @param {readonly T[]} items @param {(item: T) => string} textOf
 * @returns {T[]}
 */
export function withoutNearDuplicates(items, textOf) {
  /** @type {Map<string, number[]>} the kept texts with a run of words */
  const byRun = new Map();
  /** @type {number[]} how many runs a kept text has */
  const sizes = [];
  return items.filter((item) => {
    const runs = runsOf(textOf(item));
    /** @type {Map<number, number>} */
    const shared = new Map();
    for (const each of runs) for (const kept of byRun.get(each) ?? []) shared.set(kept, (shared.get(kept) ?? 0) + 1);
    for (const [kept, common] of shared) if (common / (runs.size + sizes[kept] - common) >= limit) return false;
    for (const each of runs) {
      const list = byRun.get(each);
      if (list === undefined) byRun.set(each, [sizes.length]);
      else list.push(sizes.length);
    }
    sizes.push(runs.size);
    return true;
  });
}

/** @param {string} text @returns {Set<string>} */
function runsOf(text) {
  const words = text.toLowerCase().match(/[a-z]+/g) ?? [];
  if (words.length < run) return new Set([words.join(' ')]);
  return new Set(words.slice(run - 1).map((_, i) => words.slice(i, i + run).join(' ')));
}
