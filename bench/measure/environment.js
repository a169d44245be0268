// @ts-check
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import os from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * @typedef {object} Environment
 * @property {string} cpu
 * @property {number} processors
 * @property {number} memoryBytes
 * @property {string} platform
 * @property {string} node
 * @property {string} sigmatune
 * @property {string} simd
 * @property {number} threads
 * @property {string} blas
 * @property {{ available: boolean, code: string | null }} gpu
 * @property {string | null} governor of the first processor's frequency
 * @property {string | null} commit with a + where the folder holds changes
 * @property {number} load over the last minute, when the run began
 */

/** @param {import('../cases/case.js').Library} library @param {string | null} folder @returns {Environment} */
export function environmentOf(library, folder) {
  const info = /** @type {Record<string, string>} */ (library.systemInfo());
  const { available, code } = library.cudaStatus();
  return {
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    processors: os.availableParallelism(),
    memoryBytes: os.totalmem(),
    platform: info.platform,
    node: process.version,
    sigmatune: info.sigmatune,
    simd: info.simd,
    threads: library.threads(),
    blas: info.blas,
    gpu: { available, code: code ?? null },
    governor: governor(),
    commit: commitOf(folder ?? join(dirname(fileURLToPath(import.meta.url)), '..', '..')),
    load: os.loadavg()[0],
  };
}

function governor() {
  try {
    return readFileSync('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor', 'utf8').trim();
  } catch {
    return null; // another system, or a virtual machine
  }
}

/** @param {string} folder */
export function commitOf(folder) {
  // An installed package may lie inside another project's repository, whose commit says nothing of it.
  if (!existsSync(join(folder, '.git'))) return null;
  const git = (/** @type {string[]} */ ...args) => spawnSync('git', ['-C', folder, ...args], { encoding: 'utf8' });
  const head = git('rev-parse', 'HEAD');
  if (head.status !== 0) return null;
  return head.stdout.trim() + (git('status', '--porcelain', '--untracked-files=no').stdout.trim() === '' ? '' : '+');
}
