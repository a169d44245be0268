// An adapted layer as an operation on tfjs's tape.
import * as tf from '@tensorflow/tfjs-core';
import { type AdaptedLinear, type Parameter, type Pass, SigmaError } from '../../index.js';
import { called, fail } from './errors.js';
import { handed, viewOf } from './tensors.js';

/** Where the gradients of a layer's parameters go. */
export interface Sink {
  /** The inputs of the operation besides x: tfjs only runs a pull-back that leads to a variable, or to another x. */
  variables(): readonly tf.Variable[];
  /** Runs the pull-back; returns dx and the gradients of the variables. */
  pull(pass: Pass, dy: tf.Tensor): tf.Tensor[];
}

export function checkLayer(op: string, layer: unknown): asserts layer is AdaptedLinear {
  const given = layer as AdaptedLinear | null | undefined;
  if (typeof given?.forward !== 'function') {
    fail('INVALID_ARGUMENT', op, 'layer', 'an adapted layer, such as await svft(weight)', called(layer));
  }
  // Not the factors: reading them may copy them.
  const { dtype, device } = (given.parameters[0] as Parameter).value;
  if (dtype !== 'float32') fail('DTYPE_MISMATCH', op, 'layer', 'a float32 layer, as the tensors of tfjs are', dtype);
  if (device !== 'cpu') fail('DEVICE_MISMATCH', op, 'layer', 'a layer on the CPU', `a layer on ${device}`);
}

/** Passes of the current tape whose pull-back has not run. tfjs runs no pull-back that no gradient asks for. */
class OpenPasses {
  readonly #passes = new Set<Pass>();
  #tape: unknown;

  add(pass: Pass): void {
    const { activeTape } = tf.engine().state;
    if (activeTape !== this.#tape) this.release();
    this.#tape = activeTape;
    // Functions that take gradients are synchronous, so they have returned before the next microtask.
    if (this.#passes.size === 0) queueMicrotask(() => this.release());
    this.#passes.add(pass);
  }

  delete(pass: Pass): void {
    this.#passes.delete(pass);
  }

  release(): void {
    for (const pass of this.#passes) pass.dispose();
    this.#passes.clear();
  }
}

const open = new OpenPasses();

/** y of a layer; differentiable if there is a sink. */
export function applied(op: string, layer: AdaptedLinear, x: tf.Tensor, sink: Sink | undefined): tf.Tensor {
  const view = viewOf(op, 'x', x);
  if (!tf.engine().isTapeOn()) return handed(layer.apply(view));
  if (sink === undefined) return tf.customGrad(() => ({ value: handed(layer.apply(view)), gradFunc: refused(op) }))(x);
  const run = () => {
    const pass = layer.forward(view);
    open.add(pass);
    const backend = tf.getBackend();
    const gradFunc = (dy: tf.Tensor) => {
      open.delete(pass);
      try {
        checkFirstOrder(op);
        if (tf.getBackend() !== backend) {
          const expected = `'${backend}', as in the forward pass`;
          fail('DEVICE_MISMATCH', op, "tfjs's backend", expected, `'${tf.getBackend()}'`);
        }
        return sink.pull(pass, dy);
      } catch (error) {
        pass.dispose();
        releaseTape();
        throw error;
      }
    };
    return { value: handed(pass.y), gradFunc };
  };
  return tf.customGrad(run)(x, ...sink.variables());
}

function refused(op: string): () => never {
  return () => {
    releaseTape();
    throw new SigmaError('UNSUPPORTED', op, 'this operation: expected no gradient, because it was made for inference');
  };
}

/** A pull-back is no operation on the tape. If an outer tape recorded it, its own gradient would be wrong. */
function checkFirstOrder(op: string): void {
  if (!tf.engine().isTapeOn()) return;
  const why = "the pull-back of an adapted layer is native code, which tfjs's tape does not see";
  throw new SigmaError('UNSUPPORTED', op, `second-order gradients: expected none (${why})`);
}

/** After an error in a pull-back tfjs would never dispose what other operations saved on the tape. */
function releaseTape(): void {
  open.release();
  for (const { saved } of tf.engine().state.activeTape ?? []) for (const tensor of saved ?? []) tensor.dispose();
}
