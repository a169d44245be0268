/** Shared by the tests of adapters: a case's layer, its data, and its reference. */
import { type AdaptedLinear, type MatrixDType, type Parameter, type Real, type Svd, svd, type Tensor } from 'sigmatune';
import { type FamilyCase, type LayerOptions, type LayerShape, type Strategy, vectorsOf } from './cases.js';
import {
  at,
  disposeAll,
  disposeSvd,
  fill,
  gaussian,
  item,
  type Random,
  real,
  rewrite,
  seeded,
  snapshot,
  write,
} from './helpers.js';
import { diagonal, type Gradients, identity, type Matrix, matrix } from './reference.js';

/** The data for one shape and one type. All its layers share the factors. */
export interface Bench<D extends MatrixDType = Real> extends Disposable {
  readonly random: Random;
  readonly shape: LayerShape;
  /** Of the matrices. */
  readonly dtype: D;
  readonly weight: Tensor;
  readonly bias: Tensor;
  readonly factors: Svd;
  readonly x: Tensor;
  readonly dy: Tensor;
}

export async function bench<D extends MatrixDType>(shape: LayerShape, dtype: D, seed = 1): Promise<Bench<D>> {
  const random = seeded(seed * 7919 + shape.out * 101 + shape.in);
  // Entries of size 1/√in keep y near 1 for every shape.
  const weight = gaussian(random, [shape.out, shape.in], dtype, 1 / Math.sqrt(shape.in));
  const bias = gaussian(random, [shape.out], vectorsOf(dtype));
  const x = gaussian(random, [shape.tokens, shape.in], dtype);
  const dy = gaussian(random, [shape.tokens, shape.out], dtype);
  const factors = await svd(weight as Tensor<MatrixDType>);
  return {
    random,
    shape,
    dtype,
    weight,
    bias,
    factors,
    x,
    dy,
    [Symbol.dispose]() {
      disposeAll(weight, bias, x, dy);
      disposeSvd(factors);
    },
  };
}

/** A diagonal weight [n, n] with its exact factors, so that the spectrum has exactly these numbers. */
export function diagonalWeight(spectrum: readonly number[]): { weight: Tensor; factors: Svd } {
  const n = spectrum.length;
  const unit = identity(n).data;
  return {
    weight: real(diagonal(spectrum).data, [n, n], 'float64'),
    factors: { u: real(unit, [n, n], 'float64'), s: real(spectrum, [n], 'float64'), vt: real(unit, [n, n], 'float64') },
  };
}

export function makeLayer(
  family: FamilyCase,
  on: Bench<MatrixDType>,
  strategy: Strategy,
  more: LayerOptions = {},
): Promise<AdaptedLinear> {
  return family.make(on.weight, { strategy, bias: on.bias, factors: on.factors, ...more });
}

/** Moves every parameter off its start, reproducibly for one seed. */
export function perturb(layer: AdaptedLinear, seed = 5): void {
  for (const { name, value } of layer.parameters) {
    const random = seeded(seed + name.length);
    rewrite(value, (before) => before + 0.3 * random.normal());
  }
}

export function parameter(layer: AdaptedLinear, name: string): Parameter {
  const found = layer.parameters.find((entry) => entry.name === name || entry.name.endsWith(`.${name}`));
  if (!found) throw new Error(`no parameter ${name} among ${layer.parameters.map((entry) => entry.name)}`);
  return found;
}

export function dense(tensor: Tensor): Matrix {
  const [rows = 1, columns = 1] = tensor.shape;
  return matrix(rows, columns, snapshot(tensor));
}

/** W' in float64. Disposes what it makes. */
export function mergedOf(layer: AdaptedLinear): Matrix {
  const merged = layer.mergedWeight();
  const result = dense(merged);
  merged.dispose();
  return result;
}

/** Disposes a layer as a user would: gradients first. */
export function disposeLayer(layer: AdaptedLinear): void {
  clearGradients(layer);
  layer.dispose();
}

export function clearGradients(layer: AdaptedLinear): void {
  for (const entry of layer.parameters) {
    entry.grad?.dispose();
    entry.grad = null;
  }
}

/** A copy of every gradient, in parameter order; empty for null. */
export function gradientsOf(layer: AdaptedLinear): Float64Array[] {
  return layer.parameters.map(({ grad }) => (grad ? snapshot(grad) : new Float64Array()));
}

/** The gate's gradient is a sum of terms M dM that nearly cancel: its rounding error is relative to their size. */
export function termsOf({ parameters }: AdaptedLinear, gradients: readonly Float64Array[], i: number): number {
  if (!parameters[i]?.name.endsWith('gate')) return 0;
  const m = parameters.findIndex(({ name }) => name.endsWith('m'));
  const numbers = snapshot(item(parameters, m).value);
  return numbers.reduce((sum, value, p) => sum + Math.abs(value * at(item(gradients, m), p)), 0);
}

/** The reference's gradient of one parameter. */
export function expectedGradient(entry: Parameter, gradients: Gradients): Float64Array {
  const name = entry.name.split('.').at(-1) ?? '';
  switch (name) {
    case 'm':
      return gradients.m;
    case 'gate':
      return Float64Array.of(gradients.gate);
    case 'bias':
      return gradients.bias;
    case 'sigma':
    case 's':
      return gradients.sigma;
    default: {
      const found = gradients.named[name];
      if (!found) throw new Error(`no reference for ${entry.name}`);
      return found;
    }
  }
}

/** Whether W' lacks directions of W0, so that its change is relative to W' at M = 0. */
const leavesOut = ({ name }: FamilyCase): boolean => /dropped|orthonormal/.test(name);

/** W' before any change by the parameters. */
export function untrained(family: FamilyCase, layer: AdaptedLinear, on: Bench<MatrixDType>): Matrix {
  return leavesOut(family) ? atZero(layer) : dense(on.weight);
}

/** W' at M = 0. */
export function atZero(layer: AdaptedLinear): Matrix {
  const m = parameter(layer, 'm').value;
  const values = snapshot(m);
  fill(m, 0);
  const start = mergedOf(layer);
  write(m, values);
  return start;
}
