/** How a batch goes through the operator. */
export type Strategy = 'factored' | 'merged' | 'lowrank';

export const strategies = ['auto', 'factored', 'merged', 'lowrank'] as const;
export type StrategyOption = (typeof strategies)[number];

/** One batch through one layer, as far as its cost goes. */
export interface Load {
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** Columns of U in use. */
  readonly rank: number;
  readonly tokens: number;
  /** forward and backward, or a forward that keeps nothing */
  readonly training: boolean;
  /** whether anything of the core is trained: else W' costs no gradient */
  readonly trainsCore: boolean;
}

/** What the planner looks at. */
export interface PlanInput extends Load {
  /** What may be chosen from, in order of preference among equals. */
  readonly choices: readonly Strategy[];
}

export interface Plan {
  readonly strategy: Strategy;
  /** In units of 2 · tokens · in · out flops. */
  readonly gemms: number;
}

/**
 * The cost of one strategy in GEMMs. Factored: 2 + 2/ρ at full rank, where ρ is the ratio of the weight's sides.
 * Merged: W' is built once and its gradient projected once, for all tokens. Low-rank: the base and two thin products.
 */
export function costOf(strategy: Strategy, load: Load): number {
  const { inFeatures, outFeatures, rank, tokens, training, trainsCore } = load;
  const thin = (rank * (inFeatures + outFeatures)) / (inFeatures * outFeatures);
  const passes = training ? 2 : 1;
  switch (strategy) {
    case 'factored':
      return passes * thin;
    case 'lowrank':
      return passes * (1 + thin);
    case 'merged':
      return passes + rank / tokens + (training && trainsCore ? 1 + rank / tokens : 0);
  }
}

function priced(input: PlanInput): [Plan, ...Plan[]] {
  const costs = input.choices.map((strategy) => ({ strategy, gemms: costOf(strategy, input) }));
  return costs.sort((a, b) => a.gemms - b.gemms) as [Plan, ...Plan[]];
}

/** The cheapest of the choices. Pure: the same input always gives the same plan. */
export function plan(input: PlanInput): Plan {
  return priced(input)[0];
}

/** The same plan in words. */
export function reason(input: PlanInput): string {
  const [best, ...others] = priced(input);
  const told = ({ strategy, gemms }: Plan) => `${strategy} ${gemms.toFixed(2)}`;
  const pass = input.training ? 'forward and backward' : 'forward';
  const against = others.length > 0 ? `less than ${others.map(told).join(' or ')}` : 'the only choice of this layer';
  return `${told(best)} GEMMs for ${pass} of ${input.tokens} tokens, ${against}`;
}
