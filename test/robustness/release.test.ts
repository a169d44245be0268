/** A reference to a disposed tensor, pass or layer does not keep memory alive, which memory() alone would not show. */
import t from 'tap';
import { runScript } from '../support/process.js';

t.test('disposed objects release their memory', async (t) => {
  const { code, signal, out, err } = await runScript('release.mjs');
  t.same([code, signal, err], [0, null, '']);
  const held = new Map<string, boolean>(Object.entries(JSON.parse(out)));
  // Control: the check does notice memory that is still held.
  const live = ['a live tensor', 'a disposed tensor with a live reshape'];
  for (const [label, isHeld] of held) t.equal(isHeld, live.includes(label), label);
  for (const label of live) t.ok(held.has(label), label);
});
