// Where the weights of a model come from: the caller's tensors, or an open file, from which each is read when its turn comes.
import { SafetensorsFile } from '../files/safetensors.js';
import { readNamed } from '../runtime/check.js';
import { renamed } from '../runtime/errors.js';
import { checkTensor } from '../tensor/operand.js';
import { keep } from '../tensor/scope.js';
import { sizeOf } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { identityOf } from './parts.js';
import type { StoredWeight } from './targets.js';

/** A tensor of the model. */
export interface Stored extends StoredWeight {
  readonly dtype: string;
  readonly size: number;
  /** As it is stored. */
  readonly bytes: number;
  /** The caller's tensor; undefined for one in a file. */
  readonly tensor: Tensor | undefined;
  /** The same for two names of one memory. */
  identity(op: string): string;
  load(op: string, signal: AbortSignal | undefined): Promise<Tensor>;
  /** Ends the use of a loaded tensor. */
  release(tensor: Tensor): void;
}

/** The tensors of a model by name, in the order of the record or of the file. */
export function readSource(op: string, weights: unknown): ReadonlyMap<string, Stored> {
  if (!SafetensorsFile.is(weights)) return ofRecord(op, weights);
  try {
    return ofFile(op, weights);
  } catch (error) {
    throw renamed(error, op);
  }
}

function ofRecord(op: string, weights: unknown): ReadonlyMap<string, Stored> {
  const read = new Map<string, Stored>();
  for (const [name, value] of readNamed(op, 'weights', weights)) {
    if (value !== undefined) read.set(name, ofTensor(name, checkTensor(op, `weights['${name}']`, value)));
  }
  return read;
}

/** A tensor of the caller, which is borrowed. */
export function ofTensor(name: string, tensor: Tensor): Stored {
  const { dtype, shape, size } = tensor;
  return {
    name,
    dtype,
    shape,
    size,
    bytes: tensor.bytes,
    tensor,
    identity: (op) => identityOf(op, tensor),
    load: async () => tensor,
    release: () => undefined,
  };
}

/** The headers only. */
export function ofFile(op: string, file: SafetensorsFile): ReadonlyMap<string, Stored> {
  const stored = file.names.map((name): [string, Stored] => {
    const { dtype, shape, bytes } = file.info(name);
    const whole: Stored = {
      name,
      dtype: file.readableType(op, name) ?? dtype,
      shape,
      size: sizeOf(shape),
      bytes,
      tensor: undefined,
      identity: () => name,
      load: async (caller, signal) => keep(await file.readAs(caller, name, signal)),
      release: (tensor) => tensor.dispose(),
    };
    return [name, whole];
  });
  return new Map(stored);
}

/**
 * Loaded tensors. Those of several modules are loaded once: each module announces its uses before the first begins, and the
 * last one releases the tensor.
 */
export class Loans {
  readonly #uses = new Map<Stored, number>();
  readonly #loaded = new Map<Stored, Promise<Tensor>>();

  announce(stored: Stored): void {
    this.#uses.set(stored, (this.#uses.get(stored) ?? 0) + 1);
  }

  borrow(op: string, stored: Stored, signal: AbortSignal | undefined): Promise<Tensor> {
    const loading = this.#loaded.get(stored) ?? stored.load(op, signal);
    this.#loaded.set(stored, loading);
    return loading;
  }

  /** Ends one announced use. */
  async giveBack(stored: Stored): Promise<void> {
    const left = (this.#uses.get(stored) ?? 0) - 1;
    this.#uses.set(stored, left);
    if (left <= 0) await this.#release(stored);
  }

  /** Ends all uses. */
  async close(): Promise<void> {
    await Promise.all([...this.#loaded.keys()].map((stored) => this.#release(stored)));
  }

  async #release(stored: Stored): Promise<void> {
    const loading = this.#loaded.get(stored);
    this.#loaded.delete(stored);
    const tensor = await loading?.catch(() => undefined);
    if (tensor !== undefined) stored.release(tensor);
  }
}
