import { types } from 'node:util';
import { describe, fail, isArray, readList, reject } from '../runtime/check.js';
import { nearest } from '../runtime/nearest.js';

/**
 * Modules by name: names that end in one of these (the whole name, or after a dot), names that match the pattern, or 'all'
 * matrices. A weight's name counts with and without its last '.weight'.
 */
export type Targets = readonly string[] | RegExp | 'all';

/** A name without the part that says which tensor of the module it is. */
export function moduleName(name: string): string {
  return name.endsWith('.weight') ? name.slice(0, -'.weight'.length) : name;
}

/** Whether a name is a suffix's own, or ends in it after a dot. */
function endsIn(name: string, suffix: string): boolean {
  return name === suffix || name.endsWith(`.${suffix}`);
}

/** A weight as it is stored. */
export interface StoredWeight {
  readonly name: string;
  readonly shape: readonly number[];
}

/** The names under which a module is found: its own, and those of the weight that it is a part of. */
export interface Named {
  readonly names: readonly string[];
}

export function isNamed({ names }: Named, suffix: string): boolean {
  return names.some((name) => endsIn(name, suffix));
}

/** A check of `Targets`, read once. Every suffix, and the pattern, must match some module. */
export function readTargets(
  op: string,
  argument: string,
  targets: unknown,
  modules: readonly Named[],
  others: readonly StoredWeight[],
): (module: Named) => boolean {
  if (targets === 'all') return () => true;
  if (types.isRegExp(targets)) return matching(op, argument, targets, modules);
  if (!isArray(targets)) reject(op, argument, "an array of names, a RegExp or 'all'", targets);
  const suffixes = readList(op, argument, targets, 'an array of names').map((suffix, i) => {
    if (typeof suffix !== 'string' || suffix === '') reject(op, `${argument}[${i}]`, 'a name', suffix);
    return suffix;
  });
  if (suffixes.length === 0) reject(op, argument, 'at least one name', targets);
  for (const [i, suffix] of suffixes.entries()) {
    const other = others.find(({ name }) => endsIn(name, suffix) || endsIn(moduleName(name), suffix));
    if (other !== undefined && !modules.some((module) => isNamed(module, suffix))) {
      fail(
        'SHAPE_MISMATCH',
        op,
        `${argument}[${i}]`,
        'the name of a matrix',
        `'${other.name}' ${describe([...other.shape])}`,
      );
    }
    requireOne(op, `${argument}[${i}]`, suffix, modules);
  }
  return (module) => suffixes.some((suffix) => isNamed(module, suffix));
}

function matching(op: string, argument: string, given: RegExp, modules: readonly Named[]): (module: Named) => boolean {
  // Without its memory of the last match, and out of reach of the caller.
  const pattern = new RegExp(given.source, given.flags.replace(/[gy]/g, ''));
  const matches = ({ names }: Named) => names.some((name) => pattern.test(name));
  if (!modules.some(matches)) {
    fail(
      'INVALID_ARGUMENT',
      op,
      argument,
      `a pattern that matches a module, such as ${someOf(modules)}`,
      String(pattern),
    );
  }
  return matches;
}

/** INVALID_ARGUMENT if no module has this suffix. */
export function requireOne(op: string, argument: string, suffix: string, modules: readonly Named[]): void {
  if (modules.some((module) => isNamed(module, suffix))) return;
  const ends = new Set(modules.flatMap(({ names }) => names.flatMap(suffixesOf)));
  const meant = nearest(suffix, [...ends]);
  const hint = meant === undefined ? '' : `; did you mean '${meant}'?`;
  fail(
    'INVALID_ARGUMENT',
    op,
    argument,
    `the end of a module's name, such as ${someOf(modules)}`,
    `'${suffix}'${hint}`,
  );
}

/** 'c', 'b.c', 'a.b.c' of 'a.b.c'. */
function suffixesOf(name: string): string[] {
  const parts = name.split('.');
  return parts.map((_, i) => parts.slice(i).join('.'));
}

function someOf(modules: readonly Named[]): string {
  const names = modules.slice(0, 3).map(({ names: [name] }) => `'${name}'`);
  return names.length === 0 ? 'none: there is no matrix' : names.join(', ');
}

/** The value that a record has for a module: for its own name before that of a weight it is a part of, and the longest suffix. */
export function valueFor<T>(record: ReadonlyMap<string, T>, { names }: Named): T | undefined {
  for (const name of names) {
    const keys = [...record.keys()].filter((key) => endsIn(name, key)).sort((a, b) => b.length - a.length);
    if (keys[0] !== undefined) return record.get(keys[0]);
  }
  return undefined;
}
