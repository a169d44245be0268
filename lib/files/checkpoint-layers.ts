// Whether the layers of a run are those of its checkpoint: the same weights, the same terms, the same singular vectors.
import { createHash } from 'node:crypto';
import type { Adapter } from '../layers/adapter.js';
import { aligned, coordinatesOf } from '../layers/frame.js';
import { describe, fail, isArray } from '../runtime/check.js';
import { roleOf } from './adapters.js';
import { type DescribedParameter, type Description, parameterKey, sketchKey } from './checkpoint-content.js';
import { quoted } from './complaints.js';
import { directionsOf, hashesOf } from './identity.js';
import type { SafetensorsFile } from './safetensors.js';
import { checkStored, readSketch } from './stored.js';
import { tolerances } from './tolerances.js';

export type NamedLayers = readonly (readonly [string, Adapter])[];

export function parametersOf(op: string, layer: Adapter): readonly DescribedParameter[] {
  return layer.parameters.map(({ name, value, trainable }) => {
    return { name: roleOf(layer, op, name), shape: value.shape, trainable };
  });
}

/** `parameters` as `parametersOf` gives them: a caller may change them while this works. */
export async function describeLayer(
  op: string,
  name: string,
  layer: Adapter,
  parameters: readonly DescribedParameter[],
): Promise<Description> {
  const { terms, base } = layer.anatomy(op);
  const coordinates = terms.core?.pattern && coordinatesOf(terms);
  return {
    name,
    family: layer.family,
    out: layer.outFeatures,
    in: layer.inFeatures,
    rank: layer.rank,
    dtype: terms.u.dtype,
    parameters,
    pattern: coordinates
      ? createHash('sha256').update(coordinates.rows).update(coordinates.columns).digest('hex')
      : null,
    rectified: terms.rectified,
    whole: terms.base !== undefined || base.original !== undefined,
    ...(await hashesOf(op, layer, undefined)),
  };
}

/** BASE_MISMATCH if a layer was not built as the saved one. */
export async function checkLayers(
  op: string,
  path: string,
  file: SafetensorsFile,
  layers: NamedLayers,
  saved: readonly Description[],
) {
  const own = layers.map(([name]) => name);
  const missing =
    saved.find(({ name }) => !own.includes(name))?.name ??
    own.find((name) => saved.every((each) => each.name !== name));
  if (missing !== undefined) {
    const got = own.includes(missing)
      ? `${quoted(missing)}, which it does not have`
      : `none of the name ${quoted(missing)}`;
    fail('BASE_MISMATCH', op, 'run.layers', `the ${saved.length} layers of the checkpoint`, got);
  }
  for (const [name, layer] of layers) {
    const wanted = saved.find((each) => each.name === name) as Description;
    const found = await describeLayer(op, name, layer, parametersOf(op, layer));
    compare(op, name, wanted, found);
    for (const parameter of layer.parameters) {
      checkStored(op, path, file, parameterKey(op, name, layer, parameter), parameter.value.shape);
    }
    await compareVectors(op, path, file, name, layer);
  }
}

function compare(op: string, name: string, wanted: Description, found: Description): void {
  const where = `run.layers[${quoted(name)}]`;
  const keys = ['family', 'out', 'in', 'rank', 'dtype', 'pattern', 'rectified', 'whole'] as const;
  for (const key of keys) {
    if (wanted[key] !== found[key])
      fail('BASE_MISMATCH', op, where, `${key} ${describe(wanted[key])}, as the saved layer has`, describe(found[key]));
  }
  const parameters = ({ parameters: list }: Description) =>
    (isArray(list) ? list : []).map((each) => `${each?.name} [${each?.shape}]`).join(', ');
  if (parameters(wanted) !== parameters(found))
    fail('BASE_MISMATCH', op, where, `the parameters ${parameters(wanted)}`, parameters(found));
  for (const key of ['weight', 'bias'] as const) {
    const known = key === 'bias' || (wanted.weight !== null && found.weight !== null);
    if (known && wanted[key] !== found[key]) {
      fail(
        'BASE_MISMATCH',
        op,
        where,
        `the ${key} that the saved layer was made with`,
        found[key] === null ? 'none' : 'another',
      );
    }
  }
}

/** The singular vectors must be the same, signs and all: moments of an optimiser belong to them, too. */
async function compareVectors(
  op: string,
  path: string,
  file: SafetensorsFile,
  name: string,
  layer: Adapter,
): Promise<void> {
  const { anatomy, frame, sketch } = await directionsOf(op, layer, undefined);
  const saved = await readSketch(op, path, file, frame, (side) => sketchKey(name, side));
  const alignment = aligned(op, anatomy, frame, sketch, saved);
  const turned = alignment.left.filter((sign, i) => sign < 0 || (alignment.right[i] as number) < 0).length;
  const off = Math.max(
    ...frame.left.map((i) => alignment.leftOff[i] as number),
    ...frame.right.map((j) => alignment.rightOff[j] as number),
  );
  if (turned === 0 && off <= tolerances[anatomy.terms.dtype]) return;
  const got = turned > 0 ? `others: ${turned} of them with another sign` : `others: off by ${off.toPrecision(2)}`;
  const wayOut = 'give the layer the decomposition of the first run as its option factors';
  fail(
    'BASE_MISMATCH',
    op,
    `run.layers[${quoted(name)}]`,
    'the singular vectors that the saved layer had',
    `${got} (${wayOut})`,
  );
}
