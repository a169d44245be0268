/** The reader of a pretrained model in examples/study, with its types (see reference.ts). */
// @ts-expect-error: no declarations
import * as graphModel from '../../examples/study/graph-model.js';

export interface GraphModel {
  readonly tensors: ReadonlyMap<
    string,
    { readonly shape: readonly number[]; readonly data: Float32Array | Int32Array }
  >;
  readonly layers: readonly {
    readonly name: string;
    readonly weight: string;
    readonly bias: string | undefined;
    readonly in: number;
    readonly out: number;
  }[];
}

export const sentenceEncoder: string = graphModel.sentenceEncoder;
export const readGraphModel: (path: string) => GraphModel = graphModel.readGraphModel;
export const writeGraphModel: (path: string, model: GraphModel) => Promise<void> = graphModel.writeGraphModel;
