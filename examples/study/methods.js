// @ts-check
// The methods that the study compares: how each makes the layer that takes the place of a pretrained linear layer.
import { siva, svft, vectorFit } from 'sigmatune';
import { seeded, uniform } from '../quickstart/random.js';
import { Dense, Lora } from './layers.js';
import { Bfloat16, inBfloat16 } from './storage.js';

/** @typedef {import('sigmatune').AdaptedLinear<'float32'>} Adapted */
/** @typedef {import('sigmatune').Tensor<'float32'>} Matrix */
/** @typedef {import('sigmatune').AdaptedLinear<'bfloat16'>} HalfLayer */
/** @typedef {Pick<Base, 'name' | 'bias'> & import('./storage.js').Kept} Half */
/** @typedef {Adapted | Dense | Lora | Bfloat16} Layer */
/**
 * A pretrained linear layer, in TensorFlow's layout [in, out] and as the package decomposes it. All of it is borrowed.
 * @typedef {object} Base
 * @property {string} name
 * @property {import('./pretrained.js').Linear} linear
 * @property {Matrix} weight [out, in]
 * @property {Matrix} bias
 * @property {import('sigmatune').Factors<'float32'>} factors of weight
 */
/**
 * @typedef {object} Method
 * @property {string} name
 * @property {'control' | 'lora' | 'svft' | 'siva' | 'vectorfit'} family
 * @property {readonly number[]} rates learning rates to choose from, as many for every method
 * @property {string} [like] the method whose learning rate is taken instead
 * @property {boolean} [norms] whether layer normalisations train too
 * @property {boolean} [freezing] whether Adaptive Vector Freezing is on
 * @property {boolean} [frozen] whether only the head trains
 * @property {(base: Base, seed: number) => Layer | Promise<Layer>} adapt
 */

const small = [3e-5, 1e-4, 3e-4];
const middle = [1e-3, 3e-3, 1e-2];
const large = [3e-2, 1e-1, 3e-1];

/** @template {Base | Half} B @param {B} base @returns {Pick<B, 'name' | 'bias' | 'factors'>} */
const options = ({ name, bias, factors }) => ({ name, bias, factors });

/** @param {number} r @returns {Method} */
const lora = (r) => ({
  name: `LoRA r=${r}`,
  family: 'lora',
  rates: middle,
  adapt: ({ name, linear }, seed) => {
    const generator = seeded(seed);
    return new Lora(name, linear, { r, alpha: 2 * r, uniform: (length, bound) => uniform(generator, length, bound) });
  },
});

/** @param {string} name @param {import('sigmatune').SvftOptions} pattern @returns {Method} */
const svftWith = (name, pattern) => ({
  name: `SVFT ${name}`,
  family: 'svft',
  rates: large,
  adapt: (base, seed) => svft(base.weight, { ...options(base), ...pattern, seed }),
});

/** @param {string} name @param {import('sigmatune').SivaOptions} selection @returns {Method} */
const sivaWith = (name, selection) => ({
  name: `SiVA ${name}`,
  family: 'siva',
  rates: large,
  adapt: (base, seed) => siva(base.weight, { ...options(base), ...selection, seed }),
});

/** @param {string} name @param {{ bias: boolean, freezing: boolean }} kind @returns {Method} */
const vectorFitWith = (name, { bias, freezing }) => ({
  name: `VectorFit ${name}`,
  family: 'vectorfit',
  rates: large,
  freezing,
  adapt: (base) => vectorFit(base.weight, { ...options(base), train: { sigma: true, bias } }),
});

/** @type {Method['adapt']} */
const dense = ({ name, linear }) => new Dense(name, linear);

const offDiagonals = 2;

/**
 * A method with its frozen matrices in bfloat16. Its rate is that of the method, so nothing else differs.
 * @param {string} like @param {Method['family']} family @param {(half: Half) => Promise<HalfLayer>} adapt
 * @returns {Method}
 */
const halved = (like, family, adapt) => ({
  name: `${like} in bfloat16`,
  family,
  like,
  rates: [],
  adapt: async (base) => {
    const { name, bias } = base;
    return new Bfloat16(await adapt({ name, bias, ...(await inBfloat16(base)) }));
  },
});

/** @type {readonly Method[]} */
export const methods = [
  { name: 'head only', family: 'control', rates: [1e-2, 3e-2, 1e-1], frozen: true, adapt: dense },
  { name: 'full fine-tuning', family: 'control', rates: small, norms: true, adapt: dense },
  lora(4),
  svftWith('plain', { pattern: 'plain' }),
  svftWith('banded', { pattern: 'banded', offDiagonals }),
  sivaWith('lowest', { perc: 0.95 }),
  sivaWith('top', { perc: 0.95, select: 'top' }),
  vectorFitWith('with AVF', { bias: true, freezing: true }),
  vectorFitWith('without AVF', { bias: true, freezing: false }),
  svftWith('random', { pattern: 'random', offDiagonals }),
  sivaWith('random', { perc: 0.95, basis: 'random' }),
  vectorFitWith('sigma alone', { bias: false, freezing: false }),
  lora(1),
  lora(8),
  // The paper's top-k is not defined for rectangular weights, so this is that of the public code, from zeros like the others.
  svftWith('top-k', { pattern: 'topk', offDiagonals, parity: 'svft-ref', init: 'zeros' }),
  sivaWith('lowest, perc 0.99', { perc: 0.99 }),
  sivaWith('lowest, perc 0.90', { perc: 0.9 }),
  sivaWith('lowest, perc 0.80', { perc: 0.8 }),
  halved('SVFT banded', 'svft', (half) => svft(half.weight, { ...options(half), pattern: 'banded', offDiagonals })),
  halved('SiVA lowest', 'siva', (half) => siva(half.weight, { ...options(half), perc: 0.95 })),
  halved('VectorFit without AVF', 'vectorfit', (half) =>
    vectorFit(half.weight, { ...options(half), train: { sigma: true, bias: true } }),
  ),
];
