// @ts-check
import { siva, svft, tensor, vectorFit } from 'sigmatune';
import { Dense } from './dense.js';
import { Lora } from './lora.js';

/** @typedef {import('./network.js').Layer} Layer */
/** @typedef {import('./network.js').Matrix} Matrix */
/** @typedef {import('./random.js').Generator} Generator */
/** @typedef {import('sigmatune').Svd<'float32'>} Factors */

/**
 * A pretrained layer that every method starts from: its weight, its bias, and the weight's SVD, computed once.
 * @typedef {{ name: string; weight: Matrix; bias: Matrix; factors: Factors }} BaseLayer
 */

/**
 * @typedef {object} Method
 * @property {string} name
 * @property {'control' | 'svft' | 'siva' | 'ablation' | 'vectorfit'} family
 * @property {readonly number[]} rates learning rates to choose from, the same number for every method
 * @property {(base: BaseLayer, generator: Generator) => Layer | Promise<Layer>} adapt
 */

/**
 * LoRA with α = 2r, a common choice.
 * @param {number} r
 * @returns {Method['adapt']}
 */
const lora = (r) => (base, generator) => new Lora(base.name, base, { r, alpha: 2 * r, generator });

/** @type {Method['adapt']} */
const fullFineTuning = ({ name, weight, bias }) =>
  new Dense(name, tensor(weight.dataSync(), weight.shape), tensor(bias.dataSync(), bias.shape));

/** @type {Method} */
export const full = {
  name: 'Full fine-tuning',
  family: 'control',
  rates: [5e-4, 1e-3, 2e-3, 5e-3, 1e-2],
  adapt: fullFineTuning,
};

/**
 * Every method adapts all three layers. The base weights and their factors are borrowed, never written.
 * @type {readonly Method[]}
 */
export const methods = [
  full,
  { name: 'LoRA r=4', family: 'control', rates: [2e-3, 5e-3, 1e-2, 2e-2, 5e-2], adapt: lora(4) },
  { name: 'LoRA r=1', family: 'control', rates: [5e-3, 1e-2, 2e-2, 5e-2, 1e-1], adapt: lora(1) },
  {
    name: 'SVFT plain',
    family: 'svft',
    rates: [5e-2, 1e-1, 2e-1, 5e-1, 1],
    adapt: ({ weight, ...options }) => svft(weight, { ...options, pattern: 'plain' }),
  },
  {
    name: 'SVFT banded d=2',
    family: 'svft',
    rates: [5e-2, 1e-1, 2e-1, 5e-1, 1],
    adapt: ({ weight, ...options }) => svft(weight, { ...options, pattern: 'banded', offDiagonals: 2 }),
  },
  {
    name: 'SVFT banded d=4',
    family: 'svft',
    rates: [5e-2, 1e-1, 2e-1, 5e-1, 1],
    adapt: ({ weight, ...options }) => svft(weight, { ...options, pattern: 'banded', offDiagonals: 4 }),
  },
  {
    name: 'SiVA perc 0.95',
    family: 'siva',
    rates: [2e-1, 5e-1, 1, 2, 5],
    adapt: ({ weight, ...options }) => siva(weight, { ...options, perc: 0.95 }),
  },
  {
    name: 'SiVA perc 0.80',
    family: 'siva',
    rates: [2e-1, 5e-1, 1, 2, 5],
    adapt: ({ weight, ...options }) => siva(weight, { ...options, perc: 0.8 }),
  },
  // The ablation of SiVA's paper: as many of the largest singular values instead.
  {
    name: 'SiVA 0.95 top',
    family: 'ablation',
    rates: [2e-1, 5e-1, 1, 2, 5],
    adapt: ({ weight, ...options }) => siva(weight, { ...options, perc: 0.95, select: 'top' }),
  },
  {
    name: 'SiVA 0.80 top',
    family: 'ablation',
    rates: [2e-1, 5e-1, 1, 2, 5],
    adapt: ({ weight, ...options }) => siva(weight, { ...options, perc: 0.8, select: 'top' }),
  },
  {
    name: 'VectorFit, no AVF',
    family: 'vectorfit',
    rates: [5e-2, 1e-1, 2e-1, 5e-1, 1],
    adapt: ({ weight, ...options }) => vectorFit(weight, options),
  },
];
