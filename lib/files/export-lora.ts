import type { Adapter } from '../layers/adapter.js';
import { type LowRank, lowRankOf } from '../layers/low-rank.js';
import type { AdaptedLinear } from '../layers/types.js';
import { checkBoolean, checkInteger, checkOptions, checkSignal, fail, reject } from '../runtime/check.js';
import { SigmaError } from '../runtime/errors.js';
import { numbersOf } from '../tensor/operand.js';
import type { Tensor } from '../tensor/tensor.js';
import { configName, keyOf, modelName } from './adapter-config.js';
import { readLayers, roleOf } from './adapters.js';
import { quoted } from './complaints.js';
import { writeFolderAtomically } from './folder.js';
import { moduleName } from './module-name.js';
import { checkHost, checkPath } from './safetensors.js';
import { writeTensors } from './write-safetensors.js';

export interface ExportLoraOptions {
  /** r of every exported layer. A layer whose update has a smaller rank is filled up with zeros. */
  rank: number;
  /** Leaves out biases that were trained, which a LoRA cannot hold. Default false: such a layer is UNSUPPORTED. */
  dropBias?: boolean;
  /** The name or the path of the base model, for `base_model_name_or_path`. */
  baseModel?: string;
  signal?: AbortSignal;
}

/** ‖ΔW − B A‖_F of each layer, by the names that were given. */
export interface ExportedLora {
  readonly error: Readonly<Record<string, number>>;
}

/** A layer to export. */
export interface Exported {
  /** As the caller gave it. */
  readonly name: string;
  /** Without a last '.weight'. */
  readonly module: string;
  /** As errors name the layer. */
  readonly argument: string;
  readonly layer: Adapter;
  /** Whether its weight is stored as [in, out]. */
  readonly transposed: boolean;
}

/**
 * Exports what layers have learned as a LoRA adapter of Hugging Face's PEFT: `adapter_config.json` and
 * `adapter_model.safetensors` in a folder, which other programs load onto the same base weights. No LoRA of this rank is
 * nearer to ΔW = W' − W0 in the Frobenius norm.
 *
 * An update is decomposed in its core, without an SVD of ΔW; a diagonal core is only sorted. Both files are replaced
 * together. See docs/files.md.
 *
 * @param layers by the names of their weights, with or without '.weight' at the end; `model.layers` may be given as it is
 * @returns ‖ΔW − B A‖_F of each layer, from the singular values that are left out
 * @throws SigmaError (as a rejection) UNSUPPORTED for a trained bias, unless `dropBias`; DISPOSED for a layer, or for a
 * weight whose dropped part belongs to ΔW; NON_FINITE, INVALID_ARGUMENT, also for a folder that cannot be written,
 * NOT_CONVERGED, NATIVE for a full disk, OUT_OF_MEMORY, ABORTED
 * @example
 * const { error } = await exportLora('my-lora', model.layers, { rank: 16, baseModel: 'gpt2' });
 */
export async function exportLora(
  folder: string,
  layers: Readonly<Record<string, AdaptedLinear>> | ReadonlyMap<string, AdaptedLinear>,
  options: ExportLoraOptions,
): Promise<ExportedLora> {
  const op = 'exportLora';
  checkHost(op);
  checkPath(op, 'folder', folder);
  const known = ['rank', 'dropBias', 'baseModel', 'signal'];
  const { rank, dropBias, baseModel, signal } = checkOptions(
    op,
    'options',
    options as Partial<ExportLoraOptions>,
    known,
  );
  const r = checkInteger(op, 'options.rank', rank, 1);
  if (baseModel !== undefined && typeof baseModel !== 'string') reject(op, 'options.baseModel', 'a string', baseModel);
  const exported = readExported(op, layers, checkBoolean(op, 'options.dropBias', dropBias ?? false));
  checkSignal(op, signal);
  return withLowRanks(op, exported, r, signal, async (parts) => {
    const tensors = parts.flatMap(({ module, a, b }): [string, Tensor][] => [
      [keyOf(module, 'lora_A', 'weight'), a],
      [keyOf(module, 'lora_B', 'weight'), b],
    ]);
    const text = configText(exported, r, baseModel ?? null);
    await writeFolderAtomically(op, folder, signal, {
      [modelName]: (file) => writeTensors(op, file, tensors, new Map([['format', 'pt']])),
      [configName]: (file) => file.write(Buffer.from(text)),
    });
  });
}

