// What is common to the exports of LoRAs: whose update is exported, and in which form. A weight of a model may belong to
// several layers: parts of a fused weight, or experts of a stack.
import type { Adapter } from '../layers/adapter.js';
import type { LowRank } from '../layers/low-rank.js';
import { type StackedPart, stackedLowRankOf } from '../layers/stacked-low-rank.js';
import { checkSignal, fail } from '../runtime/check.js';
import { SigmaError } from '../runtime/errors.js';
import { allocate, type Real } from '../tensor/dtype.js';
import { normOf } from '../tensor/norm.js';
import { fromNumbers, numbersOf } from '../tensor/operand.js';
import { keep } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { readLayers, roleOf } from './adapters.js';
import { quoted } from './complaints.js';
import { moduleName } from './module-name.js';

export interface ExportLoraOptions {
  /** r of every exported weight. An update of a smaller rank is filled up with zeros. */
  rank: number;
  /** Leaves out biases that were trained, which a LoRA cannot hold. Default false: such a layer is UNSUPPORTED. */
  dropBias?: boolean;
  /** The name or the path of the base model, for `base_model_name_or_path`. */
  baseModel?: string;
  signal?: AbortSignal;
}

/** ‖ΔW − B A‖_F of each weight: by the names of the layers, or of the model's weights. */
export interface ExportedLora {
  readonly error: Readonly<Record<string, number>>;
}

/** A weight and the layers that compute its outputs. */
export interface AdaptedWeight {
  readonly name: string;
  /** As it is stored: a matrix, a stack [experts, rows, columns], or a convolution [out, in, …kernel]. */
  readonly shape: readonly number[];
  readonly parts: readonly {
    readonly name: string;
    readonly layer: Adapter;
    /** The layer's first output among those of the weight, which a stack has for each expert. */
    readonly first: number;
  }[];
}

/** A weight to export. */
export interface Exported {
  /** As the caller gave it. */
  readonly name: string;
  /** Without a last '.weight'. */
  readonly module: string;
  /** As errors name it. */
  readonly argument: string;
  readonly out: number;
  /** Whether it is stored as [in, out]. */
  readonly transposed: boolean;
  /** Experts of a stack; undefined for another weight. */
  readonly experts: number | undefined;
  /** Of a convolution; empty for another weight. */
  readonly kernel: readonly number[];
  /** The layers of the matrix, or of each expert's. An expert may have none. */
  readonly matrices: readonly (readonly StackedPart[])[];
}

/** The weights of a record or a Map of layers by name. */
export function weightsOf(op: string, layers: unknown): readonly AdaptedWeight[] {
  return readLayers(op, 'layers', layers).map(([name, layer]) => {
    const { transposed } = layer.anatomy(op, argumentOf(name)).terms;
    const { outFeatures: out, inFeatures } = layer;
    return { name, shape: transposed ? [inFeatures, out] : [out, inFeatures], parts: [{ name, layer, first: 0 }] };
  });
}

const argumentOf = (name: string) => `layers[${quoted(name)}]`;

/** The weights with live layers, each of another module, and without a trained bias unless it may be dropped. */
export function readExported(op: string, weights: readonly AdaptedWeight[], dropBias: boolean): readonly Exported[] {
  if (weights.length === 0) fail('INVALID_ARGUMENT', op, 'layers', 'at least one layer', 'none');
  const exported = weights.map((weight) => exportedOf(op, weight));
  const seen = new Map<string, string>();
  for (const { name, module, matrices } of exported) {
    if (module === '') fail('INVALID_ARGUMENT', op, 'layers', 'names of modules', quoted(name));
    const other = seen.get(module);
    if (other !== undefined) {
      fail('INVALID_ARGUMENT', op, 'layers', `each module once`, `${quoted(other)} and ${quoted(name)}`);
    }
    seen.set(module, name);
    for (const { argument, layer } of dropBias ? [] : matrices.flat()) {
      if (!biasMoved(op, argument, layer)) continue;
      const wayOut = 'exportMerged and layer.mergedBias() keep it, options.dropBias leaves it out';
      const message = `${argument}, bias: expected one that was not trained, got another than at the start (a LoRA has no bias: ${wayOut})`;
      throw new SigmaError('UNSUPPORTED', op, message);
    }
  }
  return exported;
}

