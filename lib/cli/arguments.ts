// Command lines are parsed by Node's own `parseArgs`. Its complaints are told in our form, with the nearest name.
import { type ParseArgsConfig, parseArgs } from 'node:util';
import { nearest } from '../runtime/nearest.js';
import { type AnyValues, type Command, commonOptions, type OptionTable } from './command.js';
import { UsageError } from './failures.js';

export interface Parsed {
  readonly positionals: readonly (string | undefined)[];
  readonly values: AnyValues;
}

/** The arguments of a command, or a UsageError. */
export function parse(command: Command, args: readonly string[]): Parsed {
  const specs: OptionTable = { ...command.options, ...commonOptions };
  const options = Object.fromEntries(
    Object.entries(specs).map(([name, { type, short, multiple }]) => [
      name,
      { type, ...(short !== undefined && { short }), ...(multiple && { multiple }) },
    ]),
  );
  const config = { args: [...args], options, allowPositionals: true } satisfies ParseArgsConfig;
  checkOptions(specs, config);
  const { values: given, positionals } = parseArgs({ ...config, strict: true });
  const values = Object.fromEntries(
    Object.entries(specs).map(([name, { type, multiple }]) => {
      const absent = type === 'boolean' ? false : multiple ? [] : undefined;
      return [name, (given[name] as AnyValues[string]) ?? absent];
    }),
  );
  if (values['help'] !== true) checkPositionals(command.positionals, positionals);
  return { positionals, values };
}

/** UsageError for an option that is unknown, misses its value, has one that it does not take, or is given twice. */
function checkOptions(specs: OptionTable, config: ParseArgsConfig): void {
  const seen = new Set<string>();
  const { tokens } = parseArgs({ ...config, strict: false, tokens: true });
  for (const token of tokens) {
    if (token.kind !== 'option') continue;
    const { name, rawName, value } = token;
    const spec = Object.hasOwn(specs, name) ? specs[name] : undefined;
    if (spec === undefined) throw new UsageError(unknown(rawName, Object.keys(specs)));
    if (spec.type === 'boolean' && value !== undefined) {
      throw new UsageError(`${rawName}: expected no value, got '${value}'`);
    }
    if (spec.type === 'string') {
      const wanted = `${rawName}: expected a value (${rawName} ${spec.value})`;
      if (value === undefined || value === '') throw new UsageError(`${wanted}, got none`);
      // `--out --quiet`: who means a name with a dash writes `--out=--quiet`.
      if (!token.inlineValue && value.startsWith('-') && value !== '-') {
        throw new UsageError(`${wanted}, got the option '${value}'`);
      }
    }
    if (seen.has(name) && !spec.multiple && spec.type === 'string') {
      throw new UsageError(`${rawName}: expected one value, got a second one, '${value}'`);
    }
    seen.add(name);
  }
}

function unknown(rawName: string, known: readonly string[]): string {
  const meant = nearest(rawName.replace(/^-+/, ''), known);
  return `no option '${rawName}'${meant === undefined ? '' : `; did you mean '--${meant}'?`}`;
}

function checkPositionals(names: readonly string[], given: readonly string[]): void {
  const needed = names.filter((name) => !name.startsWith('['));
  if (given.length < needed.length) {
    throw new UsageError(`expected ${needed.join(' ')}, got ${given.length === 0 ? 'no argument' : given.join(' ')}`);
  }
  if (given.length > names.length) {
    const expected = names.length === 0 ? 'no argument' : names.join(' ');
    throw new UsageError(`expected ${expected}, got one argument more: '${given[names.length]}'`);
  }
  if (given.includes('')) throw new UsageError(`expected ${names.join(' ')}, got an empty argument`);
}

/** An integer of an option. */
export function readInteger(name: string, text: string, least = 1, most = 2 ** 31 - 1): number {
  const value = /^[+-]?\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw new UsageError(`--${name}: expected an integer from ${least} to ${most}, got '${text}'`);
}

/** The value of an option that must be given. */
export function required(name: string, spec: { readonly value?: string }, value: string | undefined): string {
  if (value !== undefined) return value;
  throw new UsageError(`--${name} ${spec.value} is missing`);
}

/** NAME=VALUE, whose value is JSON or else text. */
export function readPair(name: string, text: string): [string, unknown] {
  const at = text.indexOf('=');
  if (at < 1) throw new UsageError(`--${name}: expected NAME=VALUE, got '${text}'`);
  return [text.slice(0, at), readValue(text.slice(at + 1))];
}

/** JSON if it is that: 2, true, {"lower":0,"upper":2}; else text. */
export function readValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
