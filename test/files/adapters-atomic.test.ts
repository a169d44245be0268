/** Both files of an adapter folder are replaced together, whatever stops the process. */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadAdapters, saveAdapters, svdiff, writeSafetensors } from 'sigmatune';
import t from 'tap';
import { at, disposeAll, gaussian, item, seeded, snapshot } from '../support/helpers.js';
import { perturb } from '../support/layer.js';
import { killRounds, startScripts } from '../support/process.js';

t.setTimeout(600_000); // a loaded machine takes ten times as long to start a process

const folder = t.testdir({});

t.test('both files are replaced together', async (t) => {
  using weight = gaussian(seeded(14), [5, 4], 'float32');
  using layer = await svdiff(weight);
  const place = join(t.testdir({}), 'deep', 'adapter');
  const names = () => readdirSync(place).sort();
  const both = ['adapter_config.json', 'adapter_model.safetensors'];
  await saveAdapters(place, { w: layer });
  writeFileSync(join(place, 'README.md'), 'mine');
  t.same(names(), ['README.md', ...both], 'the folder is made');
  const old = both.map((name) => readFileSync(join(place, name)));
  perturb(layer, 3);
  await saveAdapters(place, { w: layer });
  t.same(names(), ['README.md', ...both], 'other files stay');
  const loadedSize = async () => {
    const { w } = await loadAdapters(place, { w: weight });
    const first = at(snapshot(item(w?.parameters ?? [], 0).value), 0);
    disposeAll(w);
    return first;
  };
  const trained = await loadedSize();
  t.not(trained, 0);

  // As a process leaves the folder that is killed between the commit and the end.
  const commit = join(place, '.sigmatune-commit');
  for (const moved of [[], [both[0]], [both[1]]]) {
    mkdirSync(commit);
    for (const [i, name] of both.entries()) {
      const before = readFileSync(join(place, name));
      renameSync(join(place, name), join(commit, name));
      writeFileSync(join(place, name), moved.includes(name) ? before : (old[i] ?? ''));
      if (moved.includes(name)) rmSync(join(commit, name));
    }
    t.equal(await loadedSize(), trained, `the new files count, ${moved.length} of 2 in place`);
    await saveAdapters(place, { w: layer });
    t.same(names(), ['README.md', ...both], 'and the next save tidies up');
  }
});

t.test('a process that is killed while it saves', async (t) => {
  const place = join(t.testdir({}), 'adapter');
  using weight = gaussian(seeded(7), [20, 20], 'float32');
  const weights = join(folder, 'weights.safetensors');
  await writeSafetensors(weights, [['w', weight]]);
  let last = 0;
  const start = (round: number) => {
    const seeds = [1, 2].map((each) => String(round * 100_000 + each * 10_000));
    return startScripts('save-adapters.mjs', ...seeds.map((seed) => [place, weights, seed]));
  };
  const replaced = await killRounds(start, async () => {
    if (!existsSync(join(place, 'adapter_config.json')) && !existsSync(join(place, '.sigmatune-commit'))) return false;
    const { w } = await loadAdapters(place, { w: weight });
    const numbers = snapshot(item(w?.parameters ?? [], 0).value);
    disposeAll(w);
    if (!numbers.every((value) => value === numbers[0])) t.fail('a mixture');
    const isNew = numbers[0] !== last;
    last = numbers[0] ?? 0;
    return isNew;
  });
  t.ok(replaced > 3, `${replaced} of 15 rounds replaced the adapter`);
});
