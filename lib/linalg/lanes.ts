/** Lets so many callers in at once; the others wait in the order in which they came. */
export class Lanes {
  readonly #most: () => number;
  #inside = 0;
  readonly #waiting: (() => void)[] = [];

  /** `most` is asked whenever somebody comes or goes. */
  constructor(most: () => number) {
    this.#most = most;
  }

  get most(): number {
    return this.#most();
  }

  /** Nothing to wait for where a place is free: the caller then goes on at once. */
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

  /** As many as fit now: the limit may have changed since they came. */
  #admit(): void {
    while (this.#inside < this.most) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#inside += 1;
      next();
    }
  }
}
