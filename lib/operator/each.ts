// One batch through many layers. The rows are sorted by layer, and the layers so that those which share a product follow
// each other; native/recipes/each.h computes each shared product once.
import { type EachArguments, native, type Operand } from '../runtime/native.js';
import { allocate, vectorType } from '../tensor/dtype.js';
import { fromNumbers, memoryOf, output } from '../tensor/operand.js';
import type { LayerParameter } from '../tensor/parameter.js';
import type { Scoped } from '../tensor/scope.js';
import type { FactorMatrix, Matrix, Vector } from '../tensor/tensor.js';
import { type Batch, type Recorded, stillTrainable } from './route.js';
import { savedLength } from './saved.js';
import { coreParameters, gradientTargets, type Operator } from './terms.js';

/** A layer as a batch sees it. */
export interface Member {
  readonly operator: Operator;
  /** The parameters that get a gradient from this batch. */
  readonly wanted: readonly LayerParameter[];
}

/** Rows in the order of their layers. */
export class EachBatch {
  readonly #slices: readonly Member[];
  /** Elements of P. */
  readonly #savedLength: number;
  readonly #starts: Int32Array;
  readonly #order: Int32Array | undefined;

  /** Row t goes through members[which[t]]; each member has rows. */
  constructor(op: string, members: readonly Member[], which: Int32Array) {
    const counts = new Int32Array(members.length);
    for (const i of which) counts[i] = (counts[i] as number) + 1;
    const keys = sharedTerms(op, members);
    const sharing = [...members.keys()].sort((i, j) => compared(keys[i] as Key, keys[j] as Key));
    this.#slices = sharing.map((i) => members[i] as Member);
    this.#starts = new Int32Array(members.length + 1);
    const next = new Int32Array(members.length);
    for (const [k, i] of sharing.entries()) {
      next[i] = this.#starts[k] as number;
      this.#starts[k + 1] = (next[i] as number) + (counts[i] as number);
    }
    const order = new Int32Array(which.length);
    for (const [t, i] of which.entries()) {
      order[next[i] as number] = t;
      next[i] = (next[i] as number) + 1;
    }
    this.#order = order.every((row, t) => row === t) ? undefined : order;
    this.#savedLength = lengthOfP(
      op,
      this.#slices,
      sharing.map((i) => keys[i] as Key),
      this.#starts,
    );
  }

  /** Fills y and keeps nothing. */
  apply({ op, input, y }: Batch): void {
    const rows = this.#rows(op, input);
    try {
      native.eachForward(op, ...this.#arguments(op, rows), memoryOf(op, 'x', input), y, null);
    } finally {
      rows?.ones.dispose();
    }
  }

  /** Fills y and records the pull-back. A pass keeps P of each row, and what it needs to sort dy. */
  record({ op, input, y }: Batch): Recorded {
    const slices = this.#slices;
    const trainsCore = slices.some(({ operator, wanted }) =>
      coreParameters(operator.terms).some((parameter) => wanted.includes(parameter)),
    );
    const p = trainsCore ? output(op, input, [this.#savedLength]) : null;
    const rows = this.#rows(op, input);
    try {
      native.eachForward(op, ...this.#arguments(op, rows), memoryOf(op, 'x', input), y, p?.memory ?? null);
    } catch (error) {
      rows?.ones.dispose();
      throw error;
    }
    const snapshots = slices.map(({ operator }) => operator.snapshot(op));
    const projected = p?.tensor() ?? null;
    const saved: Scoped[] = [...snapshots, ...[projected, rows?.ones].filter((each) => each != null)];
    return {
      saved,
      pullBack: (backwardOp, dy, dx, sink) => {
        const gradients = slices.map(({ operator: { terms, bias }, wanted }) =>
          gradientTargets(backwardOp, terms, bias, stillTrainable(wanted), sink),
        );
        const batch = this.#arguments(backwardOp, rows);
        const memory = projected && memoryOf(backwardOp, 'this pass', projected);
        native.eachBackward(
          backwardOp,
          ...batch,
          snapshots.flatMap((snapshot) => snapshot.arguments),
          memory,
          memoryOf(backwardOp, 'dy', dy),
          dx,
          gradients.flatMap((each) => each.arguments),
        );
        for (const each of gradients) each.commit();
      },
    };
  }

  /** The permutation on the native side; undefined if the rows are sorted. */
  #rows(op: string, { device, dtype }: Matrix): Permutation | undefined {
    if (this.#order === undefined) return undefined;
    const tokens = this.#order.length;
    const real = vectorType(dtype);
    const ones = fromNumbers(op, device, real, [tokens], allocate(op, real, tokens).fill(1));
    return {
      pattern: native.pattern(
        op,
        Int32Array.from({ length: tokens + 1 }, (_, t) => t),
        this.#order,
      ),
      ones,
    };
  }

  #arguments(op: string, rows: Permutation | undefined): EachArguments {
    const layers = this.#slices.map(({ operator }) => operator.handle(op));
    return [layers, this.#starts, rows?.pattern ?? null, rows ? (memoryOf(op, 'rows', rows.ones) as Operand) : null];
  }
}

interface Permutation {
  readonly pattern: NonNullable<EachArguments[2]>;
  readonly ones: Vector;
}

/** Whether a layer is more than its base, as native/recipes/each.cc sees it. */
function hasCore({ terms: { base, diagonal, core } }: Operator): boolean {
  return base === undefined || diagonal !== undefined || core !== undefined;
}

/** Layers with equal keys share all products but those with their cores; the first numbers stand for the base. */
type Key = readonly number[];

/** Keys in the order of the first appearance of what they stand for, so that a batch is sorted alike each time. */
function sharedTerms(op: string, members: readonly Member[]): Key[] {
  const ranks = new Map<unknown, number>();
  const rankOf = (term: unknown) => {
    const rank = ranks.get(term) ?? ranks.size;
    ranks.set(term, rank);
    return rank;
  };
  const memory = (tensor: FactorMatrix | undefined) => tensor && memoryOf(op, 'factors', tensor);
  return members.map(({ operator }) => {
    const { transposed, base, u, vt } = operator.terms;
    return [transposed, memory(base), hasCore(operator), memory(u), memory(vt)].map(rankOf);
  });
}

/** Elements of P: of each run of slices with common factors. `keys` are those of the slices. */
function lengthOfP(op: string, slices: readonly Member[], keys: readonly Key[], starts: Int32Array): number {
  let [length, first] = [0, 0];
  for (const [k, { operator }] of slices.entries()) {
    const next = keys[k + 1];
    if (next !== undefined && compared(keys[k] as Key, next) === 0) continue;
    const tokens = (starts[k + 1] as number) - (starts[first] as number);
    if (hasCore(operator)) length += savedLength(op, operator.terms.vt.shape[0] as number, tokens);
    first = k + 1;
  }
  return length;
}

function compared(a: Key, b: Key): number {
  const at = a.findIndex((rank, i) => rank !== b[i]);
  return at < 0 ? 0 : (a[at] as number) - (b[at] as number);
}
