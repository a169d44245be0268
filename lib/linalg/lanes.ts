/** A FIFO semaphore whose limit may change. */
export class Lanes {
  readonly #most: () => number;
  #inside = 0;
  readonly #waiting: (() => void)[] = [];

  /** `most` returns the limit; it is called at each `enter` and `leave`. */
  constructor(most: () => number) {
    this.#most = most;
  }

  get most(): number {
    return this.#most();
  }

  /** undefined if the caller may go on at once, else a promise to wait for. */
  enter(): Promise<void> | undefined {
    if (this.#waiting.length === 0 && this.#inside < this.most) {
      this.#inside += 1;
      return undefined;
    }
    const entered = new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#admit();
    return entered;
  }

  leave(): void {
    this.#inside -= 1;
    this.#admit();
  }

  /** Admits waiting callers up to the current limit. */
  #admit(): void {
    while (this.#inside < this.most) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#inside += 1;
      next();
    }
  }
}
