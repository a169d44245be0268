/** For the tests of sigmatune/tfjs: its backends, and a check that neither side leaks. */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import '@tensorflow/tfjs-backend-wasm';
import { type Tensor, vectorFit } from 'sigmatune';
import { adaptedDense } from 'sigmatune/tfjs';
import { type Check, cpuOnly, expectNoLeak, type Values, values } from './helpers.js';

export const backends = ['cpu', 'wasm'] as const;

/** Makes the anchor variable of adaptedDense, which the first operation makes and which stays. */
export async function makeAnchor(weight: Tensor): Promise<void> {
  if (cpuOnly) return;
  await tf.setBackend('cpu');
  const layer = await vectorFit(weight);
  adaptedDense(layer);
  layer.dispose();
}

/** Runs `body` in the backend, and checks that tf.memory() and memory() are back where they were. */
export async function on(t: Check, backend: string, label: string, body: () => unknown): Promise<void> {
  if (!(await tf.setBackend(backend))) throw new Error(`tfjs has no backend ${backend}`);
  const before = tf.memory().numTensors;
  await expectNoLeak(t, `${label}, ${backend}`, body);
  t.equal(tf.memory().numTensors, before, `${label}, ${backend}: tf.memory() is back at its baseline`);
}

/** The numbers of a tf.Tensor, or any others. */
export function numbers(source: tf.Tensor | Values): ArrayLike<number> {
  return source instanceof tf.Tensor ? (source.dataSync() as ArrayLike<number>) : values(source);
}
