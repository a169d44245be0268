/** A call into the addon costs more than the arithmetic of a small layer, so warm calls make few. */
import t from 'tap';
import { runScript } from '../support/process.js';

/** Allocating a result counts as one call. */
const most: Record<string, number> = { apply: 2, forward: 3, backward: 3 };

t.test('a warm layer makes few calls into the addon', async (t) => {
  const { code, out, err } = await runScript('crossings.mjs');
  t.same([code, err], [0, '']);
  const counts: Record<string, string[]> = JSON.parse(out);
  t.equal(Object.keys(counts).length, 6);
  for (const [what, names] of Object.entries(counts)) {
    const limit = most[what.split(' ')[1] as string] as number;
    t.ok(names.length <= limit, `${what}: ${names.length} of at most ${limit} (${names.join(', ')})`);
  }
});
