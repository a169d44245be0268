/** Whatever stops a write, the path has the old file or the new one, whole. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { openSafetensors, readSafetensors, Tensor, tensor, writeSafetensors } from 'sigmatune';
import t from 'tap';
import { smallDisk } from '../support/disk.js';
import { type Check, cpuOnly, disposeAll, expectNoLeak, rejectsSigma } from '../support/helpers.js';
import { killAll, killRounds, plainEnvironment, scriptPath, startScripts } from '../support/process.js';

t.setTimeout(600_000); // a loaded machine takes ten times as long to start a process

const script = 'write-safetensors.mjs';

const names = (folder: string): string[] => readdirSync(folder).sort();

/** The one number that fills a whole file; undefined for any other file. */
async function filledWith(path: string): Promise<number | undefined> {
  const { tensors } = await readSafetensors(path);
  const arrays = [...tensors.values()].map((each) => each.dataSync() as Float32Array);
  const [first = new Float32Array()] = arrays;
  const same =
    arrays.length === 3 &&
    arrays.every((array) => array.length === 300_000 && array.every((value) => value === first[0]));
  disposeAll(...tensors.values());
  return same ? first[0] : undefined;
}

t.test('a process that is killed while it writes', async (t) => {
  const folder = t.testdir({});
  const path = join(folder, 'model.safetensors');
  for (const mode of ['all', 'lazy']) {
    let last = 0;
    let interrupted = 0;
    const start = (round: number) => startScripts(script, [path, mode, String(round * 1000 + 1)]);
    const replaced = await killRounds(start, async (round) => {
      const left = names(folder).filter((name) => name !== 'model.safetensors');
      interrupted += left.length;
      if (!left.every((name) => /^\.sigmatune-.*\.tmp$/.test(name))) t.fail(`${left}`);
      for (const name of left) spawnSync('rm', [join(folder, name)]);
      if (!existsSync(path)) return false;
      const value = await filledWith(path);
      if (value === undefined) t.fail(`${mode}, round ${round}: neither the old file nor a new one`);
      const isNew = value !== last;
      last = value ?? last;
      return isNew;
    });
    t.ok(replaced > 0, `${mode}: ${replaced} of 15 rounds replaced the file`);
    t.ok(interrupted > 0, `${mode}: ${interrupted} writes were cut off`);
  }
});

t.test('two processes that write one file', async (t) => {
  const folder = t.testdir({});
  const path = join(folder, 'model.safetensors');
  const children = await startScripts(script, [path, 'all', '1'], [path, 'all', '1000000']);
  const seen = new Set<boolean>();
  for (let round = 0; round < 60 && (round < 20 || seen.size < 2); round++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    if (!existsSync(path)) continue;
    const value = await filledWith(path);
    if (value === undefined) t.fail('a mixture');
    else seen.add(value < 1_000_000);
  }
  await killAll(children);
  t.equal(seen.size, 2, 'files of both were seen, and no mixture');
});

/** What a process reports that writes more than there is room for. */
function writeTooMuch(path: string, ...limiter: string[]): string[] {
  const [command = '', ...rest] = [...limiter, process.execPath, scriptPath(script), path, 'full'];
  const { stdout, stderr } = spawnSync(command, rest, { env: plainEnvironment(), encoding: 'utf8' });
  return [stdout, stderr];
}

const works = (command: string, ...args: string[]) => spawnSync(command, args).status === 0;
const limit = ['prlimit', '--fsize=1000000'] as const;

t.test('a limit on the size of files', { skip: !works(...limit, 'true') && 'no prlimit' }, async (t) => {
  const folder = t.testdir({ 'model.safetensors': 'old' });
  const path = join(folder, 'model.safetensors');
  t.same(writeTooMuch(path, ...limit), ['NATIVE writeSafetensors EFBIG\n', '']);
  t.equal(readFileSync(path, 'utf8'), 'old');
  t.same(names(folder), ['model.safetensors'], 'nothing is left behind');
});

const disk = smallDisk(t, '1m');

t.test('a full disk', { skip: disk.skip }, async (t) => {
  const path = join(disk.folder, 'model.safetensors');
  writeFileSync(path, 'old');
  t.same(writeTooMuch(path), ['NATIVE writeSafetensors ENOSPC\n', '']);
  t.equal(readFileSync(path, 'utf8'), 'old');
  t.same(names(disk.folder), ['model.safetensors'], 'nothing is left behind');
});

