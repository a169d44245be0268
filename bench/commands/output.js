// @ts-check
// The one way to stdout and stderr: names, labels and what other processes say may hold what a terminal would obey.
import { plainLines } from '../record/text.js';

/** A line, or several, on stdout. @param {string} text */
export const print = (text) => void process.stdout.write(`${plainLines(text)}\n`);

/** On stderr. @param {string} text */
export const warn = (text) => void process.stderr.write(`${plainLines(text)}\n`);
