// @ts-check
// The figures, by section: which cases of the table are held against which floor. The sections of other kinds are named
// at the end.
import { adapterCase, floorOf } from '../cases/adapters.js';
import { copyCase, gemmCase } from '../cases/dense.js';
import { eachCase } from '../cases/each.js';
import { families, patterns } from '../cases/families.js';
import { width } from '../cases/operands.js';
import { optimiserCase } from '../cases/optim.js';
import { directions, sparseCase } from '../cases/sparse.js';
import { many, rankCase, svdCase } from '../cases/svd.js';
import * as javascript from '../rivals/javascript.js';
import * as torch from '../rivals/torch.js';
import { mark } from './figure.js';
import { groupJob } from './group.js';
import * as memory from './memory.js';
import * as model from './model.js';
import * as repeat from './repeat.js';
import { settings } from './settings.js';
import * as workers from './workers.js';

/** @typedef {import('./figure.js').Context} Context */
/** @typedef {import('./figure.js').Job} Job */
/** @typedef {import('../measure/alternate.js').Rounds} Rounds */
/** @typedef {{ title: string, on?: 'cpu' | 'cuda', jobs: (context: Context) => Iterable<Job> }} Section `on`: only there */

/** @type {Section} */
const copies = {
  title: 'Copies',
  *jobs(context) {
    const { dtypes, copyMegabytes } = settings(context);
    for (const dtype of dtypes) {
      for (const megabytes of copyMegabytes) {
        const count = Math.round((megabytes * 2 ** 20) / width(dtype));
        const copy = copyCase({ count, ...context.where, dtype });
        yield groupJob(context, { size: `${megabytes} MB`, dtype, cases: { copy } });
      }
    }
  },
};

/** What every adapter is held against. @type {Section} */
const gemm = {
  title: 'Bare GEMMs',
  *jobs(context) {
    const { gemmSizes, dtypes } = settings(context);
    for (const [n, i] of gemmSizes.map((n, i) => /** @type {const} */ ([n, i]))) {
      for (const dtype of /** @type {const} */ ([...dtypes, 'float64'])) {
        if (i > 2 && dtype !== 'float32') continue; // which is the type of the largest alone
        const given = { out: n, inFeatures: n, tokens: n, ...context.where, dtype };
        yield groupJob(context, { size: `${n} × ${n} × ${n}`, dtype, cases: { gemm: gemmCase(given) } });
      }
    }
  },
};

/** The goals for a card: a share of a copy, or microseconds at r = N = 4096 in bfloat16 on an H200. */
const sparseGoals = /** @type {Record<string, { share?: number, product?: number, gradient?: number }>} */ ({
  diagonal: { share: 0.85 },
  'band 2': { share: 0.7 },
  'band 8': { share: 0.7 },
  'band 32': { product: 30 },
  'random 16': { product: 60, gradient: 80 },
  'random 33': { product: 90, gradient: 140 },
});

/** Sparse core and its gradient, over a copy of the bytes that they move. @type {Section} */
const sparse = {
  title: 'Sparse core and its gradient',
  *jobs(context) {
    const { dtypes, sparseSize, sparsePatterns } = settings(context);
    const [r, columns] = sparseSize;
    for (const dtype of dtypes) {
      for (const pattern of sparsePatterns) {
        const where = { ...context.where, dtype };
        const cases = Object.fromEntries(
          directions.map((direction) => [
            `${direction}, ${pattern}`,
            sparseCase({ direction, pattern, r, columns, ...where }),
          ]),
        );
        const dense = { gemm: gemmCase({ out: columns, inFeatures: r, tokens: r, ...context.where }) };
        const against = { copy: copyCase({ count: r * columns, ...where }), ...(dtype === 'float32' && dense) };
        const flops = (2 * patterns[pattern].entries(r) * columns) / dense.gemm.flops;
        const judge = (/** @type {string} */ name, /** @type {Rounds} */ rounds) =>
          context.device === 'cpu' ? onCpu(name, rounds, flops) : onCard(name, rounds, pattern, dtype);
        yield groupJob(context, { label: pattern, size: `r = ${r}, N = ${columns}`, dtype, cases, against, judge });
      }
    }
  },
};

