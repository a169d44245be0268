/** Scenes for the tests of gathering: a layer, its passes in any order, and the gradient sums of the reference. */
import type { AdaptedLinear, Parameter, Real, Tensor } from 'sigmatune';
import { type FamilyCase, type LayerShape, tolerances } from './cases.js';
import { assertClose, type Check, disposeAll, Findings, gaussian, item, seeded } from './helpers.js';
import { type Bench, bench, clearGradients, disposeLayer, makeLayer } from './layer.js';
import { addTo, type Batch, batchOf, checkSums, expected, kinds, move, noSums, pullBack } from './steps.js';

export const shapes: readonly LayerShape[] = [
  { name: 'square', out: 12, in: 12, tokens: 7 },
  { name: 'tall', out: 13, in: 9, tokens: 7 },
  { name: 'wide', out: 5, in: 19, tokens: 7 },
];
export const square = item(shapes, 0);
export const sizes = [3, 1, 17, 40, 2] as const;

/** A layer, and the gradients that the reference expects. */
export class Scene {
  readonly label: string;
  readonly layer: AdaptedLinear;
  readonly batches: readonly Batch[];
  readonly #t: Check;
  readonly #family: FamilyCase;
  readonly #on: Bench;
  sums;

  constructor(t: Check, family: FamilyCase, on: Bench, layer: AdaptedLinear, batches: readonly Batch[], label: string) {
    this.#t = t;
    this.#family = family;
    this.#on = on;
    this.layer = layer;
    this.batches = batches;
    this.label = label;
    this.sums = noSums(layer);
  }

  batch(index: number): Batch {
    return item(this.batches, index % this.batches.length);
  }

  /** Runs a forward pass. Calling the result runs its backward, which uses the values of the forward. */
  forward(index: number): (options?: { inputGrad: boolean }) => void {
    const batch = this.batch(index);
    const { dx, parts } = expected(this.#family, this.#on, this.layer, batch);
    const wanted = new Set<Parameter>(this.layer.parameters.filter(({ trainable }) => trainable));
    const pass = this.layer.forward(batch.x);
    return (options = { inputGrad: true }) => {
      const counts = [...parts].filter(([entry]) => wanted.has(entry) && entry.trainable);
      if (options.inputGrad) {
        const found = pass.backward(batch.dy);
        assertClose(this.#t, found, dx, tolerances.float64, `${this.label}, batch ${index}: dx`);
        disposeAll(found, pass.y, pass);
      } else pullBack(pass, batch.dy);
      addTo(this.sums, counts);
    };
  }

  step(...indices: readonly number[]): void {
    for (const index of indices) this.forward(index)();
  }

  read(label: string): void {
    checkSums(this.#t, this.layer, this.sums, `${this.label}, ${label}`);
  }

  readOne(entry: Parameter, label: string): void {
    checkSums(this.#t, { parameters: [entry] }, this.sums, `${this.label}, ${label}`);
  }

  clear(): void {
    clearGradients(this.layer);
    this.sums = noSums(this.layer);
  }

  /** New values, which depend on the seed. */
  write(seed: number): void {
    move(this.layer, seed);
  }

  get parameters(): readonly Parameter[] {
    return this.layer.parameters;
  }
}

/** A scene for every kind of core, merged, on the square shape. `tell` must dispose everything except the layer. */
export async function eachKind(t: Check, tell: (scene: Scene, findings: Findings) => void): Promise<void> {
  using on = await bench(square, 'float64');
  const batches = sizes.map((tokens) => batchOf(on, tokens));
  for (const family of kinds) {
    const findings = new Findings();
    const layer = await makeLayer(family, on, 'merged');
    move(layer);
    tell(new Scene(findings, family, on, layer, batches, family.name), findings);
    t.same(findings.failures, [], family.name);
    disposeLayer(layer);
  }
  disposeAll(...batches);
}

/** Normal numbers of a value's shape. */
export function like(value: Tensor, seed: number): Tensor<Real> {
  return gaussian(seeded(seed), value.shape, 'float64');
}
