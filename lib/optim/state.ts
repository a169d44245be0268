import { checkInteger, checkNumber, describe, fail, isRecord, readList, readRecord, reject } from '../runtime/check.js';
import type { RealArray } from '../runtime/native.js';
import { copyOfNumbers, dtypeOf, type Real } from '../tensor/dtype.js';
import { plainView } from '../tensor/typed-array.js';
import { checkFactor, type Slot } from './groups.js';

/** The result of `state()`: plain data that can be cloned or stored. */
export interface OptimizerState {
  readonly optimizer: string;
  readonly lr: number;
  readonly lrScale: number;
  /** Hyperparameters of all groups. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly parameters: readonly {
    readonly name: string;
    readonly size: number;
    readonly dtype: Real;
    /** The group's own; null if it has none. */
    readonly lr: number | null;
    readonly weightDecay: number | null;
    readonly step: number;
    /** null before the first step */
    readonly arrays: Readonly<Record<string, unknown>> | null;
  }[];
}

/** One parameter's part of a snapshot, each property read once. Version 0.1 saved only `step` and `arrays`. */
export interface SavedParameter {
  readonly path: string;
  readonly name: string | undefined;
  readonly size: number | undefined;
  readonly dtype: unknown;
  readonly lr: number | undefined;
  readonly weightDecay: number | undefined;
  readonly step: number;
  readonly arrays: Readonly<Record<string, unknown>> | undefined;
}

/** More steps than any run takes, and exact in float64. */
const mostSteps = 2 ** 52;

export function readEntries(op: string, saved: unknown, single: boolean): readonly SavedParameter[] {
  const list = readList(op, 'state.parameters', saved, 'an array');
  return list.map((each, i) => readEntry(op, `state.parameters[${i}]`, each, single));
}

function readEntry(op: string, path: string, saved: unknown, single: boolean): SavedParameter {
  const old = { path, name: undefined, size: undefined, dtype: undefined, lr: undefined, weightDecay: undefined };
  if (saved === null) return { ...old, step: 0, arrays: undefined };
  if (!isRecord(saved)) reject(op, path, 'an object or null', saved);
  if (!Object.hasOwn(saved, 'name')) {
    const { step, ...arrays } = saved;
    return { ...old, step: checkInteger(op, `${path}.step`, step, 0, mostSteps), arrays };
  }
  const { name, size, dtype, lr, weightDecay, step, arrays } = saved;
  if (typeof name !== 'string') reject(op, `${path}.name`, 'a string', name);
  if (arrays !== null && !isRecord(arrays)) reject(op, `${path}.arrays`, 'an object or null', arrays);
  const factor = (key: string, value: unknown) => {
    return value === null ? undefined : checkFactor(op, `${path}.${key}`, value, single);
  };
  return {
    path,
    name,
    size: checkNumber(op, `${path}.size`, size, 1),
    dtype,
    lr: factor('lr', lr),
    weightDecay: factor('weightDecay', weightDecay),
    step: checkInteger(op, `${path}.step`, step, 0, mostSteps),
    arrays: arrays ?? undefined,
  };
}

/** Matches the entries to the parameters: by name, or by position if names are missing or occur twice. */
export function matchEntries(
  op: string,
  entries: readonly SavedParameter[],
  slots: readonly Slot[],
): readonly SavedParameter[] {
  const saved = entries.map(({ name }) => name);
  const own = slots.map(({ name }) => name);
  const byName = !saved.includes(undefined) && isUnique(saved) && isUnique(own);
  if (byName) {
    const missing = own.find((name) => !saved.includes(name)) ?? saved.find((name) => !own.includes(name as string));
    if (missing !== undefined) {
      const [expected, got] = own.includes(missing) ? [`'${missing}' among them`, saved] : [`no '${missing}'`, own];
      reject(op, 'state.parameters', expected, got);
    }
    const found = new Map(entries.map((entry) => [entry.name, entry]));
    return own.map((name) => found.get(name) as SavedParameter);
  }
  if (entries.length !== slots.length) reject(op, 'state.parameters', `an array of ${slots.length}`, saved);
  const wrong = entries.find(({ name }, i) => name !== undefined && name !== own[i]);
  if (wrong !== undefined) {
    const expected = `'${own[entries.indexOf(wrong)]}' (a name occurs twice, so the order counts)`;
    reject(op, `${wrong.path}.name`, expected, wrong.name);
  }
  return entries;
}

