import type { WriteStream } from 'node:tty';
import { duration, plain } from './text.js';

/** Work that is told on stderr: a line that is written over on a terminal; in a log a line at each tenth. */
export interface Progress {
  /** Work that need not be done after all. */
  skip(amount: number): void;
  /** Says what is being worked on, after `amount` more of the work is done. */
  advance(amount: number, what: string): void;
  /** Removes the line. */
  end(): void;
}

export const noProgress: Progress = { skip: () => {}, advance: () => {}, end: () => {} };

/** `total` in any unit that grows with the time that the work takes, such as flops. */
export function startProgress(stream: WriteStream, total: number): Progress {
  return stream.isTTY ? new Line(stream, total) : new Log(stream, total);
}

/** Counts the work, and estimates the time that is left from the work that is done. */
abstract class Counted implements Progress {
  protected readonly stream: WriteStream;
  #total: number;
  #done = 0;
  readonly #start = performance.now();
  /** When the last part was done. */
  #at = this.#start;

  constructor(stream: WriteStream, total: number) {
    this.stream = stream;
    this.#total = total;
  }

  skip(amount: number): void {
    this.#total -= amount;
  }

  advance(amount: number, what: string): void {
    this.#done += amount;
    this.#at = performance.now();
    this.show(plain(what));
  }

  abstract end(): void;

  protected abstract show(what: string): void;

  protected get share(): number {
    return this.#total > 0 ? Math.min(1, this.#done / this.#total) : 1;
  }

  /** '42 s left'; nothing before the first part is done. */
  protected get left(): string {
    if (this.#done === 0 || this.share === 1) return '';
    const whole = (this.#at - this.#start) / this.share;
    return `${duration((whole - (performance.now() - this.#start)) / 1000)} left`;
  }
}

const barWidth = 24;

/** A line of a terminal that is written over. */
class Line extends Counted {
  /** One long step would otherwise look like a standstill. */
  readonly #timer = setInterval(() => this.#draw(), 1000).unref();
  #what = '';

  protected show(what: string): void {
    this.#what = what;
    this.#draw();
  }

  end(): void {
    clearInterval(this.#timer);
    this.stream.write('\r\x1b[K');
  }

  #draw(): void {
    const { share, left } = this;
    const filled = Math.round(share * barWidth);
    const bar = '█'.repeat(filled) + '░'.repeat(barWidth - filled);
    const line = `${bar} ${Math.floor(100 * share)} %  ${left.padStart(10)}  ${this.#what}`;
    this.stream.write(`\r\x1b[K${[...line].slice(0, (this.stream.columns || 80) - 1).join('')}`);
  }
}

/** A line of a log at each tenth. */
class Log extends Counted {
  #told = 0;

  protected show(what: string): void {
    const { share, left } = this;
    // Sums of tenths are rounded.
    const tenth = Math.floor(10 * share + 1e-9);
    if (tenth <= this.#told) return;
    this.#told = tenth;
    this.stream.write(`${[`${10 * tenth} %`.padStart(5), left, what].filter((part) => part !== '').join('  ')}\n`);
  }

  end(): void {}
}
