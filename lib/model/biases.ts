// Which tensors are biases: those that the weights hold as '….bias', and those that the caller gives.
import { moduleName } from '../files/module-name.js';
import { readNamed, reject } from '../runtime/check.js';
import { checkTensor } from '../tensor/operand.js';
import { ofTensor, type Stored } from './source.js';
import type { StoredWeight } from './targets.js';

/** The names of the tensors '….bias' by the name of their module, if that has a weight. A bias of stacked experts is [E, out]. */
export function biasesAmong(weights: readonly StoredWeight[]): ReadonlyMap<string, string> {
  const owners = new Set(weights.filter(({ shape }) => shape.length > 1).map(({ name }) => moduleName(name)));
  const biases = weights.map(({ name }) => name).filter((name) => name.endsWith('.bias') && owners.has(biasName(name)));
  return new Map(biases.map((name) => [biasName(name), name]));
}

/** A bias that the caller gives, and the argument that errors name. */
interface GivenBias {
  readonly argument: string;
  readonly value: unknown;
}

/** `options.biases` by the module's name, which must be one of `owners`. */
export function givenBiases(op: string, given: unknown, owners: ReadonlySet<string>): ReadonlyMap<string, GivenBias> {
  const biases = new Map<string, GivenBias>();
  if (given === undefined) return biases;
  for (const [name, value] of readNamed(op, 'options.biases', given)) {
    if (value === undefined) continue;
    const argument = `options.biases['${name}']`;
    const owner = biasName(name);
    if (!owners.has(owner)) reject(op, argument, 'the name of a module whose weight is given', name);
    biases.set(owner, { argument, value });
  }
  return biases;
}

/** The names of biases, without '.bias' or '.weight', as modules have them. */
function biasName(name: string): string {
  return name.endsWith('.bias') ? name.slice(0, -'.bias'.length) : moduleName(name);
}

/** Biases by the module's name: those among the weights, and those given, which come first. */
export function readBiases(
  op: string,
  weights: ReadonlyMap<string, Stored>,
  given: unknown,
  stored: ReadonlyMap<string, string>,
  owners: ReadonlySet<string>,
): ReadonlyMap<string, Stored> {
  const biases = new Map([...stored].map(([owner, name]) => [owner, weights.get(name) as Stored]));
  for (const [owner, { argument, value }] of givenBiases(op, given, owners)) {
    biases.set(owner, ofTensor(owner, checkTensor(op, argument, value)));
  }
  return biases;
}
