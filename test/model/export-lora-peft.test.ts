/** Hugging Face's PEFT runs our LoRA folders. Needs a Python that has it: SIGMATUNE_PYTHON. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { adaptModel, exportLora, exportMerged, type ModelOptions, readSafetensors } from 'sigmatune';
import t from 'tap';
import { disposeAll } from '../support/helpers.js';
import { perturb } from '../support/layer.js';

const python = process.env['SIGMATUNE_PYTHON'] || 'python3';
const script = fileURLToPath(new URL('../fixtures/lora_interop.py', import.meta.url));
const needs =
  'import safetensors.torch, transformers as t, peft.tuners.lora.layer as l; t.GptOssConfig, l.ParamWrapper';
const found = spawnSync(python, ['-c', needs], { encoding: 'utf8' });
const skip =
  found.status !== 0 &&
  `${python} has no peft and transformers that know experts (SIGMATUNE_PYTHON names another Python)`;

/** A family for each kind of module. */
const choices: Record<string, ModelOptions> = {
  llama: {
    targets: ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'],
    family: 'svft',
    options: { pattern: 'banded', offDiagonals: 2 },
    modules: {
      k_proj: { family: 'siva', options: { count: 5 } },
      v_proj: { family: 'vectorfit', options: { train: { bias: false } } },
      o_proj: { family: 'svdiff' },
      gate_proj: { family: 'loraxs', options: { rank: 6 } },
      up_proj: { options: { pattern: 'random', offDiagonals: 1, rank: 20 } },
    },
  },
  gpt2: {
    targets: ['c_attn', 'c_fc', 'attn.c_proj', 'mlp.c_proj'],
    family: 'svft',
    layout: 'in-out',
    modules: {
      c_attn: { family: 'vectorfit', options: { train: { bias: false } } },
      c_fc: { family: 'loraxs', options: { rank: 4 } },
      'attn.c_proj': { family: 'siva', options: { count: 9 } },
    },
  },
  fused: {
    targets: ['c_attn', 'mlp.c_proj'],
    exclude: ['c_attn.k'],
    family: 'svft',
    options: { pattern: 'banded', offDiagonals: 1 },
    layout: 'in-out',
    split: { c_attn: ['q', 'k', 'v'] },
    modules: { 'c_attn.v': { family: 'siva', options: { count: 4 } } },
  },
  vision: {
    targets: 'all',
    family: 'svft',
    options: { pattern: 'banded', offDiagonals: 1 },
    modules: { point: { family: 'vectorfit', options: { train: { bias: false } } } },
  },
  mixtral: {
    targets: ['gate_up_proj', 'down_proj', 'q_proj'],
    exclude: ['gate_up_proj.1.up', 'down_proj.2'],
    family: 'svft',
    split: { gate_up_proj: ['gate', 'up'] },
    modules: { down_proj: { family: 'loraxs', options: { rank: 5 } } },
  },
  gptoss: {
    targets: ['gate_up_proj', 'down_proj', 'o_proj'],
    family: 'svft',
    layout: { 'experts.gate_up_proj': 'in-out', 'experts.down_proj': 'in-out' },
  },
};

t.test('PEFT computes what our merged weights compute', { skip, timeout: 300_000 }, async (t) => {
  const folder = t.testdir({});
  const run = (mode: string) => {
    const { status, stdout, stderr } = spawnSync(python, [script, mode, folder], { encoding: 'utf8' });
    t.equal(status, 0, `${mode}: ${stderr}`);
    return stdout;
  };
  run('write');
  for (const [name, options] of Object.entries(choices)) {
    const base = join(folder, `${name}.safetensors`);
    const { tensors } = await readSafetensors(base);
    using model = await adaptModel(Object.fromEntries(tensors), options);
    for (const layer of model.layers.values()) perturb(layer);
    const { error } = await exportLora(join(folder, `${name}-full`), model, { rank: 32 });
    t.ok(Object.values(error).every((each) => each < 1e-5));
    await exportLora(join(folder, `${name}-low`), model, { rank: 1 });
    await exportMerged(join(folder, `${name}-merged.safetensors`), model, { base });
    disposeAll(...tensors.values());
  }
  const agree = Object.keys(choices).map((name) => `${name} agrees\n`);
  t.equal(run('check'), agree.join(''));
});
