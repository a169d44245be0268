/** examples/jax.js: an adapted layer under jax-js. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { cpuOnly } from '../support/helpers.js';

const example = fileURLToPath(new URL('../../examples/jax.js', import.meta.url));
const guide = readFileSync(new URL('../../docs/guide.md', import.meta.url), 'utf8');

t.test('the example trains, and leaves nothing behind', { skip: cpuOnly }, async (t) => {
  const printed = execFileSync(process.execPath, [example], { encoding: 'utf8' });
  const losses = [...printed.matchAll(/loss ([\d.]+)/g)].map(([, loss]) => Number(loss));
  t.equal(losses.length, 4);
  t.ok((losses.at(-1) as number) < 0.6 * (losses[0] as number), `the loss falls: ${losses.join(', ')}`);
  t.match(printed, 'tensors of sigmatune left: 0');
});

t.test('the guide tells how many lines of glue it takes', async (t) => {
  const glue = /── glue ──\n([\s\S]*?)\/\/ ── end/.exec(readFileSync(example, 'utf8'))?.[1] ?? '';
  const lines = glue.split('\n').filter((line) => line.trim() !== '' && !/^\s*\/[/*]/.test(line));
  t.match(guide, `${lines.length} lines of glue`);
});
