// The program that decomposes a whole model: small, every stage works and its record says so.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { root } from '../support/bench.js';
import { plainEnvironment } from '../support/process.js';

t.setTimeout(120_000);

function wholeModel(...args: string[]) {
  const options = { cwd: root, env: plainEnvironment(), encoding: 'utf8', timeout: 100_000 } as const;
  return spawnSync(process.execPath, ['bench/figures/whole-model.js', ...args], options);
}

t.test('a small model', { skip: process.platform !== 'linux' && 'peaks are read from /proc' }, async (t) => {
  const folder = t.testdir({});
  const out = join(folder, 'record.json');
  for (const type of ['bf16', 'f32']) {
    const { status, stdout, stderr } = wholeModel(
      ...['--folder', folder, '--layers', '1', '--scale', '1/64', '--type', type, '--out', out],
    );
    t.equal(status, 0, stderr);
    t.match(stdout, /^\| adapt from the cache.* 7 layers, 352 parameters \|$/m);
    const { environment, stages } = JSON.parse(readFileSync(out, 'utf8'));
    t.match(environment, { node: process.version });
    t.match(
      stages.map(({ note }: { note: string }) => note),
      ['', /^7 modules, 0 of them read/, /^7 modules, 7 of them read/, /^7 layers/],
    );
    for (const { stage, seconds, peak } of stages)
      t.ok(seconds >= 0 && peak > 10, `${stage}: ${seconds} s, ${peak} MB`);
  }
});

t.test('what cannot be done is said before anything is written', async (t) => {
  for (const args of [
    [],
    ['--folder', 'x', '--layers', '0'],
    ['--folder', 'x', '--type', 'f16'],
    ['--folder', 'x', '--scale', 'a'],
  ]) {
    const { status, stdout, stderr } = wholeModel(...args);
    t.same({ status, stdout }, { status: 3, stdout: '' });
    t.match(stderr, /^expected --folder/);
  }
});