/** The layers, live, each of another module, and without a trained bias unless it may be dropped. */
export function readExported(op: string, layers: unknown, dropBias: boolean): readonly Exported[] {
  const exported = readLayers(op, 'layers', layers).map(([name, layer]) => {
    const module = moduleName(name);
    const argument = `layers[${quoted(name)}]`;
    return { name, module, argument, layer, transposed: layer.anatomy(op, argument).terms.transposed };
  });
  if (exported.length === 0) fail('INVALID_ARGUMENT', op, 'layers', 'at least one layer', 'none');
  const seen = new Map<string, string>();
  for (const { name, module, argument, layer } of exported) {
    if (module === '') fail('INVALID_ARGUMENT', op, 'layers', 'names of modules', quoted(name));
    const other = seen.get(module);
    if (other !== undefined) {
      fail('INVALID_ARGUMENT', op, 'layers', `each module once`, `${quoted(other)} and ${quoted(name)}`);
    }
    seen.set(module, name);
    if (biasMoved(op, argument, layer) && !dropBias) {
      const wayOut = 'exportMerged and layer.mergedBias() keep it, options.dropBias leaves it out';
      const message = `${argument}, bias: expected one that was not trained, got another than at the start (a LoRA has no bias: ${wayOut})`;
      throw new SigmaError('UNSUPPORTED', op, message);
    }
  }
  return exported;
}

/** Whether a trained bias differs from the pretrained one, or from zeros if there was none. */
export function biasMoved(op: string, argument: string, layer: Adapter): boolean {
  const { base } = layer.anatomy(op, argument);
  const bias = layer.parameters.find(({ name }) => roleOf(layer, op, name) === 'bias');
  if (bias === undefined) return false;
  const start = base.bias && numbersOf(op, argument, base.bias);
  return numbersOf(op, argument, bias.value).some((value, i) => value !== (start?.[i] ?? 0));
}

/** Runs `body` with the low-rank forms of the layers, which are disposed afterwards; returns their errors. */
export async function withLowRanks<E extends Exported>(
  op: string,
  exported: readonly E[],
  rank: number,
  signal: AbortSignal | undefined,
  body: (parts: readonly (E & LowRank)[]) => Promise<void>,
): Promise<ExportedLora> {
  const parts: (E & LowRank)[] = [];
  try {
    for (const each of exported) {
      checkSignal(op, signal);
      parts.push({ ...each, ...(await lowRankOf(each.layer, { op, argument: each.argument, rank, signal })) });
    }
    await body(parts);
    return { error: Object.fromEntries(parts.map(({ name, error }) => [name, error])) };
  } finally {
    for (const { a, b } of parts) for (const tensor of [a, b]) tensor.dispose();
  }
}

/** The text of adapter_config.json, as PEFT's LoraConfig writes it. alpha = r, so that the scale alpha / r is 1. */
function configText(exported: readonly Exported[], r: number, baseModel: string | null): string {
  const config = {
    peft_type: 'LORA',
    task_type: null,
    base_model_name_or_path: baseModel,
    inference_mode: true,
    r,
    lora_alpha: r,
    lora_dropout: 0,
    bias: 'none',
    target_modules: exported.map(({ module }) => module),
    // Of PyTorch's modules only those of type Conv1D store [in, out]. PEFT corrects this for each module of another type.
    fan_in_fan_out: exported.some(({ transposed }) => transposed),
    init_lora_weights: true,
    modules_to_save: null,
    rank_pattern: {},
    alpha_pattern: {},
    use_rslora: false,
    use_dora: false,
  };
  return `${JSON.stringify(config, undefined, 2)}\n`;
}
