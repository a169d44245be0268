/** A disposed tensor, pass or layer that somebody still holds does not hold its memory: memory() alone would not show it. */
import t from 'tap';
import { runScript } from '../support/process.js';

t.test('what is disposed is given back', async (t) => {
  const { code, signal, out, err } = await runScript('release.mjs');
  t.same([code, signal, err], [0, null, '']);
  const held = new Map<string, boolean>(Object.entries(JSON.parse(out)));
  // That these are held shows that the others would be noticed.
  const live = ['a live tensor', 'a disposed tensor with a live reshape'];
  for (const [label, isHeld] of held) t.equal(isHeld, live.includes(label), label);
  for (const label of live) t.ok(held.has(label), label);
});
