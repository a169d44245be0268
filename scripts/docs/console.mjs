// The outputs in docs/cli.md: each command after a `$` in a block of the language console is run, and its output put below it.
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { adaptModel, saveAdapters, Tensor, writeSafetensors } from 'sigmatune';
import { readGraphModel, sentenceEncoder, writeGraphModel } from '../../examples/study/graph-model.js';
import { root } from '../setup/run.mjs';

/** A console's block, and a program that the page shows as a file of its own. */
const parts = /```console\n\$ (.*)\n[\s\S]*?```|```js\n\/\/ (\S+\.mjs)\n[\s\S]*?```/g;

/** The page with the outputs of now. Commands and programs run in the page's order, in one folder. */
export async function withOutputs(page) {
  const folder = mkdtempSync(join(tmpdir(), 'sigmatune-docs-'));
  try {
    const run = await prepare(folder);
    return page.replace(parts, (block, command, program) => {
      if (command !== undefined) return `\`\`\`console\n$ ${command}\n${run('sh', '-c', command)}\n\`\`\``;
      writeFileSync(join(folder, program), block.replace(/^```js\n|```$/g, ''));
      run(process.execPath, program);
      return block;
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What the page takes for granted: the program, a model, a small Llama with an adapter. Returns how programs run there. */
async function prepare(folder) {
  const bin = join(folder, 'node_modules', '.bin');
  mkdirSync(bin, { recursive: true });
  symlinkSync(root, join(folder, 'node_modules', 'sigmatune'));
  const program = join(root, 'dist', 'cli', 'main.js');
  writeFileSync(join(bin, 'sigmatune'), `#!/bin/sh\nexec "${process.execPath}" "${program}" "$@"\n`);
  chmodSync(join(bin, 'sigmatune'), 0o755);
  await writeGraphModel(join(folder, 'model.safetensors'), readGraphModel(sentenceEncoder));
  await writeLlama(join(folder, 'llama'), join(folder, 'llama-adapter'));
  const { NODE_OPTIONS: _, ...env } = process.env;
  const PATH = `${bin}${delimiter}${process.env.PATH}`;
  return (command, ...args) => {
    const { status, stdout, stderr } = spawnSync(command, args, {
      cwd: folder,
      env: { ...env, PATH },
      encoding: 'utf8',
    });
    if (status !== 0) throw new Error(`${args.join(' ')}: ${stderr}`);
    return stdout.trimEnd();
  };
}

/** A block with 4 heads of queries and 2 of keys and values, and an adapter of Q and V. */
async function writeLlama(folder, adapter) {
  mkdirSync(folder);
  writeFileSync(join(folder, 'config.json'), '{"num_attention_heads": 4, "num_key_value_heads": 2}');
  const numbers = (seed, size) => Float32Array.from({ length: size }, (_, i) => Math.sin(seed + i * i * 0.618));
  const rows = { q_proj: 64, k_proj: 32, v_proj: 32 };
  const weights = Object.fromEntries(
    Object.entries(rows).map(([name, out]) => [
      `model.layers.0.self_attn.${name}.weight`,
      Tensor.wrap(numbers(out, out * 64), [out, 64]),
    ]),
  );
  await writeSafetensors(join(folder, 'model.safetensors'), Object.entries(weights));
  const model = await adaptModel(weights, { targets: ['q_proj', 'v_proj'], family: 'vectorfit' });
  for (const { value } of model.parameters) value.assign(value.dataSync().map((x, i) => x + 1 / (1 + i)));
  await saveAdapters(adapter, model.layers);
  model.dispose();
}