t.test('what stops a write in this process', async (t) => {
  const folder = t.testdir({});
  const path = join(folder, 'model.safetensors');
  writeFileSync(path, 'old');
  const stays = (t: Check, label: string) => {
    // Sizes, because a message with the numbers of another file would have no end.
    const found = [statSync(path).size, names(folder).join()];
    t.same(found, ['old'.length, 'model.safetensors'], `${label}: the old file alone`);
  };
  await expectNoLeak(t, 'stopped writes', async () => {
    using large = tensor(new Float32Array(20_000_000));
    const pair = ['w', large] as const;

    const stop = new AbortController();
    const writing = writeSafetensors(path, [pair], { signal: stop.signal });
    setTimeout(() => stop.abort('enough'), 3);
    await rejectsSigma(t, () => writing, 'ABORTED', 'an abort', 'signal');
    stays(t, 'an abort');

    await rejectsSigma(
      t,
      () => writeSafetensors(path, [], { signal: AbortSignal.abort() }),
      'ABORTED',
      'aborted before',
    );
    stays(t, 'aborted before');

    let closed = false;
    function* failing(): Generator<readonly [string, Tensor]> {
      yield pair;
      throw new RangeError('on purpose');
    }
    await t.rejects(
      writeSafetensors(path, failing()),
      new RangeError('on purpose'),
      'the error of an iterator is passed on',
    );
    stays(t, 'an iterator that throws');

    function* wrong(): Generator<readonly [string, Tensor]> {
      try {
        yield pair;
        yield pair;
      } finally {
        closed = true;
      }
    }
    await rejectsSigma(t, () => writeSafetensors(path, wrong()), 'INVALID_ARGUMENT', 'a name twice', 'tensors[1][0]');
    t.ok(closed, 'the iterator is told to end');
    stays(t, 'a wrong pair');

    if (cpuOnly) {
      await t.test('a buffer that is detached', { skip: cpuOnly }, async () => undefined);
      return;
    }
    const numbers = new Float32Array(20_000_000);
    const given = Tensor.wrap(numbers, [20_000_000]);
    const half = writeSafetensors(path, [['w', given]]);
    setTimeout(() => structuredClone(numbers.buffer, { transfer: [numbers.buffer] }), 3);
    await rejectsSigma(t, () => half, 'INVALID_ARGUMENT', 'a buffer that is detached', "tensor 'w'", 'detached');
    given.dispose();
    stays(t, 'a buffer that is detached');
  });
});

t.test('links and permissions', async (t) => {
  const folder = t.testdir({ real: {} });
  using one = tensor([1]);
  const write = (name: string) => writeSafetensors(join(folder, name), [['a', one]]);
  symlinkSync('real/model', join(folder, 'link'));
  symlinkSync('link', join(folder, 'second'));
  for (const name of ['link', 'second']) {
    await write(name);
    t.ok(lstatSync(join(folder, name)).isSymbolicLink(), `${name} stays a link`);
    await using file = await openSafetensors(join(folder, 'real', 'model'));
    t.same(file.names, ['a'], `${name}: the file that it leads to is written`);
  }
  t.equal(readlinkSync(join(folder, 'link')), 'real/model');
  symlinkSync('loop', join(folder, 'loop'));
  await rejectsSigma(t, () => write('loop'), 'INVALID_ARGUMENT', 'a loop', 'a loop of links');
  chmodSync(join(folder, 'real', 'model'), 0o640);
  await write('link');
  t.equal(statSync(join(folder, 'real', 'model')).mode & 0o777, 0o640, 'permissions stay');
  await rejectsSigma(t, () => write('real'), 'INVALID_ARGUMENT', 'a folder', 'got a folder');
  await rejectsSigma(t, () => write('none/model'), 'INVALID_ARGUMENT', 'no folder', 'ENOENT');
  await rejectsSigma(t, () => write('real/model/x'), 'INVALID_ARGUMENT', 'below a file', 'ENOTDIR');
  const locked = join(folder, 'locked');
  mkdirSync(locked);
  chmodSync(locked, 0o500);
  t.test('a folder without permission', { skip: os.userInfo().uid === 0 && 'root may write everywhere' }, async (t) => {
    await rejectsSigma(t, () => write('locked/model'), 'INVALID_ARGUMENT', 'no permission', 'EACCES');
  });
  t.same(names(join(folder, 'real')), ['model'], 'nothing else is left');
});
