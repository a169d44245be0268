// What `export-lora` and `export-gguf` have in common.
import type { AdaptedLinear, ExportedLora } from '../index.js';
import type { OptionTable } from './command.js';
import { type Line, table } from './table.js';
import { percent, several } from './text.js';

export const loraOptions = {
  rank: { type: 'string', value: 'R', about: 'rank of A and B in every module' },
  'drop-bias': { type: 'boolean', about: 'leaves trained biases out, which a LoRA cannot hold' },
} as const satisfies OptionTable;

/** How much of a layer's update the LoRA has. */
interface Row {
  readonly name: string;
  /** ‖ΔW‖_F; null if the layer cannot tell. */
  readonly change: number | null;
  /** ‖ΔW − B A‖_F */
  readonly error: number;
}

export function loraRows(layers: Readonly<Record<string, AdaptedLinear>>, { error }: ExportedLora): Row[] {
  return Object.entries(layers).map(([name, layer]) => {
    return { name, change: layer.telemetry().change ?? null, error: error[name] as number };
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
