// @ts-check
// What a section of figures is made of: jobs, which measure and return cases as a report has them.

/**
 * @typedef {object} Context how a run is meant
 * @property {'cpu' | 'cuda'} device
 * @property {import('../cases/operands.js').Where} where operands lie: on the device, and beyond its caches
 * @property {boolean} dry every case once, at sizes that a simulation can bear: errors are checked, times are not taken
 * @property {number} rounds
 * @property {() => number} left seconds until the run has to end
 * @property {(line: string) => void} say a line of progress
 */

/** @typedef {{ name: string, run: () => Promise<readonly Case[]> }} Job */
/** @typedef {{ median: number, low: number, high: number, samples: number, repeat: number }} Time milliseconds a call */
/** @typedef {import('../cases/case.js').Deviation} Deviation */

/**
 * @typedef {object} Mark a figure that is judged: a ratio to what bounds it, or an absolute one on a named card
 * @property {string} what
 * @property {number} value
 * @property {number} [low]
 * @property {number} [high]
 * @property {number} [goal]
 * @property {'higher' | 'lower'} better
 * @property {boolean} [met] if there is a goal
 */

/**
 * @typedef {object} Case
 * @property {string} name
 * @property {string} [dtype]
 * @property {string} [size]
 * @property {number} [flops] of one call
 * @property {number} [bytes] that one call has to read and write at least
 * @property {Time | undefined} [time] undefined in a dry run
 * @property {readonly Mark[]} [marks]
 * @property {readonly Deviation[]} [errors]
 * @property {string} [detail]
 */

/** @param {Case} one @returns {readonly string[]} what is wrong with its numbers; nothing is without an answer */
export const complaints = ({ errors = [] }) =>
  errors
    .filter(({ value, bound }) => !(value <= bound)) // NaN is no answer either
    .map(({ value, bound, of }) => `${of}: ${value.toExponential(2)}, at most ${bound.toExponential(1)} is right`);

/**
 * @param {string} what @param {{ median: number, low: number, high: number } | undefined} figure undefined in a dry run
 * @param {'higher' | 'lower'} better @param {number} [goal] @returns {readonly Mark[]}
 */
export function mark(what, figure, better, goal) {
  if (figure === undefined) return [];
  const { median: value, low, high } = figure;
  if (goal === undefined) return [{ what, value, low, high, better }];
  return [{ what, value, low, high, goal, better, met: better === 'higher' ? value >= goal : value <= goal }];
}
