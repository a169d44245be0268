/** Random changes of JSON: values are replaced, added, removed or doubled anywhere, or its text is damaged. */
import * as fc from 'fast-check';

/** Values at which a reader might stumble. */
const odd = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    false,
    '',
    'x',
    '__proto__',
    'constructor',
    '../x',
    'ü\u0000\u202e',
    0,
    -0,
    -1,
    1,
    2,
    0.5,
    1e9,
    2 ** 31 - 1,
    2 ** 31,
    2 ** 53,
    1e300,
    [],
    {},
    [[]],
    { $array: 'float64', length: 1e9, list: false, key: 'arrays.0' },
    { $array: 'float32', length: 0, list: true, key: '' },
    { $number: 'NaN' },
    { $number: {} },
    { $pairs: [['__proto__', 1]] },
    { $pairs: 1 },
  ),
  fc.jsonValue({ maxDepth: 2 }),
);

type Container = Record<string, unknown> | unknown[];

function containersOf(value: unknown, found: Container[] = []): Container[] {
  if (typeof value !== 'object' || value === null) return found;
  found.push(value as Container);
  for (const each of Object.values(value)) containersOf(each, found);
  return found;
}

/** Changes one place of a document, which is JSON. */
function change(document: unknown, place: number, kind: number, value: unknown): void {
  const containers = containersOf(document).filter((each) => Object.keys(each).length > 0);
  const container = containers[place % containers.length];
  if (container === undefined) return;
  const keys = Object.keys(container);
  const key = keys[Math.floor(place / containers.length) % keys.length] as string;
  const at = container as Record<string, unknown>;
  const set = (name: string, to: unknown) =>
    Object.defineProperty(at, name, { value: to, enumerable: true, configurable: true, writable: true });
  switch (kind) {
    case 0:
      if (Array.isArray(container)) container.splice(Number(key), 1);
      else delete at[key];
      break;
    case 1:
      if (Array.isArray(container)) container.push(structuredClone(at[key]));
      else set(`${key}x`, at[key]);
      break;
    case 2:
      if (Array.isArray(container)) container.reverse();
      else set('__proto__', value);
      break;
    default:
      set(key, value);
  }
}

const structural = fc.record({
  place: fc.nat({ max: 10_000 }),
  kind: fc.nat({ max: 9 }),
  value: odd,
});

const textual = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  remove: fc.nat({ max: 6 }),
  insert: fc.constantFrom(
    '',
    '',
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"',
    '\\',
    '\\ud800',
    '0',
    '1e400',
    '\u0000',
    'null',
    '{"a":',
    '[[[[',
  ),
});

/** Changed texts of a document. */
export function mutations(document: unknown): fc.Arbitrary<string> {
  const changed = fc.array(structural, { minLength: 1, maxLength: 2 }).map((steps) => {
    const copy = structuredClone(document);
    for (const { place, kind, value } of steps) change(copy, place, kind, structuredClone(value));
    return JSON.stringify(copy);
  });
  const damaged = fc.tuple(fc.constant(JSON.stringify(document)), textual).map(([text, { at, remove, insert }]) => {
    const begin = Math.floor(at * text.length);
    return text.slice(0, begin) + insert + text.slice(begin + remove);
  });
  return fc.oneof({ arbitrary: changed, weight: 3 }, { arbitrary: damaged, weight: 1 });
}
