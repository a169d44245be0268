// @ts-check
import { UsageError } from '../usage.js';
import * as adapters from './adapters.js';
import * as calls from './calls.js';
import * as each from './each.js';
import * as optim from './optim.js';
import * as sparse from './sparse.js';
import * as svd from './svd.js';
import { onAllThreads } from './threads.js';

/** @typedef {import('./case.js').Case} Case */

/** @type {readonly Case[]} */
const plain = [svd, sparse, adapters, each, optim, calls].flatMap(({ cases }) => cases);

/** Many small tasks, which a slower thread pool makes slower. */
const ofPool = 'svd batched 32 × 32² auto';

/** Every case of every suite. @type {readonly Case[]} */
export const table = [...plain, ...plain.filter(({ name }) => name === ofPool).map(onAllThreads)];

/**
 * The cases with given names, or else those whose name has every one of the words; with no word, all of them, or the
 * short ones.
 * @param {readonly string[]} words @param {{ short?: boolean, names?: readonly string[] }} [options]
 * @returns {readonly Case[]}
 */
export function select(words, { short = false, names = [] } = {}) {
  if (names.length > 0) return [...new Set(names)].map(caseOf);
  const wanted = words.map((word) => word.toLowerCase());
  const found = table.filter((each) => {
    const name = each.name.toLowerCase();
    return (!short || each.short) && wanted.every((word) => name.includes(word));
  });
  if (found.length > 0) return found;
  const suites = [...new Set(table.map(({ suite }) => suite))].join(', ');
  throw new UsageError(
    `no ${short ? 'short ' : ''}case has ${words.map((word) => `'${word}'`).join(' and ')} in its name; suites: ${suites}`,
  );
}

/** @param {string} name */
export function caseOf(name) {
  const found = table.find((each) => each.name === name);
  if (!found) throw new UsageError(`no case has the name '${name}' (run --list prints the names)`);
  return found;
}
