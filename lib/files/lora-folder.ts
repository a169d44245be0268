// A LoRA in the files of Hugging Face's PEFT.
import { SigmaError } from '../runtime/errors.js';
import type { Tensor } from '../tensor/tensor.js';
import { configName, keyOf, modelName } from './adapter-config.js';
import { quoted } from './complaints.js';
import { writeFolderAtomically } from './folder.js';
import type { Exported, Factors } from './lora.js';
import { writeTensors } from './write-safetensors.js';

interface Writing {
  readonly rank: number;
  readonly baseModel: string | null;
  readonly signal: AbortSignal | undefined;
}

/** Replaces the folder's adapter_config.json and adapter_model.safetensors together. */
export async function writeLora(
  op: string,
  folder: string,
  parts: readonly (Exported & Factors)[],
  { rank, baseModel, signal }: Writing,
): Promise<void> {
  const tensors = parts.flatMap((each): [string, Tensor][] => [
    [keyOf(placeOf(each, parts), 'lora_A', 'weight'), each.a],
    [keyOf(placeOf(each, parts), 'lora_B', 'weight'), each.b],
  ]);
  const text = configText(parts, rank, baseModel);
  await writeFolderAtomically(op, folder, signal, {
    [modelName]: (file) => writeTensors(op, file, tensors, new Map([['format', 'pt']])),
    [configName]: (file) => file.write(Buffer.from(text)),
  });
}

const isStack = ({ experts }: Exported) => experts !== undefined;
/** Of PyTorch's modules only those of type Conv1D store [in, out]. PEFT corrects this for each module of another type. */
const isConv1D = (each: Exported) => each.transposed && !isStack(each);

/** The stacks of one module of which PEFT's order is known: the last one is the outermost. */
const stackOrder: readonly string[] = ['gate_up_proj', 'down_proj'];

/** A stack is a parameter of a module. */
function parameterOf({ name }: Exported): { readonly owner: string; readonly parameter: string } {
  const at = name.lastIndexOf('.');
  return { owner: name.slice(0, Math.max(0, at)), parameter: name.slice(at + 1) };
}

function siblingsOf(each: Exported, exported: readonly Exported[]): readonly Exported[] {
  const { owner } = parameterOf(each);
  return exported.filter((other) => other !== each && isStack(other) && parameterOf(other).owner === owner);
}

/** UNSUPPORTED for stacks that PEFT could not load, or would load in another order. */
export function checkStacks(op: string, exported: readonly Exported[]): void {
  const stacks = exported.filter(isStack);
  const refuse = (each: Exported, expected: string, got: string): never => {
    throw new SigmaError(
      'UNSUPPORTED',
      op,
      `${each.argument}: expected ${expected}, got ${got} (exportMerged keeps it)`,
    );
  };
  const conv1D = exported.find(isConv1D);
  for (const each of stacks) {
    const { owner, parameter } = parameterOf(each);
    if (owner === '')
      refuse(each, "a stack's name with that of its module, such as 'experts.down_proj'", quoted(each.name));
    if (conv1D !== undefined) {
      const got = `a stack of experts next to ${conv1D.argument}, which PEFT cannot load together`;
      refuse(each, "no stack next to weights of layout 'in-out'", got);
    }
    const siblings = siblingsOf(each, exported);
    const names = [each, ...siblings].map((stack) => parameterOf(stack).parameter);
    if (siblings.length > 0 && !names.every((name) => stackOrder.includes(name))) {
      const got = `${quoted(parameter)} next to ${siblings.map((stack) => stack.argument).join(', ')}`;
      refuse(each, `one stack of a module, or ${stackOrder.join(' and ')}`, got);
    }
  }
}

/** Where PEFT has the factors: the name of the module, and of the module inside of it if it wraps several stacks. */
function placeOf(each: Exported, exported: readonly Exported[]): string {
  if (!isStack(each)) return each.module;
  const { owner, parameter } = parameterOf(each);
  const order = stackOrder.indexOf(parameter);
  const around = siblingsOf(each, exported).filter((other) => stackOrder.indexOf(parameterOf(other).parameter) > order);
  return [owner, ...around.map(() => 'base_layer')].join('.');
}

/** The text of adapter_config.json, as PEFT's LoraConfig writes it. alpha = r, so that the scale alpha / r is 1. */
function configText(exported: readonly Exported[], r: number, baseModel: string | null): string {
  const stacks = exported.filter(isStack);
  const config = {
    peft_type: 'LORA',
    task_type: null,
    base_model_name_or_path: baseModel,
    inference_mode: true,
    r,
    lora_alpha: r,
    lora_dropout: 0,
    bias: 'none',
    target_modules: exported.filter((each) => !isStack(each)).map(({ module }) => module),
    ...(stacks.length === 0 ? {} : { target_parameters: stacks.map(({ name }) => name) }),
    fan_in_fan_out: exported.some(isConv1D),
    init_lora_weights: true,
    modules_to_save: null,
    rank_pattern: {},
    alpha_pattern: {},
    use_rslora: false,
    use_dora: false,
  };
  return `${JSON.stringify(config, undefined, 2)}\n`;
}
