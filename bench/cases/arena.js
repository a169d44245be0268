// @ts-check
// Where the inputs of a case lie. A kernel takes up to 1.6 times as long on an array that does not begin with a cache
// line, and JavaScript gives no say in where it begins: but WebAssembly's memory begins with a page.

const { WebAssembly } =
  /** @type {{ WebAssembly: { Memory: new (of: { initial: number }) => { buffer: ArrayBuffer } } }} */ (
    /** @type {unknown} */ (globalThis)
  );

const line = 64; // bytes
const room = 2 ** 27;

/** @type {ArrayBuffer | undefined} */
let memory;
let used = 0;

/** From here on the memory belongs to the next case: whatever the last one had must not be used any more. */
export function resetArena() {
  used = 0;
}

/** Numbers on cache lines, at the same place in every process; their content is stale. undefined if the arena is full. @param {number} count */
export function place(count) {
  memory ??= new WebAssembly.Memory({ initial: room / 2 ** 16 }).buffer;
  if (used + 4 * count > room) return undefined;
  const made = new Float32Array(memory, used, count);
  // Five lines apart, so that neighbours of a page's size do not meet in the cache.
  used += Math.ceil((4 * count) / line) * line + 5 * line;
  return made;
}
