/** A disk that is soon full. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmdirSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';

/** Mounts a file system of this size, such as '64k', until `t` ends; `skip` says why there is none. */
export function smallDisk(t: Test, size: string): { readonly folder: string; readonly skip: false | string } {
  const folder = mkdtempSync(join(os.tmpdir(), 'sigmatune-'));
  const mounted =
    process.platform === 'linux' &&
    spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'none', folder]).status === 0;
  // Not at the end of a test, which does not come if its time runs out.
  t.teardown(() => {
    if (mounted) spawnSync('umount', [folder]);
    rmdirSync(folder);
  });
  return { folder, skip: !mounted && 'no right to mount a file system' };
}
