// @ts-check
// The tokeniser of the Universal Sentence Encoder Lite: the most probable pieces of a vocabulary (SentencePiece's unigram model).
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { sentenceEncoder } from './graph-model.js';

/** @typedef {(text: string) => number[]} Tokenizer */

const separator = '\u2581'; // marks the beginning of a word
const reserved = 6; // pieces that no text has: unknown, begin, end, …
const unknown = 0;

/** @returns {Tokenizer} */
export function readTokenizer() {
  const path = join(dirname(sentenceEncoder), 'vocab.json');
  return tokenizer(JSON.parse(readFileSync(path, 'utf8')));
}

/** @param {readonly (readonly [piece: string, logProbability: number])[]} vocabulary @returns {Tokenizer} */
function tokenizer(vocabulary) {
  const pieces = new Map(vocabulary.slice(reserved).map(([piece, score], i) => [piece, { id: i + reserved, score }]));
  const longest = Math.max(...vocabulary.map(([piece]) => piece.length));
  const lengths = vocabulary.map(([piece]) => piece.length);

  return (text) => {
    const normal = text.normalize('NFKC');
    if (normal === '') return [];
    const symbols = [...`${separator}${normal.replaceAll(' ', separator)}`];
    const best = new Float64Array(symbols.length + 1); // the log-probability of the best pieces up to here; 0 if there are none
    const last = new Int32Array(symbols.length + 1); // the last of those pieces
    const offer = (/** @type {number} */ end, /** @type {number} */ score, /** @type {number} */ id) => {
      if (best[end] !== 0 && score < best[end]) return;
      best[end] = score;
      last[end] = id;
    };
    for (let start = 0; start < symbols.length; start++) {
      let prefix = '';
      let found = false;
      for (let end = start + 1; end <= Math.min(start + longest, symbols.length); end++) {
        prefix += symbols[end - 1];
        const piece = pieces.get(prefix);
        if (piece === undefined) continue;
        found = true;
        offer(end, best[start] + piece.score, piece.id);
      }
      if (!found) offer(start + 1, best[start], unknown);
    }
    const ids = [];
    for (let end = symbols.length; end > 0; end -= lengths[last[end]]) {
      const repeated = last[end] === unknown && ids.at(-1) === unknown; // unknown symbols in a row are one piece
      if (!repeated) ids.push(last[end]);
    }
    return ids.reverse();
  };
}
