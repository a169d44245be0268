// The contents of checkpoint.safetensors: the names of its tensors, and the JSON in its metadata.

import type { Adapter } from '../layers/adapter.js';
import { describe, isArray, isRecord } from '../runtime/check.js';
import { version } from '../runtime/version.js';
import type { Parameter } from '../tensor/parameter.js';
import { roleOf } from './adapters.js';
import { corrupt, newerFormat } from './complaints.js';
import { parseJson } from './json-file.js';
import type { SafetensorsFile } from './safetensors.js';

const formatVersion = 1;
/** The key of the JSON in the metadata. */
export const contentKey = 'sigmatune_checkpoint';

/** What a layer must have in common with the one that was saved. */
export interface Description {
  readonly name: string;
  readonly family: string;
  readonly out: number;
  readonly in: number;
  readonly rank: number;
  readonly dtype: string;
  readonly parameters: readonly DescribedParameter[];
  /** Of the base weight, if it could be reached. */
  readonly weight: string | null;
  readonly bias: string | null;
  /** SHA-256 of the coordinates of M; null for a core that is dense or has no M. */
  readonly pattern: string | null;
  readonly rectified: boolean;
  /** Whether W' has the directions beyond the truncated rank. */
  readonly whole: boolean;
}

export interface DescribedParameter {
  readonly name: string;
  readonly shape: readonly number[];
  readonly trainable: boolean;
}

export interface Content {
  readonly layers: readonly Description[];
  /** Packed, as are the others. */
  readonly optimizer: unknown;
  readonly freezing: unknown;
  /** { value }; null if there was none. */
  readonly extra: unknown;
}

/** The name of the tensor of a trained parameter. */
export function parameterKey(op: string, name: string, layer: Adapter, parameter: Parameter): string {
  return ['layers', name, roleOf(layer, op, parameter.name)].join('.');
}

/** The name of the tensor of a sketch. */
export function sketchKey(name: string, side: string): string {
  return ['layers', name, 'sigmatune', side].join('.');
}

/** The file's metadata. */
export function contentNotes(content: Content): Map<string, string> {
  const json = { format_version: formatVersion, library_version: version, ...content };
  return new Map([
    ['format', 'pt'],
    [contentKey, JSON.stringify(json)],
  ]);
}

export function readContent(op: string, path: string, file: SafetensorsFile): Content {
  const text = file.metadata[contentKey];
  if (text === undefined) corrupt(op, path, undefined, `metadata of the name '${contentKey}'`, 'none');
  const content = parseJson(op, path, Buffer.from(text), (json) => json.value());
  if (!isRecord(content)) return corrupt(op, path, undefined, 'an object', describe(content));
  const { format_version: version, library_version: library, layers, optimizer, freezing, extra } = content;
  if (typeof version !== 'number') corrupt(op, path, undefined, 'format_version to be a number', describe(version));
  if (version > formatVersion) newerFormat(op, path, version, formatVersion, String(library));
  if (!isArray(layers) || !layers.every((each) => isRecord(each) && typeof each['name'] === 'string')) {
    corrupt(op, path, undefined, 'a list of layers', describe(layers));
  }
  return { layers: layers as Description[], optimizer, freezing, extra };
}
