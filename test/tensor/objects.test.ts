/** Public objects that are printed, cloned, wrapped in a Proxy or written, and methods called on another `this`. */
import { inspect } from 'node:util';
import { deserialize, serialize } from 'node:v8';
import { MessageChannel } from 'node:worker_threads';
import {
  AdamW,
  AdaptiveVectorFreezing,
  effectiveRank,
  matmul,
  Sgd,
  SparsityPattern,
  spmm,
  svd,
  svft,
  type Tensor,
  tensor,
  zeros,
} from 'sigmatune';
import t from 'tap';
import { cpuOnly, expectNoLeak, item, rejectsSigma, testDevice, throwsSigma } from '../support/helpers.js';

async function objects() {
  const weight = tensor([
    [2, 0, 1],
    [0, 3, 1],
  ]);
  const pattern = SparsityPattern.fromCoordinates([1, 0], [0, 1], 2);
  const layer = await svft(weight, { pattern, init: 'kaiming', name: 'q' });
  const x = tensor([[1, 2, 3]]);
  const pass = layer.forward(x);
  const all = {
    Tensor: weight as Tensor,
    SparsityPattern: pattern,
    AdaptedLinear: layer,
    Pass: pass,
    Parameter: item(layer.parameters, 0),
    Optimizer: new AdamW(layer.parameters),
    Sgd: new Sgd(layer.parameters),
    AdaptiveVectorFreezing: new AdaptiveVectorFreezing(layer.parameters, { start: 1, every: 1, count: 1, freeze: 1 }),
  };
  const dispose = () => {
    for (const each of [pass, pass.y, layer, weight, x]) each.dispose();
  };
  return { all, layer, weight, pattern, x, pass, [Symbol.dispose]: dispose };
}

/** Every way to call a method or accessor of an object's class on another `this`. */
function* borrowed(object: object): Generator<{ label: string; call: (self: unknown) => unknown; async: boolean }> {
  let prototype = Object.getPrototypeOf(object);
  for (; prototype !== Object.prototype; prototype = Object.getPrototypeOf(prototype)) {
    for (const [key, { value, get, set }] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
      if (['constructor', 'toString', 'toJSON'].includes(key)) continue;
      for (const [kind, method] of Object.entries({ call: value, get, set })) {
        if (typeof method !== 'function') continue;
        const label = `${kind} ${key}`;
        yield {
          label,
          call: (self) => Reflect.apply(method, self, []),
          async: ['data', 'to', 'spectrum'].includes(key),
        };
      }
    }
  }
}

t.test('a method called without its object, or on a Proxy or a derived object, throws a SigmaError', async (t) => {
  using made = await objects();
  for (const [name, object] of Object.entries(made.all)) {
    const strangers = { undefined: undefined, 'a Proxy': new Proxy(object, {}), inherits: Object.create(object) };
    let count = 0;
    for (const { label, call, async } of borrowed(object)) {
      count += 1;
      for (const [got, stranger] of Object.entries(strangers)) {
        const what = `${name}: ${label} on ${got}`;
        if (async)
          await rejectsSigma(t, () => call(stranger) as Promise<unknown>, 'INVALID_ARGUMENT', what, 'this', got);
        else throwsSigma(t, () => call(stranger), 'INVALID_ARGUMENT', what, 'this', got);
      }
    }
    t.ok(count > 1, `${name}: ${count} methods and accessors`);
  }
  const { backward } = made.pass;
  throwsSigma(t, () => backward(made.x), 'INVALID_ARGUMENT', 'a detached backward', 'Pass.backward', 'bind');
});

t.test('a Proxy or a derived object as an argument is refused, and the error says what to pass', async (t) => {
  using made = await objects();
  const { weight, pattern, layer, x } = made;
  for (const [wrap, got] of [
    [<T extends object>(object: T): T => new Proxy(object, {}), 'toRaw'],
    [<T extends object>(object: T): T => Object.create(object), 'inherits'],
  ] as const) {
    const values = zeros([pattern.entries]);
    const calls: Record<string, () => unknown> = {
      matmul: () => matmul(wrap(weight), x, { transposeB: true }),
      effectiveRank: () => effectiveRank(wrap(weight)),
      spmm: () => spmm(wrap(pattern), values, weight),
      apply: () => layer.apply(wrap(x)),
      AdamW: () => new AdamW([wrap(item(layer.parameters, 0))]),
    };
    for (const [name, call] of Object.entries(calls)) {
      throwsSigma(t, call, 'INVALID_ARGUMENT', `${name}: ${got}`, got);
    }
    await rejectsSigma(t, () => svd(wrap(weight)), 'INVALID_ARGUMENT', `svd: ${got}`, got);
    const stranger = () => svft(weight, { pattern: wrap(pattern) });
    await rejectsSigma(t, stranger, 'INVALID_ARGUMENT', `svft: ${got}`, 'options.pattern', got);
    values.dispose();
  }
});

t.test("writing a pattern's arrays does not change its products", async (t) => {
  using made = await objects();
  const { pattern, layer } = made;
  const { change } = layer.telemetry();
  using before = await layer.spectrum();
  t.equal(pattern.rowPointers, pattern.rowPointers, 'one copy, however often it is asked for');
  t.same([...(pattern.slots ?? [])], [1, 0]);
  for (const array of [pattern.rowPointers, pattern.columnIndices, pattern.slots]) array?.fill(7);
  t.equal(layer.telemetry().change, change, 'telemetry');
  using after = await layer.spectrum();
  t.same(after.dataSync(), before.dataSync(), 'spectrum');
  t.equal(SparsityPattern.diagonal(3).slots, undefined, 'slots are for given coordinates only');
});

