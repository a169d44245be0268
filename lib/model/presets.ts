import { checkChoice } from '../runtime/check.js';
import type { ModelOptions } from './plan.js';

/** The roles of a transformer's matrices, by the letters that the papers use. */
type Role = 'Q' | 'K' | 'V' | 'O' | 'G' | 'U' | 'D';

interface Architecture {
  /** The end of each role's name in Hugging Face's checkpoints. */
  readonly names: Readonly<Partial<Record<Role, string>>>;
  readonly more?: Pick<ModelOptions, 'layout' | 'split'>;
}

const llama: Architecture = {
  names: {
    Q: 'self_attn.q_proj',
    K: 'self_attn.k_proj',
    V: 'self_attn.v_proj',
    O: 'self_attn.o_proj',
    G: 'mlp.gate_proj',
    U: 'mlp.up_proj',
    D: 'mlp.down_proj',
  },
};

/** BERT's, RoBERTa's and ViT's attention differ in one name; a dense output is the attention's or the MLP's. */
function encoder(attention: string, suffix = ''): Architecture {
  return {
    names: {
      Q: `${attention}.query${suffix}`,
      K: `${attention}.key${suffix}`,
      V: `${attention}.value${suffix}`,
      O: 'attention.output.dense',
      U: 'intermediate.dense',
      D: 'output.dense',
    },
  };
}

const architectures = {
  llama,
  gemma: llama,
  mistral: llama,
  qwen2: llama,
  bert: encoder('attention.self'),
  roberta: encoder('attention.self'),
  deberta: encoder('attention.self', '_proj'),
  vit: encoder('attention.attention'),
  gpt2: {
    names: {
      Q: 'attn.c_attn.q',
      K: 'attn.c_attn.k',
      V: 'attn.c_attn.v',
      O: 'attn.c_proj',
      U: 'mlp.c_fc',
      D: 'mlp.c_proj',
    },
    more: { layout: 'in-out', split: { 'attn.c_attn': ['q', 'k', 'v'] } },
  },
} as const satisfies Readonly<Record<string, Architecture>>;

const sets = { QV: 'QV', QKV: 'QKV', QKVUD: 'QKVUD', UDOG: 'UDOG', all: 'QKVOGUD' } as const;

/** An architecture by the names that Hugging Face's checkpoints have. */
export type ArchitectureName = keyof typeof architectures;
/** A set of modules by the papers' letters: query, key, value, output, gate, up, down. */
export type TargetSet = keyof typeof sets;

/**
 * The options of a model that choose a set of modules, to be spread into those of `adaptModel` or `planModel`: `targets`, and
 * for GPT-2 also `layout` and `split`. An architecture without a gate has the set without it.
 *
 * @throws SigmaError INVALID_ARGUMENT for an unknown name
 * @example
 * const model = await adaptModel(weights, { ...targetsOf('llama', 'QKVUD'), family: 'svft' });
 */
export function targetsOf(
  architecture: ArchitectureName,
  set: TargetSet,
): Pick<ModelOptions, 'targets' | 'layout' | 'split'> {
  const op = 'targetsOf';
  const { names, more }: Architecture =
    architectures[checkChoice(op, 'architecture', architecture, Object.keys(architectures) as ArchitectureName[])];
  const roles = [...sets[checkChoice(op, 'set', set, Object.keys(sets) as TargetSet[])]] as Role[];
  const suffixes = roles.flatMap((role) => names[role] ?? []);
  // A pattern, because the MLP's 'output.dense' would also be the end of 'attention.output.dense'.
  const ends = suffixes.map((name) => {
    const escaped = name.replaceAll('.', '\\.');
    return name === 'output.dense' ? `(?<!attention\\.)${escaped}` : escaped;
  });
  return { targets: new RegExp(`(?:^|\\.)(?:${ends.join('|')})$`), ...more };
}
