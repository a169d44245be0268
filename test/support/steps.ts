/** What the tests of whole steps share: layers told of steps and bytes, batches of several sizes, what each should add. */
import type { AdaptedLinear, AdapterOptions, Parameter, Pass, Real, Tensor } from 'sigmatune';
import { type FamilyCase, familyCase, type LayerOptions, oneOfEach, type Strategy, tolerances } from './cases.js';
import { assertClose, bytes, type Check, disposeAll, gaussian, put, snapshot } from './helpers.js';
import { type Bench, dense, expectedGradient, makeLayer, perturb } from './layer.js';
import * as reference from './reference.js';

export type Saving = Pick<AdapterOptions, 'microBatches' | 'borrowInputs' | 'passBytes'>;

export function layerWith(
  family: FamilyCase,
  on: Bench,
  strategy: Strategy,
  saving: Saving = {},
): Promise<AdaptedLinear> {
  // The table's options go to the family as they are, so that more of them may be given.
  const options: LayerOptions & Saving = saving;
  return makeLayer(family, on, strategy, options);
}

/** The cases of these names, in this order. */
export const named = (...names: readonly string[]): FamilyCase[] => names.map(familyCase);

/** Every kind of core: banded, scattered with duplicates, without a gate, beside a base, diagonal, rectified; and families
 * that have none of these names. */
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

/** Off its start, with a negative number on the core's diagonal if there is room for one. */
export function move(layer: AdaptedLinear, seed = 5): void {
  perturb(layer, seed);
  const diagonal = layer.parameters.find(({ value }) => value.size === layer.rank)?.value;
  if (diagonal && diagonal.size > 1) put(diagonal, diagonal.size - 1, -0.5);
}

export interface Batch extends Disposable {
  readonly x: Tensor<Real>;
  readonly dy: Tensor<Real>;
}

export function batchOf(on: Bench, tokens: number): Batch {
  const x = gaussian(on.random, [tokens, on.shape.in], on.dtype);
  const dy = gaussian(on.random, [tokens, on.shape.out], on.dtype);
  return { x, dy, [Symbol.dispose]: () => disposeAll(x, dy) };
}

/** The bench's own x and dy. */
export function batchFrom({ x, dy }: Bench): Pick<Batch, 'x' | 'dy'> {
  return { x, dy } as Pick<Batch, 'x' | 'dy'>;
}

/** Sums by parameter; null before anything was added. */
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

/** What the reference says that one batch adds to each parameter, at the values of now, and its dx. */
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

/** Every gradient is what the sums say, or null where nothing was added. */
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

/** Backward without dx, and the pass and its y ended. */
export function pullBack(pass: Pass, dy: Tensor): void {
  pass.backward(dy, { inputGrad: false });
  disposeAll(pass.y, pass);
}

export function once(layer: AdaptedLinear, { x, dy }: Pick<Batch, 'x' | 'dy'>): void {
  pullBack(layer.forward(x), dy);
}

/** What a pass keeps: what its end gives back. */
export function heldBy(pass: Pass): number {
  const before = bytes();
  pass.dispose();
  return before - bytes();
}
