import { styleText } from 'node:util';
import { noProgress, type Progress, startProgress } from './progress.js';
import { type Line, Title } from './table.js';
import { json, plain, plainLines } from './text.js';

/** What a command gets of the process: where it prints, and the signal that Ctrl-C aborts. */
export class Session {
  readonly signal: AbortSignal;
  readonly #json: boolean;
  readonly #quiet: boolean;

  constructor(signal: AbortSignal, { json, quiet }: { readonly json: boolean; readonly quiet: boolean }) {
    this.signal = signal;
    this.#json = json;
    this.#quiet = quiet;
  }

  /** The command's result on stdout: JSON for programs, or lines for people. */
  answer(value: unknown, lines: () => readonly Line[]): void {
    const text = this.#json ? json(value) : lines().map(shown).join('\n');
    process.stdout.write(`${text}\n`);
  }

  /** A remark on stderr, which is not part of the result. */
  remark(text: string): void {
    if (!this.#quiet) process.stderr.write(`${plainLines(text)}\n`);
  }

  /** Runs work whose progress is told on stderr. `total` is in any unit that grows with the time it takes. */
  async working<T>(total: number, body: (progress: Progress) => Promise<T>): Promise<T> {
    const progress = this.#quiet ? noProgress : startProgress(process.stderr, total);
    try {
      return await body(progress);
    } finally {
      progress.end();
    }
  }
}

function shown(line: Line): string {
  return line instanceof Title ? styled(process.stdout, 'bold', plain(line.text)) : plain(line);
}

/** In colour on a terminal that has colours, unless NO_COLOR says otherwise. */
export function styled(stream: NodeJS.WriteStream, style: 'bold' | 'red', text: string): string {
  return stream.isTTY && stream.hasColors() ? styleText(style, text) : text;
}
