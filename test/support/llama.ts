/**
 * A small Llama with grouped-query attention: its weights by Hugging Face's names, what it computes in float64 in Hugging Face's
 * order of the rows, and its GGUF file as llama.cpp's converter orders the rows.
 */
import { at, item, type Random } from './helpers.js';
import { add, build, entry, type Matrix, matmul, matrix, transpose } from './reference.js';

export const heads = { query: 4, keyValue: 2 };
/** Three special tokens, and a token for each byte. */
export const vocabulary = 3 + 256;
const [blocks, width, hidden, headSize] = [2, 64, 96, 16];
const [epsilon, frequencyBase] = [1e-5, 10_000];

export type Weights = ReadonlyMap<string, Matrix>;

/** [Hugging Face's name, llama.cpp's, outputs, inputs] of each linear module of a block. */
const modules = [
  ['self_attn.q_proj', 'attn_q', heads.query * headSize, width],
  ['self_attn.k_proj', 'attn_k', heads.keyValue * headSize, width],
  ['self_attn.v_proj', 'attn_v', heads.keyValue * headSize, width],
  ['self_attn.o_proj', 'attn_output', width, heads.query * headSize],
  ['mlp.gate_proj', 'ffn_gate', hidden, width],
  ['mlp.up_proj', 'ffn_up', hidden, width],
  ['mlp.down_proj', 'ffn_down', width, hidden],
] as const;

/** Float32 numbers of a size that makes attention sharp, so that each position and head matters. */
export function llamaWeights(random: Random): Weights {
  const numbers = (rows: number, columns: number, scale: number, offset = 0) =>
    build(rows, columns, () => Math.fround(offset + scale * random.normal()));
  const linear = (out: number, inputs: number) => numbers(out, inputs, 1.5 / Math.sqrt(inputs));
  const weights = new Map([['model.embed_tokens.weight', numbers(vocabulary, width, 1)]]);
  for (let block = 0; block < blocks; block++) {
    const at = `model.layers.${block}.`;
    weights.set(`${at}input_layernorm.weight`, numbers(1, width, 0.2, 1));
    weights.set(`${at}post_attention_layernorm.weight`, numbers(1, width, 0.2, 1));
    for (const [name, , out, inputs] of modules) weights.set(`${at}${name}.weight`, linear(out, inputs));
  }
  weights.set('model.norm.weight', numbers(1, width, 0.2, 1));
  return weights.set('lm_head.weight', linear(vocabulary, width));
}

function weightOf(weights: Weights, name: string): Matrix {
  const found = weights.get(`${name}.weight`);
  if (found === undefined) throw new Error(`no ${name}`);
  return found;
}

/** The logits after each token: [tokens, vocabulary]. */
export function llamaLogits(weights: Weights, tokens: readonly number[]): Matrix {
  const embedding = weightOf(weights, 'model.embed_tokens');
  let x = build(tokens.length, width, (i, j) => entry(embedding, item(tokens, i), j));
  for (let block = 0; block < blocks; block++) {
    const of = (name: string) => weightOf(weights, `model.layers.${block}.${name}`);
    const linear = (input: Matrix, name: string) => matmul(input, transpose(of(name)));
    const before = normalized(x, of('input_layernorm'));
    const q = rotated(linear(before, 'self_attn.q_proj'));
    const k = rotated(linear(before, 'self_attn.k_proj'));
    x = add(x, linear(attention(q, k, linear(before, 'self_attn.v_proj')), 'self_attn.o_proj'));
    const middle = normalized(x, of('post_attention_layernorm'));
    const [gate, up] = [linear(middle, 'mlp.gate_proj'), linear(middle, 'mlp.up_proj')];
    const gated = build(gate.rows, gate.columns, (i, j) => {
      const input = entry(gate, i, j);
      return (input / (1 + Math.exp(-input))) * entry(up, i, j);
    });
    x = add(x, linear(gated, 'mlp.down_proj'));
  }
  return matmul(normalized(x, weightOf(weights, 'model.norm')), transpose(weightOf(weights, 'lm_head')));
}

function normalized(x: Matrix, scale: Matrix): Matrix {
  const roots = Array.from({ length: x.rows }, (_, i) => {
    const row = x.data.subarray(i * x.columns, (i + 1) * x.columns);
    return Math.sqrt(row.reduce((sum, value) => sum + value * value, 0) / x.columns + epsilon);
  });
  return build(x.rows, x.columns, (i, j) => (entry(x, i, j) / item(roots, i)) * entry(scale, 0, j));
}

/** Hugging Face's rotate_half: rows i and i + half of a head are a pair. */
function rotated(x: Matrix): Matrix {
  const half = headSize / 2;
  return build(x.rows, x.columns, (position, column) => {
    const inHead = column % headSize;
    const angle = position * frequencyBase ** (-(inHead % half) / half);
    const other = inHead < half ? -entry(x, position, column + half) : entry(x, position, column - half);
    return entry(x, position, column) * Math.cos(angle) + other * Math.sin(angle);
  });
}

