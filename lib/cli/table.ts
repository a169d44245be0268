/** A line of a command's answer that stands out on a terminal. */
export class Title {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** One line of a command's answer. */
export type Line = string | Title;

export interface Column<Row> {
  readonly title: string;
  /** Numbers are aligned to the right. */
  readonly number?: true;
  readonly cell: (row: Row) => string;
}

/** A table with a title for each column. People read it, and so do programs that split lines at two blanks. */
export function table<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): Line[] {
  const cells = [columns.map(({ title }) => title), ...rows.map((row) => columns.map(({ cell }) => cell(row)))];
  const right = columns.map(({ number }) => number === true);
  const [titles = '', ...lines] = aligned(cells, right);
  return [new Title(titles), ...lines];
}

/** Lines whose cells begin in the same column, or end there if they are numbers. */
export function aligned(cells: readonly (readonly string[])[], right: readonly boolean[] = []): string[] {
  const widths = (cells[0] ?? []).map((_, i) =>
    cells.reduce((most, row) => Math.max(most, width(row[i] as string)), 0),
  );
  return cells.map((row) => {
    const padded = row.map((cell, i) => {
      const blanks = ' '.repeat((widths[i] as number) - width(cell));
      return right[i] ? blanks + cell : cell + blanks;
    });
    return padded.join('  ').trimEnd();
  });
}

/** Characters on the screen: combining marks take no place of their own. */
const width = (text: string): number => [...text.normalize('NFC')].length;
