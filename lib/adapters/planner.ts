/** How a batch goes through the operator. */
export type Strategy = 'factored' | 'merged' | 'lowrank';

export const strategies = ['auto', 'factored', 'merged', 'lowrank'] as const;

/** One batch through one layer, as far as its cost goes. */
export interface Load {
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** Columns of U in use. */
  readonly rank: number;
  readonly tokens: number;
  /** forward and backward, or a forward that keeps nothing */
  readonly training: boolean;
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
  readonly why: string;
}

/**
 * The cost of one strategy in GEMMs. Factored: 2 + 2/ρ at full rank, where ρ is the ratio of the weight's sides.
 * Merged: W' is built once and its gradient projected once, for all tokens. Low-rank: the base and two thin products.
 */
export function costOf(strategy: Strategy, { inFeatures, outFeatures, rank, tokens, training }: Load): number {
  const thin = (rank * (inFeatures + outFeatures)) / (inFeatures * outFeatures);
  const passes = training ? 2 : 1;
  switch (strategy) {
    case 'factored':
      return passes * thin;
    case 'lowrank':
      return passes * (1 + thin);
    case 'merged':
      return training ? 3 + (2 * rank) / tokens : 1 + rank / tokens;
  }
}

/** The cheapest of the choices. Pure: the same input always gives the same plan. */
export function plan(input: PlanInput): Plan {
  const costs = input.choices.map((strategy) => ({ strategy, gemms: costOf(strategy, input) }));
  const [best, ...others] = costs.sort((a, b) => a.gemms - b.gemms) as [(typeof costs)[0], ...typeof costs];
  const told = ({ strategy, gemms }: (typeof costs)[0]) => `${strategy} ${gemms.toFixed(2)}`;
  const against =
    others.length > 0 ? `the cheapest of ${others.map(told).join(', ')}` : 'the only choice of this layer';
  const pass = input.training ? 'forward and backward' : 'forward';
  return { ...best, why: `${told(best)} GEMMs for ${pass} of ${input.tokens} tokens, ${against}` };
}
