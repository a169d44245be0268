import { type ExportedLora, type ExportLoraOptions, readExported, weightsOf, withLowRanks } from '../files/lora.js';
import { checkStacks, writeLora } from '../files/lora-folder.js';
import { checkHost, checkPath } from '../files/safetensors.js';
import type { AdaptedLinear } from '../layers/types.js';
import { type ByName, checkBoolean, checkInteger, checkOptions, checkSignal, reject } from '../runtime/check.js';
import { AdaptedModel } from './adapted.js';

/**
 * Exports what layers have learned as a LoRA adapter of Hugging Face's PEFT: `adapter_config.json` and
 * `adapter_model.safetensors` in a folder, which other programs load onto the same base weights. No LoRA of this rank is
 * nearer to ΔW = W' − W0 in the Frobenius norm.
 *
 * An update is decomposed in its core, without an SVD of ΔW; a diagonal core is only sorted. The parts of a fused weight
 * become one LoRA of the whole weight, which takes an SVD; a convolution becomes PEFT's LoRA of a convolution, a stack of
 * experts that of a parameter: give the model for these. Both files are replaced together. See docs/files.md.
 *
 * @param layers a model, or layers by the names of their weights, with or without '.weight' at the end
 * @returns ‖ΔW − B A‖_F of each weight, from the singular values that are left out
 * @throws SigmaError (as a rejection) UNSUPPORTED for a trained bias, unless `dropBias`, and for stacks of experts that PEFT
 * cannot load next to the others; DISPOSED for a layer, or for a weight whose dropped part belongs to ΔW; NON_FINITE,
 * INVALID_ARGUMENT, also for a folder that cannot be written, NOT_CONVERGED, NATIVE for a full disk, OUT_OF_MEMORY, ABORTED
 * @example
 * const { error } = await exportLora('my-lora', model, { rank: 16, baseModel: 'gpt2' });
 */
export async function exportLora(
  folder: string,
  layers: AdaptedModel | ByName<AdaptedLinear>,
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
  const drops = checkBoolean(op, 'options.dropBias', dropBias ?? false);
  const weights = AdaptedModel.is(layers) ? layers.weights() : weightsOf(op, layers);
  const exported = readExported(op, weights, drops);
  checkSignal(op, signal);
  checkStacks(op, exported);
  return withLowRanks(op, exported, r, signal, (parts) =>
    writeLora(op, folder, parts, { rank: r, baseModel: baseModel ?? null, signal }),
  );
}
