import { styleText } from 'node:util';
import { noProgress, type Progress, startProgress } from './progress.js';
import { json, plainLines } from './text.js';

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

  /** The command's result on stdout: JSON for programs, or text. */
  answer(value: unknown, text: () => string): void {
    // Colours are put in here, after the text of files has been made plain.
    process.stdout.write(`${this.#json ? json(value) : text()}\n`);
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

  readonly bold = (text: string): string => styled(process.stdout, 'bold', text);
}

/** In colour on a terminal that has colours, unless NO_COLOR says otherwise. */
export function styled(stream: NodeJS.WriteStream, style: 'bold' | 'red', text: string): string {
  return stream.isTTY && stream.hasColors() ? styleText(style, text) : text;
}
