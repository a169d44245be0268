/** How a batch goes through the operator. */
export type Strategy = 'factored' | 'merged' | 'lowrank';

export const strategies = ['auto', 'factored', 'merged', 'lowrank'] as const;
export type StrategyOption = (typeof strategies)[number];

/** What a pass keeps from forward to backward: P = Vᵀ Xᵀ (r, N), its input X (N, in), or nothing. */
export type Keeps = 'p' | 'x' | 'nothing';

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
  /** Passes of this size in one optimiser step, which share W' and the projection of its gradient. */
  readonly microBatches: number;
  /** whether W' stands already */
  readonly built: boolean;
  /** whether the core is dense: products with a sparse one cost next to nothing */
  readonly denseCore: boolean;
}

/** What a pass may keep, in bytes. */
export interface Room {
  /** What P and X take. */
  readonly p: number;
  readonly x: number;
  /** The caller lends X until backward, so that keeping it takes nothing. */
  readonly borrowed: boolean;
  readonly most: number;
}

/** What the planner looks at. */
export interface PlanInput extends Load {
  /** What may be chosen from, in order of preference among equals. */
  readonly choices: readonly Strategy[];
  readonly room: Room;
}

export interface Plan {
  readonly strategy: Strategy;
  readonly keeps: Keeps;
  /** In units of 2 · tokens · in · out flops. */
  readonly gemms: number;
  /** What the pass keeps of its own. */
  readonly savedBytes: number;
}

/**
 * The cost of one strategy in GEMMs. Factored: 2 + 2/ρ at full rank, where ρ is the ratio of the weight's sides.
 * Merged: W' is built once and its gradient projected once a step. Low-rank: the base and two thin products.
 * A dense core adds a product of its own to each of these, and one for its gradient.
 */
export function costOf(strategy: Strategy, load: Load): number {
  const { inFeatures, outFeatures, rank, tokens, training, trainsCore, microBatches, built, denseCore } = load;
  const thin = (rank * (inFeatures + outFeatures)) / (inFeatures * outFeatures);
  const passes = training ? 2 : 1;
  const core = denseCore ? rank ** 2 / (inFeatures * outFeatures) : 0;
  const onCore = core * (passes + (training && trainsCore ? 1 : 0));
  const onceAStep = (rank * (1 + (denseCore ? rank / outFeatures : 0))) / (tokens * (training ? microBatches : 1));
  switch (strategy) {
    case 'factored':
      return passes * thin + onCore;
    case 'lowrank':
      return passes * (1 + thin) + onCore;
    case 'merged':
      return passes + (built ? 0 : onceAStep) + (training && trainsCore ? 1 + onceAStep : 0);
  }
}

/** The ways to run one strategy: what it keeps, and what that costs. */
function ways(strategy: Strategy, input: PlanInput): Plan[] {
  const gemms = costOf(strategy, input);
  const { training, trainsCore, room, rank, outFeatures } = input;
  if (!training || !trainsCore) return [{ strategy, keeps: 'nothing', gemms, savedBytes: 0 }];
  const ofX = room.borrowed ? 0 : room.x;
  if (strategy === 'merged') return [{ strategy, keeps: 'x', gemms, savedBytes: ofX }];
  const keepP: Plan = { strategy, keeps: 'p', gemms, savedBytes: room.p };
  // From a borrowed X, P can be computed again at the price of one thin product.
  return room.borrowed ? [keepP, { strategy, keeps: 'x', gemms: gemms + rank / outFeatures, savedBytes: 0 }] : [keepP];
}

/** All ways, best first: those that fit by cost, then those that do not by size. */
function ranked(input: PlanInput): [Plan, ...Plan[]] {
  const fits = ({ savedBytes }: Plan) => savedBytes <= input.room.most;
  const all = input.choices.flatMap((strategy) => ways(strategy, input));
  const cheapest = all.filter(fits).sort((a, b) => a.gemms - b.gemms);
  const smallest = all.filter((way) => !fits(way)).sort((a, b) => a.savedBytes - b.savedBytes || a.gemms - b.gemms);
  return [...cheapest, ...smallest] as [Plan, ...Plan[]];
}

/** The cheapest of the choices that keeps no more than there is room for. Pure: the same input gives the same plan. */
export function plan(input: PlanInput): Plan {
  return ranked(input)[0];
}

/** The same plan in words. */
export function reason(input: PlanInput): string {
  const [best, ...others] = ranked(input);
  const { most } = input.room;
  const told = ({ strategy, keeps, gemms }: Plan) => {
    const recomputed = strategy !== 'merged' && keeps === 'x' ? ' with P computed again' : '';
    return `${strategy}${recomputed} ${gemms.toFixed(2)}`;
  };
  const work = input.training ? 'forward and backward' : 'forward';
  const steps = input.training && input.microBatches > 1 ? `, ${input.microBatches} times a step` : '';
  const start = `${told(best)} GEMMs for ${work} of ${input.tokens} tokens${steps}`;
  if (others.length === 0) return `${start}, the only choice of this layer`;
  const dearer = others.filter(({ gemms, savedBytes }) => gemms >= best.gemms && savedBytes <= most);
  const larger = others.filter(({ savedBytes }) => savedBytes > most);
  const reasons = [
    ...(dearer.length > 0 ? [`no more than ${dearer.map(told).join(' or ')}`] : []),
    ...larger.map((way) => `${told(way)} would keep ${way.savedBytes} bytes, more than the ${most} that it may`),
  ];
  if (best.savedBytes > most) return `${start}, which keeps least, though more than the ${most} bytes that it may`;
  return `${start}, ${reasons.join('; ')}`;
}
