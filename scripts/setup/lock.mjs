// One at a time of those who install and build into the same folders.
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './run.mjs';

const cache = join(root, '.cache');
const me = `${process.pid}-${Date.now()}`;

/** Runs `work` while no other process does any under the same name. The lock of a process that died is taken over. */
export function alone(work, name = 'setup') {
  const lock = join(cache, `${name}.lock`);
  acquire(name, lock);
  try {
    return work();
  } finally {
    for (const file of readdirSync(cache)) {
      if (file.startsWith(`${name}.dead-`)) rmSync(join(cache, file), { recursive: true, force: true });
    }
    rmSync(lock, { recursive: true, force: true });
  }
}

function acquire(name, lock) {
  // The folder is made under another name and then renamed: so the lock never exists without its owner's name.
  const mine = join(cache, `${name}.${me}`);
  mkdirSync(mine, { recursive: true });
  writeFileSync(join(mine, 'owner'), me);
  for (let told = false; !moved(mine, lock); sleep(100)) {
    const owner = ownerOf(lock);
    if (owner === undefined) continue;
    const pid = Number.parseInt(owner, 10);
    if (!isAlive(pid)) {
      // Moved to a name that can be taken once: a second waiter cannot move the successor's lock there by mistake.
      moved(lock, join(cache, `${name}.dead-${owner}`));
      continue;
    }
    if (!told) process.stderr.write(`${name}: waiting for another ${name} (process ${pid})\n`);
    told = true;
  }
}

function moved(from, to) {
  try {
    renameSync(from, to);
    return true;
  } catch (error) {
    if (error.code === 'ENOTEMPTY' || error.code === 'EEXIST' || error.code === 'ENOENT') return false;
    throw error;
  }
}

function ownerOf(folder) {
  try {
    return readFileSync(join(folder, 'owner'), 'utf8');
  } catch {
    return undefined;
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

function sleep(milliseconds) {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}
