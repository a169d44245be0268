/** Python's safetensors and PyTorch read what we write, and the reverse. Needs a Python that has both: SIGMATUNE_PYTHON. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openSafetensors, readSafetensors, type Tensor, writeSafetensors } from 'sigmatune';
import t from 'tap';
import { disposeAll } from '../support/helpers.js';

const python = process.env['SIGMATUNE_PYTHON'] || 'python3';
const script = fileURLToPath(new URL('../fixtures/safetensors_interop.py', import.meta.url));
const found = spawnSync(python, ['-c', 'import safetensors.torch'], { encoding: 'utf8' });
const skip = found.status !== 0 && `${python} has no safetensors and torch (SIGMATUNE_PYTHON names another Python)`;

t.test('to Python and back', { skip, timeout: 120_000 }, async (t) => {
  const folder = t.testdir({});
  const run = (mode: string) => {
    const { status, stdout, stderr } = spawnSync(python, [script, mode, folder], { encoding: 'utf8' });
    t.equal(status, 0, `${mode}: ${stderr}`);
    return stdout;
  };
  run('write');

  const path = join(folder, 'theirs.safetensors');
  await using file = await openSafetensors(path);
  t.same(file.metadata, { format: 'pt' });
  const readable = file.names.filter((name) => !['ids', 'mask'].includes(name));
  t.equal(readable.length, file.names.length - 2);
  const { tensors } = await readSafetensors(path, { names: readable });
  const types = { F64: 'float64', F32: 'float32', BF16: 'bfloat16', I32: 'int32', F16: 'float32' };
  for (const [name, tensor] of tensors) {
    const wanted = Array.from({ length: tensor.size }, (_, i) => (((i * 5) % 97) - 6) / 4);
    const type = name.split('.')[0] as keyof typeof types;
    t.equal(tensor.dtype, types[type] ?? 'float32', `${name}: type`);
    using exact = tensor.cast('float64');
    t.same([...exact.dataSync()], type === 'I32' ? wanted.map((value) => Math.trunc(value) + 0) : wanted, name);
  }
  t.same([...new BigInt64Array((await file.readBytes('ids')).buffer)], [0n, 1n, 2n, 3n, 4n]);
  t.same([...(await file.readBytes('mask'))], [1, 0, 1]);

  await using sharded = await openSafetensors(folder);
  t.same(sharded.names, ['BF16.2', 'F32.1', 'F32.2']);
  using part = await sharded.read('F32.2');
  t.same(part.shape, [3, 5]);

  const ours: (readonly [string, Tensor])[] = [...tensors].filter(([name]) => !name.startsWith('F16'));
  await writeSafetensors(join(folder, 'ours.safetensors'), ours, { metadata: { format: 'pt' } });
  await writeSafetensors(join(folder, 'lazy.safetensors'), ours.values(), { metadata: { format: 'pt' } });
  t.equal(run('check'), `checked ${ours.length}\n`);
  const [one, other] = ['ours', 'lazy'].map((name) => readFileSync(join(folder, `${name}.safetensors`)));
  t.ok(other && one?.equals(other), 'the two ways of writing give the same bytes');
  disposeAll(...tensors.values());
});

t.test('the same bytes as Python writes', { skip }, async (t) => {
  const folder = t.testdir({});
  const code = `
import sys, torch
from safetensors.torch import save_file
types = [torch.bfloat16, torch.float32, torch.int32, torch.float64]
names = ["z", "é", "\\uffff", "😀", "a/b", "tab\\t\\x01\\x7f"]
save_file({f"{n}{i}": torch.full((i + 1, 3), i, dtype=d) for n in names for i, d in enumerate(types)}, sys.argv[1], metadata={"format": "pt"})`;
  const path = join(folder, 'theirs.safetensors');
  t.equal(spawnSync(python, ['-c', code, path]).status, 0);
  const { tensors, metadata } = await readSafetensors(path);
  await writeSafetensors(join(folder, 'ours.safetensors'), [...tensors].reverse(), { metadata });
  t.ok(readFileSync(join(folder, 'ours.safetensors')).equals(readFileSync(path)), 'to the byte');
  disposeAll(...tensors.values());
});
