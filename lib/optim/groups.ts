import { checkBoolean, checkNumber, checkOptions, isArray, isRecord, readList, reject } from '../check.js';
import { SigmaError } from '../errors.js';
import type { Operand } from '../native.js';
import type { Parameter } from '../parameter.js';
import type { Real } from '../tensor/dtype.js';
import { checkReal, memoryOf } from '../tensor/operand.js';
import type { Tensor } from '../tensor/tensor.js';

/** Parameters that share settings; what a group leaves out it takes from the optimiser. */
export interface ParameterGroup {
  parameters: readonly Parameter[];
  lr?: number;
  weightDecay?: number;
}

/** One parameter with its group's settings. */
export interface Slot {
  readonly parameter: Parameter;
  readonly lr: number | undefined;
  readonly weightDecay: number | undefined;
}

/** A parameter that is ready to be stepped: checked memory of one type. */
export interface Ready {
  readonly index: number;
  readonly slot: Slot;
  readonly tensor: Tensor<Real>;
  readonly value: Operand;
  readonly grad: Operand;
}

/** Anything of the form of a Parameter: frameworks bring their own. */
export function checkParameter(op: string, argument: string, value: unknown): Parameter {
  if (!isRecord(value) || !('value' in value)) reject(op, argument, 'a Parameter', value);
  if (typeof value['name'] !== 'string') reject(op, `${argument}.name`, 'a string', value['name']);
  checkReal(op, `${argument}.value`, value['value']);
  checkBoolean(op, `${argument}.trainable`, value['trainable']);
  return value as unknown as Parameter;
}

export function checkParameters(op: string, argument: string, value: unknown): readonly Parameter[] {
  const list = readList(op, argument, value, 'an array of parameters');
  return list.map((each, i) => checkParameter(op, `${argument}[${i}]`, each));
}

/** A flat list of all groups' parameters, each of which may occur once. */
export function readGroups(op: string, given: readonly Parameter[] | readonly ParameterGroup[]): readonly Slot[] {
  const expected = 'a non-empty array of parameters, or of groups of them';
  const list = readList(op, 'parameters', given, expected);
  if (list.length === 0) reject(op, 'parameters', expected, given);
  if (list.some((each) => isArray(each) || (isRecord(each) && 'forward' in each))) {
    reject(op, 'parameters', 'layer.parameters, or [...a.parameters, ...b.parameters]', given);
  }
  const grouped = list.some((each) => isRecord(each) && Object.hasOwn(each, 'parameters'));
  const groups = (grouped ? list : [{ parameters: list }]) as readonly ParameterGroup[];
  const slots = groups.flatMap((group, g) => {
    const path = grouped ? `parameters[${g}]` : 'parameters';
    const { parameters, lr, weightDecay } = checkOptions(op, path, group, ['parameters', 'lr', 'weightDecay']);
    if (lr !== undefined) checkNumber(op, `${path}.lr`, lr, 0);
    if (weightDecay !== undefined) checkNumber(op, `${path}.weightDecay`, weightDecay, 0);
    const members = checkParameters(op, grouped ? `${path}.parameters` : path, parameters);
    return members.map((parameter) => ({ parameter, lr, weightDecay }));
  });
  const seen = new Set<Parameter>();
  for (const { parameter } of slots) {
    if (seen.has(parameter)) {
      throw new SigmaError(
        'INVALID_ARGUMENT',
        op,
        `parameters: expected each parameter once, got '${parameter.name}' twice`,
      );
    }
    seen.add(parameter);
  }
  return slots;
}

/** A live gradient of the parameter's shape, type and device. */
export function checkGrad(op: string, { name, value, grad }: Parameter): Tensor<Real> {
  return checkReal(op, `${name}.grad`, grad, { shape: value.shape, dtype: value.dtype as Real, device: value.device });
}

/** The trainable parameters that have a gradient. All are checked before any is returned: a step is whole or not at all. */
export function readySlots(op: string, slots: readonly Slot[]): readonly Ready[] {
  const found = slots.flatMap((slot, index) => {
    const { parameter } = slot;
    if (!parameter.trainable || !parameter.grad) return [];
    const { name } = parameter;
    const tensor = checkReal(op, `${name}.value`, parameter.value);
    return [{ index, slot, name, tensor, gradient: checkGrad(op, parameter) }];
  });
  // A framework's parameters may have getters: none is asked after the first memory was read.
  return found.map(({ index, slot, name, tensor, gradient }) => {
    const [value, grad] = [memoryOf(op, `${name}.value`, tensor), memoryOf(op, `${name}.grad`, gradient)];
    return { index, slot, tensor, value, grad };
  });
}