/** The bound is a copy, or the flops at the rate of a GEMM. @param {string} name @param {Rounds} rounds @param {number} flops over the GEMM's */
function onCpu(name, rounds, flops) {
  const share = rounds.figure((ms) => Math.max(ms.copy, flops * ms.gemm) / ms[name]);
  const binding = rounds.figure((ms) => ms.copy - flops * ms.gemm).median > 0 ? 'a copy' : 'the flops';
  return mark(`share of ${binding}`, share, 'higher', 0.8);
}

/** @param {string} name @param {Rounds} rounds @param {string} pattern @param {string} dtype */
function onCard(name, rounds, pattern, dtype) {
  const { share, product, gradient } = sparseGoals[pattern];
  const half = dtype === 'bfloat16';
  const goal = name.startsWith('sddmm') ? gradient : product;
  const micro = rounds.figure((ms) => 1000 * ms[name]);
  // A gradient reads two matrices where a copy reads one and writes one: the same bytes.
  return [
    ...mark(
      'share of a copy',
      rounds.figure((ms) => ms.copy / ms[name]),
      'higher',
      share,
    ),
    ...(half && goal !== undefined ? mark('µs (goal for an H200)', micro, 'lower', goal) : []),
    ...(half || share !== undefined
      ? []
      : mark(
          'times a dense GEMM',
          rounds.figure((ms) => ms[name] / ms.gemm),
          'lower',
          1,
        )),
  ];
}

/** A step of AdamW over a copy of its bytes: it reads four arrays and writes three. @type {Section} */
const optimizer = {
  title: 'AdamW',
  *jobs(context) {
    const { optimiserPowers } = settings(context);
    for (const power of optimiserPowers) {
      const count = 2 ** power;
      const goal = power === optimiserPowers[optimiserPowers.length - 1] ? 0.8 : undefined;
      yield groupJob(context, {
        size: `2^${power} numbers`,
        dtype: 'float32',
        cases: { 'AdamW step': optimiserCase({ rule: 'AdamW', count, ...context.where }) },
        against: { copy: copyCase({ count, ...context.where }) },
        judge: (name, rounds) =>
          mark(
            'share of a copy',
            rounds.figure((ms) => (3.5 * ms.copy) / ms[name]),
            'higher',
            goal,
          ),
      });
    }
  },
};

/** A step of one layer over the best floor of the cost model, in GEMMs of the same operands. @type {Section} */
const adapters = {
  title: 'Forward + backward over the best floor',
  *jobs(context) {
    const { dtypes, weights, tokens: batches } = settings(context);
    const judged = Object.entries(families).filter(([, { goal }]) => goal !== undefined);
    for (const shape of weights) {
      for (const dtype of dtypes) {
        for (const tokens of batches) {
          const [out, inFeatures] = shape;
          const where = { ...context.where, dtype };
          const given = (/** @type {string} */ family) =>
            /** @type {const} */ ({ family, shape, tokens, what: 'pass', ...where });
          yield groupJob(context, {
            size: `${out} × ${inFeatures}, N = ${tokens}`,
            dtype,
            cases: Object.fromEntries(judged.map(([family]) => [family, adapterCase(given(family))])),
            against: { gemms: gemmCase({ out, inFeatures, tokens, both: true, ...where }) },
            judge: (family, rounds) => {
              const { goal, goalOnDevice = goal } = families[family];
              const floor = floorOf(given(family));
              const over = rounds.figure((ms) => ms[family] / ((ms.gemms / 2) * floor));
              const limit = context.device === 'cpu' ? goal : goalOnDevice;
              return mark(`over ${floor.toFixed(2)} GEMMs`, over, 'lower', limit);
            },
          });
        }
      }
    }
  },
};

/** Many adapters in one batch, over one adapter for the whole batch. @type {Section} */
const each = {
  title: 'Many adapters in one batch',
  *jobs(context) {
    const [tokens, many] = context.dry ? [16, 4] : [512, 64];
    for (const n of context.dry ? [64] : [768, 1024, 2048]) {
      for (const family of ['svft plain', 'svft band 2', 'svft random 16', 'vectorfit', 'siva 64', 'loraxs 16']) {
        for (const what of /** @type {const} */ (['forward', 'pass'])) {
          const given = { family, shape: /** @type {const} */ ([n, n]), tokens, what, ...context.where };
          const [all, one] = [`${many} adapters`, 'one adapter'];
          yield groupJob(context, {
            label: `${family}, ${what}`,
            size: `${n} × ${n}, ${tokens} rows`,
            dtype: 'float32',
            cases: { [all]: eachCase({ ...given, adapters: many }), [one]: eachCase({ ...given, adapters: 1 }) },
            judge: (name, rounds) =>
              name === one
                ? []
                : mark(
                    'over one adapter',
                    rounds.figure((ms) => ms[all] / ms[one]),
                    'lower',
                    1.15,
                  ),
            seconds: 10,
          });
        }
      }
    }
  },
};

