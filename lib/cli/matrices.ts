// The matrices of a checkpoint that a command works on, one weight at a time.
import type { ModelOptions, SafetensorsFile, Tensor } from '../index.js';
import type { Module } from '../model/modules.js';
import { matrixOf } from '../model/parts.js';
import { chosenModules } from '../model/plan.js';
import type { Matrix } from '../tensor/tensor.js';
import { weightNames } from './checkpoint.js';
import type { Selection } from './selection.js';

/** The modules that the options choose, those of one weight next to each other. */
export function selectModules(op: string, file: SafetensorsFile, selection: Selection): readonly Module[] {
  const stored = weightNames(file).map((name) => ({ name, shape: file.info(name).shape, dtype: undefined }));
  // The family does not change which modules there are.
  const options = { ...selection, family: 'svdiff', options: {}, modules: undefined } as unknown as ModelOptions;
  return chosenModules(op, stored, options).chosen.map(({ module }) => module);
}

/** The flops of a module's SVD, up to a factor. */
export function workOf({ out, in: inFeatures }: Pick<Module, 'out' | 'in'>): number {
  return out * inFeatures * Math.min(out, inFeatures);
}

/** Reads each weight once and gives its modules' matrices, as they are stored. They are disposed afterwards. */
export async function* matricesOf(
  op: string,
  file: SafetensorsFile,
  modules: readonly Module[],
  signal: AbortSignal,
): AsyncGenerator<{ readonly module: Module; readonly matrix: Matrix }> {
  let weight: { readonly name: string; readonly tensor: Tensor } | undefined;
  try {
    for (const module of modules) {
      if (weight?.name !== module.weight) {
        weight?.tensor.dispose();
        weight = undefined;
        weight = { name: module.weight, tensor: await file.read(module.weight, { signal }) };
      }
      const matrix = matrixOf(op, weight.tensor as Matrix, module);
      try {
        yield { module, matrix };
      } finally {
        if (matrix !== weight.tensor) matrix.dispose();
      }
    }
  } finally {
    weight?.tensor.dispose();
  }
}
