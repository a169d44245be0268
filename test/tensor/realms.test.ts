/** Values of another realm (node:vm, Jest, Electron, an iframe) are accepted like values of this realm. */
import vm from 'node:vm';
import {
  AdamW,
  AdaptiveVectorFreezing,
  effectiveRank,
  matmul,
  type Parameter,
  SparsityPattern,
  svft,
  Tensor,
  tensor,
  tidy,
  timed,
  zeros,
} from 'sigmatune';
import t from 'tap';
import { cpuOnly, disposeAll, throwsSigma } from '../support/helpers.js';

const realm = vm.createContext();
const foreign = <T>(code: string): T => vm.runInContext(code, realm) as T;

t.test('typed arrays of another realm keep their type', async (t) => {
  const cases: [string, string][] = [
    ['new Float32Array([0.5])', 'float32'],
    ['new Float64Array([0.1])', 'float64'],
    ['new Int32Array([16777217])', 'int32'],
  ];
  for (const [code, dtype] of cases) {
    const array = foreign<Float64Array>(code);
    const made = tensor(array);
    t.equal(made.dtype, dtype, code);
    t.equal(made.dataSync()[0], array[0], `${code} keeps its number`);
    made.assign(array);
    made.dispose();
  }
  const bits = tensor(foreign<Uint16Array>('new Uint16Array([0x3f80])'), [1], { dtype: 'bfloat16' });
  t.equal(bits.dataSync()[0], 0x3f80, 'a Uint16Array given as bfloat16 is bits');
  bits.assign(foreign<Uint16Array>('new Uint16Array([0x4000])'));
  t.equal(bits.dataSync()[0], 0x4000, 'also where it is assigned');
  const nested = tensor([foreign<Float32Array>('new Float32Array([1, 2])'), foreign<number[]>('[3, 4]')]);
  t.same(nested.shape, [2, 2]);
  t.equal(effectiveRank(foreign<number[]>('[1, 1]')), effectiveRank([1, 1]));
  t.equal(zeros(foreign<number[]>('[2, 3]')).size, 6, 'a shape');
  for (const code of ['new BigInt64Array(2)', 'new DataView(new ArrayBuffer(8))']) {
    throwsSigma(t, () => tensor(foreign<number[]>(code)), 'INVALID_ARGUMENT', code, 'data');
    throwsSigma(t, () => bits.assign(foreign<number[]>(code)), 'INVALID_ARGUMENT', `assign(${code})`, 'data');
  }
  disposeAll(bits, nested);
});

t.test('Tensor.wrap takes memory of another realm', { skip: cpuOnly }, async (t) => {
  const memory = foreign<Float32Array>('new Float32Array([1, 2, 3, 4])');
  const wrapped = Tensor.wrap(memory, [2, 2]);
  memory[0] = 7;
  const square = matmul(wrapped, wrapped);
  t.equal(square.dataSync()[0], 55, 'and computes with what is in it');
  throwsSigma(
    t,
    () => Tensor.wrap(foreign<Float32Array>('new Uint8Array(4)'), [4]),
    'INVALID_ARGUMENT',
    'of another type',
    'memory',
    'Uint8Array',
  );
  disposeAll(square, wrapped);
});

t.test('promises of another realm are refused if a body must be synchronous', async (t) => {
  const promise = () => foreign<unknown>('Promise.resolve(1)');
  throwsSigma(t, () => tidy(promise), 'INVALID_ARGUMENT', 'tidy', 'body', 'promise');
  throwsSigma(t, () => timed('cpu', promise), 'INVALID_ARGUMENT', 'timed', 'body', 'synchronous');
  const made: Tensor[] = [];
  const kept = tidy(() => {
    made.push(zeros([1]), zeros([1]));
    return vm.runInContext('(one, other) => new Map([[1, one], [2, new Set([other])]])', realm)(made[0], made[1]);
  });
  t.equal(kept.size, 2);
  t.notOk(
    made.some(({ disposed }) => disposed),
    'maps and sets of another realm are looked into',
  );
  disposeAll(...made);
});

t.test('plain objects of another realm are options, and its arrays are lists', async (t) => {
  const weight = tensor([
    [2, 1],
    [1, 3],
  ]);
  const layer = await svft(weight, foreign<object>('({ pattern: "banded", offDiagonals: { lower: 1, upper: 0 } })'));
  t.equal(layer.parameters[0]?.value.size, 3);
  const product = matmul(weight, weight, foreign<object>('({ transposeA: true })'));
  const pattern = SparsityPattern.fromCoordinates(foreign<number[]>('[0, 1]'), foreign<number[]>('[1, 0]'), 2);
  t.equal(pattern.entries, 2);
  disposeAll(layer, product, weight);
});

t.test('saved states with arrays of another realm are loaded', { skip: cpuOnly }, async (t) => {
  const parameter = (): Parameter => ({
    name: 'p',
    value: tensor([1, 2]),
    grad: tensor([1, -1]),
    trainable: true,
  });
  /** The same state with foreign arrays. */
  const carried = (state: unknown): unknown => {
    if (ArrayBuffer.isView(state)) return vm.runInContext(`Float32Array.from([${state}])`, realm);
    if (Array.isArray(state)) return state.map(carried);
    if (typeof state !== 'object' || state === null) return state;
    return Object.fromEntries(Object.entries(state).map(([key, value]) => [key, carried(value)]));
  };
  const [one, other] = [parameter(), parameter()];
  const [first, second] = [new AdamW([one]), new AdamW([other])];
  first.step();
  second.loadState(carried(first.state()));
  t.same(second.state(), first.state());
  const options = { start: 1, every: 1, count: 1, freeze: 1 };
  const freezing = new AdaptiveVectorFreezing([one], options);
  const resumed = new AdaptiveVectorFreezing([other], options);
  resumed.loadState(carried(freezing.state()));
  t.same(resumed.state(), freezing.state());
  for (const { value, grad } of [one, other]) disposeAll(value, grad as Tensor);
});
