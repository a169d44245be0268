/** LoRA adapters for llama.cpp. What its own package reads needs a Python that has it: SIGMATUNE_PYTHON. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  type AdaptedLinear,
  exportGgufLora,
  exportLora,
  loraXs,
  readSafetensors,
  siva,
  svdiff,
  svft,
  vectorFit,
} from 'sigmatune';
import t from 'tap';
import {
  at,
  disposeAll,
  expectNoLeak,
  gaussian,
  put,
  type Refusal,
  refuses,
  seeded,
  snapshot,
} from '../support/helpers.js';
import { parameter, perturb } from '../support/layer.js';

const python = process.env['SIGMATUNE_PYTHON'] || 'python3';
const script = fileURLToPath(new URL('../fixtures/gguf_interop.py', import.meta.url));
const found = spawnSync(python, ['-c', 'import gguf, safetensors.numpy'], { encoding: 'utf8' });
const skip = found.status !== 0 && `${python} has no gguf and safetensors (SIGMATUNE_PYTHON names another Python)`;

const folder = t.testdir({});
const path = join(folder, 'lora.gguf');
const heads = { query: 3, keyValue: 1 };
const options = { rank: 4, architecture: 'llama', heads } as const;

/** A layer of each module of a block: 3 heads of 6 for Q, 1 for K and V. */
async function block(): Promise<Record<string, AdaptedLinear>> {
  const random = seeded(1);
  const make = async (build: typeof svft, out: number, inputs: number, more: object = {}) => {
    using weight = gaussian(random, [out, inputs], 'float32');
    const layer = await build(weight, more);
    perturb(layer);
    return layer;
  };
  const any = (build: unknown) => build as typeof svft;
  return {
    'model.layers.0.self_attn.q_proj.weight': await make(svft, 18, 16, { pattern: 'banded', offDiagonals: 1 }),
    'model.layers.0.self_attn.k_proj.weight': await make(any(siva), 6, 16, { count: 3 }),
    'model.layers.0.self_attn.v_proj.weight': await make(any(vectorFit), 6, 16),
    'model.layers.11.self_attn.o_proj.weight': await make(any(svdiff), 16, 18),
    'model.layers.11.mlp.gate_proj': await make(any(loraXs), 23, 16, { rank: 3 }),
    'model.layers.11.mlp.up_proj': await make(svft, 23, 16),
    'model.layers.11.mlp.down_proj': await make(svft, 16, 23, { layout: 'in-out' }),
    lm_head: await make(svft, 29, 16),
  };
}

/** The tensors of a GGUF file, read strictly by the format's description. */
function readGguf(file: string) {
  const bytes = readFileSync(file);
  let position = 4;
  const take = (length: number) => {
    position += length;
    return bytes.subarray(position - length, position);
  };
  const u32 = () => take(4).readUInt32LE();
  const u64 = () => Number(take(8).readBigUInt64LE());
  const text = () => take(u64()).toString('utf8');
  t.equal(bytes.toString('latin1', 0, 4), 'GGUF');
  t.equal(u32(), 3);
  const [tensorCount, pairCount] = [u64(), u64()];
  const metadata: Record<string, string | number> = {};
  for (let i = 0; i < pairCount; i++) {
    const key = text();
    metadata[key] = u32() === 8 ? text() : take(4).readFloatLE();
  }
  const described = Array.from({ length: tensorCount }, () => {
    const name = text();
    const shape = Array.from({ length: u32() }, u64);
    return { name, shape, type: u32(), offset: u64() };
  });
  const data = Math.ceil(position / 32) * 32;
  let next = 0;
  const tensors = new Map<string, { shape: number[]; numbers: Float32Array }>();
  for (const { name, shape, type, offset } of described) {
    t.equal(type, 0, 'F32');
    t.equal(offset, next);
    const size = shape.reduce((product, n) => product * n, 1);
    const numbers = new Float32Array(Uint8Array.from(bytes.subarray(data + offset, data + offset + 4 * size)).buffer);
    tensors.set(name, { shape, numbers });
    next = Math.ceil((offset + 4 * size) / 32) * 32;
  }
  t.equal(bytes.length, data + next);
  return { metadata, tensors };
}