/** Causal. Several heads of Q share one of K and V. */
function attention(q: Matrix, k: Matrix, v: Matrix): Matrix {
  const result = build(q.rows, q.columns, () => 0);
  for (let head = 0; head < heads.query; head++) {
    const from = head * headSize;
    const shared = Math.floor((head * heads.keyValue) / heads.query) * headSize;
    for (let i = 0; i < q.rows; i++) {
      const scores = Array.from({ length: i + 1 }, (_, j) => {
        let sum = 0;
        for (let d = 0; d < headSize; d++) sum += entry(q, i, from + d) * entry(k, j, shared + d);
        return sum / Math.sqrt(headSize);
      });
      const top = Math.max(...scores);
      const shares = scores.map((score) => Math.exp(score - top));
      const total = shares.reduce((sum, share) => sum + share, 0);
      for (let d = 0; d < headSize; d++) {
        const sum = shares.reduce((sofar, share, j) => sofar + share * entry(v, j, shared + d), 0);
        result.data[i * q.columns + from + d] = sum / total;
      }
    }
  }
  return result;
}

/** The whole model as a GGUF file in F32. llama.cpp needs a tokenizer: its tokens are the bytes. */
export function llamaGguf(weights: Weights): Buffer {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  const tokens = ['<unk>', '<s>', '</s>', ...bytes];
  const metadata: readonly [string, Buffer][] = [
    ['general.architecture', value.text('llama')],
    ['general.file_type', value.integer(0)],
    ['llama.vocab_size', value.integer(vocabulary)],
    ['llama.context_length', value.integer(256)],
    ['llama.embedding_length', value.integer(width)],
    ['llama.block_count', value.integer(blocks)],
    ['llama.feed_forward_length', value.integer(hidden)],
    ['llama.attention.head_count', value.integer(heads.query)],
    ['llama.attention.head_count_kv', value.integer(heads.keyValue)],
    ['llama.attention.layer_norm_rms_epsilon', value.real(epsilon)],
    ['llama.rope.dimension_count', value.integer(headSize)],
    ['llama.rope.freq_base', value.real(frequencyBase)],
    ['tokenizer.ggml.model', value.text('llama')],
    ['tokenizer.ggml.tokens', value.list(tokens.map(value.text))],
    ['tokenizer.ggml.scores', value.list(tokens.map(() => value.real(0)))],
  ];
  const tensors = [...weights].map(([name, weight]) => ggufTensor(name, weight));
  const parts = [Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(metadata.length)];
  for (const [key, typed] of metadata) parts.push(text(key), typed);
  let begin = 0;
  for (const { name, shape, data } of tensors) {
    parts.push(text(name), u32(shape.length), ...shape.map(u64), u32(0), u64(begin));
    begin += data.length;
  }
  const header = Buffer.concat(parts);
  return Buffer.concat([padded(header), ...tensors.map(({ data }) => data)]);
}

function ggufTensor(name: string, { rows, columns, data }: Matrix) {
  const module = name.replace(/\.weight$/, '');
  const outside = { 'model.embed_tokens': 'token_embd', 'model.norm': 'output_norm', lm_head: 'output' }[module];
  const [, block, role] = /^model\.layers\.(\d+)\.(.+)$/.exec(module) ?? [];
  const norm = { input_layernorm: 'attn_norm', post_attention_layernorm: 'ffn_norm' }[role ?? ''];
  const inside = norm ?? modules.find(([known]) => known === role)?.[1];
  const permuted = role === 'self_attn.q_proj' ? heads.query : role === 'self_attn.k_proj' ? heads.keyValue : undefined;
  const ordered = permuted === undefined ? data : permute(matrix(rows, columns, data), permuted).data;
  return {
    name: `${outside ?? `blk.${block}.${inside}`}.weight`,
    shape: module.endsWith('norm') ? [columns] : [columns, rows],
    data: padded(Buffer.from(Float32Array.from(ordered).buffer)),
  };
}

/** As the converter does: reshape to [heads, 2, half, columns], swap the two in the middle. */
function permute(weight: Matrix, count: number): Matrix {
  const half = weight.rows / count / 2;
  return build(weight.rows, weight.columns, (row, column) => {
    const [head, pair, side] = [Math.floor(row / (2 * half)), Math.floor((row % (2 * half)) / 2), row % 2];
    return at(weight.data, (head * 2 * half + side * half + pair) * weight.columns + column);
  });
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((32 - (bytes.length % 32)) % 32)]);
}

function text(value: string): Buffer {
  return Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);
}

/** A value of the metadata: its type, then its bytes. */
const value = {
  integer: (number: number) => Buffer.concat([u32(4), u32(number)]),
  real: (number: number) => Buffer.concat([u32(6), Buffer.from(Float32Array.of(number).buffer)]),
  text: (string: string) => Buffer.concat([u32(8), text(string)]),
  /** Of values of one type, which is written once. */
  list: (values: readonly Buffer[]) =>
    Buffer.concat([
      u32(9),
      item(values, 0).subarray(0, 4),
      u64(values.length),
      ...values.map((each) => each.subarray(4)),
    ]),
};

function u32(value: number): Buffer {
  return Buffer.from(Uint32Array.of(value).buffer);
}

function u64(value: number): Buffer {
  return Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
}
