/** Readers of JSON on changed files: an index, an adapter's config, a checkpoint's contents. Each is read, or refused in time. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import * as fc from 'fast-check';
import {
  AdamW,
  type AdaptedLinear,
  AdaptiveVectorFreezing,
  inspectAdapters,
  loadAdapters,
  loadCheckpoint,
  memory,
  readSafetensors,
  SigmaError,
  SparsityPattern,
  saveAdapters,
  saveCheckpoint,
  siva,
  svft,
  type Tensor,
  tensor,
  writeSafetensors,
} from 'sigmatune';
import t, { type Test } from 'tap';
import { disposeAll, gaussian, seeded, snapshot } from '../support/helpers.js';
import { perturb } from '../support/layer.js';
import { mutations } from '../support/mutations.js';

/** SIGMATUNE_FUZZ=100000 looks longer. */
const numRuns = Number(process.env['SIGMATUNE_FUZZ'] || 150);

interface Reader {
  /** A right document. */
  readonly document: unknown;
  readonly write: (text: string) => void | Promise<void>;
  readonly read: () => Promise<void>;
  readonly codes: readonly string[];
}

/** How a text is judged: 'read', the code of a SigmaError, or what should not happen. */
async function outcomeOf({ write, read, codes }: Reader, text: string): Promise<string> {
  await write(text);
  const tensors = memory().tensors;
  const began = performance.now();
  const error = await read().then(
    () => undefined,
    (each: unknown) => each,
  );
  const took = performance.now() - began;
  if (took > 2000) return `${took} ms`;
  if (memory().tensors !== tensors) return `${memory().tensors - tensors} tensors are left`;
  if (error === undefined) return 'read';
  const expected = error instanceof SigmaError && codes.includes(error.code) && error.message.length < 4000;
  return expected ? error.code : `${error instanceof Error ? error.stack : error}`;
}

async function fuzz(t: Test, reader: Reader): Promise<void> {
  t.equal(await outcomeOf(reader, JSON.stringify(reader.document)), 'read', 'as it was');
  const seen: Record<string, number> = {};
  const allowed = ['read', ...reader.codes];
  const property = fc.asyncProperty(mutations(reader.document), async (text) => {
    const outcome = await outcomeOf(reader, text);
    seen[outcome] = (seen[outcome] ?? 0) + 1;
    if (!allowed.includes(outcome)) throw new Error(outcome);
  });
  await t.resolves(fc.assert(property, { numRuns }), 'each text is read or refused');
  t.ok((seen['CORRUPT_FILE'] ?? 0) > numRuns / 10, JSON.stringify(seen));
}

t.test('an index of shards', { timeout: 3_600_000 }, async (t) => {
  const folder = t.testdir({});
  using one = tensor([1, 2]);
  for (const [i, names] of [['a', 'b'], ['c']].entries()) {
    await writeSafetensors(
      join(folder, `${i}.safetensors`),
      names.map((name) => [name, one] as const),
    );
  }
  const path = join(folder, 'model.safetensors.index.json');
  await fuzz(t, {
    document: {
      metadata: { total_size: 24, deep: [{ x: [1.5, null] }] },
      weight_map: { a: '0.safetensors', b: '0.safetensors', c: '1.safetensors' },
    },
    write: (text) => writeFileSync(path, text),
    read: async () => disposeAll(...(await readSafetensors(path)).tensors.values()),
    // A shard that is not there is an argument's fault.
    codes: ['CORRUPT_FILE', 'INVALID_ARGUMENT'],
  });
});

t.test("an adapter's config", { timeout: 3_600_000 }, async (t) => {
  const folder = t.testdir({});
  const random = seeded(1);
  using one = gaussian(random, [5, 4], 'float32');
  using other = gaussian(random, [6, 6], 'float32');
  using bias = gaussian(random, [6], 'float32');
  const pattern = SparsityPattern.fromCoordinates([0, 1], [1, 2], 4);
  using first = await svft(one, { pattern });
  using second = await siva(other, { count: 2, bias, strategy: 'lowrank' });
  for (const layer of [first, second] as AdaptedLinear[]) perturb(layer);
  await saveAdapters(folder, { one: first, other: second }, { vectors: true });
  const path = join(folder, 'adapter_config.json');
  const document = JSON.parse(readFileSync(path, 'utf8'));
  const write = (text: string) => writeFileSync(path, text);
  // A changed name, size or SHA-256 asks for other weights than those that are given.
  const codes = ['CORRUPT_FILE', 'UNSUPPORTED', 'BASE_MISMATCH', 'INVALID_ARGUMENT'];
  const read = async () => disposeAll(...Object.values(await loadAdapters(folder, { one, other })));
  await fuzz(t, { document, write, read, codes });
  await fuzz(t, { document, write, read: async () => void (await inspectAdapters(folder)), codes });
});

t.test("a checkpoint's contents", { timeout: 3_600_000 }, async (t) => {
  const folder = t.testdir({});
  const path = join(folder, 'checkpoint.safetensors');
  using weight = gaussian(seeded(1), [5, 4], 'float32');
  using layer = await svft(weight, { pattern: 'banded', offDiagonals: 1 });
  perturb(layer);
  const { parameters } = layer;
  const run = {
    layers: { w: layer as AdaptedLinear },
    optimizer: new AdamW([{ parameters }], { lr: 0.1 }),
    freezing: new AdaptiveVectorFreezing(parameters, { start: 1, every: 1, count: 1, freeze: 1 }),
  };
  for (const { value } of parameters) value.assign(new Float32Array(value.size).fill(0.5));
  await saveCheckpoint(folder, { ...run, extra: { epoch: 3, order: new Int32Array(4), odd: [Number.NaN, -0] } });
  const { tensors, metadata } = await readSafetensors(path);
  t.teardown(() => disposeAll(...tensors.values()));
  const state = () => [
    JSON.stringify([run.optimizer.state(), run.freezing.state()]),
    ...parameters.map(({ value, trainable }) => [...snapshot(value), trainable]),
  ];
  const key = 'sigmatune_checkpoint';
  let before: unknown[] = [];
  await fuzz(t, {
    document: JSON.parse(metadata[key] ?? ''),
    // Without the checksum, which would refuse each of them.
    write: (text) => writeSafetensors(path, tensors as Map<string, Tensor>, { metadata: { [key]: text } }),
    read: async () => {
      before = state();
      try {
        await loadCheckpoint(folder, run);
      } catch (error) {
        if (!isDeepStrictEqual(state(), before)) throw new Error('something is changed');
        throw error;
      }
    },
    codes: ['CORRUPT_FILE', 'UNSUPPORTED', 'BASE_MISMATCH'],
  });
});