t.test('the same A and B as the PEFT folder, under the names and in the row order of llama.cpp', async (t) => {
  await expectNoLeak(t, 'exportGgufLora', async () => {
    const layers = await block();
    const { error } = await exportGgufLora(path, layers, options);
    const lora = await exportLora(folder, layers, { rank: 4 });
    t.same(error, lora.error);
    const { metadata, tensors } = readGguf(path);
    t.same(metadata, {
      'general.architecture': 'llama',
      'general.type': 'adapter',
      'adapter.type': 'lora',
      'adapter.lora.alpha': 4,
    });
    t.equal(tensors.size, 16);
    const peft = await readSafetensors(join(folder, 'adapter_model.safetensors'));
    const pairs = {
      'blk.0.attn_q': ['model.layers.0.self_attn.q_proj', 3],
      'blk.0.attn_k': ['model.layers.0.self_attn.k_proj', 1],
      'blk.0.attn_v': ['model.layers.0.self_attn.v_proj', 0],
      'blk.11.attn_output': ['model.layers.11.self_attn.o_proj', 0],
      'blk.11.ffn_gate': ['model.layers.11.mlp.gate_proj', 0],
      'blk.11.ffn_up': ['model.layers.11.mlp.up_proj', 0],
      'blk.11.ffn_down': ['model.layers.11.mlp.down_proj', 0],
      output: ['lm_head', 0],
    } as const;
    for (const [name, [module, count]] of Object.entries(pairs)) {
      for (const role of ['A', 'B']) {
        const ours = tensors.get(`${name}.weight.lora_${role.toLowerCase()}`);
        const theirs = peft.tensors.get(`base_model.model.${module}.lora_${role}.weight`);
        if (ours === undefined || theirs === undefined) throw new Error(name);
        const [rows = 0, columns = 0] = theirs.shape;
        t.same(ours.shape, [columns, rows], `${name}, ${role}: the contiguous dimension comes first`);
        const wanted = snapshot(theirs);
        const head = rows / count;
        const source = (row: number) => {
          if (count === 0 || role === 'A') return row;
          const inHead = row % head;
          // Rows 2 i and 2 i + 1 are rows i and i + half of the head.
          return row - inHead + Math.floor(inHead / 2) + (inHead % 2) * (head / 2);
        };
        const off = ours.numbers.findIndex(
          (value, p) => value !== at(wanted, source(Math.floor(p / columns)) * columns + (p % columns)),
        );
        t.equal(off, -1, `${name}, ${role}`);
      }
    }
    disposeAll(...peft.tensors.values(), ...Object.values(layers));
  });
});

t.test("llama.cpp's package reads the same", { skip, timeout: 60_000 }, async (t) => {
  const layers = await block();
  await exportGgufLora(path, layers, options);
  await exportLora(folder, layers, { rank: 4 });
  const { status, stdout, stderr } = spawnSync(python, [script, path, folder, '3', '1'], { encoding: 'utf8' });
  t.equal(status, 0, stderr);
  t.equal(stdout, 'llama adapter lora 4.0\nchecked 16\n');
  disposeAll(...Object.values(layers));
});

t.test('float64 layers are rounded to float32', async (t) => {
  using weight = gaussian(seeded(2), [6, 6], 'float64');
  using layer = await svft(weight);
  perturb(layer);
  await exportGgufLora(path, { 'layers.3.mlp.up_proj': layer }, options);
  const { tensors } = readGguf(path);
  t.same([...tensors.keys()], ['blk.3.ffn_up.weight.lora_a', 'blk.3.ffn_up.weight.lora_b']);
});

t.test('errors name the argument, and leave the old file', async (t) => {
  const random = seeded(3);
  using weight = gaussian(random, [12, 4], 'float32');
  using small = gaussian(random, [9, 4], 'float32');
  using layer = await svft(weight);
  using odd = await svft(small);
  using trained = await vectorFit(weight, { createBias: true });
  put(parameter(trained, 'bias').value, 2, 1);
  const q = 'model.layers.0.self_attn.q_proj';
  const k = 'model.layers.0.self_attn.k_proj';
  const up = 'model.layers.0.mlp.up_proj';
  writeFileSync(path, 'old');
  const cases: Refusal[] = [
    ['no path', ['', { [up]: layer }, options], 'INVALID_ARGUMENT', 'path'],
    ['a folder', [folder, { [up]: layer }, options], 'INVALID_ARGUMENT', 'path'],
    ['no options', [path, { [up]: layer }], 'INVALID_ARGUMENT', 'options.rank'],
    [
      'architecture',
      [path, { [up]: layer }, { ...options, architecture: 'gpt2' }],
      'INVALID_ARGUMENT',
      'architecture',
      'gpt2',
    ],
    ['no heads', [path, { [up]: layer }, { ...options, heads: undefined }], 'INVALID_ARGUMENT', 'options.heads.query'],
    [
      'heads',
      [path, { [up]: layer }, { ...options, heads: { query: 2, keyValue: 0 } }],
      'INVALID_ARGUMENT',
      'options.heads.keyValue',
    ],
    ['a misspelt option', [path, { [up]: layer }, { ...options, head: 1 }], 'INVALID_ARGUMENT', 'heads'],
    ['no layers', [path, {}, options], 'INVALID_ARGUMENT', 'layers'],
    [
      'another model',
      [path, { 'h.0.attn.c_attn': layer }, options],
      'INVALID_ARGUMENT',
      "layers['h.0.attn.c_attn']",
      'q_proj',
    ],
    ['another module', [path, { 'model.layers.0.toString': layer }, options], 'INVALID_ARGUMENT', 'toString'],
    [
      'one module twice',
      [path, { [up]: layer, 'layers.0.mlp.up_proj': layer }, options],
      'INVALID_ARGUMENT',
      'blk.0.ffn_up',
    ],
    ['odd heads', [path, { [q]: odd }, options], 'SHAPE_MISMATCH', `layers['${q}']`, 'options.heads'],
    [
      'heads of two sizes',
      [path, { [q]: layer, [k]: layer }, options],
      'SHAPE_MISMATCH',
      `layers['${k}']`,
      'options.heads',
    ],
    ['a trained bias', [path, { [up]: trained }, options], 'UNSUPPORTED', `layers['${up}'], bias`, 'dropBias'],
    ['aborted', [path, { [up]: layer }, { ...options, signal: AbortSignal.abort() }], 'ABORTED', 'signal'],
  ];
  await refuses(t, exportGgufLora, cases);
  t.equal(readFileSync(path, 'utf8'), 'old');
  t.notOk(readdirSync(folder).some((name) => name.endsWith('.tmp')));
  await exportGgufLora(path, { [up]: trained }, { ...options, dropBias: true });
});
