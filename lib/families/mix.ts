import { Adapter } from '../layers/adapter.js';
import { type CoreChange, firstBroken } from '../layers/change.js';
import { checkAlike } from '../layers/each.js';
import { changeOf, trainsCell } from '../layers/telemetry.js';
import type { AdaptedLinear } from '../layers/types.js';
import type { Svd } from '../linalg/svd.js';
import { mergeTerms } from '../operator/merged.js';
import { checkNumber, checkOptions, describe, fail, readList, reject, rejectInstance } from '../runtime/check.js';
import { renamed } from '../runtime/errors.js';
import { inSlices, type Work } from '../runtime/slices.js';
import { SparsityPattern } from '../sparse/pattern.js';
import { originOf } from '../tensor/derived.js';
import type { FactorDType, MatrixDType } from '../tensor/dtype.js';
import { checkTensor, numbersOf } from '../tensor/operand.js';
import { LayerParameter } from '../tensor/parameter.js';
import { keep, type Scoped } from '../tensor/scope.js';
import type { Matrix, Vector } from '../tensor/tensor.js';
import { svft } from './svft.js';

export interface MixOptions {
  /** Prefix of the new layer's parameter names, as in `AdapterOptions`. */
  name?: string;
  /** The layers' factors. Only needed if no layer has all the directions that the layers train. */
  factors?: Svd<FactorDType>;
}

const op = 'mixAdapters';

/** A layer to mix: what it has changed in the core, and its place among the weight's directions. */
interface Part {
  readonly layer: Adapter;
  readonly weight: number;
  readonly anatomy: ReturnType<Adapter['anatomy']>;
  readonly change: CoreChange;
  /** The singular direction of the core's first row. */
  readonly first: number;
  readonly rank: number;
}

/** Singular triples of the weight, from direction `first` on. */
interface Directions {
  readonly factors: Svd<FactorDType>;
  readonly first: number;
  readonly rank: number;
}

/**
 * The exact linear mixture of layers on the same factors, as a new layer: W' = W0 + Σ weights[i] · ΔW_i, and b' likewise.
 * The layers may be of different families and patterns. The new layer is an SVFT layer without a gate; its M has the
 * cells of all patterns, so you can train and save it. The sums are computed in float64 and rounded once. PEFT's
 * `add_weighted_adapter` is the counterpart for LoRA.
 *
 * A layer that is switched off counts with its trained numbers. The bias of the new layer trains if that of one of the layers
 * does.
 *
 * @param weights one number for each layer, of any sign and sum
 * @throws SigmaError (as a rejection) INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_MISMATCH, DEVICE_MISMATCH, NON_FINITE, DISPOSED,
 * OUT_OF_MEMORY, BASE_MISMATCH for layers of other factors or biases, UNSUPPORTED for a layer with directions that are not the
 * weight's, or without a part of the weight
 * @example
 * const between = await mixAdapters([formal, friendly], [0.3, 0.7]);
 */
export async function mixAdapters<D extends MatrixDType>(
  layers: readonly AdaptedLinear<D>[],
  weights: readonly number[],
  options?: MixOptions,
): Promise<AdaptedLinear<D>> {
  const { name, factors } = checkOptions(op, 'options', options, ['name', 'factors']);
  const parts = read(layers, weights);
  const given = factors && { u: factors.u, s: factors.s, vt: factors.vt };
  const owned: Scoped[] = [];
  const own = <T extends Scoped>(made: T): T => {
    owned.push(keep(made));
    return made;
  };
  try {
    const { layer, anatomy } = parts[0] as Part;
    const directions = directionsOf(parts, given);
    // Handles of our own: the caller may dispose a layer while the patterns are united.
    const { u, s, vt } = directions.factors;
    const shared = { u: own(u.share()), s: own(s.share()), vt: own(vt.share()) };
    const weight = weightOf(parts, own);
    const held = own(weight.share());
    const { before, bias } = biasOf(parts, own);
    const { pattern, m } = await inSlices(op, mixed(parts, directions), undefined);
    const { transposed } = anatomy.terms;
    // The new layer borrows W0 from the caller, who may have disposed it meanwhile.
    const made = await svft(weight.disposed ? held : weight, {
      factors: shared,
      rank: directions.rank,
      pattern,
      gate: false,
      init: { m },
      layout: transposed ? 'in-out' : 'out-in',
      device: layer.place.device,
      ...(name !== undefined && { name }),
      ...(before && { bias: before }),
      ...(bias && { train: { bias: true }, createBias: before === undefined }),
    });
    if (bias) made.parameters.at(-1)?.value.assign(bias);
    return made as AdaptedLinear as AdaptedLinear<D>;
  } catch (error) {
    throw renamed(error, op);
  } finally {
    for (const each of owned) each.dispose();
  }
}

