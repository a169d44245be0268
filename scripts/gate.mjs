#!/usr/bin/env node
// The short gate between this tree and the last commit that passed: npm run gate. Ends with 1 on a proved regression
// alone; what it could not compare, or not decide, it says.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { root, run, SetupError } from './setup/run.mjs';
import { main, setup } from './setup/steps.mjs';

/** A change elsewhere cannot make a kernel slower. */
const watched = ['native', 'lib', 'binding.gyp'];

/** Four minutes for all of it, the base's build included: no round begins in the last of them. */
const seconds = 240;

main(() => {
  const base = previous();
  if (base === undefined) return skip(`this checkout holds no earlier commit to compare with${whyNone()}`);
  if (git('diff', '--quiet', base, '--', ...watched).ok) return skip(`${watched.join(', ')} are as in ${base}`);
  setup();
  process.exitCode = gate(base);
});

function skip(why) {
  console.log(`gate skipped: ${why}`);
}

/** A runner's checkout often holds one commit alone. */
function whyNone() {
  if (git('rev-parse', '--is-shallow-repository').out !== 'true') return '';
  return ': it is a shallow clone (git fetch --unshallow, or fetch-depth: 0 for actions/checkout, fetches the others)';
}

function git(...args) {
  const { ok, log } = run('git', args);
  return { ok, out: log.trim() };
}

/**
 * main takes only what passed, so the commit to compare with is the one that a change was made on: the last commit for
 * uncommitted changes, main's for a branch, the one before for main itself. SIGMATUNE_GATE_BASE names another.
 */
function previous() {
  const named = process.env.SIGMATUNE_GATE_BASE;
  if (named?.startsWith('-'))
    throw new SetupError(`SIGMATUNE_GATE_BASE: expected a revision or a folder, got '${named}'`);
  if (named) return named;
  const head = git('rev-parse', 'HEAD');
  if (!head.ok) return undefined;
  if (!git('diff', '--quiet', 'HEAD', '--', ...watched).ok) return head.out;
  const forks = ['origin/main', 'main'].map((branch) => git('merge-base', branch, 'HEAD'));
  const fork = forks.find(({ ok, out }) => ok && out !== head.out);
  if (fork) return fork.out;
  const parent = git('rev-parse', '--verify', '--quiet', 'HEAD~1^{commit}');
  return parent.ok ? parent.out : undefined;
}

function gate(base) {
  const limits = ['--rounds', '3', '--seconds', '90'];
  const args = [join('bench', 'cli.js'), 'bench', 'gate', '--base', base, '--head', root, ...limits];
  const { status, stdout, stderr, error } = spawnSync(process.execPath, args, {
    cwd: root,
    encoding: 'utf8',
    timeout: 1000 * seconds,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  console.log(stdout);
  if (error?.code === 'ETIMEDOUT') {
    console.log(`gate skipped: not done within ${seconds} s`);
    return 0;
  }
  if (error) throw error;
  // The head was built above, so that what does not build or run is the base: no fault of this change.
  const baseIsAmiss = status === 3 && /does not build|can run none/.test(stderr);
  if (status === 2) console.log('not decided, so not failed');
  else if (baseIsAmiss) console.log(`gate skipped:\n${stderr}`);
  else if (status !== 0) console.error(stderr);
  return status === 0 || status === 2 || baseIsAmiss ? 0 : 1;
}
