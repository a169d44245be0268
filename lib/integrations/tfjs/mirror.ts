import * as tf from '@tensorflow/tfjs-core';
import type { LayerVariable } from '@tensorflow/tfjs-layers';
import type { Parameter } from '../../index.js';

/**
 * A parameter of a layer, and the weight of a tf layer with the same numbers. tfjs replaces the memory of a variable that it
 * writes, so the two cannot share it. A write by tfjs reaches the parameter at once, and a write to the parameter reaches
 * tfjs when the weight is read, which every call of the tf layer does.
 */
export class Mirror {
  readonly parameter: Parameter;
  readonly #weight: LayerVariable;
  readonly #assign: (numbers: tf.Tensor) => void;
  /** What both had after the last write. */
  #numbers: Float32Array;

  /** Writes the parameter's numbers to the weight. */
  constructor(parameter: Parameter, weight: LayerVariable) {
    this.parameter = parameter;
    this.#weight = weight;
    const read = weight.read.bind(weight);
    const variable = read() as tf.Variable;
    this.#assign = variable.assign.bind(variable);
    this.#numbers = this.#push();
    variable.assign = (next: tf.Tensor) => {
      this.#assign(next);
      this.#pull(variable);
    };
    weight.read = () => {
      this.refresh();
      return read();
    };
  }

  /** The variable of tfjs, up to date. */
  get variable(): tf.Variable {
    return this.#weight.read() as tf.Variable;
  }

  /** Writes what changed in the parameter to the variable. */
  refresh(): void {
    const { value, trainable } = this.parameter;
    this.#weight.trainable = trainable;
    if (!value.disposed && !sameBits(value.dataSync() as Float32Array, this.#numbers)) this.#numbers = this.#push();
  }

  #pull(variable: tf.Variable): void {
    const { value } = this.parameter;
    this.#numbers = (variable.dataSync() as Float32Array).slice();
    if (!value.disposed) value.assign(this.#numbers);
  }

  /** The variable gets a copy, because tfjs treats its memory as immutable. */
  #push(): Float32Array {
    const { value } = this.parameter;
    const numbers = Float32Array.from(value.dataSync());
    const copy = tf.tensor(numbers.slice(), [...value.shape], 'float32');
    this.#assign(copy);
    copy.dispose();
    return numbers;
  }
}

function sameBits(a: Float32Array, b: Float32Array): boolean {
  const bytes = (array: Float32Array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);
  return bytes(a).equals(bytes(b));
}