/** What the project asks of Gram matrices in float64. */
const gramGoal = 1e-6;

/** Decompositions by driver and shape, with what the answers are worth. @type {Section} */
const svd = {
  title: 'SVD by driver',
  *jobs(context) {
    for (const { batch = 1, m, n, drivers, goal } of settings(context).decompositions) {
      const given = { ...context.where, stacked: context.device !== 'cpu' };
      yield groupJob(context, {
        size: batch > 1 ? `${batch} × ${m} × ${n}` : `${m} × ${n}`,
        dtype: 'float32',
        cases: Object.fromEntries(
          drivers.map((driver) => [`svd '${driver}'`, svdCase(driver, many(batch, m, n), given)]),
        ),
        judge: (name, rounds, errors) => {
          if (context.device === 'cpu') {
            const over = rounds.figure((ms) => ms[name] / ms["svd 'gesdd'"]);
            return name === "svd 'auto'" ? mark('over gesdd', over, 'lower', batch > 1 ? undefined : 1) : [];
          }
          const seconds = rounds.figure((ms) => ms[name] / 1000);
          const exact = Math.min(m, n) > 32 && /auto|gram64/.test(name);
          const [residual, u, v] = errors.map(({ value }) => value);
          return [
            ...(name === "svd 'auto'" && goal ? mark('seconds (goal for an H200)', seconds, 'lower', goal) : []),
            ...(exact ? [...quality('residual', residual), ...quality('orthogonality', Math.max(u, v))] : []),
          ];
        },
        seconds: 10 * drivers.length,
      });
    }
  },
};

/** @param {string} what @param {number} value */
const quality = (what, value) => mark(what, { median: value, low: value, high: value }, 'lower', gramGoal);

/** The largest triples alone. @param {Context} context @returns {Generator<Job>} */
function* rankJobs(context) {
  /** @type {readonly (readonly [number, number, number, import('../cases/svd.js').Spectrum])[]} */
  const all = [
    [2048, 2048, 128, 'decaying'],
    [2048, 2048, 32, 'decaying'],
    [4096, 1024, 64, 'decaying'],
    [4096, 1024, 16, 'decaying'],
    [1024, 4096, 64, 'decaying'],
    [1024, 1024, 64, '1 / j'],
    [2048, 2048, 128, '1 / j'],
    [1024, 1024, 64, 'flat'],
    [1536, 512, 32, 'decaying'],
    [512, 512, 32, 'decaying'],
    [256, 512, 16, 'decaying'],
  ];
  for (const [m, n, k, spectrum] of context.dry ? [/** @type {const} */ ([48, 40, 4, 'decaying'])] : all) {
    const name = `svd, rank ${k}, ${spectrum}`;
    yield groupJob(context, {
      label: name,
      size: `${m} × ${n}`,
      dtype: 'float32',
      cases: { [name]: rankCase([m, n], k, { spectrum }) },
      against: { all: rankCase([m, n], undefined, { spectrum }) },
      judge: (name, rounds) => [
        // The goal is for large matrices whose largest triples stand out.
        ...mark(
          'the time of all over it',
          rounds.figure((ms) => ms.all / ms[name]),
          'higher',
          Math.min(m, n) >= 1024 && spectrum === 'decaying' ? 5 : undefined,
        ),
        ...mark('ms of all', rounds.time('all'), 'lower'),
      ],
      seconds: 12,
    });
  }
}

/** @type {Readonly<Record<string, Section>>} */
export const sections = {
  copies,
  gemm,
  sparse,
  optimizer,
  adapters,
  each,
  repeat,
  workers,
  memory,
  torch,
  svd,
  'torch-each': { title: 'Many adapters in one batch, compared with PEFT', jobs: torch.eachJobs },
  'svd-rank': { title: 'The largest triples, compared with all', on: 'cpu', jobs: rankJobs },
  'torch-svd': { title: 'SVD compared with PyTorch', jobs: torch.svdJobs },
  javascript,
  model,
};
