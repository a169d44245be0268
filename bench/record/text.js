// @ts-check
// Text that comes from a file, a command line or another program, on its way to a terminal, a shell or Markdown.

/** Characters that a terminal obeys or does not show: controls, changes of direction, separators, lone surrogates. */
const unprinted = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** @param {string} text */
export const isPlain = (text) => text.search(unprinted) < 0;

/** One line in which nothing is left that a terminal would obey. @param {string} text */
export const plain = (text) => text.replace(unprinted, '\uFFFD');

/** The same for several lines. @param {string} text */
export const plainLines = (text) => text.split('\n').map(plain).join('\n');

/** @type {Readonly<Record<string, string>>} */
const entities = { '&': '&amp;', '<': '&lt;', '>': '&gt;' };

/** Text that Markdown shows as it is: no HTML, no image, no emphasis, no further cell of a table. @param {string} text */
export const escapeMarkdown = (text) =>
  plain(text)
    .replace(/[&<>]/g, (character) => entities[character])
    .replace(/[\\`*[\]|~]|(?<!\w)_|_(?!\w)/g, '\\$&');

/** A word of a shell's command line. @param {string} word */
export const shellWord = (word) => (/^[\w./:=@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

/** Long names would push what is drawn next to them out of the picture. @param {string} text @param {number} most */
export const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
