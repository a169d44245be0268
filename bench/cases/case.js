// @ts-check
// What a benchmark case is. Cases are data and functions of a library that is handed in, so that one table of cases can
// measure any build, on any device.

/** @typedef {typeof import('sigmatune')} Library a build of the package */
/** @typedef {{ value: number, bound: number, of: string }} Deviation an error, the largest that is right, and what was compared */

/**
 * @typedef {object} Prepared a case with its inputs made
 * @property {() => void} [before] untimed, ahead of each call
 * @property {(call?: number) => unknown | Promise<unknown>} call what is timed; the number of the call picks cold operands
 * @property {() => number | Promise<number>} error the distance of a result from a float64 reference, relative
 * @property {() => readonly Deviation[] | Promise<readonly Deviation[]>} [errors] the same in parts, each with its bound
 * @property {() => readonly import('sigmatune').Tensor[] | Promise<readonly import('sigmatune').Tensor[]>} [outputs] fresh results, for who compares their bits
 * @property {string} [detail] what the library chose
 * @property {() => void} dispose
 */

/**
 * @typedef {object} Case
 * @property {string} name unique: suite, then what it does
 * @property {string} suite
 * @property {string} panel what is drawn in one plot of time over size
 * @property {string} series and as one line of it
 * @property {number} size
 * @property {Record<string, string | number>} parameters
 * @property {number} flops of the usual algorithm, which an implementation may undercut
 * @property {number} bytes that any implementation has to move: inputs once, outputs once
 * @property {number} bound the largest error that is right
 * @property {boolean} [short] whether it is part of the short gate
 * @property {number} [turn] ms of a turn in the gate, if it is longer than usual
 * @property {boolean} [waits] calls return promises
 * @property {(library: Library, shared?: import('./operands.js').Shared) => Prepared | Promise<Prepared>} prepare throws where the library lacks what it needs
 */

/** The device's and the type's words in the name of a case; none on the CPU in float32. @param {import('./operands.js').Where} where */
export const whereWords = ({ device = 'cpu', dtype = 'float32' }) =>
  [device, dtype]
    .filter((word) => word !== 'cpu' && word !== 'float32')
    .map((word) => `, ${word}`)
    .join('');