function read(layers: unknown, weights: unknown): Part[] {
  const list = readList(op, 'layers', layers, 'an array of layers');
  const numbers = readList(op, 'weights', weights, 'an array of numbers').map((weight, i) =>
    checkNumber(op, `weights[${i}]`, weight, Number.NEGATIVE_INFINITY),
  );
  if (list.length === 0) reject(op, 'layers', 'at least one layer', list);
  if (numbers.length !== list.length) {
    fail('SHAPE_MISMATCH', op, 'weights', `${list.length} numbers, one for each layer`, describe(numbers.length));
  }
  const adapters = list.map((layer, i) => {
    if (!Adapter.is(layer)) rejectInstance(op, `layers[${i}]`, 'AdaptedLinear', layer);
    return layer;
  });
  return adapters.map((layer, i) => partOf(layer, i, numbers[i] as number, adapters[0] as Adapter));
}

function partOf(layer: Adapter, i: number, weight: number, beside: Adapter): Part {
  const argument = `layers[${i}]`;
  checkAlike(op, i, layer, beside);
  const anatomy = layer.anatomy(op, argument);
  const { terms, spectrum, base } = anatomy;
  if (spectrum.first === undefined || spectrum.skew) {
    fail('UNSUPPORTED', op, argument, "a layer whose directions are the weight's own", 'a layer with others');
  }
  if (terms.base === undefined && base.original === undefined) {
    const got = 'a layer without the part of the weight beyond `rank`';
    fail('UNSUPPORTED', op, argument, 'a layer that keeps the whole weight', got);
  }
  const { transposed } = terms;
  if (transposed !== beside.anatomy(op, 'layers[0]').terms.transposed) {
    fail('INVALID_ARGUMENT', op, argument, 'a layer with the `layout` of layers[0]', 'the other layout');
  }
  const change = changeOf(op, terms, spectrum);
  const { bias } = anatomy;
  const broken =
    firstBroken(change) ??
    (bias instanceof LayerParameter ? numbersOf(op, 'bias', bias.value).find((x) => !Number.isFinite(x)) : undefined);
  if (broken !== undefined) fail('NON_FINITE', op, `${argument}, parameters`, 'finite numbers', describe(broken));
  return { layer, weight, anatomy, change, first: spectrum.first, rank: terms.vt.shape[0] as number };
}

/** Directions that cover those of all parts: the caller's factors, or those of one layer. */
function directionsOf(parts: readonly Part[], given: Svd<FactorDType> | undefined): Directions {
  const first = Math.min(...parts.map((part) => part.first));
  const end = Math.max(...parts.map((part) => part.first + part.rank));
  if (given !== undefined) {
    const u = checkTensor(op, 'options.factors.u', given.u);
    if (originOf(op, 'options.factors.u', u) !== (parts[0] as Part).layer.origin) {
      fail('BASE_MISMATCH', op, 'options.factors', 'the factors that the layers were made of', 'other factors');
    }
    const rank = given.s.size;
    if (rank >= end) return { factors: given, first: 0, rank };
  }
  const wide = parts.find((part) => part.first <= first && part.first + part.rank >= end);
  if (wide === undefined) {
    const expected =
      'the factors that the layers were made of, because no layer has all the directions that they train';
    reject(op, 'options.factors', expected, given);
  }
  const { terms, spectrum } = wide.anatomy;
  // Without a base the terms have all vectors. With one, Vᵀ may have a scale, which `factors` has not.
  const factors = terms.base === undefined ? { u: terms.u, s: spectrum.initial, vt: terms.vt } : wide.layer.factors;
  return { factors, first: wide.first, rank: wide.rank };
}

