// Text for people: numbers with their units, and text of files without anything that a terminal would obey.

/** Characters that a terminal obeys or does not show: controls, changes of direction, separators, lone surrogates. */
const unprinted = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** One line in which nothing is left that a terminal would obey. */
export function plain(text: string): string {
  return text.replace(unprinted, '\uFFFD');
}

/** The same for several lines. */
export function plainLines(text: string): string {
  return text.split('\n').map(plain).join('\n');
}

/** JSON, also safe on a terminal: such characters of its strings are escaped. */
export function json(value: unknown): string {
  const lines = JSON.stringify(value, undefined, 2).split('\n');
  return lines.map((line) => line.replace(unprinted, escaped)).join('\n');
}

/** \u0000 for each UTF-16 unit of a character. */
function escaped(character: string): string {
  return character.replace(/[\s\S]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** 12,345,678; '?' for a number that is not known. */
export function count(value: number): string {
  return Number.isNaN(value) ? '?' : value.toLocaleString('en-US');
}

/** '1 layer', '3 layers' */
export function several(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? '' : 's'}`;
}

const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

/** 302.0 MB, in powers of 1000; '?' for a number that is not known. */
export function bytes(value: number): string {
  if (Number.isNaN(value)) return '?';
  const power = value < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(value) / 3));
  return `${power === 0 ? value : (value / 1000 ** power).toFixed(1)} ${units[power]}`;
}

/** 0.135 %, 12.5 %: three digits. */
export function percent(share: number): string {
  return Number.isNaN(share) ? '?' : `${(100 * share).toPrecision(3)} %`;
}

/** 4096 × 14336 */
export function shape(sizes: readonly number[]): string {
  return sizes.length === 0 ? 'scalar' : sizes.join(' × ');
}

/** 42 s, 3 min 20 s, 1 h 5 min */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
