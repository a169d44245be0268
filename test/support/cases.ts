/**
 * The table of cases: operation × shape × type × pattern × strategy, each with its tolerance and its flops. The
 * correctness and gradient tests run over it. The larger cases of the benchmarks are in bench/cases/;
 * test/bench/cases.test.ts runs them. Nothing here depends on the test runner.
 *
 * A new family needs one entry of `families`, a new pattern one entry of `patterns`. Every test then covers it.
 */
import * as sigmatune from 'sigmatune';
import {
  type AdaptedLinear,
  type AdapterOptions,
  type Family,
  type FromOptions,
  type LoraXsOptions,
  loraXs,
  type MatrixDType,
  type Real,
  type SivaOptions,
  SparsityPattern,
  type Svd,
  type SvftOptions,
  siva,
  svdiff,
  svft,
  type Tensor,
  vectorFit,
} from 'sigmatune';
import { at, type Tolerance, testDevice, values } from './helpers.js';
import { diagonal, type Matrix, matmul, matrix, type Operator, subtract } from './reference.js';

export const dtypes = ['float32', 'float64'] as const;
/** Of matrices. The vectors that go with 16 bits are float32. Devices have no float16. */
export const matrixDTypes: readonly MatrixDType[] = [
  ...dtypes,
  'bfloat16',
  ...(testDevice === 'cpu' ? (['float16'] as const) : []),
];
export const isHalf = (dtype: MatrixDType) => dtype === 'bfloat16' || dtype === 'float16';
export const vectorsOf = (dtype: MatrixDType): Real => (dtype === 'float64' ? 'float64' : 'float32');
/** Of one number. */
export const bytesOf = (dtype: MatrixDType): number => (dtype === 'float64' ? 8 : isHalf(dtype) ? 2 : 4);
export const strategies = ['auto', 'factored', 'merged', 'lowrank'] as const;
export type Strategy = (typeof strategies)[number];

/** A device sums in other orders, with fewer partial sums than the CPU's vector registers. */
const order = testDevice === 'cpu' ? 1 : 2;

/** Tolerances for sums of a few hundred terms, relative to the largest entry of the reference. */
export const tolerances: Readonly<Record<MatrixDType, Tolerance>> = {
  float32: { atol: order * 3e-5, rtol: order * 1e-5 },
  float64: { atol: order * 1e-12, rtol: order * 1e-11 },
  // Layers round after each product: the entries of P and Q, and the base's part of y.
  bfloat16: { atol: 2e-2, rtol: 2 ** -8 },
  float16: { atol: 3e-3, rtol: 2 ** -11 },
};

/** For products of numbers of 16 bits, whose sums are float32, and whose result is rounded to nearest. */
export const roundedTo = (dtype: MatrixDType): Tolerance => ({
  atol: order * 3e-5,
  rtol: dtype === 'float16' ? 2 ** -11 : 2 ** -8,
});

/** The accuracy limits of svd in float32, and the same limits scaled to the rounding of float64. */
export const svdAccuracy: Readonly<Record<Real, { residual: number; orthogonality: number; sigma: number }>> = {
  float32: { residual: 5e-6, orthogonality: 1e-5, sigma: 2e-6 },
  float64: { residual: 2e-14, orthogonality: 4e-14, sigma: 2e-14 },
};

export interface LayerShape {
  readonly name: string;
  readonly out: number;
  readonly in: number;
  readonly tokens: number;
}

/**
 * r = 1, N = 1, tall, wide, square. The last two exceed every tile of tokens or features, and the 2¹⁹ multiply-adds
 * from which a product is split into tiles.
 */
export const layerShapes: readonly LayerShape[] = [
  { name: 'square', out: 12, in: 12, tokens: 7 },
  { name: 'tall', out: 20, in: 6, tokens: 5 },
  { name: 'wide', out: 5, in: 19, tokens: 8 },
  { name: 'one token', out: 9, in: 13, tokens: 1 },
  { name: 'one output', out: 1, in: 11, tokens: 4 },
  { name: 'one input', out: 11, in: 1, tokens: 4 },
  { name: 'one by one', out: 1, in: 1, tokens: 3 },
  { name: 'many tokens', out: 19, in: 31, tokens: 1037 },
  { name: 'many features', out: 515, in: 70, tokens: 20 },
];

export interface PatternCase {
  readonly name: string;
  make(r: number): SparsityPattern;
}

