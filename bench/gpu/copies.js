// @ts-check
// The bandwidth of the card as a copy has it: what every kernel that lives on memory is held against.
import { free, numbersOf, operand, ring, width } from './data.js';
import { measure } from './measure.js';

export const title = 'Copies within the device';

/** @param {import('./case.js').Context} context @returns {Generator<import('./case.js').Job>} */
export function* jobs(context) {
  for (const dtype of /** @type {const} */ (['float32', 'bfloat16'])) {
    for (const megabytes of context.dry ? [0.01] : [16, 64, 256, 1024]) {
      yield { name: `copy, ${dtype}, ${megabytes} MB`, run: () => copy(context, dtype, megabytes) };
    }
  }
}

/**
 * @param {import('./case.js').Context} context @param {import('./data.js').Narrow} dtype @param {number} megabytes
 * @returns {Promise<import('./case.js').Case>}
 */
async function copy(context, dtype, megabytes) {
  const count = Math.round((megabytes * 2 ** 20) / width(dtype));
  const from = operand([count], dtype);
  const sources = ring(from.on, context.dry);
  const measured = measure(context, { copy: (i) => sources[i % sources.length].cast(dtype).dispose() });
  const copied = from.on.cast(dtype);
  const numbers = await numbersOf(copied);
  let different = 0;
  for (let i = 0; i < count; i++) if (numbers[i] !== from.host[i]) different++;
  free(sources, copied);
  return {
    name: 'copy',
    dtype,
    size: `${megabytes} MB`,
    bytes: 2 * count * width(dtype),
    time: measured.time('copy'),
    errors: [{ value: different, bound: 0, of: 'numbers that differ' }],
  };
}
