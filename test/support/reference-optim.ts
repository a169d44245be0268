/** Naive float64 references of PyTorch's optimisers, Hugging Face's schedules and VectorFit's freezing. */
import { at } from './helpers.js';

export interface AdamWSettings {
  readonly lr: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly weightDecay: number;
}

/** torch.optim.AdamW's defaults. */
export const adamWDefaults: AdamWSettings = { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 1e-2 };

export class ReferenceAdamW {
  readonly value: Float64Array;
  private readonly first: Float64Array;
  private readonly second: Float64Array;
  private readonly settings: AdamWSettings;
  private steps = 0;

  constructor(value: ArrayLike<number>, settings: Partial<AdamWSettings> = {}) {
    this.value = Float64Array.from(value);
    this.first = new Float64Array(value.length);
    this.second = new Float64Array(value.length);
    this.settings = { ...adamWDefaults, ...settings };
  }

  /** Algorithm 2 of Loshchilov and Hutter 2019, in the order of operations of PyTorch's single-tensor code. */
  step(gradient: ArrayLike<number>, lrScale = 1): void {
    const { betas, eps, weightDecay } = this.settings;
    const lr = this.settings.lr * lrScale;
    this.steps++;
    const correction1 = 1 - betas[0] ** this.steps;
    const correction2 = 1 - betas[1] ** this.steps;
    for (let i = 0; i < this.value.length; i++) {
      const g = at(gradient, i);
      this.first[i] = betas[0] * at(this.first, i) + (1 - betas[0]) * g;
      this.second[i] = betas[1] * at(this.second, i) + (1 - betas[1]) * g * g;
      const denominator = Math.sqrt(at(this.second, i)) / Math.sqrt(correction2) + eps;
      const decayed = at(this.value, i) * (1 - lr * weightDecay);
      this.value[i] = decayed - ((lr / correction1) * at(this.first, i)) / denominator;
    }
  }
}

export class ReferenceSgd {
  readonly value: Float64Array;
  private buffer: Float64Array | undefined;
  private readonly lr: number;
  private readonly momentum: number;
  private readonly weightDecay: number;

  constructor(value: ArrayLike<number>, { lr = 1e-3, momentum = 0, weightDecay = 0 } = {}) {
    this.value = Float64Array.from(value);
    this.lr = lr;
    this.momentum = momentum;
    this.weightDecay = weightDecay;
  }

  step(gradient: ArrayLike<number>, lrScale = 1): void {
    const d = this.value.map((value, i) => at(gradient, i) + this.weightDecay * value);
    // The first step takes the gradient itself, because PyTorch's buffer does not start at 0.
    this.buffer = this.buffer ? this.buffer.map((b, i) => this.momentum * b + at(d, i)) : d;
    for (let i = 0; i < this.value.length; i++) {
      this.value[i] = at(this.value, i) - this.lr * lrScale * at(this.buffer, i);
    }
  }
}

/** get_linear_schedule_with_warmup. */
export function linear(step: number, warmup: number, total: number): number {
  if (step < warmup) return step / Math.max(1, warmup);
  return Math.max(0, (total - step) / Math.max(1, total - warmup));
}

/** get_cosine_schedule_with_warmup with half a cycle; 0 from `total`, even if `warmup` equals `total`. */
export function cosine(step: number, warmup: number, total: number): number {
  if (step >= total) return 0;
  if (step < warmup) return step / Math.max(1, warmup);
  const progress = (step - warmup) / Math.max(1, total - warmup);
  return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * progress)));
}

export interface FreezingSettings {
  readonly start: number;
  readonly every: number;
  readonly count: number;
  readonly freeze: number;
  readonly beta?: number;
}

/** Equations 4 and 5 of VectorFit. */
export class ReferenceFreezing {
  readonly strengths: number[];
  frozen: number[] = [];
  private readonly initial: readonly Float64Array[];
  private readonly settings: FreezingSettings;

  constructor(vectors: readonly ArrayLike<number>[], settings: FreezingSettings) {
    this.initial = vectors.map((vector) => Float64Array.from(vector));
    this.strengths = vectors.map(() => 0);
    this.settings = settings;
  }

  step(t: number, vectors: readonly ArrayLike<number>[]): void {
    const { start, every, count, freeze, beta = 0.99 } = this.settings;
    const due = Array.from({ length: count }, (_, j) => start + j * every);
    if (!due.includes(t)) return;
    this.initial.forEach((v0, index) => {
      const now = vectors[index] ?? [];
      const distance = v0.reduce((sum, value, i) => sum + Math.abs(value - at(now, i)), 0) / v0.length;
      this.strengths[index] = beta * at(this.strengths, index) + (1 - beta) * distance;
    });
    this.frozen = this.strengths
      .map((strength, index) => ({ strength, index }))
      .sort((a, b) => b.strength - a.strength || a.index - b.index)
      .slice(0, freeze)
      .map(({ index }) => index)
      .sort((a, b) => a - b);
  }
}
