import { writeAtomically } from '../files/atomic.js';
import { quoted } from '../files/complaints.js';
import { ggufHeader, padding } from '../files/gguf.js';
import {
  type Exported,
  type ExportedLora,
  type ExportLoraOptions,
  readExported,
  weightsOf,
  withLowRanks,
} from '../files/lora.js';
import { checkHost, checkPath } from '../files/safetensors.js';
import type { AdaptedLinear } from '../layers/types.js';
import {
  type ByName,
  checkBoolean,
  checkChoice,
  checkInteger,
  checkOptions,
  checkSignal,
  fail,
} from '../runtime/check.js';
import type { Real } from '../tensor/dtype.js';
import { numbersOf } from '../tensor/operand.js';
import type { MatrixShape, Tensor } from '../tensor/tensor.js';
import { AdaptedModel } from './adapted.js';

export interface ExportGgufLoraOptions extends Omit<ExportLoraOptions, 'baseModel'> {
  /** The base model's `general.architecture` in llama.cpp. Llama and Mistral models are 'llama'. */
  architecture: 'llama';
  /** `num_attention_heads` and `num_key_value_heads` of the base model's config.json. */
  heads: { query: number; keyValue: number };
}

/** llama.cpp's names of the modules of a block, by Hugging Face's. */
const blockModules: Readonly<Record<string, string>> = {
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
};

/** An exported layer under llama.cpp's name. */
interface Placed extends Exported {
  readonly tensor: string;
  /** Its heads, if it is Q or K: their rows are permuted. */
  readonly heads: number | undefined;
}

/**
 * Exports what layers have learned as a LoRA adapter of llama.cpp: a GGUF file for `llama-cli --lora`, and for
 * node-llama-cpp's option `lora`. The adapter is the same as that of `exportLora`, in float32, with llama.cpp's names and its
 * order of the rows of Q and K. The file is replaced atomically. See docs/files.md.
 *
 * @param layers a model, or layers by Hugging Face's names, such as 'model.layers.0.self_attn.q_proj.weight', with or without '.weight'
 * @returns ‖ΔW − B A‖_F of each weight, from the singular values that are left out
 * @throws SigmaError (as a rejection) as `exportLora` does; INVALID_ARGUMENT for a name that the architecture does not have,
 * UNSUPPORTED for a stack of experts or a convolution, SHAPE_MISMATCH for Q or K that does not have these heads
 * @example
 * const heads = { query: 32, keyValue: 8 };
 * await exportGgufLora('my-lora.gguf', model, { rank: 16, architecture: 'llama', heads });
 */
export async function exportGgufLora(
  path: string,
  layers: AdaptedModel | ByName<AdaptedLinear>,
  options: ExportGgufLoraOptions,
): Promise<ExportedLora> {
  const op = 'exportGgufLora';
  checkHost(op);
  checkPath(op, 'path', path);
  const known = ['rank', 'architecture', 'heads', 'dropBias', 'signal'];
  const given = checkOptions(op, 'options', options as Partial<ExportGgufLoraOptions>, known);
  const rank = checkInteger(op, 'options.rank', given.rank, 1);
  const architecture = checkChoice(op, 'options.architecture', given.architecture, ['llama']);
  const heads = readHeads(op, given.heads);
  const dropBias = checkBoolean(op, 'options.dropBias', given.dropBias ?? false);
  const weights = AdaptedModel.is(layers) ? layers.weights() : weightsOf(op, layers);
  const exported = readExported(op, weights, dropBias);
  checkSignal(op, given.signal);
  const placed = placedOf(op, exported, heads);
  const metadata = {
    'general.architecture': architecture,
    'general.type': 'adapter',
    'adapter.type': 'lora',
    // llama.cpp divides it by the rank.
    'adapter.lora.alpha': rank,
  };
  return withLowRanks(op, placed, rank, given.signal, async (parts) => {
    const matrices = parts.flatMap(({ tensor, heads: permuted, a, b }) => [
      described(`${tensor}.weight.lora_a`, a, undefined),
      described(`${tensor}.weight.lora_b`, b, permuted),
    ]);
    await writeAtomically(op, path, given.signal, async (file) => {
      await file.write(ggufHeader(metadata, matrices));
      for (const { matrix, permuted } of matrices) {
        const { buffer, byteOffset, byteLength } = numbersFor(op, matrix, permuted);
        await file.write(new Uint8Array(buffer, byteOffset, byteLength));
        await file.write(padding(byteLength));
      }
    });
  });
}

