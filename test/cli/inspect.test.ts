/** `sigmatune inspect`: every kind of file and folder, from headers alone. */
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AdamW, decomposeModel, exportGgufLora, exportLora, openSafetensors, saveCheckpoint } from 'sigmatune';
import t from 'tap';
import { disposeScene, makeScene, shapes, sigmatune } from '../support/cli.js';
import { item } from '../support/helpers.js';
import { field, fileOf } from '../support/safetensors.js';

t.setTimeout(600_000);

const folder = t.testdir({ sharded: {} });
const scene = await makeScene(folder);
t.teardown(() => disposeScene(scene));
const inspect = async (path: string) => {
  const { code, out, err } = await sigmatune(['inspect', path, '--json'], { cwd: folder });
  t.same([code, err], [0, ''], path);
  return JSON.parse(out);
};

t.test('a safetensors file, and the folder that it is in', async (t) => {
  const found = await inspect('model.safetensors');
  t.match(found, { kind: 'safetensors', path: 'model.safetensors', metadata: { format: 'pt' } });
  t.equal(found.tensors.length, 6);
  for (const [name, shape] of Object.entries(shapes)) {
    const bytes = 4 * shape[0] * shape[1];
    t.same(
      found.tensors.find((each: { name: string }) => each.name === name),
      { name, dtype: 'F32', shape, bytes },
    );
  }
  const { code, out } = await sigmatune(['inspect', 'model.safetensors'], { cwd: folder });
  t.equal(code, 0);
  t.match(out, /^model\.safetensors: 6 tensors, 2,531 numbers, 10\.1 kB \(F32, I32\)\n {2}format: pt\n/);
  t.match(out, /^model\.layers\.0\.self_attn\.q_proj\.weight +F32 +32 × 24 +3\.1 kB$/m);
});

t.test('a sharded checkpoint, whose shards are not read', async (t) => {
  const shard = (name: string) => fileOf({ [name]: field('F16', [1024, 512], 0, 2 ** 20) }, 2 ** 20);
  const at = (name: string) => join(folder, 'sharded', name);
  writeFileSync(at('a.safetensors'), shard('a.weight'));
  writeFileSync(at('b.safetensors'), shard('b.weight'));
  const map = { 'a.weight': 'a.safetensors', 'b.weight': 'b.safetensors' };
  writeFileSync(at('model.safetensors.index.json'), JSON.stringify({ weight_map: map }));
  for (const path of ['sharded', 'sharded/model.safetensors.index.json']) {
    const { tensors } = await inspect(path);
    t.same(tensors, [
      { name: 'a.weight', dtype: 'F16', shape: [1024, 512], bytes: 2 ** 20 },
      { name: 'b.weight', dtype: 'F16', shape: [1024, 512], bytes: 2 ** 20 },
    ]);
  }
});

t.test('an adapter', async (t) => {
  const { kind, layers } = await inspect('adapter');
  t.equal(kind, 'adapter');
  t.same(
    layers.map((layer: { name: string; parameters: number }) => [layer.name, layer.parameters]),
    scene.model.describe().map(({ name, parameters }) => [name, parameters]),
  );
  const { out } = await sigmatune(['inspect', 'adapter'], { cwd: folder });
  t.match(out, `an adapter of 2 layers, ${scene.model.parameterCount} parameters, saved by sigmatune`);
  t.equal(out.split('\n').filter((line) => line.includes('"pattern":"banded"')).length, 1, 'equal options once');
});

t.test('a training run', async (t) => {
  const { layers, parameters } = scene.model;
  const frozen = item(parameters, 0);
  frozen.trainable = false;
  await saveCheckpoint(join(folder, 'run'), { layers, optimizer: new AdamW(parameters) });
  for (const path of ['run', 'run/checkpoint.safetensors']) {
    const found = await inspect(path);
    t.equal(found.kind, 'checkpoint');
    t.same(
      found.layers.map((layer: { parameters: number; frozen: number }) => [layer.parameters, layer.frozen]),
      scene.model.describe().map((row, i) => [row.parameters, i === 0 ? frozen.value.size : 0]),
    );
  }
  frozen.trainable = true;
  const run = { layers, optimizer: new AdamW(parameters) };
  for (let i = 0; i < 3; i++) await saveCheckpoint(join(folder, 'numbered'), run, { keep: 3 });
  t.match(await inspect('numbered'), { kind: 'checkpoint', checkpoint: 3, older: [2, 1] });
  t.match((await sigmatune(['inspect', 'numbered'], { cwd: folder })).out, /\n\nolder checkpoints: 2, 1\n$/);
});

