// What `export-lora` and `export-gguf` have in common.
import type { ExportedLora } from '../index.js';
import type { LoadedModel } from '../model/load-adapted.js';
import type { OptionTable } from './command.js';
import { type Line, table } from './table.js';
import { percent, several } from './text.js';

export const loraOptions = {
  rank: { type: 'string', value: 'R', about: 'rank of A and B in every module' },
  'drop-bias': { type: 'boolean', about: 'leaves trained biases out, which a LoRA cannot hold' },
} as const satisfies OptionTable;

/** How much of a weight's update the LoRA has. */
interface Row {
  readonly name: string;
  /** ‖ΔW‖_F; null if a layer cannot tell. */
  readonly change: number | null;
  /** ‖ΔW − B A‖_F */
  readonly error: number;
}

export function loraRows({ layers, weights }: LoadedModel, { error }: ExportedLora): Row[] {
  const changes = new Map<string, number>();
  for (const [name, layer] of Object.entries(layers)) {
    const weight = weights[name] as string;
    // Parts of a weight have no numbers in common.
    changes.set(weight, Math.hypot(changes.get(weight) ?? 0, layer.telemetry().change ?? Number.NaN));
  }
  return Object.entries(error).map(([name, lost]) => {
    const change = changes.get(name) as number;
    return { name, change: Number.isNaN(change) ? null : change, error: lost };
  });
}

export function loraLines(out: string, rank: number, rows: readonly Row[]): Line[] {
  const lost = ({ change, error }: Row) => (change === null ? Number.NaN : change === 0 ? 0 : error / change);
  const columns = [
    { title: 'module', cell: ({ name }: Row) => name },
    { title: '‖ΔW‖', number: true, cell: ({ change }: Row) => (change === null ? '?' : change.toPrecision(4)) },
    { title: '‖ΔW − BA‖', number: true, cell: ({ error }: Row) => error.toPrecision(4) },
    { title: 'lost', number: true, cell: (row: Row) => percent(lost(row)) },
  ] as const;
  return [`${out}: a LoRA of rank ${rank} for ${several(rows.length, 'module')}`, '', ...table(columns, rows)];
}
