// A docstring's text as Markdown.

/** Its paragraphs and its lists, each on one line: where a source line ends has no meaning. */
export const paragraphs = (text) =>
  text
    .split(/\n\s*\n/)
    .map((part) => part.replaceAll(/\s*\n\s*/g, ' ').trim())
    .filter((part) => part !== '');

/** Escapes Markdown's signs outside of backticks, and links the pages of docs/ that the text names. */
export const escaped = (text) =>
  text
    .split(/(`[^`]*`)/)
    .map((part, at) => (at % 2 === 1 ? part : part.replaceAll(/[*<]/g, '\\$&')))
    .join('')
    .replaceAll(/docs\/(\w+\.md)/g, '[$1]($1)');