t.test('a LoRA of PEFT, and one of llama.cpp', async (t) => {
  const { layers } = scene.model;
  await exportLora(join(folder, 'lora'), layers, { rank: 3 });
  const peft = await inspect('lora');
  t.match(peft, { kind: 'peft', config: { peft_type: 'LORA', r: 3 } });
  t.equal(peft.tensors.length, 4);

  await exportGgufLora(join(folder, 'lora.gguf'), layers, {
    rank: 3,
    architecture: 'llama',
    heads: { query: 4, keyValue: 2 },
  });
  const gguf = await inspect('lora.gguf');
  t.match(gguf, { kind: 'gguf', version: 3, metadata: { 'general.type': 'adapter', 'adapter.lora.alpha': 3 } });
  t.same(item(gguf.tensors, 0), { name: 'blk.0.attn_q.weight.lora_a', dtype: 'F32', shape: [3, 24], bytes: 288 });
  const path = join(folder, 'lora.gguf');
  for (const bytes of [100, 20, 5]) {
    truncateSync(path, bytes);
    const { code, err } = await sigmatune(['inspect', 'lora.gguf'], { cwd: folder });
    t.equal(code, 1);
    t.match(err, /expected a whole GGUF header, got the end of the file/, `cut after ${bytes} bytes`);
  }
});

t.test('a cache of factors, with a damaged entry', async (t) => {
  const file = await openSafetensors(join(folder, 'model.safetensors'));
  const rows = await decomposeModel(file, { targets: ['q_proj', 'up_proj'], cache: join(folder, 'factors') });
  await file.close();
  writeFileSync(join(folder, 'factors', `${'0'.repeat(64)}.safetensors`), 'damage');
  writeFileSync(join(folder, 'factors', 'notes.txt'), 'no entry');
  const { kind, entries, damaged } = await inspect('factors');
  t.same([kind, damaged], ['cache', 1]);
  const told = (row: { residual: number; bytes: number }) => [row.residual, row.bytes];
  t.same(entries.map(told).sort(), rows.map(told).sort());
  t.same(entries.map((each: { shape: number[] }) => each.shape).sort(), [
    [32, 24],
    [40, 24],
  ]);
  const { out } = await sigmatune(['inspect', 'factors'], { cwd: folder });
  t.match(out, /^factors: a cache with the factors of 2 weights, .* kB; 1 more cannot be read/);
});

/** A GGUF header by hand. */
class Gguf {
  readonly #parts: Buffer[] = [];

  u32(...values: readonly number[]): this {
    for (const value of values) {
      const part = Buffer.alloc(4);
      part.writeUInt32LE(value);
      this.#parts.push(part);
    }
    return this;
  }

  u64(...values: readonly (number | bigint)[]): this {
    for (const value of values) {
      const part = Buffer.alloc(8);
      part.writeBigUInt64LE(BigInt(value));
      this.#parts.push(part);
    }
    return this;
  }

  text(value: string): this {
    this.u64(Buffer.byteLength(value));
    return this.bytes(Buffer.from(value));
  }

  bytes(value: Uint8Array): this {
    this.#parts.push(Buffer.from(value));
    return this;
  }

