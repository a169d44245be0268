// The options that choose modules, as `adaptModel` takes them.
import { type ArchitectureName, type ModelOptions, type TargetSet, type Targets, targetsOf } from '../index.js';
import { checkOptions } from '../runtime/check.js';
import { reasonOf, SigmaError } from '../runtime/errors.js';
import { readPair } from './arguments.js';
import { readJson } from './checkpoint.js';
import type { OptionTable, Values } from './command.js';
import { UsageError } from './failures.js';

/** Which modules. */
export const targetOptions = {
  targets: {
    type: 'string',
    value: 'NAMES',
    about: "the ends of the modules' names, such as q_proj,v_proj; /a pattern/; or all",
  },
  exclude: { type: 'string', value: 'NAMES', about: 'modules that stay as they are, written as the targets are' },
  preset: {
    type: 'string',
    value: 'ARCH:SET',
    about: "targets of an architecture by the papers' letters, such as llama:QV",
  },
  layout: { type: 'string', value: 'LAYOUT', about: 'out-in (default), or in-out for weights of TensorFlow and Flax' },
  split: {
    type: 'string',
    value: 'NAME=PARTS',
    multiple: true,
    about: 'parts of a fused weight: c_attn=q,k,v or, with sizes, qkv=q:4096,k:1024,v:1024',
  },
  config: { type: 'string', value: 'FILE', about: "JSON with options of adaptModel; the command line's come first" },
} as const satisfies OptionTable;

/** What is trained in them. */
export const familyOptions = {
  family: { type: 'string', value: 'NAME', about: 'svft, siva, vectorfit, svdiff or loraxs' },
  option: {
    type: 'string',
    value: 'NAME=VALUE',
    multiple: true,
    about: 'an option of the family, such as pattern=banded or offDiagonals=2',
  },
} as const satisfies OptionTable;

/** What a file of `--config` may have. */
const configKeys = ['targets', 'exclude', 'family', 'options', 'modules', 'layout', 'split'] as const;

export type Selection = Partial<Pick<ModelOptions, (typeof configKeys)[number]>>;

export async function readSelection(
  values: Values<typeof targetOptions> & Partial<Values<typeof familyOptions>>,
  signal: AbortSignal,
): Promise<Selection> {
  const { targets, exclude, preset, layout, split, config, family, option = [] } = values;
  const given: Selection = {};
  const set = (more: { readonly [K in keyof Selection]?: unknown }) => Object.assign(given, more);
  if (config !== undefined) set(await readConfig(config, signal));
  if (preset !== undefined) set(readPreset(preset));
  if (targets !== undefined) set({ targets: readTargets('targets', targets) });
  if (exclude !== undefined) set({ exclude: readTargets('exclude', exclude) });
  if (layout !== undefined) set({ layout });
  if (split.length > 0) set({ split: Object.fromEntries(split.map(readSplit)) });
  if (family !== undefined) set({ family });
  if (option.length > 0) {
    set({ options: { ...given.options, ...Object.fromEntries(option.map((each) => readPair('option', each))) } });
  }
  return given;
}

async function readConfig(path: string, signal: AbortSignal): Promise<Selection> {
  const read = checkOptions<Selection>('config', `'${path}'`, (await readJson(path, signal)) as Selection, configKeys);
  const targets = (['targets', 'exclude'] as const).flatMap((key) => {
    const value = read[key];
    return typeof value === 'string' ? [[key, readTargets(key, value)] as const] : [];
  });
  return { ...read, ...Object.fromEntries(targets) };
}

/** `a,b`, `/pattern/flags` or `all`. */
function readTargets(name: string, text: string): Targets {
  const [, pattern, flags] = /^\/(.*)\/([a-z]*)$/s.exec(text) ?? [];
  if (pattern !== undefined) {
    try {
      return new RegExp(pattern, flags);
    } catch (error) {
      throw new UsageError(`--${name}: expected a pattern, got ${(error as Error).message}`);
    }
  }
  if (text === 'all') return text;
  const names = text.split(',').map((each) => each.trim());
  if (names.includes('')) throw new UsageError(`--${name}: expected names with commas between them, got '${text}'`);
  return names;
}

function readPreset(text: string): Selection {
  const [architecture, set, ...rest] = text.split(':');
  if (set === undefined || rest.length > 0) {
    throw new UsageError(`--preset: expected an architecture and a set, such as llama:QV, got '${text}'`);
  }
  try {
    return targetsOf(architecture as ArchitectureName, set as TargetSet);
  } catch (error) {
    throw error instanceof SigmaError ? new UsageError(`--preset, ${reasonOf(error)}`) : error;
  }
}

/** `c_attn=q,k,v` or `qkv=q:4096,k:1024,v:1024`. */
export function readSplit(text: string): [string, readonly string[] | Record<string, number>] {
  const malformed = () => new UsageError(`--split: expected NAME=PART,PART or NAME=PART:SIZE,PART:SIZE, got '${text}'`);
  const [, name, list] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (name === undefined || list === undefined) throw malformed();
  const parts = list.split(',').map((part) => part.split(':'));
  if (parts.some(([part = '', , ...more]) => part === '' || more.length > 0)) throw malformed();
  const sized = parts.filter(({ length }) => length === 2);
  if (sized.length === 0) return [name, parts.map(([part]) => part as string)];
  if (sized.length < parts.length || sized.some(([, size = '']) => !/^\d+$/.test(size))) throw malformed();
  return [name, Object.fromEntries(sized.map(([part, size]) => [part, Number(size)]))];
}
