/** Runs the program `sigmatune` as it is typed, and the files that its tests give it. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { type AdaptedModel, adaptModel, saveAdapters, type Tensor, tensor, writeSafetensors } from 'sigmatune';
import { disposeAll, gaussian, seeded } from './helpers.js';
import { perturb } from './layer.js';
import { plainEnvironment } from './process.js';

export const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

export interface Run {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

export interface RunOptions {
  readonly cwd?: string;
  /** stdin */
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export async function sigmatune(args: readonly string[], options: RunOptions = {}): Promise<Run> {
  const child = start(args, options);
  child.stdin.end(options.input ?? '');
  const texts = Promise.all([textOf(child.stdout), textOf(child.stderr)]);
  const [code] = await once(child, 'close');
  const [out, err] = await texts;
  return { code, out, err };
}

/** The running program. */
export function start(args: readonly string[], { cwd, env = {} }: RunOptions = {}): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, [program, ...args], { cwd, env: { ...plainEnvironment(), ...env }, timeout: 100_000 });
}

/** Runs several, some at the same time. */
export async function sigmatuneAll(all: readonly (readonly string[])[], options: RunOptions = {}): Promise<Run[]> {
  const runs: Run[] = [];
  const waiting = all.entries();
  const work = async () => {
    for (const [i, args] of waiting) runs[i] = await sigmatune(args, options);
  };
  await Promise.all(Array.from({ length: 4 }, work));
  return runs;
}

/** The shapes of a small Llama block with 4 heads of queries and 2 of keys and values. */
export const shapes = {
  'model.layers.0.self_attn.q_proj.weight': [32, 24],
  'model.layers.0.self_attn.k_proj.weight': [16, 24],
  'model.layers.0.self_attn.v_proj.weight': [16, 24],
  'model.layers.0.mlp.up_proj.weight': [40, 24],
} as const;

export interface Scene {
  /** model.safetensors, config.json, and adapter/, which has Q and V. */
  readonly folder: string;
  readonly weights: Readonly<Record<string, Tensor>>;
  readonly model: AdaptedModel;
}

/** A checkpoint and an adapter of it, trained by random numbers. */
export async function makeScene(folder: string): Promise<Scene> {
  const random = seeded(31);
  const weights: Record<string, Tensor> = {};
  for (const [name, shape] of Object.entries(shapes)) weights[name] = gaussian(random, shape, 'float32');
  weights['model.layers.0.self_attn.q_proj.bias'] = gaussian(random, [32], 'float32');
  weights['ids'] = tensor([1, 2, 3], [3], { dtype: 'int32' });
  await writeSafetensors(join(folder, 'model.safetensors'), Object.entries(weights), { metadata: { format: 'pt' } });
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ num_attention_heads: 4, num_key_value_heads: 2 }));
  const model = await adaptModel(weights, {
    targets: ['q_proj', 'v_proj'],
    family: 'svft',
    options: { pattern: 'banded', offDiagonals: 2 },
  });
  for (const layer of model.layers.values()) perturb(layer);
  await saveAdapters(join(folder, 'adapter'), model.layers);
  return { folder, weights, model };
}

export function disposeScene({ weights, model }: Scene): void {
  disposeAll(model, ...Object.values(weights));
}
