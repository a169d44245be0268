/** How the operator is computed for a batch. */
export type Strategy = 'factored' | 'merged' | 'lowrank';

export const strategies = ['auto', 'factored', 'merged', 'lowrank'] as const;
export type StrategyOption = (typeof strategies)[number];

/** What a pass keeps from forward to backward: P = Vᵀ Xᵀ (r, N), its input X (N, in), or nothing. */
export type Keeps = 'p' | 'x' | 'nothing';

/** What the cost of one batch through one layer depends on. */
export interface Load {
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** Columns of U in use. */
  readonly rank: number;
  readonly tokens: number;
  /** Forward and backward, or only a forward that keeps nothing. */
  readonly training: boolean;
  /** Whether a parameter of the core is trained. If not, W' needs no gradient. */
  readonly trainsCore: boolean;
  /** Passes of this size in one optimiser step. They share W' and the projection of its gradient. */
  readonly microBatches: number;
  /** Whether the cached W' is up to date. */
  readonly built: boolean;
  /** Whether the core is dense. Products with a sparse core are taken as free. */
  readonly denseCore: boolean;
}

/** Forward and backward of one token, where only the ratio between strategies counts. */
export const ofOneToken = {
  tokens: 1,
  training: true,
  trainsCore: true,
  microBatches: 1,
  built: false,
  denseCore: false,
} as const satisfies Partial<Load>;

/** Memory limits of a pass, in bytes. */
export interface Room {
  /** Sizes of P and X. */
  readonly p: number;
  readonly x: number;
  /** The caller lends X until backward, so keeping it costs nothing. */
  readonly borrowed: boolean;
  readonly most: number;
}

/** The planner's input. */
export interface PlanInput extends Load {
  /** The strategies to choose from. Among equals the first wins. */
  readonly choices: readonly Strategy[];
  readonly room: Room;
}

export interface Plan {
  readonly strategy: Strategy;
  readonly keeps: Keeps;
  /** In units of 2 · tokens · in · out flops. */
  readonly gemms: number;
  /** Bytes that the pass itself keeps until backward. */
  readonly savedBytes: number;
}

/**
 * The cost of one strategy, in GEMMs of the base weight. Factored: 2 + 2/ρ at full rank, where ρ is the ratio of the
 * weight's sides. Merged: W' is built once a step and its gradient projected once. Low-rank: the base and two thin
 * products. A dense core adds one product to each pass, and one for its gradient.
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

/** The plans of one strategy: what a pass may keep, and at which cost. */
function ways(strategy: Strategy, input: PlanInput): Plan[] {
  const gemms = costOf(strategy, input);
  const { training, trainsCore, room, rank, outFeatures } = input;
  if (!training || !trainsCore) return [{ strategy, keeps: 'nothing', gemms, savedBytes: 0 }];
  const ofX = room.borrowed ? 0 : room.x;
  if (strategy === 'merged') return [{ strategy, keeps: 'x', gemms, savedBytes: ofX }];
  const keepP: Plan = { strategy, keeps: 'p', gemms, savedBytes: room.p };
  // With a borrowed X, backward can recompute P for one thin product.
  return room.borrowed ? [keepP, { strategy, keeps: 'x', gemms: gemms + rank / outFeatures, savedBytes: 0 }] : [keepP];
}

/** All plans, best first: those that fit, by cost; then the others, by size. */
function ranked(input: PlanInput): [Plan, ...Plan[]] {
  const fits = ({ savedBytes }: Plan) => savedBytes <= input.room.most;
  const all = input.choices.flatMap((strategy) => ways(strategy, input));
  const cheapest = all.filter(fits).sort((a, b) => a.gemms - b.gemms);
  const smallest = all.filter((way) => !fits(way)).sort((a, b) => a.savedBytes - b.savedBytes || a.gemms - b.gemms);
  return [...cheapest, ...smallest] as [Plan, ...Plan[]];
}

/** The cheapest plan that fits into `room`, else the smallest. Pure: the same input gives the same plan. */
export function plan(input: PlanInput): Plan {
  return ranked(input)[0];
}

/** The plan in words, for `explain`. */
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