/** W0, as it is stored. */
function weightOf(parts: readonly Part[], own: <T extends Scoped>(made: T) => T): Matrix {
  const known = parts.map(({ anatomy }) => anatomy.base.weight()).find((each) => each);
  if (known !== undefined) return known;
  const { original } = (parts[0] as Part).anatomy.base;
  return own(mergeTerms(op, original as NonNullable<typeof original>));
}

/** The pretrained bias, and b0 + Σ weight · (b − b0) if the bias of some layer trains. */
function biasOf(
  parts: readonly Part[],
  own: <T extends Scoped>(made: T) => T,
): { readonly before: Vector | undefined; readonly bias: Float64Array | undefined } {
  const { layer, anatomy } = parts[0] as Part;
  const zeros = new Float64Array(layer.outFeatures);
  const numbersIn = (bias: Vector | undefined) => (bias ? numbersOf(op, 'bias', bias) : zeros);
  const pretrained = anatomy.base.bias;
  const before = numbersIn(pretrained);
  const sum = Float64Array.from(before);
  let trains = false;
  for (const [i, { weight, anatomy }] of parts.entries()) {
    if (numbersIn(anatomy.base.bias).some((value, k) => value !== before[k])) {
      fail('BASE_MISMATCH', op, `layers[${i}]`, 'a layer with the pretrained bias of layers[0]', 'another bias');
    }
    const { bias } = anatomy;
    if (!(bias instanceof LayerParameter)) continue;
    trains = true;
    for (const [k, now] of numbersIn(bias.value).entries()) {
      sum[k] = (sum[k] as number) + weight * (now - (before[k] as number));
    }
  }
  return { before: pretrained && own(pretrained.share()), bias: trains ? sum : undefined };
}

/** Σ weight · (C − diag σ) on the union of the patterns, row by row. */
function* mixed(
  parts: readonly Part[],
  { first, rank }: Pick<Directions, 'first' | 'rank'>,
): Work<{ pattern: SparsityPattern; m: Float64Array }> {
  const [rows, columns, values]: [number[], number[], number[]] = [[], [], []];
  const sums = new Float64Array(rank);
  const used = new Uint8Array(rank);
  for (let i = 0; i < rank; i++) {
    const touched: number[] = [];
    const add = (j: number, value: number) => {
      if (used[j] === 0) touched.push(j);
      used[j] = 1;
      sums[j] = (sums[j] as number) + value;
    };
    for (const { weight, anatomy, change, ...part } of parts) {
      // The row, in the layer's own numbering.
      const shift = part.first - first;
      const own = i - shift;
      if (own < 0 || own >= part.rank) continue;
      if (trainsCell(anatomy.terms, own)) add(i, weight * (change.diagonal[own] as number));
      for (let p = change.starts[own] as number; p < (change.starts[own + 1] as number); p++) {
        add((change.columns[p] as number) + shift, weight * (change.values[p] as number));
      }
    }
    for (const j of touched.sort((a, b) => a - b)) {
      rows.push(i);
      columns.push(j);
      values.push(sums[j] as number);
      sums[j] = 0;
      used[j] = 0;
    }
    yield;
  }
  if (rows.length === 0) return { pattern: SparsityPattern.diagonal(rank), m: new Float64Array(rank) };
  return { pattern: SparsityPattern.fromCoordinates(rows, columns, rank), m: Float64Array.from(values) };
}
