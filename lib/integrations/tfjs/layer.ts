import * as tf from '@tensorflow/tfjs-core';
import { initializers, layers } from '@tensorflow/tfjs-layers';
import type { AdaptedLinear, Parameter, Pass } from '../../index.js';
import { intoParameters } from './dense.js';
import { called, fail } from './errors.js';
import { Mirror } from './mirror.js';
import { applied, checkLayer, type Sink } from './operation.js';
import { handed, viewOf } from './tensors.js';

const op = 'AdaptedDense';

/** A shape of tf.layers; null is the size of a batch. */
type LayerShape = (number | null)[];

export interface AdaptedDenseConfig {
  /** Borrowed: the tf layer does not dispose it. */
  layer: AdaptedLinear;
  /**
   * Who trains the parameters. 'tfjs' (default): they are weights of the tf layer, which optimisers of tfjs train and
   * `model.save` saves. 'sigmatune': gradients add into `layer.parameters`, and the tf layer has no weights.
   */
  train?: 'tfjs' | 'sigmatune';
  name?: string;
  trainable?: boolean;
  inputShape?: LayerShape;
  batchInputShape?: LayerShape;
}

/** What a saved model knows of a layer, to check the one that it is given again. */
interface Saved {
  readonly family: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly parameters: readonly string[];
}

/**
 * An adapted layer as a layer of tf.layers: x [..., in] → y [..., out]. Its weights are the trained numbers only, those of
 * `layer.parameters`. What tfjs writes is in the parameters at once; what you write to a parameter, or its `trainable`, is in
 * tfjs at the next call of the tf layer, and when its weights are read or saved.
 *
 * A saved model has the trained numbers, not the frozen weight. Before it is loaded, put the adapted layer, made again from
 * the base weight, into `AdaptedDense.layers` under the tf layer's name.
 *
 * @throws SigmaError as `adaptedDense`; BASE_MISMATCH if a saved model is given another layer
 * @example
 * const model = tf.sequential({ layers: [new AdaptedDense({ layer, inputShape: [768] }), tf.layers.dense({ units: 2 })] });
 * model.compile({ optimizer: 'adam', loss: 'meanSquaredError' });
 * await model.fit(x, y);
 */
export class AdaptedDense extends layers.Layer {
  static readonly className: string = op;
  /** The adapted layers of saved models, by the names of their tf layers. */
  static readonly layers: Map<string, AdaptedLinear> = new Map();

  readonly layer: AdaptedLinear;
  readonly #train: 'tfjs' | 'sigmatune';
  #mirrors: readonly Mirror[] = [];

  constructor(config: AdaptedDenseConfig) {
    const { layer, train = 'tfjs', ...args } = config;
    super(args);
    checkLayer(op, layer);
    if (train !== 'tfjs' && train !== 'sigmatune') {
      fail(
        'INVALID_ARGUMENT',
        op,
        'train',
        "'tfjs' or 'sigmatune'",
        typeof train === 'string' ? `'${train}'` : called(train),
      );
    }
    this.layer = layer;
    this.#train = train;
  }

  override build(inputShape: LayerShape | LayerShape[]): void {
    this.#checkShape(inputShape);
    if (this.#train === 'tfjs') {
      this.#mirrors = this.layer.parameters.map((parameter) => {
        const { value, trainable } = parameter;
        const start = initializers.zeros();
        return new Mirror(
          parameter,
          this.addWeight(roleOf(parameter), [...value.shape], 'float32', start, undefined, trainable),
        );
      });
    }
    super.build(inputShape);
  }

  override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
    const x = Array.isArray(inputs) ? inputs[0] : inputs;
    for (const mirror of this.#mirrors) mirror.refresh();
    return applied(
      op,
      this.layer,
      x as tf.Tensor,
      this.#train === 'tfjs' ? intoVariables(this.#mirrors) : intoParameters,
    );
  }

  override computeOutputShape(inputShape: LayerShape | LayerShape[]): LayerShape {
    return [...this.#checkShape(inputShape).slice(0, -1), this.layer.outFeatures];
  }

  override getConfig(): tf.serialization.ConfigDict {
    const { family, inFeatures, outFeatures, parameters } = this.layer;
    const adapted = { family, inFeatures, outFeatures, parameters: parameters.map(roleOf) };
    return { ...super.getConfig(), adapted, train: this.#train };
  }

  static override fromConfig<T extends tf.serialization.Serializable>(
    cls: tf.serialization.SerializableConstructor<T>,
    config: tf.serialization.ConfigDict,
  ): T {
    const { adapted, ...args } = config;
    const name = String(config['name']);
    const layer = AdaptedDense.layers.get(name);
    if (layer === undefined) {
      const how = `AdaptedDense.layers.set('${name}', await svft(weight))`;
      fail('INVALID_ARGUMENT', op, 'AdaptedDense.layers', `the adapted layer of '${name}' (${how})`, 'none');
    }
    const { family, inFeatures, outFeatures, parameters } = adapted as unknown as Saved;
    const wanted = `${family} [${outFeatures}, ${inFeatures}] with ${parameters.join(', ')}`;
    const found = `${layer.family} [${layer.outFeatures}, ${layer.inFeatures}] with ${layer.parameters.map(roleOf).join(', ')}`;
    if (wanted !== found) fail('BASE_MISMATCH', op, `AdaptedDense.layers.get('${name}')`, wanted, found);
    return new cls({ ...args, layer } as unknown as tf.serialization.ConfigDict);
  }

  #checkShape(inputShape: LayerShape | LayerShape[]): LayerShape {
    const shape = (Array.isArray(inputShape[0]) ? inputShape[0] : inputShape) as LayerShape;
    const { inFeatures } = this.layer;
    if (shape.at(-1) !== inFeatures) {
      fail('SHAPE_MISMATCH', op, 'inputShape', `[..., ${inFeatures}]`, `[${shape.map(String).join(', ')}]`);
    }
    return shape;
  }
}

tf.serialization.registerClass(AdaptedDense as unknown as tf.serialization.SerializableConstructor<AdaptedDense>);

/** The parameter's name without the layer's. */
function roleOf({ name }: Parameter): string {
  return name.slice(name.lastIndexOf('.') + 1);
}

/** Returns the gradients to tfjs, for its variables. */
function intoVariables(mirrors: readonly Mirror[]): Sink {
  return {
    variables: () => mirrors.map(({ variable }) => variable),
    pull: (pass: Pass, dy: tf.Tensor) => {
      const { dx, gradients } = pass.pullBack(viewOf(op, 'dy', dy));
      const found = mirrors.map(({ parameter, variable }) => {
        const gradient = gradients.get(parameter as never);
        return gradient === undefined ? tf.zerosLike(variable) : handed(gradient);
      });
      return [handed(dx as NonNullable<typeof dx>), ...found];
    },
  };
}