/** Duplicates, an empty row and unsorted entries, for every r. */
function scattered(r: number): SparsityPattern {
  const rows = [r - 1, 0, r - 1, Math.floor(r / 3), 0, r - 1];
  const columns = [0, r - 1, 0, Math.floor(r / 2), r - 1, r - 1];
  return SparsityPattern.fromCoordinates(rows, columns, r);
}

export const patterns: readonly PatternCase[] = [
  { name: 'diagonal', make: (r) => SparsityPattern.diagonal(r) },
  { name: 'banded 1', make: (r) => SparsityPattern.banded(r, 1) },
  { name: 'banded 3', make: (r) => SparsityPattern.banded(r, 3) },
  { name: 'banded, lower 0, upper 2', make: (r) => SparsityPattern.banded(r, { lower: 0, upper: 2 }) },
  { name: 'banded, lower 3, upper 1', make: (r) => SparsityPattern.banded(r, { lower: 3, upper: 1 }) },
  { name: 'banded, wider than r', make: (r) => SparsityPattern.banded(r, r + 4) },
  { name: 'random', make: (r) => SparsityPattern.random(r, { entries: Math.min(2 * r, r * r) }, { seed: 11 }) },
  {
    name: 'random with duplicates',
    make: (r) => SparsityPattern.random(r, { entries: 3 * r }, { seed: 5, replacement: true }),
  },
  { name: 'coordinates', make: scattered },
];

// ── plain operations ─────────────────────────────────────────────────────────────────────────────────────

export interface MatmulCase {
  readonly op: 'matmul';
  readonly name: string;
  /** op(a) is m × k, op(b) is k × n. */
  readonly m: number;
  readonly k: number;
  readonly n: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  readonly dtype: MatrixDType;
  readonly tolerance: Tolerance;
  readonly flops: number;
}

/** The last two are split into tiles, by rows and by columns, with a smaller tile at the end. */
const matmulShapes = [
  [1, 1, 1],
  [4, 3, 5],
  [1, 17, 6],
  [17, 1, 6],
  [8, 9, 1],
  [33, 64, 31],
  [600, 12, 10],
  [600, 40, 30],
  [40, 90, 300],
] as const;

export const matmulCases: readonly MatmulCase[] = matmulShapes.flatMap(([m, k, n]) =>
  [false, true].flatMap((transposeA) =>
    [false, true].flatMap((transposeB) =>
      matrixDTypes.map(
        (dtype): MatmulCase => ({
          op: 'matmul',
          name: `${m}×${k}${transposeA ? 'ᵀ' : ''} · ${k}×${n}${transposeB ? 'ᵀ' : ''} ${dtype}`,
          m,
          k,
          n,
          transposeA,
          transposeB,
          dtype,
          tolerance: isHalf(dtype) ? roundedTo(dtype) : tolerances[dtype],
          flops: 2 * m * k * n,
        }),
      ),
    ),
  ),
);

export interface SparseCase {
  readonly op: 'spmm' | 'spmmᵀ' | 'sddmm';
  readonly name: string;
  readonly r: number;
  readonly columns: number;
  readonly pattern: PatternCase;
  readonly dtype: MatrixDType;
  readonly tolerance: Tolerance;
  /** The flops of one entry of the pattern. */
  readonly flops: number;
}

/** The last two are split into several tasks: by columns, and by rows of the core. */
const sparseShapes = [
  [1, 1],
  [1, 9],
  [2, 5],
  [7, 1],
  [16, 33],
  [40, 300],
  [150, 6],
] as const;

export const sparseCases: readonly SparseCase[] = (['spmm', 'spmmᵀ', 'sddmm'] as const).flatMap((op) =>
  sparseShapes.flatMap(([r, columns]) =>
    patterns.flatMap((pattern) =>
      matrixDTypes.map(
        (dtype): SparseCase => ({
          op,
          name: `${op}, ${pattern.name}, r ${r}, ${columns} columns, ${dtype}`,
          r,
          columns,
          pattern,
          dtype,
          tolerance: !isHalf(dtype) ? tolerances[dtype] : op === 'sddmm' ? tolerances.float32 : roundedTo(dtype),
          flops: 2 * columns,
        }),
      ),
    ),
  ),
);

// ── adapters ─────────────────────────────────────────────────────────────────────────────────────────────

export interface LayerOptions {
  readonly strategy?: Strategy;
  readonly bias?: Tensor;
  readonly factors?: Svd;
  readonly name?: string;
  readonly layout?: 'out-in' | 'in-out';
}

