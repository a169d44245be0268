// What an adapter has changed: the effective ranks of W0, W' and ΔW of each layer.
import { type AdaptedLinear, effectiveRank } from '../index.js';
import type { Adapter } from '../layers/adapter.js';
import { lowRankOf } from '../layers/low-rank.js';
import { normOf } from '../tensor/norm.js';
import { numbersOf } from '../tensor/operand.js';
import type { Values } from './command.js';
import { type loadOptions, withAdapter } from './loading.js';
import type { Session } from './session.js';
import { type Column, table } from './table.js';
import { shape } from './text.js';

interface Update {
  readonly name: string;
  readonly out: number;
  readonly in: number;
  readonly before: number;
  readonly after: number;
  /** Of ΔW; 0 if nothing was trained. */
  readonly update: number;
  /** ‖ΔW‖_F */
  readonly change: number;
}

const updateColumns: readonly Column<Update>[] = [
  { title: 'layer', cell: ({ name }) => name },
  { title: 'out × in', number: true, cell: (row) => shape([row.out, row.in]) },
  { title: 'rank of W0', number: true, cell: ({ before }) => before.toFixed(2) },
  { title: "of W'", number: true, cell: ({ after }) => after.toFixed(2) },
  { title: 'of ΔW', number: true, cell: ({ update }) => update.toFixed(2) },
  { title: '‖ΔW‖', number: true, cell: ({ change }) => change.toPrecision(4) },
];

/** The command with `--adapter`. */
export async function tellUpdates(
  session: Session,
  paths: readonly [string, string],
  options: Values<typeof loadOptions>,
): Promise<void> {
  const rows = await withAdapter(session, paths, options, async ({ layers }) => {
    const found: Update[] = [];
    for (const [name, layer] of Object.entries(layers)) found.push(await updateOf(name, layer, session.signal));
    return found;
  });
  session.answer({ layers: rows }, () => table(updateColumns, rows));
}

async function updateOf(name: string, layer: AdaptedLinear, signal: AbortSignal): Promise<Update> {
  const { outFeatures: out, inFeatures } = layer;
  const spectrum = await layer.spectrum({ signal });
  const sizes = await updateSpectrum(name, layer as Adapter, signal);
  try {
    return {
      name,
      out,
      in: inFeatures,
      before: layer.telemetry().effectiveRank.before,
      after: effectiveRank(spectrum),
      update: effectiveRank(sizes),
      change: normOf([sizes]),
    };
  } finally {
    spectrum.dispose();
  }
}

/** The singular values of ΔW = b a: column i of b has the norm √σ_i, because U is orthonormal. */
async function updateSpectrum(name: string, layer: Adapter, signal: AbortSignal): Promise<Float64Array> {
  const rank = Math.min(layer.outFeatures, layer.inFeatures);
  const { a, b } = await lowRankOf(layer, { op: 'erank', argument: name, rank, signal });
  try {
    const numbers = numbersOf('erank', 'b', b);
    const squares = new Float64Array(rank);
    for (let i = 0; i < numbers.length; i++)
      squares[i % rank] = (squares[i % rank] as number) + (numbers[i] as number) ** 2;
    return squares;
  } finally {
    for (const tensor of [a, b]) tensor.dispose();
  }
}