t.test('patterns and the factors of a layer are frozen objects', async (t) => {
  using made = await objects();
  const { weight, layer, pattern } = made;
  for (const [object, key, value] of [
    [layer.factors, 'u', weight],
    [pattern, 'entries', 9],
    [pattern, 'rowPointers', new Int32Array(3)],
  ] as const) {
    t.notOk(Reflect.set(object, key, value), key);
  }
});

t.test('objects print in one line', async (t) => {
  using made = await objects();
  const { all, weight, layer } = made;
  const at = testDevice;
  t.equal(String(all.SparsityPattern), 'SparsityPattern csr, [2, 2], 2 entries');
  t.equal(String(layer), `AdaptedLinear svft [2, 3] float32 on ${at}, rank 2, parameters: q.m [2], q.gate [1]`);
  t.equal(String(all.Optimizer), 'AdamW of 2 parameters, lr 0.001, lrScale 1');
  t.equal(String(all.AdaptiveVectorFreezing), 'AdaptiveVectorFreezing of 2 parameters, frozen: none');
  t.match(String(all.Pass), /^Pass svft, open, y: Tensor \[1, 2\] float32/);
  t.match(String(all.Parameter), /^Parameter q\.m: Tensor \[2\] float32/);
  for (const [name, object] of Object.entries(all)) {
    t.equal(inspect(object), String(object), `${name}: console.log shows what String says`);
    t.doesNotThrow(() => inspect([new Proxy(object, {}), Object.create(object), Object.getPrototypeOf(object)]), name);
    t.doesNotThrow(() => `${new Proxy(object, {})}`, `${name}: a Proxy of it`);
  }
  layer.enabled = false;
  item(layer.parameters, 0).trainable = false;
  t.match(String(layer), /switched off.*q\.m \[2\] \(frozen\)/);
  weight.dispose();
  t.equal(String(weight), 'Tensor [2, 3] float32, disposed');
});

t.test('a tensor prints its first numbers', { skip: cpuOnly }, async (t) => {
  const cases: readonly [Tensor, string][] = [
    [
      tensor([
        [0.1, -0],
        [3e-9, NaN],
      ]),
      'Tensor [2, 2] float32 on cpu: 0.1, -0, 3e-9, NaN',
    ],
    [tensor(Float64Array.of(0.1 + 0.2)), 'Tensor [1] float64 on cpu: 0.30000000000000004'],
    [tensor([1.5, -2], [2], { dtype: 'bfloat16' }), 'Tensor [2] bfloat16 on cpu: 1.5, -2'],
    [zeros([10, 10], { dtype: 'int32' }), 'Tensor [10, 10] int32 on cpu: 0, 0, 0, 0, 0, 0, 0, 0, … 92 more'],
  ];
  for (const [each, printed] of cases) {
    t.equal(String(each), printed);
    each.dispose();
  }
  const lent = tensor([1, 2]);
  structuredClone(lent.dataSync().buffer, { transfer: [lent.dataSync().buffer as ArrayBuffer] });
  t.match(String(lent), /detached/, 'of memory that is gone it says so');
  lent.dispose();
});

t.test(
  'a tensor on a device says where it is, and fetches nothing',
  { skip: testDevice === 'cpu' && 'needs a device' },
  async (t) => {
    using there = tensor([1, 2, 3]);
    t.equal(String(there), `Tensor [3] float32 on ${testDevice} (await its data() to see the numbers)`);
  },
);

t.test('a clone that would lose the numbers is refused, and the error says what to send', async (t) => {
  using made = await objects();
  const { port1, port2 } = new MessageChannel();
  for (const [name, object] of Object.entries(made.all)) {
    const refusal = { name: 'DataCloneError', message: /send / };
    t.throws(() => structuredClone(object), refusal, `${name}: structuredClone`);
    t.throws(() => structuredClone({ inside: [object] }), refusal, `${name}: inside of something`);
    t.throws(() => port1.postMessage(object), refusal, `${name}: postMessage`);
    t.throws(() => serialize(object), /send /, `${name}: v8.serialize`);
    throwsSigma(t, () => JSON.stringify({ object }), 'UNSUPPORTED', `${name}: JSON`, 'toJSON', 'save');
    t.doesNotThrow(() => ({ ...object, keys: Object.entries(object) }), `${name}: its properties can be listed`);
  }
  port1.close();
  port2.close();
});

t.test('the data that the errors recommend recreates the object', async (t) => {
  await expectNoLeak(t, 'copies', async () => {
    using made = await objects();
    const { weight, pattern, all } = made;
    const { shape, dtype } = weight;
    const sent = structuredClone({ shape, dtype, data: await weight.data() });
    using again = tensor(sent.data, sent.shape, { dtype: sent.dtype });
    t.same(again.dataSync(), weight.dataSync());

    const { rowPointers, columnIndices } = pattern;
    const rows = [...columnIndices].map((_, p) => rowPointers.findLastIndex((start) => start <= p));
    const copy = SparsityPattern.fromCoordinates(rows, structuredClone(columnIndices), pattern.shape[0]);
    t.same([...copy.rowPointers, ...copy.columnIndices], [...rowPointers, ...columnIndices]);

    t.doesNotThrow(() => all.Optimizer.loadState(deserialize(serialize(all.Optimizer.state()))));
    t.doesNotThrow(() => all.AdaptiveVectorFreezing.loadState(structuredClone(all.AdaptiveVectorFreezing.state())));
  });
});
