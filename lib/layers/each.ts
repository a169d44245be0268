import { types } from 'node:util';
import { EachBatch } from '../operator/each.js';
import { AdapterPass, type Pass } from '../operator/pass.js';
import { type Batch, recordNothing } from '../operator/route.js';
import { describe, fail, readList, reject, rejectInstance } from '../runtime/check.js';
import type { MatrixDType } from '../tensor/dtype.js';
import { checkBatch, output } from '../tensor/operand.js';
import type { Matrix, Tensor } from '../tensor/tensor.js';
import { lengthOf } from '../tensor/typed-array.js';
import type { TensorLike } from '../tensor/view.js';
import { Adapter } from './adapter.js';
import type { AdaptedLinear } from './types.js';

/**
 * Sends each row of a batch through one of many layers: row t of x goes through layers[which[t]]. The layers are made
 * with the same `factors`, of any families and patterns. The products with V, U and W0 are computed once for all layers
 * that share them, so many adapters cost little more than one. The rows may be in any order, and a layer may have none.
 * The results equal those of each layer's own `apply`, to rounding.
 *
 * @param x [..., in]
 * @param which one index into `layers` for each row of x
 * @returns y [..., out]
 * @throws SigmaError INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH, DEVICE_MISMATCH, DISPOSED, OUT_OF_MEMORY,
 * BASE_MISMATCH for layers of other factors
 * @example
 * const tenants = [await svft(weight, { factors }), await vectorFit(weight, { factors })];
 * const y = applyEach(tenants, x, Int32Array.of(0, 1, 1, 0)); // four rows
 */
export function applyEach<D extends MatrixDType>(
  layers: readonly AdaptedLinear<D>[],
  x: TensorLike,
  which: Int32Array,
): Tensor<D> {
  const { rows, batch, y } = read('applyEach', layers, x, which);
  if (batch.tokens > 0) rows.apply(batch);
  // The type is that of the layers, which was checked.
  return y.tensor() as Tensor<D>;
}

/**
 * `applyEach` for training: y, and a backward that gives each layer the gradients of its own rows. A layer without rows
 * gets none. This trains many adapters in one pass, for example a sweep of learning rates.
 *
 * @param x [..., in]
 * @param which one index into `layers` for each row of x
 * @returns a pass; its backward is one for all layers
 * @throws SigmaError as `applyEach`
 * @example
 * const pass = forwardEach(layers, x, which);
 * const dx = pass.backward(dy);
 * for (const optimizer of optimizers) optimizer.step();
 */
export function forwardEach<D extends MatrixDType>(
  layers: readonly AdaptedLinear<D>[],
  x: TensorLike,
  which: Int32Array,
): Pass<D> {
  const { rows, batch, y, present, inFeatures } = read('forwardEach', layers, x, which);
  const { saved, pullBack } = batch.tokens > 0 ? rows.record(batch) : recordNothing([]);
  const ofPass = { family: 'forwardEach', inFeatures, reads: () => present.flatMap((layer) => layer.readTensors()) };
  const pass: Pass = new AdapterPass(ofPass, y.tensor(), saved, (op, dy, dx, sink) => {
    for (const layer of present) layer.checkAlive(op, 'a layer of this pass');
    pullBack(op, dy, dx, sink);
  });
  return pass as Pass<D>;
}

interface Read {
  readonly rows: EachBatch;
  readonly batch: Batch;
  readonly y: { tensor(): Matrix };
  /** The layers that have rows. */
  readonly present: readonly Adapter[];
  readonly inFeatures: number;
}

function read(op: string, given: unknown, x: unknown, indices: unknown): Read {
  const list = readList(op, 'layers', given, 'an array of layers');
  const which = copyOfIndices(op, indices);
  const layers = list.map((layer, i) => {
    if (!Adapter.is(layer)) rejectInstance(op, `layers[${i}]`, 'AdaptedLinear', layer);
    return layer;
  });
  const [first] = layers;
  if (first === undefined) reject(op, 'layers', 'at least one layer', given);
  for (const [i, layer] of layers.entries()) checkAlike(op, i, layer, first);
  const { inFeatures, outFeatures } = first;
  const { dtype, device } = first.place;
  const input = checkBatch(op, 'x', x, { shape: undefined, dtype, device });
  if (input.shape.at(-1) !== inFeatures) {
    fail('SHAPE_MISMATCH', op, 'x', `shape [..., ${inFeatures}]`, describe([...input.shape]));
  }
  const tokens = input.size / inFeatures;
  if (which.length !== tokens) {
    fail('SHAPE_MISMATCH', op, 'which', `${tokens} indices, one for each row of x`, describe(which.length));
  }
  const wrong = which.findIndex((index) => index < 0 || index >= layers.length);
  if (wrong >= 0)
    reject(op, `which[${wrong}]`, `an index into \`layers\`, from 0 to ${layers.length - 1}`, which[wrong]);
  // Each layer with rows once: one that is listed twice has one gradient.
  const places = new Map<Adapter, number>();
  const compact = which.map((index) => {
    const layer = layers[index] as Adapter;
    const place = places.get(layer) ?? places.size;
    places.set(layer, place);
    return place;
  });
  const present = [...places.keys()];
  const members = present.map((layer) => layer.member(op, `layers[${layers.indexOf(layer)}]`));
  const y = output(op, first.place, [...input.shape.slice(0, -1), outFeatures]);
  return {
    rows: new EachBatch(op, members, compact),
    batch: { op, tokens, input, y: y.memory },
    y,
    present,
    inFeatures,
  };
}

/** A copy, because another thread may write a shared buffer. */
function copyOfIndices(op: string, which: unknown): Int32Array {
  if (!types.isInt32Array(which)) reject(op, 'which', 'an Int32Array', which);
  // Copying an array whose buffer was detached would throw.
  return lengthOf(which) === 0 ? new Int32Array(0) : new Int32Array(which);
}

/** Checks that a layer is like the first one, on the same factors. */
export function checkAlike(op: string, i: number, layer: Adapter, first: Adapter): void {
  const argument = `layers[${i}]`;
  layer.checkAlive(op, argument);
  if (layer === first) return;
  const { dtype, device } = first.place;
  const place = layer.place;
  if (place.dtype !== dtype) fail('DTYPE_MISMATCH', op, argument, `a ${dtype} layer, as layers[0]`, place.dtype);
  if (place.device !== device)
    fail('DEVICE_MISMATCH', op, argument, `a layer on ${device}, as layers[0]`, place.device);
  const features = ({ outFeatures, inFeatures }: Adapter) => describe([outFeatures, inFeatures]);
  if (features(layer) !== features(first)) {
    fail('SHAPE_MISMATCH', op, argument, `a layer ${features(first)} [out, in], as layers[0]`, features(layer));
  }
  if (layer.origin !== first.origin) {
    const expected = 'a layer on the factors of layers[0] (give each layer the same `factors`)';
    fail('BASE_MISMATCH', op, argument, expected, 'a layer on other factors');
  }
}