export interface FamilyCase {
  readonly name: string;
  readonly family: string;
  /** The strategies that the layer supports. */
  readonly strategies: readonly Strategy[];
  /** Whether the core is dense, so that its products count. */
  readonly denseCore?: boolean;
  /** Whether the weights must be square. */
  readonly square?: boolean;
  /** Whether y at step 0 equals the base layer's. */
  readonly startsAtBase: boolean;
  make(weight: Tensor, options: LayerOptions): Promise<AdaptedLinear>;
  /** The same from factors that are at hand. */
  from(factors: Svd, options: Omit<LayerOptions, 'factors'> & { weight?: Tensor }): AdaptedLinear;
  /** The reference operator of a layer, from its factors and the current values of its parameters. */
  operator(layer: AdaptedLinear, weight: Matrix, bias: ArrayLike<number> | undefined): Operator;
}

/** Both ways to make a layer. `optionsOf` gets min(out, in). */
function made<O extends AdapterOptions>(family: Family<O>, optionsOf: (r: number) => O) {
  const options = (m = 1, n = 1) => optionsOf(Math.min(m, n));
  return {
    make: (weight: Tensor, given: LayerOptions) => family(weight, { ...options(...weight.shape), ...given }),
    from: (factors: Svd, given: Omit<LayerOptions, 'factors'> & { weight?: Tensor }): AdaptedLinear => {
      const own = { ...options(factors.u.shape[0], factors.vt.shape[1]), ...given };
      return family.from(factors, own as FromOptions<O>);
    },
  };
}

export function parameterValue(layer: AdaptedLinear, name: string): ArrayLike<number> | undefined {
  const found = layer.parameters.find((parameter) => parameter.name === name || parameter.name.endsWith(`.${name}`));
  return found && values(found.value);
}

function dense(tensor: Tensor): Matrix {
  const [rows = 1, columns = 1] = tensor.shape;
  return matrix(rows, columns, values(tensor));
}

function svftOperator(
  layer: AdaptedLinear,
  weight: Matrix,
  bias: ArrayLike<number> | undefined,
  pattern: SparsityPattern,
  keepsResidual: boolean,
): Operator {
  const [u, vt] = [dense(layer.factors.u), dense(layer.factors.vt)];
  const sigma = values(layer.factors.s);
  const scaled = matrix(
    u.rows,
    u.columns,
    u.data.map((value, i) => value * (sigma[i % u.columns] ?? 0)),
  );
  return {
    base: keepsResidual ? subtract(weight, matmul(scaled, vt)) : undefined,
    u,
    vt,
    sigma,
    m: { pattern, values: parameterValue(layer, 'm') ?? [] },
    gate: parameterValue(layer, 'gate')?.[0],
    bias: parameterValue(layer, 'bias') ?? bias,
  };
}

function svftCase(
  name: string,
  options: (r: number) => SvftOptions,
  pattern: (rank: number) => SparsityPattern,
  more: { strategies?: readonly Strategy[]; startsAtBase?: boolean; keepsResidual?: boolean } = {},
): FamilyCase {
  return {
    name: `svft, ${name}`,
    family: 'svft',
    strategies: more.strategies ?? strategies,
    startsAtBase: more.startsAtBase ?? true,
    ...made(svft, options),
    operator: (layer, weight, bias) =>
      svftOperator(layer, weight, bias, pattern(layer.rank), more.keepsResidual ?? false),
  };
}

/** Half of the directions, at least one. */
export const truncated = (r: number): number => Math.max(1, Math.floor(r / 2));

function patternCases(): FamilyCase[] {
  return patterns.map(({ name, make }) => svftCase(name, (r) => ({ pattern: make(r) }), make));
}

