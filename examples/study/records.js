// @ts-check
// The results of all runs, one line of JSON for each, after a line with the settings. A run that is in the file is not run
// again.
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * @typedef {object} Key
 * @property {string} task
 * @property {string} method
 * @property {number} lr
 * @property {number} seed
 * @property {'heldOut' | 'test'} judge
 */
/** @typedef {Key & import('./metrics.js').Metrics & { parameters: number, effectiveRank?: number, loss: number, msPerStep: number, trainSeconds: number, judgeSeconds: number }} Record */

const keyOf = (/** @type {Key} */ { task, method, lr, seed, judge }) => JSON.stringify([task, method, lr, seed, judge]);

export class Records {
  /** @param {string} path @param {object} settings of all runs; a file with others is refused */
  constructor(path, settings) {
    this.path = path;
    mkdirSync(dirname(path), { recursive: true });
    const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
    const whole = text.slice(0, text.lastIndexOf('\n') + 1); // a line that was being written is left out
    const [first, ...lines] = whole.split('\n').slice(0, -1);
    const wanted = JSON.stringify({ settings });
    if (first !== undefined && first !== wanted) {
      throw new Error(`${path} has the runs of other settings: remove it, or choose another file by --records`);
    }
    writeFileSync(path, first === undefined ? `${wanted}\n` : whole);
    /** @type {Map<string, Record>} */
    this.found = new Map(lines.map((line) => JSON.parse(line)).map((record) => [keyOf(record), record]));
  }

  /** @param {Key} key */
  get(key) {
    return this.found.get(keyOf(key));
  }

  /** @param {Record} record */
  add(record) {
    appendFileSync(this.path, `${JSON.stringify(record)}\n`);
    this.found.set(keyOf(record), record);
  }
}
