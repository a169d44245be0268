import {
  checkBoolean,
  checkChoice,
  checkInteger,
  checkOptions,
  isRecord,
  readList,
  readRecord,
  reject,
} from '../runtime/check.js';
import { type Band, bandedEntries, readBand } from '../sparse/banded.js';

const op = 'parameterCount';

/** A method and its settings, named as in its paper. 'boft' has m butterfly factors of blocks of size b. */
export type CountedMethod =
  | {
      name: 'svft';
      pattern: 'plain' | 'banded' | 'random' | 'topk';
      offDiagonals?: number | Band;
      gate?: boolean;
      rank?: number;
    }
  | { name: 'vectorfit'; sigma?: boolean; bias?: boolean }
  | { name: 'lora' | 'dora' | 'vera'; r: number }
  | { name: 'boft'; m: number; b: number };

/** A linear layer [out, in], and how often it occurs (default 1). */
export interface CountedModule {
  out: number;
  in: number;
  count?: number;
}

type Formula = (out: number, inFeatures: number) => number;

function formulaOf(method: CountedMethod): Formula {
  const names = ['svft', 'vectorfit', 'lora', 'dora', 'vera', 'boft'] as const;
  const name = checkChoice(op, 'method.name', method.name, names);
  switch (method.name) {
    case 'svft':
      return svftFormula(method);
    case 'vectorfit': {
      checkOptions(op, 'method', method, ['name', 'sigma', 'bias']);
      const sigma = checkBoolean(op, 'method.sigma', method.sigma ?? true);
      const bias = checkBoolean(op, 'method.bias', method.bias ?? true);
      return (out, inFeatures) => (sigma ? Math.min(out, inFeatures) : 0) + (bias ? out : 0);
    }
    case 'boft': {
      checkOptions(op, 'method', method, ['name', 'm', 'b']);
      const m = checkInteger(op, 'method.m', method.m, 1);
      const b = checkInteger(op, 'method.b', method.b, 1);
      return (out, inFeatures) => m * inFeatures * b + out;
    }
    default: {
      checkOptions(op, 'method', method, ['name', 'r']);
      const r = checkInteger(op, 'method.r', method.r, 1);
      if (name === 'vera') return (out) => r + out;
      return (out, inFeatures) => r * (out + inFeatures) + (name === 'dora' ? out : 0);
    }
  }
}

function svftFormula(method: Extract<CountedMethod, { name: 'svft' }>): Formula {
  checkOptions(op, 'method', method, ['name', 'pattern', 'offDiagonals', 'gate', 'rank']);
  const pattern = checkChoice(op, 'method.pattern', method.pattern, ['plain', 'banded', 'random', 'topk']);
  const width = readBand(op, 'method.offDiagonals', method.offDiagonals ?? 1);
  const band = pattern === 'plain' ? { lower: 0, upper: 0 } : width;
  const gate = checkBoolean(op, 'method.gate', method.gate ?? true);
  const rank = checkInteger(op, 'method.rank', method.rank ?? 2 ** 31 - 1, 1);
  return (out, inFeatures) => bandedEntries(Math.min(out, inFeatures, rank), band) + (gate ? 1 : 0);
}

/**
 * The exact number of parameters that a method trains on linear layers; no weights are needed. SVFT's 'random' and
 * 'topk' have as many entries as the band, for every shape.
 *
 * @throws SigmaError INVALID_ARGUMENT
 * @example
 * parameterCount({ name: 'lora', r: 8 }, [{ out: 768, in: 768, count: 24 }]); // 294912
 */
export function parameterCount(method: CountedMethod, modules: readonly CountedModule[]): number {
  if (!isRecord(method)) reject(op, 'method', 'an object with a name', method);
  const formula = formulaOf(readRecord(op, 'method', method) as unknown as CountedMethod);
  const list = readList(op, 'modules', modules, 'an array of { out, in, count? }');
  const total = list.reduce((sum: number, each, i) => {
    if (!isRecord(each)) reject(op, `modules[${i}]`, 'an object { out, in, count? }', each);
    const { out, in: inFeatures } = each;
    const count = Object.hasOwn(each, 'count') ? each['count'] : undefined;
    checkInteger(op, `modules[${i}].out`, out, 1);
    checkInteger(op, `modules[${i}].in`, inFeatures, 1);
    return (
      sum +
      checkInteger(op, `modules[${i}].count`, count === undefined ? 1 : count, 0) *
        formula(out as number, inFeatures as number)
    );
  }, 0);
  // No term is negative, so a sum that has left the range of exact integers stays outside.
  if (!Number.isSafeInteger(total)) reject(op, 'modules', 'fewer than 2^53 parameters in all', total);
  return total;
}
