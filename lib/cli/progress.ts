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

class Clock {
  readonly #start = performance.now();
  #total: number;
  #done = 0;
  /** When `done` last grew. */
  #at = this.#start;

  constructor(total: number) {
    this.#total = total;
  }

  skip(amount: number): void {
    this.#total -= amount;
  }

  advance(amount: number): void {
    this.#done += amount;
    this.#at = performance.now();
  }

  get share(): number {
    return this.#total > 0 ? Math.min(1, this.#done / this.#total) : 1;
  }

  /** '42 s left', estimated from the work that is done; nothing before that. */
  get left(): string {
    if (this.#done === 0 || this.share === 1) return '';
    const whole = (this.#at - this.#start) / this.share;
    return `${duration((whole - (performance.now() - this.#start)) / 1000)} left`;
  }
}

const barWidth = 24;

class Line implements Progress {
  readonly #stream: WriteStream;
  readonly #clock: Clock;
  /** One long step would otherwise look like a standstill. */
  readonly #timer = setInterval(() => this.#draw(), 1000).unref();
  #what = '';

  constructor(stream: WriteStream, total: number) {
    this.#stream = stream;
    this.#clock = new Clock(total);
  }

  skip(amount: number): void {
    this.#clock.skip(amount);
  }

  advance(amount: number, what: string): void {
    this.#clock.advance(amount);
    this.#what = plain(what);
    this.#draw();
  }

  end(): void {
    clearInterval(this.#timer);
    this.#stream.write('\r\x1b[K');
  }

  #draw(): void {
    const { share, left } = this.#clock;
    const filled = Math.round(share * barWidth);
    const bar = '█'.repeat(filled) + '░'.repeat(barWidth - filled);
    const line = `${bar} ${Math.floor(100 * share)} %  ${left.padStart(10)}  ${this.#what}`;
    this.#stream.write(`\r\x1b[K${[...line].slice(0, (this.#stream.columns || 80) - 1).join('')}`);
  }
}

class Log implements Progress {
  readonly #stream: WriteStream;
  readonly #clock: Clock;
  #told = 0;

  constructor(stream: WriteStream, total: number) {
    this.#stream = stream;
    this.#clock = new Clock(total);
  }

  skip(amount: number): void {
    this.#clock.skip(amount);
  }

  advance(amount: number, what: string): void {
    this.#clock.advance(amount);
    const { share, left } = this.#clock;
    const tenth = Math.floor(10 * share + 1e-9);
    if (tenth <= this.#told) return;
    this.#told = tenth;
    this.#stream.write(`${[`${10 * tenth} %`.padStart(5), left, plain(what)].filter((part) => part).join('  ')}\n`);
  }

  end(): void {}
}
