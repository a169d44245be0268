/** Lets so many callers in at once; the others wait in the order in which they came. */
export class Lanes {
  readonly #most: () => number;
  #inside = 0;
  readonly #waiting: (() => void)[] = [];

  /** `most` is asked at each entry. */
  constructor(most: () => number) {
    this.#most = most;
  }

  get most(): number {
    return this.#most();
  }

  /** Nothing to wait for where a place is free: the caller then goes on at once. */
  enter(): Promise<void> | undefined {
    if (this.#inside >= this.most) return new Promise((resolve) => this.#waiting.push(resolve));
    this.#inside += 1;
    return undefined;
  }

  /** Hands the place to whoever has waited longest. */
  leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#inside -= 1;
    else next();
  }
}