export const families: readonly FamilyCase[] = [
  ...patternCases(),
  svftCase(
    'no gate',
    () => ({ pattern: 'banded', offDiagonals: 2, gate: false }),
    (r) => SparsityPattern.banded(r, 2),
  ),
  svftCase(
    'trained bias',
    () => ({ pattern: 'banded', offDiagonals: 1, train: { bias: true } }),
    (r) => SparsityPattern.banded(r, 1),
  ),
  svftCase(
    'random by name',
    () => ({ pattern: 'random', offDiagonals: 1, seed: 3 }),
    (r) => SparsityPattern.random(r, { offDiagonals: 1 }, { seed: 3 }),
  ),
  svftCase(
    'two-sided by name',
    () => ({ pattern: 'banded', offDiagonals: { lower: 2, upper: 0 } }),
    (r) => SparsityPattern.banded(r, { lower: 2, upper: 0 }),
  ),
  svftCase(
    'random by name, repeated',
    () => ({
      pattern: 'random',
      offDiagonals: { lower: 1, upper: 2 },
      replacement: true,
      includeDiagonal: true,
      seed: 6,
    }),
    (r) =>
      SparsityPattern.random(
        r,
        { offDiagonals: { lower: 1, upper: 2 } },
        { seed: 6, replacement: true, includeDiagonal: true },
      ),
  ),
  svftCase(
    'Kaiming',
    () => ({ pattern: 'banded', offDiagonals: 1, init: 'kaiming', seed: 9 }),
    (r) => SparsityPattern.banded(r, 1),
    { startsAtBase: false },
  ),
  svftCase(
    'truncated, residual kept',
    (r) => ({ pattern: 'banded', offDiagonals: 1, rank: truncated(r) }),
    (r) => SparsityPattern.banded(r, 1),
    // Only a full factorisation can replace W0, so a kept residual excludes 'factored'.
    { strategies: ['auto', 'merged', 'lowrank'], keepsResidual: true },
  ),
  svftCase(
    'truncated, residual dropped',
    (r) => ({ pattern: 'banded', offDiagonals: 1, rank: truncated(r), residual: 'drop' }),
    (r) => SparsityPattern.banded(r, 1),
    { strategies: ['auto', 'factored', 'merged'], startsAtBase: false },
  ),
  svftCase(
    'truncated, orthonormal fill',
    (r) => ({ pattern: 'banded', offDiagonals: 1, rank: truncated(r), residual: 'orthonormal', seed: 4 }),
    (r) => SparsityPattern.banded(r, 1),
    { strategies: ['auto', 'factored', 'merged'], startsAtBase: false },
  ),
  sivaCase('lowest', {}, strategies),
  sivaCase('top', { select: 'top' }, strategies),
  sivaCase('random basis', { basis: 'random', seed: 8 }, ['auto', 'merged', 'lowrank']),
  sivaCase('energy', { init: { energy: 0.5 } }, strategies, false),
  {
    name: 'vectorfit',
    family: 'vectorfit',
    strategies: ['auto', 'factored', 'merged'],
    startsAtBase: true,
    ...made(vectorFit, () => ({})),
    operator: (layer, _weight, bias) => ({
      u: dense(layer.factors.u),
      vt: dense(layer.factors.vt),
      sigma: parameterValue(layer, 'sigma') ?? [],
      bias: parameterValue(layer, 'bias') ?? bias,
    }),
  },
  loraXsCase('zeros', {}),
  loraXsCase('normal', { init: { deviation: 0.1 }, seed: 3 }, false),
  {
    name: 'svdiff',
    family: 'svdiff',
    strategies: ['auto', 'factored', 'merged'],
    startsAtBase: true,
    ...made(svdiff, () => ({})),
    operator: (layer, _weight, bias) => {
      const delta = parameterValue(layer, 'delta') ?? [];
      const sums = Array.from(values(layer.factors.s), (sigma, i) => sigma + at(delta, i));
      return { ...rectified(layer, sums), names: { delta: 'sigma' }, bias };
    },
  },
  {
    name: 'vectorfit, nonnegative',
    family: 'vectorfit',
    strategies: ['auto', 'factored', 'merged'],
    startsAtBase: true,
    ...made(vectorFit, () => ({ nonnegative: true })),
    operator: (layer, _weight, bias) => ({
      ...rectified(layer, parameterValue(layer, 'sigma') ?? []),
      bias: parameterValue(layer, 'bias') ?? bias,
    }),
  },
];

function loraXsCase(name: string, options: LoraXsOptions, startsAtBase = true): FamilyCase {
  return {
    name: `loraxs, ${name}`,
    family: 'loraxs',
    strategies: ['auto', 'merged', 'lowrank'],
    startsAtBase,
    denseCore: true,
    ...made(loraXs, (r) => ({ rank: truncated(r), ...options })),
    operator: (layer, weight, bias) => {
      const { u, s, vt } = layer.factors;
      const all = Array.from({ length: layer.rank ** 2 }, (_, p) => p);
      const rows = all.map((p) => Math.floor(p / layer.rank));
      const columns = all.map((p) => p % layer.rank);
      const pattern = SparsityPattern.fromCoordinates(rows, columns, layer.rank);
      return {
        base: weight,
        u: dense(u),
        vt: matmul(diagonal(values(s)), dense(vt)),
        sigma: new Float64Array(layer.rank),
        m: { pattern, values: parameterValue(layer, 'r') ?? [] },
        names: { r: 'm' },
        bias,
      };
    },
  };
}

