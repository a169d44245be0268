// @ts-check
// The Python that runs the other sides: SIGMATUNE_PYTHON, else python3.
import { spawnSync } from 'node:child_process';

export const python = process.env.SIGMATUNE_PYTHON ?? 'python3';

/** The version of its torch; undefined, said aloud, where it has none. */
export function torchVersion() {
  const found = spawnSync(python, ['-c', 'import torch; print(torch.__version__)'], { encoding: 'utf8' });
  if (found.status === 0) return found.stdout.trim();
  console.log(`skipped: ${python} has no torch (pip install torch, or set SIGMATUNE_PYTHON)`);
  return undefined;
}
