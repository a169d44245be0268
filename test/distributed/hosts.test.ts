/** Ranks on separate hosts: network namespaces with host names of their own, joined by a virtual cable, over TCP. */
import { chmodSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { decomposeModel, openSafetensors, writeSafetensors } from 'sigmatune';
import t from 'tap';
import { disposeAll, gaussian, seeded } from '../support/helpers.js';
import { has, installed, type Mpi, output, told } from '../support/mpi.js';
import { plainEnvironment, scriptPath } from '../support/process.js';

t.setTimeout(600_000);

const { mpis, missing } = await installed();
const addresses = ['10.213.77.1', '10.213.77.2'];
const namespaces = addresses.map((_, i) => `sigmatune-${process.pid}-${i}`);
const folder = t.testdir({});
const agent = join(folder, 'agent.sh');

const ip = (...args: string[]) => output('ip', args);
/** Enters a host: its network, and its name. */
const enter = (i: number) => ['ip', 'netns', 'exec', namespaces[i] as string, 'unshare', '--uts', 'sh', '-c'];

/** Two hosts with a cable; the reason why this machine cannot have them. */
async function makeHosts(): Promise<string | undefined> {
  if (mpis.length === 0) return missing.join('; ');
  if (process.getuid?.() !== 0) return 'network namespaces need root';
  if (!has('ip') || !has('unshare')) return "network namespaces need 'ip' (iproute2) and 'unshare'";
  const steps = [
    ...namespaces.map((name) => ['netns', 'add', name]),
    ['link', 'add', 'wire0', 'netns', namespaces[0], 'type', 'veth', 'peer', 'name', 'wire1', 'netns', namespaces[1]],
    ...namespaces.flatMap((name, i) => [
      ['-n', name, 'address', 'add', `${addresses[i]}/24`, 'dev', `wire${i}`],
      ['-n', name, 'link', 'set', `wire${i}`, 'up'],
      ['-n', name, 'link', 'set', 'lo', 'up'],
    ]),
  ] as string[][];
  for (const step of steps) {
    const { code, err } = await ip(...step);
    if (code !== 0) return `ip ${step.join(' ')}: ${err.trim()}`;
  }
  // Called as ssh is: options, the host, the command.
  const cases = addresses.map((address, i) => `${address}) exec ${enter(i).join(' ')} "hostname host${i}; $*" ;;`);
  writeFileSync(agent, `#!/bin/sh\nwhile :; do case $1 in -*) shift ;; *) break ;; esac; done\nhost=$1; shift\n`);
  writeFileSync(agent, `case $host in\n${cases.join('\n')}\nesac\n`, { flag: 'a' });
  chmodSync(agent, 0o755);
  const tried = await output(agent, [addresses[1] as string, 'hostname']);
  return tried.out === 'host1\n' ? undefined : `a network namespace cannot be entered: ${tried.err.trim()}`;
}

const skip = (await makeHosts()) ?? false;
t.teardown(() => Promise.all(namespaces.map((name) => ip('netns', 'delete', name))));

/** Runs a script with a rank on each host; the launcher runs on the first. */
function onHosts(mpi: Mpi, script: readonly string[], perHost = 1) {
  const hosts = addresses.join(',');
  const options =
    mpi.name === 'Open MPI'
      ? [
          ...['--allow-run-as-root', '--host', addresses.map((each) => `${each}:${perHost}`).join(',')],
          ...['--mca', 'plm_rsh_agent', agent, '--mca', 'pml', 'ob1', '--mca', 'btl', 'self,tcp'],
          ...['-x', 'SIGMATUNE_MPI_LIBRARY'],
        ]
      : ['-launcher', 'ssh', '-launcher-exec', agent, '-hosts', hosts, '-ppn', `${perHost}`];
  const command = [mpi.mpirun, ...options, '-n', `${2 * perHost}`, process.execPath, scriptPath(script[0] ?? '')];
  const line = [...command, ...script.slice(1)].map((word) => `'${word}'`).join(' ');
  const [program, ...args] = enter(0) as [string, ...string[]];
  // UCX, below MPICH, would find that both hosts have one kernel, and use its shared memory.
  const env = { ...plainEnvironment(), SIGMATUNE_MPI_LIBRARY: mpi.library, UCX_TLS: 'tcp,self' } as Record<
    string,
    string
  >;
  return output(program, [...args, `hostname host0; exec ${line}`], { env });
}

/** The bytes that went over the cable in both directions. */
async function carried(): Promise<number> {
  const { out } = await ip('-n', namespaces[0] as string, '-s', '-j', 'link', 'show', 'wire0');
  const [{ stats64 }] = JSON.parse(out);
  return stats64.rx.bytes + stats64.tx.bytes;
}

if (skip && mpis.length === 0) t.test('two hosts', { skip }, async () => {});

for (const mpi of mpis) {
  t.test(`${mpi.name}, two hosts: gradients, values and mismatches as on one`, { skip }, async (t) => {
    const before = await carried();
    const sums = await onHosts(mpi, ['ranks.mjs', 'sums']);
    t.equal(sums.code, 0, sums.err);
    const ranks = told<{ rank: number; host: string; sums: unknown[] }>(sums);
    t.same(ranks.map(({ host }) => host).sort(), ['host0', 'host1']);
    t.same(ranks[0]?.sums[1], ranks[1]?.sums[1], 'the same bits on both');
    // Each of two ranks sends half of the gradients and half of the means: 12 bytes a number in all, for float32 and float64.
    t.ok((await carried()) - before > 2 * 12 * 100_003, 'they went over the cable');
    const { code, err } = await onHosts(mpi, ['ranks.mjs', 'mismatches'], 2);
    t.equal(code, 0, err);
  });

  t.test(`${mpi.name}, two hosts: bytes on the wire a step`, { skip }, async (t) => {
    const ofSteps = async (count: number, steps: number) => {
      const before = await carried();
      const { code, err } = await onHosts(mpi, ['ranks.mjs', 'wire', `${count}`, `${steps}`]);
      t.equal(code, 0, err);
      return (await carried()) - before;
    };
    const start = await ofSteps(1, 0);
    // The quickstart's network: SVFT with d=2, and all weights and biases.
    for (const [what, count, steps] of [
      ['SVFT, d=2', 5_148, 40],
      ['full fine-tuning', 669_706, 10],
    ] as const) {
      const each = ((await ofSteps(count, steps)) - start) / steps / 2;
      const numbers = 4 * count; // 2 (K - 1) / K of the gradients from each of 2 ranks
      t.comment(`${mpi.name}, ${what}: ${Math.round(each)} bytes a step and rank, of which ${numbers} are numbers`);
      t.ok(each >= numbers && each < 1.1 * numbers + 4096, `${what}: ${each}`);
    }
  });

  t.test(`${mpi.name}, two hosts: a rank that is killed ends the rank on the other host`, { skip }, async (t) => {
    for (const what of ['killed', 'throws']) {
      const { code, signal, err, seconds } = await onHosts(mpi, ['ranks.mjs', what]);
      t.not(code, 0);
      t.equal(signal, null, 'the launcher ends by itself');
      t.notMatch(err, /TIMED_OUT/);
      t.comment(`${what}: ${seconds.toFixed(1)} s, with the start`);
      if (what === 'killed') continue;
      t.match(err, /rank 1 of 2 \(process \d+ on host1\) failed: the data are gone/);
    }
  });

  t.test(`${mpi.name}, two hosts: they share the decompositions of a model`, { skip }, async (t) => {
    const weights = Object.fromEntries(
      Array.from({ length: 6 }, (_, i) => [`${i}.weight`, gaussian(seeded(i), [96, 64 + 8 * i], 'float32')]),
    );
    const model = join(folder, 'model.safetensors');
    await writeSafetensors(model, Object.entries(weights));
    disposeAll(...Object.values(weights));
    const file = await openSafetensors(model);
    const expected = await decomposeModel(file, { targets: 'all', cache: join(folder, `alone-${mpi.mpicc}`) });
    await file.close();
    const cache = join(folder, mpi.name.replace(' ', ''));
    const outcome = await onHosts(mpi, ['shards.mjs', 'decompose', model, cache]);
    t.equal(outcome.code, 0, outcome.err);
    const ranks = told<{ rank: number; rows: unknown; own: string[] }>(outcome);
    for (const { rows } of ranks) t.same(rows, expected);
    t.equal(ranks.flatMap(({ own }) => own).length, 6);
    t.equal(readdirSync(cache).length, readdirSync(join(folder, `alone-${mpi.mpicc}`)).length);
  });
}
