/**
 * Shared by the tests of whole steps: layers with their saving options, batches of several sizes, and their gradients.
 */
import type { AdaptedLinear, AdapterOptions, MatrixDType, Parameter, Pass, Real, Tensor } from 'sigmatune';
import { type FamilyCase, familyCase, type LayerOptions, oneOfEach, type Strategy, tolerances } from './cases.js';
import { assertClose, bytes, type Check, disposeAll, gaussian, put, snapshot } from './helpers.js';
import { type Bench, dense, expectedGradient, makeLayer, perturb } from './layer.js';
import * as reference from './reference.js';

export type Saving = Pick<AdapterOptions, 'microBatches' | 'borrowInputs' | 'passBytes'>;

export function layerWith(
  family: FamilyCase,
  on: Bench<MatrixDType>,
  strategy: Strategy,
  saving: Saving = {},
): Promise<AdaptedLinear> {
  // Passes the table's options through, so that a test can add options.
  const options: LayerOptions & Saving = saving;
  return makeLayer(family, on, strategy, options);
}

/** The cases with these names, in this order. */
export const named = (...names: readonly string[]): FamilyCase[] => names.map(familyCase);

/**
 * Every kind of core: banded, scattered with duplicates, without a gate, with a base, diagonal, rectified; and one case
 * of every other family.
 */
const kindsByName = named(
  'svft, banded 1',
  'svft, random with duplicates',
  'svft, no gate',
  'svft, truncated, residual kept',
  'svft, truncated, residual dropped',
  'siva, lowest',
  'siva, random basis',
  'vectorfit',
  'vectorfit, nonnegative',
);
export const kinds: readonly FamilyCase[] = [
  ...kindsByName,
  ...oneOfEach.filter(({ family }) => kindsByName.every((kind) => kind.family !== family)),
];

/** Moves the parameters off their start, with a negative number on the core's diagonal if there is room for one. */
export function move(layer: AdaptedLinear, seed = 5): void {
  perturb(layer, seed);
  const diagonal = layer.parameters.find(({ value }) => value.size === layer.rank)?.value;
  if (diagonal && diagonal.size > 1) put(diagonal, diagonal.size - 1, -0.5);
}

export interface Batch<D extends MatrixDType = Real> extends Disposable {
  readonly x: Tensor<D>;
  readonly dy: Tensor<D>;
}

export function batchOf<D extends MatrixDType>(on: Bench<D>, tokens: number): Batch<D> {
  const x = gaussian(on.random, [tokens, on.shape.in], on.dtype);
  const dy = gaussian(on.random, [tokens, on.shape.out], on.dtype);
  return { x, dy, [Symbol.dispose]: () => disposeAll(x, dy) };
}

/** The x and dy of the bench. */
export function batchFrom({ x, dy }: Bench): Pick<Batch, 'x' | 'dy'> {
  return { x, dy } as Pick<Batch, 'x' | 'dy'>;
}

/** Gradient sums by parameter; null before the first backward. */
export type Sums = Map<Parameter, Float64Array | null>;

export function noSums(layer: AdaptedLinear): Sums {
  return new Map(layer.parameters.map((entry) => [entry, null]));
}

export function addTo(sums: Sums, parts: Iterable<readonly [Parameter, Float64Array]>): void {
  for (const [entry, part] of parts) {
    const before = sums.get(entry);
    sums.set(entry, before ? before.map((value, i) => value + (part[i] ?? 0)) : part);
  }
}

/** The reference's gradients of one batch at the current values, and its dx. */
export function expected(
  family: FamilyCase,
  on: Bench,
  layer: AdaptedLinear,
  { x, dy }: Pick<Batch, 'x' | 'dy'>,
): { readonly dx: Float64Array; readonly parts: Map<Parameter, Float64Array> } {
  const operator = family.operator(layer, dense(on.weight), snapshot(on.bias));
  const gradients = reference.backward(operator, dense(x), dense(dy));
  const parts = new Map(layer.parameters.map((entry) => [entry, expectedGradient(entry, gradients)]));
  return { dx: gradients.dx.data, parts };
}

/** Checks that every gradient equals its sum, or is null if the sum is null. */
export function checkSums(
  t: Check,
  layer: { readonly parameters: readonly Parameter[] },
  sums: Sums,
  label: string,
): void {
  for (const entry of layer.parameters) {
    const sum = sums.get(entry) ?? null;
    const { grad } = entry;
    if (sum === null || grad === null)
      t.ok(sum === grad, `${label}: ${entry.name} ${grad ? 'has' : 'has no'} gradient`);
    else assertClose(t, grad, sum, tolerances[entry.value.dtype as Real], `${label}: ${entry.name}`);
  }
}

/** Runs backward without dx, and disposes the pass and its y. */
export function pullBack(pass: Pass, dy: Tensor): void {
  pass.backward(dy, { inputGrad: false });
  disposeAll(pass.y, pass);
}

export function once(layer: AdaptedLinear, { x, dy }: Pick<Batch<MatrixDType>, 'x' | 'dy'>): void {
  pullBack(layer.forward(x), dy);
}

/** The bytes that a pass keeps, which its disposal frees. */
export function heldBy(pass: Pass): number {
  const before = bytes();
  pass.dispose();
  return before - bytes();
}
