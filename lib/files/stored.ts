// Tensors of files that this package writes: numbers that must have one shape, and the sketches of singular vectors.
import { type Frame, probes, type Sketch } from '../layers/frame.js';
import { describe } from '../runtime/check.js';
import type { RealArray } from '../runtime/native.js';
import { type MatrixDType, vectorType } from '../tensor/dtype.js';
import { numbersOf } from '../tensor/operand.js';
import type { Shape } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';
import { corrupt } from './complaints.js';
import type { SafetensorsFile } from './safetensors.js';

/** CORRUPT_FILE if a file does not have a tensor, or has it in another shape. */
export function checkStored(op: string, path: string, file: SafetensorsFile, key: string, shape: Shape): void {
  if (!file.has(key)) corrupt(op, path, key, 'it', 'a file without it');
  const stored = file.info(key).shape;
  if (String(stored) !== String(shape)) corrupt(op, path, key, `shape [${shape.join(', ')}]`, describe([...stored]));
}

/** A copy of a tensor's numbers. */
export async function readNumbers(
  op: string,
  file: SafetensorsFile,
  key: string,
  signal?: AbortSignal,
): Promise<RealArray> {
  const tensor = await file.readAs(op, key, signal);
  try {
    return numbersOf(op, key, tensor).slice();
  } finally {
    tensor.dispose();
  }
}

/** A sketch as the tensors of a file, for a layer whose matrices have this type. */
export function sketchTensors(op: string, sketch: Sketch, dtype: MatrixDType): [keyof Sketch, Tensor][] {
  return (['left', 'right'] as const).map((side) => {
    const numbers = sketch[side].slice();
    const shape = [probes, numbers.length / probes] as const;
    return [side, Tensor.make(op, vectorType(dtype), numbers as never, shape)];
  });
}

/** Reads the sketch of a frame's directions. `keyOf` names the tensor of each side. */
export async function readSketch(
  op: string,
  path: string,
  file: SafetensorsFile,
  frame: Frame,
  keyOf: (side: keyof Sketch) => string,
  signal?: AbortSignal,
): Promise<Sketch> {
  const read = (side: keyof Sketch) => {
    checkStored(op, path, file, keyOf(side), [probes, frame[side].length]);
    return readNumbers(op, file, keyOf(side), signal);
  };
  return { left: await read('left'), right: await read('right') };
}
