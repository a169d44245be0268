import { types } from 'node:util';
import { moduleName } from '../files/module-name.js';
import { describe, fail, isArray, readList, reject } from '../runtime/check.js';
import { nearest } from '../runtime/nearest.js';
import { matrixTypes } from '../tensor/operand.js';

/**
 * Modules by name: names that end in one of these (the whole name, or after a dot), names that match the pattern, or 'all'
 * matrices. A weight's name counts with and without its last '.weight'.
 */
export type Targets = readonly string[] | RegExp | 'all';

/** Whether a name is a suffix's own, or ends in it after a dot. */
function endsIn(name: string, suffix: string): boolean {
  return name === suffix || name.endsWith(`.${suffix}`);
}

/** A weight as it is stored. A plan of shapes knows no types; a type without a tensor has the name that its file gives it. */
export interface StoredWeight {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: string | undefined;
}

export function isOfMatrixType({ dtype }: StoredWeight): boolean {
  return dtype === undefined || (matrixTypes as readonly string[]).includes(dtype);
}

/** The names under which a module is found: its own, and those of the weight that it is a part of. */
export interface Named {
  readonly names: readonly string[];
}

/** Every end of the modules' names, so that a name is looked up at once. */
export type Ends = ReadonlySet<string>;

export function endsOf(modules: readonly Named[]): Ends {
  return new Set(modules.flatMap(({ names }) => names.flatMap(suffixesOf)));
}

/** A check of `Targets`, read once. Every suffix, and the pattern, must match some module. */
export function readTargets(
  op: string,
  argument: string,
  targets: unknown,
  modules: readonly Named[],
  others: readonly StoredWeight[],
): (module: Named) => boolean {
  if (targets === 'all') {
    if (modules.length === 0) fail('INVALID_ARGUMENT', op, argument, 'weights with a matrix', 'none');
    return () => true;
  }
  if (types.isRegExp(targets)) return matching(op, argument, targets, modules);
  if (!isArray(targets)) reject(op, argument, "an array of names, a RegExp or 'all'", targets);
  const suffixes = readList(op, argument, targets, 'an array of names').map((suffix, i) => {
    if (typeof suffix !== 'string' || suffix === '') reject(op, `${argument}[${i}]`, 'a name', suffix);
    return suffix;
  });
  if (suffixes.length === 0) reject(op, argument, 'at least one name', targets);
  const ends = endsOf(modules);
  for (const [i, suffix] of suffixes.entries()) {
    if (ends.has(suffix)) continue;
    const other = others.find(({ name }) => endsIn(name, suffix) || endsIn(moduleName(name), suffix));
    if (other !== undefined) {
      const ofOtherType = !isOfMatrixType(other);
      const got = `'${other.name}' ${describe([...other.shape])}${ofOtherType ? ` of ${other.dtype}` : ''}`;
      const code = ofOtherType ? 'DTYPE_MISMATCH' : 'SHAPE_MISMATCH';
      fail(code, op, `${argument}[${i}]`, 'the name of a matrix', got);
    }
    requireOne(op, `${argument}[${i}]`, suffix, modules, ends);
  }
  const wanted = new Set(suffixes);
  return ({ names }) => names.some((name) => suffixesOf(name).some((suffix) => wanted.has(suffix)));
}

function matching(op: string, argument: string, given: RegExp, modules: readonly Named[]): (module: Named) => boolean {
  // Without the caller's own properties, and without the memory of the last match.
  const own = new RegExp(given);
  const pattern = new RegExp(own, own.flags.replace(/[gy]/g, ''));
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

/** INVALID_ARGUMENT if no module has this suffix. `ends` are those of the modules. */
export function requireOne(op: string, argument: string, suffix: string, modules: readonly Named[], ends: Ends): void {
  if (ends.has(suffix)) return;
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

/** 'a.b.c', 'b.c', 'c' of 'a.b.c'. */
function suffixesOf(name: string): string[] {
  const parts = name.split('.');
  return parts.map((_, i) => parts.slice(i).join('.'));
}

function someOf(modules: readonly Named[]): string {
  const names = modules.slice(0, 3).map(({ names: [name] }) => `'${name}'`);
  return names.length === 0 ? 'none: there is no matrix' : names.join(', ');
}

/**
 * The value that a record has for a module: the most specific key counts, with or without '.weight'. A key for the module's
 * own name comes before a key for the weight that it is a part of.
 */
export function valueFor<T>(record: ReadonlyMap<string, T>, { names }: Named): T | undefined {
  if (record.size === 0) return undefined;
  for (const own of new Set(names.map(moduleName))) {
    const spellings = names.filter((name) => moduleName(name) === own).map(suffixesOf);
    const most = Math.max(...spellings.map(({ length }) => length));
    for (let depth = 0; depth < most; depth++) {
      const key = spellings
        .map((suffixes) => suffixes[depth])
        .find((suffix) => suffix !== undefined && record.has(suffix));
      if (key !== undefined) return record.get(key);
    }
  }
  return undefined;
}
