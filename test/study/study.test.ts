/** npm run study: it trains, keeps each finished run, and goes on where it was stopped. */
import { execFileSync, spawnSync } from 'node:child_process';
import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { cpuOnly } from '../support/helpers.js';

const program = fileURLToPath(new URL('../../examples/study/study.js', import.meta.url));
const options = ['--short', '--tasks', 'reviews', '--methods', 'head only,VectorFit with AVF'];

t.setTimeout(400_000); // four trainings, on a machine that may be busy

t.test('a study that was cut off goes on, without a repetition', { skip: cpuOnly }, async (t) => {
  const records = join(t.testdir({}), 'runs.jsonl');
  const study = (...more: string[]) =>
    execFileSync(process.execPath, [program, ...options, '--records', records, ...more], { encoding: 'utf8' });
  const lines = () => readFileSync(records, 'utf8').trim().split('\n');

  t.match(study('--methods', 'head only'), '[2 of 2] reviews, head only, seed 1');
  const first = lines();
  t.equal(first.length, 1 + 2, 'the settings, one trial and one seed');
  appendFileSync(records, '{"task":"reviews","meth'); // it was stopped in the middle of a line
  const printed = study();
  t.equal(lines().length, 1 + 4);
  t.same(lines().slice(0, 3), first, 'what was there is kept');
  t.notMatch(printed, 'head only,', 'and not run again');
  t.match(printed, /left\)/, 'it tells the time that is left');
  const last = lines()
    .slice(1)
    .map((line) => JSON.parse(line));
  for (const { method, balanced, auroc, parameters } of last) {
    t.ok(balanced > 0.3 && balanced <= 1 && auroc > 0.3 && auroc <= 1, `${method}: ${balanced}, ${auroc}`);
    t.equal(parameters > 0, method !== 'head only', `${method} trains ${parameters} numbers`);
  }
  t.notMatch(study(), 'reviews,', 'a finished study has nothing to do');
});

t.test('it refuses names that it does not know, and records of other settings', { skip: cpuOnly }, async (t) => {
  const records = join(t.testdir({ 'runs.jsonl': '{"settings":{}}\n' }), 'runs.jsonl');
  const error = (...args: string[]) => spawnSync(process.execPath, [program, ...args], { encoding: 'utf8' }).stderr;
  t.match(error('--methods', 'LoRa'), "got 'LoRa'");
  t.match(error('--minutes', 'ten'), 'expected a number above 0');
  t.match(error('--records', records), 'has the runs of other settings');
});
