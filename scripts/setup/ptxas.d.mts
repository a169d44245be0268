export interface Resources {
  name: string;
  arch: string | undefined;
  registers: number | undefined;
  shared: number | undefined;
  frame: number;
  stores: number;
  loads: number;
}
export function parseResources(text: string): Resources[];
export function spilling(functions: Resources[]): Resources[];
export function resourceTable(functions: Resources[]): string;
