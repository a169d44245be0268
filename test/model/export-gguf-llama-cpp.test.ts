/** llama.cpp runs our adapters. Needs a folder in which node-llama-cpp is installed: SIGMATUNE_LLAMA_CPP. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { adaptModel, exportGgufLora, exportLora, type ModelOptions, readSafetensors } from 'sigmatune';
import t from 'tap';
import { disposeAll, real, seeded } from '../support/helpers.js';
import { dense, mergedOf, perturb } from '../support/layer.js';
import { heads, llamaGguf, llamaLogits, llamaWeights, vocabulary, type Weights } from '../support/llama.js';
import { add, largest, type Matrix, matmul, matrix, subtract } from '../support/reference.js';

const folder = process.env['SIGMATUNE_LLAMA_CPP'] || '';
const script = fileURLToPath(new URL('../fixtures/llama-cpp.mjs', import.meta.url));
const skip = folder === '' && 'no llama.cpp: SIGMATUNE_LLAMA_CPP names no folder with node-llama-cpp';

/** A family for each kind of module. */
const choices: ModelOptions = {
  targets: ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj', 'lm_head'],
  family: 'svft',
  options: { pattern: 'banded', offDiagonals: 2 },
  modules: {
    k_proj: { family: 'svdiff' },
    v_proj: { family: 'vectorfit', options: { train: { bias: false } } },
    o_proj: { family: 'siva', options: { count: 9 } },
    gate_proj: { family: 'loraxs', options: { rank: 6 } },
    up_proj: { options: { pattern: 'random', offDiagonals: 1 } },
  },
};

/** No ΔW has a higher rank. k_proj and v_proj have 32, and are filled up. */
const full = 64;

/** Rounding to float32. */
const limit = 1e-5;

t.test(
  'llama.cpp computes with our adapters what W0 + B A and our merged weights compute',
  {
    skip,
    timeout: 300_000,
  },
  async (t) => {
    const directory = t.testdir({});
    const random = seeded(11);
    const weights = llamaWeights(random);
    const tokens = Array.from({ length: 24 }, () => random.integer(vocabulary));
    const tensors = Object.fromEntries(
      [...weights].map(([name, { rows, columns, data }]) => [name, real(data, [rows, columns], 'float32')]),
    );
    using model = await adaptModel(tensors, choices);
    t.equal(model.layers.size, 2 * 7 + 1);
    for (const layer of model.layers.values()) perturb(layer);
    const merged = changed(
      weights,
      [...model.layers].map(([name, layer]) => [name, mergedOf(layer)]),
    );

    const runs: Record<string, { model: string; lora?: string }> = {};
    const wanted: Record<string, Matrix> = { base: llamaLogits(weights, tokens), merged: llamaLogits(merged, tokens) };
    const path = (name: string) => join(directory, `${name}.gguf`);
    for (const [name, of] of Object.entries({ base: weights, merged })) {
      writeFileSync(path(name), llamaGguf(of));
      runs[name] = { model: path(name) };
    }
    for (const rank of [1, 8, full]) {
      const name = `rank ${rank}`;
      await exportGgufLora(path(name), model.layers, { rank, architecture: 'llama', heads });
      await exportLora(join(directory, name), model.layers, { rank });
      wanted[name] = llamaLogits(await withLora(weights, join(directory, name)), tokens);
      runs[name] = { model: path('base'), lora: path(name) };
    }
    const wrong = { query: heads.query / 2, keyValue: heads.keyValue / 2 };
    await exportGgufLora(path('wrong'), model.layers, { rank: full, architecture: 'llama', heads: wrong });
    runs['wrong heads'] = { model: path('base'), lora: path('wrong') };

    const jobs = JSON.stringify({ tokens, runs });
    const { status, stdout, stderr } = spawnSync(process.execPath, [script, folder, jobs], {
      encoding: 'utf8',
      maxBuffer: 2 ** 26,
    });
    t.equal(status, 0, stderr);
    const { versions, logits } = JSON.parse(stdout) as { versions: string; logits: Record<string, number[][]> };
    t.comment(versions);
    const found = Object.fromEntries(
      Object.entries(logits).map(([name, rows]) => [name, matrix(tokens.length, vocabulary, rows.flat())]),
    );

    /** The largest difference in the logits of all positions, relative to the largest logit. */
    const compare = (a: Matrix | undefined, b: Matrix | undefined, label: string) => {
      if (a === undefined || b === undefined) throw new Error(label);
      const off = largest(subtract(a, b)) / largest(b);
      t.comment(`${label}: ${off.toExponential(1)}`);
      return off;
    };
    for (const [name, reference] of Object.entries(wanted)) {
      const label = `${name} and its reference agree`;
      t.ok(compare(found[name], reference, label) < limit, label);
    }
    t.ok(compare(found[`rank ${full}`], found['merged'], 'full rank and merged agree') < limit);
    for (const name of ['base', 'rank 1', 'rank 8', 'wrong heads']) {
      const label = `${name} and merged differ`;
      t.ok(compare(found[name], found['merged'], label) > 0.1, label);
    }
    disposeAll(...Object.values(tensors));
  },
);

function changed(weights: Weights, changes: Iterable<readonly [string, Matrix]>): Weights {
  const result = new Map(weights);
  for (const [name, matrix] of changes) result.set(name, matrix);
  return result;
}

/** W0 + B A, with A and B of a PEFT folder. */
async function withLora(weights: Weights, folder: string): Promise<Weights> {
  const { tensors } = await readSafetensors(join(folder, 'adapter_model.safetensors'));
  const result = [...weights].map(([name, base]): [string, Matrix] => {
    const at = (role: string) => tensors.get(`base_model.model.${name.replace('.weight', `.lora_${role}.weight`)}`);
    const [a, b] = [at('A'), at('B')];
    return [name, a && b ? add(base, matmul(dense(b), dense(a))) : base];
  });
  disposeAll(...tensors.values());
  return new Map(result);
}
