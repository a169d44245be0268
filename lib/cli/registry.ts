// The commands, one line for each.
import type { Command } from './command.js';

export interface Entry {
  readonly summary: string;
  /** A command is loaded when it is called: `sigmatune --help` needs no addon. */
  readonly load: () => Promise<{ readonly default: Command }>;
}

export const commands: Readonly<Record<string, Entry>> = {
  info: {
    summary: 'versions, BLAS, threads and CUDA: what a bug report needs',
    load: () => import('./commands/info.js'),
  },
  inspect: {
    summary: 'what is in a checkpoint, an adapter, a training run, a LoRA or a cache',
    load: () => import('./commands/inspect.js'),
  },
  plan: {
    summary: 'the modules that would be adapted, and how many numbers would train',
    load: () => import('./commands/plan.js'),
  },
  counts: {
    summary: 'trainable parameters of several methods, side by side',
    load: () => import('./commands/counts.js'),
  },
  decompose: {
    summary: 'computes the factors of weights once, into a folder; a stopped run goes on where it was',
    load: () => import('./commands/decompose.js'),
  },
  erank: {
    summary: 'effective and numerical rank of weights, and what an adapter changed',
    load: () => import('./commands/erank.js'),
  },
  plot: {
    summary: 'draws what an adapter has changed: spectra, drift and strengths of each layer, as SVG',
    load: () => import('./commands/plot.js'),
  },
  merge: {
    summary: 'writes a checkpoint with an adapter merged into its weights',
    load: () => import('./commands/merge.js'),
  },
  'export-lora': {
    summary: "writes an adapter as a LoRA of Hugging Face's PEFT",
    load: () => import('./commands/export-lora.js'),
  },
  'export-gguf': {
    summary: 'writes an adapter as a LoRA of llama.cpp',
    load: () => import('./commands/export-gguf.js'),
  },
};

/** bench/cli.js, a program of its own: its arguments, output and exit codes. */
export const bench = {
  name: 'bench',
  summary: 'benchmarks, and a gate against regressions',
  url: new URL('../../bench/cli.js', import.meta.url).href,
} as const;
