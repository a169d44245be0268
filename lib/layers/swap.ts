// The numbers that replace those of a layer's parameters: read and checked before the first is written.
import type { Terms } from '../operator/terms.js';
import { describe, fail, readRecord, reject } from '../runtime/check.js';
import type { RealArray } from '../runtime/native.js';
import { allocate, readNumbers } from '../tensor/dtype.js';
import { checkReal, numbersOf } from '../tensor/operand.js';
import type { LayerParameter } from '../tensor/parameter.js';
import { type Matrix, Tensor } from '../tensor/tensor.js';
import { viewOf } from '../tensor/view.js';
import type { Adapter } from './adapter.js';
import { coordinatesOf } from './frame.js';

type Assignments = readonly (readonly [parameter: LayerParameter, numbers: RealArray])[];

/** The last part of a parameter's name. */
const roleOf = ({ name }: LayerParameter) => name.slice(name.lastIndexOf('.') + 1);

/** The caller's numbers, one list for each parameter. */
export function numbersGiven(op: string, parameters: readonly LayerParameter[], source: unknown): Assignments {
  const roles = parameters.map(roleOf);
  const given = readRecord(op, 'source', source, roles);
  return parameters.map((parameter, i) => {
    const role = roles[i] as string;
    const argument = `source.${role}`;
    const value = given[role];
    const { dtype, size } = parameter.value;
    if (value === undefined) reject(op, argument, `${size} numbers, because every parameter is replaced`, value);
    const tensor = Tensor.is(value) ? value : viewOf(op, argument, value);
    const from = tensor === undefined ? value : numbersOf(op, argument, checkReal(op, argument, tensor));
    const read = readNumbers(op, argument, from);
    if (read.length !== size) fail('SHAPE_MISMATCH', op, argument, `${size} numbers`, describe(read.length));
    const numbers = allocate(op, dtype, size);
    numbers.set(read);
    return [parameter, numbers];
  });
}

/** The numbers of another layer, whose parameters must multiply the same singular directions. */
export function numbersOfLayer(op: string, layer: Adapter, source: Adapter): Assignments {
  const { terms } = source.anatomy(op, 'source');
  const { terms: own } = layer.anatomy(op);
  const told = ({ family, parameters }: Adapter) =>
    `${family} with ${parameters.map((each) => `${roleOf(each)} [${each.value.size}]`).join(', ')}`;
  if (told(source) !== told(layer)) fail('INVALID_ARGUMENT', op, 'source', told(layer), told(source));
  if (terms.rectified !== own.rectified || terms.transposed !== own.transposed || !sameCells(terms, own)) {
    const got = 'a layer with another one';
    fail('INVALID_ARGUMENT', op, 'source', 'a layer with the same pattern, `layout` and `nonnegative`', got);
  }
  if (!sameNumbers(op, terms.u, own.u) || !sameNumbers(op, terms.vt, own.vt)) {
    const expected = 'a layer on the same singular vectors (give both layers the same `factors`)';
    fail('BASE_MISMATCH', op, 'source', expected, 'a layer on others');
  }
  return layer.parameters.map((parameter, i) => {
    const { value } = source.parameters[i] as LayerParameter;
    const numbers = allocate(op, parameter.value.dtype, value.size);
    numbers.set(numbersOf(op, 'source', value));
    return [parameter, numbers];
  });
}

function sameCells(a: Terms, b: Terms): boolean {
  const one = a.core?.pattern;
  const other = b.core?.pattern;
  if (one === other) return true;
  if (one === undefined || other === undefined) return false;
  const [cells, wanted] = [coordinatesOf(a), coordinatesOf(b)];
  const same = (x: Int32Array, y: Int32Array) => x.length === y.length && x.every((value, i) => value === y[i]);
  return same(cells.rows, wanted.rows) && same(cells.columns, wanted.columns);
}

function sameNumbers(op: string, a: Matrix, b: Matrix): boolean {
  if (a.dtype !== b.dtype || a.size !== b.size) return false;
  if (a.device === b.device && a.read(op, 'factors') === b.read(op, 'factors')) return true;
  const [one, other] = [numbersOf(op, 'factors', a), numbersOf(op, 'factors', b)];
  return one.every((value, i) => value === other[i]);
}