interface Heads {
  readonly query: number;
  readonly keyValue: number;
}

function readHeads(op: string, given: unknown): Heads {
  const { query, keyValue } = checkOptions(op, 'options.heads', given as Partial<Heads>, ['query', 'keyValue']);
  return {
    query: checkInteger(op, 'options.heads.query', query, 1),
    keyValue: checkInteger(op, 'options.heads.keyValue', keyValue, 1),
  };
}

/** The layers under llama.cpp's names. Q and K must have the heads that the caller says, all of one size. */
function placedOf(op: string, exported: readonly Exported[], { query, keyValue }: Heads): readonly Placed[] {
  const seen = new Map<string, Placed>();
  let known: { readonly size: number; readonly argument: string } | undefined;
  return exported.map((each) => {
    const { argument, out, experts, kernel } = each;
    const tensor = tensorName(op, each);
    if (experts !== undefined || kernel.length > 0) {
      fail('UNSUPPORTED', op, argument, 'a weight of two dimensions', experts ? 'a stack of experts' : 'a convolution');
    }
    const other = seen.get(tensor);
    if (other !== undefined) {
      fail('INVALID_ARGUMENT', op, argument, 'each module once', `${tensor} a second time, next to ${other.argument}`);
    }
    const heads = tensor.endsWith('.attn_q') ? query : tensor.endsWith('.attn_k') ? keyValue : undefined;
    if (heads !== undefined) {
      const size = out / heads;
      if (size % 2 !== 0) {
        const expected = `an even number of outputs for each of ${heads} heads (options.heads)`;
        fail('SHAPE_MISMATCH', op, argument, expected, `${out} outputs`);
      }
      known ??= { size, argument };
      if (known.size !== size) {
        const expected = `heads of ${known.size} outputs, as ${known.argument} has with options.heads`;
        fail('SHAPE_MISMATCH', op, argument, expected, `${size}: ${out} outputs in ${heads} heads`);
      }
    }
    const placed = { ...each, tensor, heads };
    seen.set(tensor, placed);
    return placed;
  });
}

function tensorName(op: string, { module, argument }: Exported): string {
  if (module === 'lm_head') return 'output';
  const [, block, role = ''] = /^(?:model\.)?layers\.(\d+)\.(.+)$/.exec(module) ?? [];
  const name = Object.hasOwn(blockModules, role) ? blockModules[role] : undefined;
  if (block === undefined || name === undefined) {
    const modules = Object.keys(blockModules).join(', ');
    const expected = `a name such as 'model.layers.0.self_attn.q_proj' (modules: ${modules}), or 'lm_head'`;
    fail('INVALID_ARGUMENT', op, argument, expected, quoted(module));
  }
  return `blk.${Number(block)}.${name}`;
}

function described(name: string, matrix: Tensor<Real>, permuted: number | undefined) {
  const [rows, columns] = matrix.shape as MatrixShape;
  return { name, rows, columns, matrix, permuted };
}

/**
 * The numbers in float32. llama.cpp rotates neighbouring rows of a head; Hugging Face rotates row i and row i + half. So row i
 * of the first half goes to row 2 i, and row i of the second half to row 2 i + 1.
 */
function numbersFor(op: string, matrix: Tensor<Real>, heads: number | undefined): Float32Array {
  const numbers = Float32Array.from(numbersOf(op, 'lora', matrix));
  if (heads === undefined) return numbers;
  const [rows, columns] = matrix.shape as MatrixShape;
  const half = rows / heads / 2;
  const permuted = new Float32Array(numbers.length);
  for (let row = 0; row < rows; row++) {
    const [head, at] = [Math.floor(row / (2 * half)), row % (2 * half)];
    const to = head * 2 * half + 2 * (at % half) + Math.floor(at / half);
    permuted.set(numbers.subarray(row * columns, (row + 1) * columns), to * columns);
  }
  return permuted;
}