function exportedOf(op: string, { name, shape, parts }: AdaptedWeight): Exported {
  const transposed = parts.some((part) => part.layer.anatomy(op, argumentOf(part.name)).terms.transposed);
  const experts = shape.length === 3 ? shape[0] : undefined;
  const matrix = experts === undefined ? shape : shape.slice(1);
  const out = matrix[transposed ? 1 : 0] as number;
  const matrices: StackedPart[][] = Array.from({ length: experts ?? 1 }, () => []);
  for (const { name: part, layer, first } of parts) {
    matrices[Math.floor(first / out)]?.push({ layer, argument: argumentOf(part), first: first % out });
  }
  const kernel = experts === undefined ? shape.slice(2) : [];
  return { name, module: moduleName(name), argument: argumentOf(name), out, transposed, experts, kernel, matrices };
}

/** Whether a trained bias differs from the pretrained one, or from zeros if there was none. */
export function biasMoved(op: string, argument: string, layer: Adapter): boolean {
  const { base } = layer.anatomy(op, argument);
  const bias = layer.parameters.find(({ name }) => roleOf(layer, op, name) === 'bias');
  if (bias === undefined) return false;
  const start = base.bias && numbersOf(op, argument, base.bias);
  return numbersOf(op, argument, bias.value).some((value, i) => value !== (start?.[i] ?? 0));
}

/** The two factors of an update, in the form of the file. */
export interface Factors {
  readonly a: Tensor<Real>;
  readonly b: Tensor<Real>;
}

/** Runs `body` with the low-rank forms of the weights, which are disposed afterwards; returns their errors. */
export async function withLowRanks<E extends Exported>(
  op: string,
  exported: readonly E[],
  rank: number,
  signal: AbortSignal | undefined,
  body: (parts: readonly (E & Factors)[]) => Promise<void>,
): Promise<ExportedLora> {
  const parts: (E & Factors & { readonly error: number })[] = [];
  try {
    for (const each of exported) parts.push({ ...each, ...(await factorsOf(op, each, rank, signal)) });
    await body(parts);
    return { error: Object.fromEntries(parts.map(({ name, error }) => [name, error])) };
  } finally {
    for (const { a, b } of parts) for (const tensor of [a, b]) tensor.dispose();
  }
}

type Found = Factors & { readonly error: number };

/**
 * a [rank, in] and b [out, rank]. Of a convolution a [rank, in, …kernel] and b [out, rank, 1, …]. Of a stack those of all
 * experts: a [experts · rank, in], by expert, and b [out, rank · experts], by rank.
 */
async function factorsOf(
  op: string,
  { out, kernel, experts, matrices }: Exported,
  rank: number,
  signal: AbortSignal | undefined,
): Promise<Found> {
  const found: (LowRank | undefined)[] = [];
  try {
    for (const parts of matrices) {
      checkSignal(op, signal);
      found.push(parts.length === 0 ? undefined : await stackedLowRankOf(parts, out, { op, rank, signal }));
    }
    if (experts !== undefined) return stacked(op, found, out, rank);
    const { a, b, error } = found[0] as LowRank;
    const size = kernel.reduce((product, n) => product * n, 1);
    const shapes = { a: [rank, a.shape[1] / size, ...kernel], b: [out, rank, ...kernel.map(() => 1)] };
    return { a: keep(a.reshape(shapes.a)), b: keep(b.reshape(shapes.b)), error };
  } finally {
    for (const each of found) for (const tensor of each ? [each.a, each.b] : []) tensor.dispose();
  }
}

/** The factors of a stack. Experts without a layer have zeros. */
function stacked(op: string, found: readonly (LowRank | undefined)[], out: number, rank: number): Found {
  const { a: any } = found.find((each) => each !== undefined) as LowRank;
  const inputs = any.shape[1];
  const experts = found.length;
  const a = allocate(op, any.dtype, experts * rank * inputs);
  const b = allocate(op, any.dtype, out * rank * experts);
  for (const [expert, each] of found.entries()) {
    if (each === undefined) continue;
    a.set(numbersOf(op, 'lora', each.a), expert * rank * inputs);
    for (const [p, value] of numbersOf(op, 'lora', each.b).entries()) b[p * experts + expert] = value;
  }
  return {
    a: keep(fromNumbers(op, 'cpu', any.dtype, [experts * rank, inputs], a)),
    b: keep(fromNumbers(op, 'cpu', any.dtype, [out, rank * experts], b)),
    error: normOf([found.map((each) => each?.error ?? 0)]),
  };
}