function isUnique(names: readonly unknown[]): boolean {
  return new Set(names).size === names.length;
}

/** Copies the arrays `names` of a snapshot. They must have the size and type of the parameter `name`. */
export function readArrays(
  op: string,
  path: string,
  saved: Readonly<Record<string, unknown>>,
  { name, names, dtype, size }: { name: string; names: readonly string[]; dtype: Real; size: number },
): Readonly<Record<string, RealArray>> {
  const given = Object.keys(saved);
  if (String(given.toSorted()) !== String(names.toSorted())) {
    reject(op, path, `the arrays [${names.join(', ')}] of '${name}'`, given);
  }
  const copies = names.map(
    (key) => [key, savedNumbers(op, `${path}.${key}`, saved[key], { name, dtype, size })] as const,
  );
  return Object.fromEntries(copies);
}

/** Copies an array of a snapshot. It must have the size and type of the parameter `name`. */
export function savedNumbers(
  op: string,
  path: string,
  array: unknown,
  { name, dtype, size }: { name: string; dtype: Real; size: number },
): RealArray {
  const copy = copyOfNumbers(op, dtype, array);
  if (copy?.length !== size) {
    const type = dtype === 'float64' ? 'Float64Array' : 'Float32Array';
    const length = copy === undefined ? '' : ` of length ${copy.length}`;
    fail(
      'INVALID_ARGUMENT',
      op,
      path,
      `a ${type} of length ${size}, the size of '${name}'`,
      `${describe(array)}${length}`,
    );
  }
  return copy;
}

/**
 * The state of an optimiser after the slots of some parameters have moved: entry i of an array of such a parameter is
 * that of slot `from[i]` before, or 0 for −1. Load it into an optimiser over the layers that were made again.
 *
 * @param state from `optimizer.state()`; it is not changed
 * @param moves `from` of `regrow`, by the parameter's name
 * @throws SigmaError INVALID_ARGUMENT; the message names the parameter
 * @example
 * const next = new AdamW(layer.parameters, { lr: 1e-2 });
 * next.loadState(movedState(optimizer.state(), { 'blocks.0.q.m': from }));
 */
export function movedState(state: unknown, moves: Readonly<Record<string, Int32Array>>): unknown {
  const op = 'movedState';
  if (!isRecord(state)) reject(op, 'state', 'a state of an optimiser', state);
  const { parameters, ...others } = state;
  const wanted = new Map(Object.entries(readRecord(op, 'moves', moves)));
  const moved = readList(op, 'state.parameters', parameters, 'an array').map((each, i) => {
    const path = `state.parameters[${i}]`;
    if (!isRecord(each)) reject(op, path, 'an object', each);
    const { name, size, dtype, arrays } = each;
    const from = wanted.get(name as string);
    if (from === undefined) return each;
    wanted.delete(name as string);
    const slots = readSlots(op, `moves['${name}']`, from, checkInteger(op, `${path}.size`, size, 1));
    if (arrays === null) return each;
    if (!isRecord(arrays)) reject(op, `${path}.arrays`, 'an object or null', arrays);
    const read = readArrays(op, `${path}.arrays`, arrays, {
      name: name as string,
      names: Object.keys(arrays),
      dtype: dtype as Real,
      size: slots.length,
    });
    const next = Object.entries(read).map(([key, array]) => {
      return [
        key,
        array.map((_, slot) => (slots[slot] === -1 ? 0 : (array[slots[slot] as number] as number))),
      ] as const;
    });
    return { ...each, arrays: Object.fromEntries(next) };
  });
  const [unknown] = wanted.keys();
  if (unknown !== undefined) reject(op, 'moves', `names of the state's parameters`, unknown);
  return { ...others, parameters: moved };
}

/** Slots of a parameter of `size` numbers, or −1. */
function readSlots(op: string, argument: string, given: unknown, size: number): Int32Array {
  if (dtypeOf(given) !== 'int32') reject(op, argument, 'an Int32Array', given);
  const slots = Int32Array.from(plainView(given as Int32Array));
  if (slots.length !== size) reject(op, argument, `${size} slots`, describe(slots.length));
  const wrong = slots.findIndex((slot) => slot < -1 || slot >= size);
  if (wrong >= 0) reject(op, `${argument}[${wrong}]`, `a slot from -1 to ${size - 1}`, slots[wrong]);
  return slots;
}
