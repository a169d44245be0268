import { checkBoolean, checkNumber, checkOptions, isArray, isRecord, readList, reject } from '../runtime/check.js';
import { SigmaError } from '../runtime/errors.js';
import type { Operand } from '../runtime/native.js';
import type { Real } from '../tensor/dtype.js';
import { checkReal, memoryOf, overlap } from '../tensor/operand.js';
import type { ParameterLike } from '../tensor/parameter.js';
import { isHost } from '../tensor/storage.js';
import type { Tensor } from '../tensor/tensor.js';

/** Parameters that share settings. A missing `lr` or `weightDecay` is the optimiser's. */
export interface ParameterGroup {
  parameters: readonly ParameterLike[];
  lr?: number;
  weightDecay?: number;
}

/** A parameter's properties, each read once: a framework's parameter may have getters. */
export interface Seen {
  readonly parameter: ParameterLike;
  readonly name: string;
  readonly value: Tensor<Real>;
  readonly trainable: boolean;
}

/** One parameter with its group's settings, and its size and type at construction. */
export interface Slot {
  readonly parameter: ParameterLike;
  readonly name: string;
  readonly size: number;
  readonly dtype: Real;
  readonly lr: number | undefined;
  readonly weightDecay: number | undefined;
}

/** A parameter that is ready for a step: its memory is checked and has one type. */
export interface Ready {
  readonly index: number;
  readonly tensor: Tensor<Real>;
  readonly value: Operand;
  readonly grad: Operand;
}

/** Accepts any object with the properties of a ParameterLike, because frameworks bring their own. */
function readParameter(op: string, argument: string, value: unknown): Seen {
  if (!isRecord(value) || !('value' in value)) reject(op, argument, 'a Parameter', value);
  const { name, value: tensor, trainable } = value;
  if (typeof name !== 'string') reject(op, `${argument}.name`, 'a string', name);
  return {
    parameter: value as unknown as ParameterLike,
    name,
    value: checkReal(op, `${argument}.value`, tensor),
    trainable: checkBoolean(op, `${argument}.trainable`, trainable),
  };
}

export function readParameters(op: string, argument: string, value: unknown): readonly Seen[] {
  const list = readList(op, argument, value, 'an array of parameters');
  return list.map((each, i) => readParameter(op, `${argument}[${i}]`, each));
}

/** A number of at least 0 that is finite in float32 too, if there are float32 parameters (`single`). */
export function checkFactor(op: string, argument: string, value: unknown, single: boolean): number {
  const factor = checkNumber(op, argument, value, 0);
  if (!holds(single ? 'float32' : 'float64', factor)) {
    reject(op, argument, 'a number that is finite in float32, because there are float32 parameters', value);
  }
  return factor;
}

/** Whether a number is finite in a type. */
export function holds(dtype: Real, value: number): boolean {
  return Number.isFinite(dtype === 'float32' ? Math.fround(value) : value);
}

/** A flat list of all groups' parameters. Each may occur once. */
export function readGroups(op: string, given: readonly ParameterLike[] | readonly ParameterGroup[]): readonly Slot[] {
  const expected = 'a non-empty array of parameters, or of groups of them';
  const list = readList(op, 'parameters', given, expected);
  if (list.length === 0) reject(op, 'parameters', expected, given);
  if (list.some((each) => isArray(each) || (isRecord(each) && 'forward' in each))) {
    reject(op, 'parameters', 'layer.parameters, or [...a.parameters, ...b.parameters]', given);
  }
  const grouped = list.some((each) => isRecord(each) && Object.hasOwn(each, 'parameters'));
  const groups = grouped ? (list as readonly ParameterGroup[]) : [{ parameters: list as readonly ParameterLike[] }];
  const found = groups.flatMap((group, g) => {
    const path = grouped ? `parameters[${g}]` : 'parameters';
    if (!isRecord(group)) reject(op, path, 'a group { parameters, lr?, weightDecay? }', group);
    const { parameters, lr, weightDecay } = checkOptions(op, path, group, ['parameters', 'lr', 'weightDecay']);
    const seen = readParameters(op, grouped ? `${path}.parameters` : path, parameters);
    const single = seen.some(({ value }) => value.dtype === 'float32');
    if (lr !== undefined) checkFactor(op, `${path}.lr`, lr, single);
    if (weightDecay !== undefined) checkFactor(op, `${path}.weightDecay`, weightDecay, single);
    return seen.map((each) => ({ ...each, lr, weightDecay }));
  });
  const once = new Set<ParameterLike>();
  for (const { parameter, name } of found) {
    if (once.has(parameter)) refusePair(op, 'each parameter once', `'${name}' twice`);
    once.add(parameter);
  }
  const shared = sharedMemory(found.map(({ name, value }) => memoryOf(op, `${name}.value`, value)));
  if (shared !== undefined) {
    const names = shared.map((i) => `'${found[i]?.name}'`).join(' and ');
    refusePair(op, 'values that share no memory', `${names} on the same memory`);
  }
  return found.map(({ parameter, name, value: { size, dtype }, lr, weightDecay }) => {
    return { parameter, name, size, dtype, lr, weightDecay };
  });
}

function refusePair(op: string, expected: string, got: string): never {
  throw new SigmaError('INVALID_ARGUMENT', op, `parameters: expected ${expected}, got ${got}`);
}

/** The indices of two operands that overlap; undefined if none do. */
export function sharedMemory(operands: readonly Operand[]): readonly [number, number] | undefined {
  const ofBuffer = new Map<unknown, { from: number; to: number; index: number }[]>();
  for (const [index, operand] of operands.entries()) {
    const [key, from, bytes] = isHost(operand)
      ? [operand.buffer, operand.byteOffset, operand.byteLength]
      : [operand, 0, 1];
    const before = ofBuffer.get(key);
    const range = { from, to: from + bytes, index };
    if (before === undefined) ofBuffer.set(key, [range]);
    else before.push(range);
  }
  for (const ranges of ofBuffer.values()) {
    ranges.sort((a, b) => a.from - b.from);
    for (const [i, { to, index }] of ranges.entries()) {
      const next = ranges[i + 1];
      if (next !== undefined && next.from < to) return [Math.min(index, next.index), Math.max(index, next.index)];
    }
  }
  return undefined;
}

/** A live gradient of the value's shape, type and device. */
export function checkGrad(op: string, name: string, grad: unknown, value: Tensor<Real>): Tensor<Real> {
  const { shape, dtype, device } = value;
  return checkReal(op, `${name}.grad`, grad, { shape, dtype, device });
}

/**
 * The trainable parameters that have a gradient. Checks all of them first, so that a step is all or nothing. Loops,
 * because an array method with a callback costs as much as a small update.
 */
export function readySlots(op: string, slots: readonly Slot[]): readonly Ready[] {
  const found: { index: number; name: string; tensor: Tensor<Real>; gradient: Tensor<Real> }[] = [];
  for (const [index, { parameter, name }] of slots.entries()) {
    const grad = parameter.trainable ? parameter.grad : null;
    if (grad === null || grad === undefined) continue;
    const tensor = checkReal(op, `${name}.value`, parameter.value);
    found.push({ index, name, tensor, gradient: checkGrad(op, name, grad, tensor) });
  }
  // A framework's parameters may have getters, so read all tensors before the first memory.
  return found.map(({ index, name, tensor, gradient }) => {
    const value = memoryOf(op, `${name}.value`, tensor);
    const grad = memoryOf(op, `${name}.grad`, gradient);
    if (overlap(op, value, grad)) reject(op, `${name}.grad`, 'memory that does not overlap the value', gradient);
    return { index, tensor, value, grad };
  });
}