/** max(0, σ): a direction with σ ≤ 0 contributes nothing to y, dx and the gradient of σ. */
function rectified({ factors }: AdaptedLinear, sigma: ArrayLike<number>): Operator {
  const present = Array.from(sigma, (value) => (value > 0 ? 1 : 0));
  return {
    u: matmul(dense(factors.u), diagonal(present)),
    vt: dense(factors.vt),
    sigma: Array.from(sigma, (value) => Math.max(0, value)),
  };
}

function sivaCase(
  name: string,
  options: Omit<SivaOptions, 'count' | 'perc'>,
  allowed: readonly Strategy[],
  startsAtBase = true,
): FamilyCase {
  return {
    name: `siva, ${name}`,
    family: 'siva',
    strategies: allowed,
    startsAtBase,
    ...made(siva, (r) => ({ count: truncated(r), ...options })),
    operator: (layer, weight, bias) => {
      const s = parameterValue(layer, 's') ?? [];
      const { u, vt } = layer.factors;
      return { base: weight, u: dense(u), vt: dense(vt), sigma: Float64Array.from(s), bias };
    },
  };
}

/** The case with this name. */
export function familyCase(name: string): FamilyCase {
  const found = families.find((family) => family.name === name);
  if (!found) throw new Error(`no family case ${name}`);
  return found;
}

/** One case of each family, for tests that do not depend on the pattern. */
const usual = ['svft, banded 1', 'siva, lowest', 'vectorfit'].map(familyCase);
export const oneOfEach: readonly FamilyCase[] = [
  ...usual,
  // A family without a usual case uses its first case.
  ...families.filter(({ family }, i) => {
    const first = families.findIndex((other) => other.family === family) === i;
    return first && usual.every((other) => other.family !== family);
  }),
];

export type Maker = (weight: Tensor, options?: AdapterOptions) => Promise<AdaptedLinear>;

/** The package's function of each family in the table, by its name. */
export const makers: Readonly<Record<string, Maker>> = Object.fromEntries(
  Object.entries(sigmatune as unknown as Record<string, Maker>).filter(([name]) =>
    families.some(({ family }) => family === name.toLowerCase()),
  ),
);

export interface AdapterCase {
  readonly op: 'adapter';
  readonly name: string;
  readonly family: FamilyCase;
  readonly shape: LayerShape;
  readonly dtype: MatrixDType;
  readonly strategy: Strategy;
  readonly tolerance: Tolerance;
  /** Of the parameters' gradients. */
  readonly gradients: Tolerance;
  /** The least flops of forward + backward: two GEMMs of N × out × in. */
  readonly flops: number;
}

/** For 16 bits, whose layers differ from others only in their products, of which matmul's cases have every size. */
const narrowShapes = ['tall', 'wide', 'one token', 'one by one', 'many tokens', 'many features'];
const typesAt = ({ name }: LayerShape) => (narrowShapes.includes(name) ? matrixDTypes : dtypes);

/** Every family with every strategy that it supports. */
export const adapterCases: readonly AdapterCase[] = families.flatMap((family) =>
  layerShapes.flatMap((shape) =>
    typesAt(shape).flatMap((dtype) =>
      family.strategies.map(
        (strategy): AdapterCase => ({
          op: 'adapter',
          name: `${family.name}, ${shape.name} ${shape.out}×${shape.in}, N ${shape.tokens}, ${dtype}, ${strategy}`,
          family,
          shape,
          dtype,
          strategy,
          tolerance: tolerances[dtype],
          gradients: gradientTolerance(family, dtype, strategy),
          flops: 4 * shape.tokens * shape.out * shape.in,
        }),
      ),
    ),
  ),
);

/**
 * Under 'merged' nothing is rounded to 16 bits between x, dy, U, V and the gradients. A dense core's V is kept times σ,
 * rounded, which the reference does not see.
 */
function gradientTolerance({ denseCore }: FamilyCase, dtype: MatrixDType, strategy: Strategy): Tolerance {
  return tolerances[strategy === 'merged' && !denseCore ? vectorsOf(dtype) : dtype];
}