  write(name: string): void {
    writeFileSync(join(folder, name), Buffer.concat(this.#parts));
  }
}

const start = (tensors: number | bigint, pairs: number | bigint) =>
  new Gguf().bytes(Buffer.from('GGUF')).u32(3).u64(tensors, pairs);

t.test('a GGUF file has values of every type, and quantised tensors', async (t) => {
  const double = Buffer.alloc(8);
  double.writeDoubleLE(-0.5);
  const single = Buffer.alloc(4);
  single.writeFloatLE(1.5);
  const gguf = start(3, 14);
  const key = (name: string, type: number) => gguf.text(name).u32(type);
  key('u8', 0).bytes(Buffer.from([200]));
  key('i8', 1).bytes(Buffer.from([200]));
  key('u16', 2).bytes(Buffer.from([1, 255]));
  key('i16', 3).bytes(Buffer.from([1, 255]));
  key('u32', 4).u32(2 ** 32 - 1);
  key('i32', 5).u32(2 ** 32 - 1);
  key('f32', 6).bytes(single);
  key('bool', 7).bytes(Buffer.from([1]));
  key('string', 8).text('ø');
  key('words', 9).u32(8).u64(20);
  for (let i = 0; i < 20; i++) gguf.text(`word ${i}`);
  key('u64', 10).u64(2n ** 40n);
  key('i64', 11).u64(2n ** 64n - 1n);
  key('f64', 12).bytes(double);
  key('lists', 9)
    .u32(9)
    .u64(1)
    .u32(0)
    .u64(2)
    .bytes(Buffer.from([7, 8]));
  gguf.text('q').u32(2).u64(256, 3).u32(12).u64(0);
  gguf.text('new').u32(1).u64(4).u32(77).u64(448);
  gguf.text('scalar').u32(0).u32(0).u64(512);
  gguf.write('all.gguf');
  const { metadata, tensors } = await inspect('all.gguf');
  const first = Array.from({ length: 8 }, (_, i) => `word ${i}`);
  t.same(metadata, {
    u8: 200,
    i8: -56,
    u16: 65281,
    i16: -255,
    u32: 2 ** 32 - 1,
    i32: -1,
    f32: 1.5,
    bool: true,
    string: 'ø',
    words: { length: 20, first },
    u64: 2 ** 40,
    i64: -1,
    f64: -0.5,
    lists: { length: 1, first: [{ length: 2, first: [7, 8] }] },
  });
  t.same(tensors, [
    { name: 'q', dtype: 'Q4_K', shape: [3, 256], bytes: 3 * 144 },
    { name: 'new', dtype: 'type 77', shape: [4] },
    { name: 'scalar', dtype: 'F32', shape: [], bytes: 4 },
  ]);
});

t.test('a malformed GGUF file is refused, and nothing large is allocated for it', async (t) => {
  const cases: readonly (readonly [string, Gguf, RegExp])[] = [
    ['version', new Gguf().bytes(Buffer.from('GGUF')).u32(1).u64(0, 0), /version 2 or 3, got 1/],
    ['count', start(2n ** 60n, 0), /a length of at most 24, the size of the file/],
    ['string', start(0, 1).u64(2n ** 40n), /a length of at most/],
    ['type', start(0, 1).text('a').u32(13), /a type of value from 0 to 12, got 13/],
    [
      'array',
      start(0, 1)
        .text('a')
        .u32(9, 8)
        .u64(2n ** 62n),
      /a length of at most/,
    ],
    [
      'nesting',
      start(0, 1).text('a').u32(9, 9).u64(1).u32(9).u64(1).u32(9).u64(1).u32(9).u64(1).u32(9).u64(1),
      /at most 4 arrays/,
    ],
    ['dimensions', start(1, 0).text('a').u32(5), /at most 4 dimensions, got 5/],
  ];
  for (const [name, gguf, message] of cases) {
    gguf.write(`${name}.gguf`);
    const { code, err } = await sigmatune(['inspect', `${name}.gguf`], { cwd: folder });
    t.equal(code, 1, name);
    t.match(err, message, name);
  }
});

t.test('names of a file cannot control a terminal', async (t) => {
  const control = `${String.fromCharCode(27)}[2J\u009b\u202e`;
  const header = { __metadata__: { note: control }, [control]: field('F32', [1], 0, 4) };
  writeFileSync(join(folder, 'control.safetensors'), fileOf(header, 4));
  for (const more of [[], ['--json']]) {
    const { code, out } = await sigmatune(['inspect', 'control.safetensors', ...more], { cwd: folder });
    t.equal(code, 0);
    for (const character of control.replace('[2J', '')) t.notOk(out.includes(character));
  }
  t.equal((await inspect('control.safetensors')).tensors[0].name, control, 'JSON has the name');
});
