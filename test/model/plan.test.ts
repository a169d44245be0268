/** planModel: which modules are chosen, and how many numbers train. */
import { readFileSync } from 'node:fs';
import {
  type ArchitectureName,
  adaptModel,
  type ModelOptions,
  type ModuleRow,
  planModel,
  targetsOf,
  zeros,
} from 'sigmatune';
import t from 'tap';
import { expectNoLeak, gaussian, seeded, throwsSigma } from '../support/helpers.js';

const names = (rows: readonly ModuleRow[]) => rows.map(({ name }) => name);
const total = (rows: readonly ModuleRow[]) => rows.reduce((sum, { parameters }) => sum + parameters, 0);

const tiny = {
  'embed.weight': [50, 8],
  'h.0.attn.q_proj.weight': [8, 8],
  'h.0.attn.q_proj.bias': [8],
  'h.0.attn.v_proj.weight': [4, 8],
  'h.0.norm.weight': [8],
  'h.1.attn.q_proj.weight': [8, 8],
  'h.1.attn.v_proj.weight': [4, 8],
};

t.test('targets', async (t) => {
  const chosen = (options: Partial<ModelOptions>) =>
    names(planModel(tiny, { targets: 'all', family: 'vectorfit', ...options }));
  const [q0, v0, q1, v1] = ['0', '0', '1', '1'].map((i, at) => `h.${i}.attn.${at % 2 ? 'v' : 'q'}_proj.weight`);
  t.same(chosen({}), ['embed.weight', q0, v0, q1, v1], 'all matrices, in the order of the weights');
  t.same(chosen({ targets: ['q_proj'] }), [q0, q1], 'a suffix without .weight');
  t.same(chosen({ targets: ['v_proj.weight'] }), [v0, v1], 'with it');
  t.same(chosen({ targets: ['h.1.attn.q_proj'] }), [q1], 'a whole name');
  t.same(chosen({ targets: /^h\.0\..*_proj$/ }), [q0, v0], 'a pattern');
  t.same(chosen({ targets: /_proj/g }), [q0, v0, q1, v1], 'a pattern has no memory of its last match');
  t.same(chosen({ exclude: ['embed', 'h.0.attn.q_proj'] }), [v0, q1, v1], 'exclude');
  t.same(chosen({ targets: ['q_proj'], exclude: /\.0\./ }), [q1]);
  t.same(chosen({ targets: ['q_proj'], modules: { 'h.0.attn.q_proj': false } }), [q1], 'false leaves a module alone');
});

t.test('a pattern with properties of its own', async (t) => {
  const pattern = /q_proj/;
  Object.defineProperty(pattern, 'source', { value: '(' });
  Object.defineProperty(pattern, 'flags', { value: 'none' });
  t.equal(planModel(tiny, { targets: pattern, family: 'vectorfit' }).length, 2, 'is read as it was made');
});

t.test('a bias of stacked experts is no module', async (t) => {
  const shapes = { 'experts.weight': [3, 8, 8], 'experts.bias': [3, 8], a: [8, 8], 'a.weight': [8] };
  const rows = planModel(shapes, { targets: 'all', family: 'vectorfit' });
  t.same(names(rows), ['experts.0', 'experts.1', 'experts.2', 'a']);
  t.same(
    rows.map(({ parameters }) => parameters),
    [16, 16, 16, 8],
    "a vector is a bias by its name's end only",
  );
});

t.test('the work grows with the number of names, not with its square', async (t) => {
  // Processor time, which other programs do not lengthen as they do the time on the clock.
  const costOf = (count: number): number => {
    const many = Array.from({ length: count }, (_, i) => `model.layers.${i}.mlp.q_proj.weight`);
    const shapes = Object.fromEntries(many.map((name) => [name, [2, 2]]));
    const modules = Object.fromEntries(many.map((name) => [name, { family: 'vectorfit' as const }]));
    const start = process.cpuUsage();
    t.equal(planModel(shapes, { targets: many, family: 'svft', modules }).length, many.length);
    return process.cpuUsage(start).user;
  };
  const small = Math.min(...[0, 1, 2].map(() => costOf(2500)));
  const ratio = costOf(20_000) / small;
  t.ok(ratio < 32, `8 times the names take ${ratio.toFixed(1)} times the work`);
});

t.test('family and options of a module', async (t) => {
  const rows = planModel(tiny, {
    targets: ['q_proj', 'v_proj'],
    family: 'svft',
    options: { gate: false },
    modules: {
      q_proj: { options: { pattern: 'banded', offDiagonals: 1 } },
      'h.1.attn.q_proj': { family: 'loraxs', options: { rank: 3 } },
      v_proj: { family: 'vectorfit' },
    },
  });
  t.same(
    rows.map(({ family, parameters }) => [family, parameters]),
    [
      ['svft', 8 * 3 - 2],
      ['vectorfit', 4],
      ['loraxs', 9],
      ['vectorfit', 4],
    ],
    'the longest suffix counts; options are added, or stand alone with another family',
  );
  const specific = planModel(tiny, {
    targets: ['q_proj'],
    family: 'svft',
    modules: { 'attn.q_proj.weight': { family: 'vectorfit' }, 'h.1.attn.q_proj': { family: 'svdiff' } },
  });
  t.same(
    specific.map(({ family }) => family),
    ['vectorfit', 'svdiff'],
    "'.weight' does not make a name more specific",
  );
  const [first] = planModel(tiny, { targets: ['h.0.attn.q_proj'], family: 'vectorfit' });
  t.equal(first?.parameters, 16, "a bias by the weight's name");
  const [plain] = planModel(tiny, { targets: ['h.1.attn.q_proj'], family: 'vectorfit' });
  t.equal(plain?.parameters, 8, 'and none');
  using bias = zeros([8]);
  const biases = { 'h.1.attn.q_proj': bias };
  t.equal(total(planModel(tiny, { targets: ['h.1.attn.q_proj'], family: 'vectorfit', biases })), 16, 'a given one');
  const [unknown] = planModel(tiny, { targets: ['embed'], family: 'siva' });
  t.ok(Number.isNaN(unknown?.parameters), "SiVA's k depends on the weight");
  t.equal(planModel(tiny, { targets: ['embed'], family: 'siva', options: { count: 3 } })[0]?.parameters, 3);
});

t.test('fused, stacked and convolution weights', async (t) => {
  const shapes = {
    'a.qkv.weight': [24, 8],
    'a.experts': [3, 6, 8],
    'a.conv.weight': [5, 4, 3, 3],
    'b.c_attn': [8, 24],
  };
  const rows = planModel(shapes, {
    targets: 'all',
    family: 'svdiff',
    layout: { c_attn: 'in-out' },
    split: { qkv: { q: 8, k: 4, v: 12 }, c_attn: ['q', 'k', 'v'] },
  });
  t.same(
    rows.map(({ name, out, in: inFeatures }) => [name, out, inFeatures]),
    [
      ['a.qkv.q', 8, 8],
      ['a.qkv.k', 4, 8],
      ['a.qkv.v', 12, 8],
      ['a.experts.0', 6, 8],
      ['a.experts.1', 6, 8],
      ['a.experts.2', 6, 8],
      ['a.conv.weight', 5, 36],
      ['b.c_attn.q', 8, 8],
      ['b.c_attn.k', 8, 8],
      ['b.c_attn.v', 8, 8],
    ],
  );
  const only = planModel(shapes, { targets: ['qkv.q', 'experts'], family: 'svdiff', split: { qkv: { q: 8, k: 16 } } });
  t.same(names(only), ['a.qkv.q', 'a.experts.0', 'a.experts.1', 'a.experts.2'], 'a part, and all parts of a weight');
});

/** The names that Hugging Face's checkpoints have, by the letters of the papers. */
const checkpoints: Record<string, { as: ArchitectureName; module: (role: string, layer: number) => string }> = {
  'gemma-2b': { as: 'gemma', module: (role, i) => `model.layers.${i}.${decoder[role]}.weight` },
  'gemma-7b': { as: 'gemma', module: (role, i) => `model.layers.${i}.${decoder[role]}.weight` },
  'llama-3-8b': { as: 'llama', module: (role, i) => `model.layers.${i}.${decoder[role]}.weight` },
  'deberta-v3-base': {
    as: 'deberta',
    module: (role, i) => `deberta.encoder.layer.${i}.${encoder('self', '_proj')[role]}.weight`,
  },
  'vit-base': { as: 'vit', module: (role, i) => `vit.encoder.layer.${i}.${encoder('attention')[role]}.weight` },
  'vit-large': { as: 'vit', module: (role, i) => `vit.encoder.layer.${i}.${encoder('attention')[role]}.weight` },
};
const decoder: Record<string, string> = {
  q: 'self_attn.q_proj',
  k: 'self_attn.k_proj',
  v: 'self_attn.v_proj',
  o: 'self_attn.o_proj',
  gate: 'mlp.gate_proj',
  up: 'mlp.up_proj',
  down: 'mlp.down_proj',
};
const encoder = (self: string, suffix = ''): Record<string, string> => ({
  q: `attention.${self}.query${suffix}`,
  k: `attention.${self}.key${suffix}`,
  v: `attention.${self}.value${suffix}`,
  o: 'attention.output.dense',
  f1: 'intermediate.dense',
  f2: 'output.dense',
});

const endOf = (name: string): string => name.split('.0.')[1]?.replace('.weight', '') as string;

interface CountFile {
  models: Record<string, { layers: number; modules: Record<string, readonly [number, number]> }>;
  rows: readonly {
    source: string;
    model: string;
    method: {
      name: string;
      pattern?: string;
      offDiagonals?: number;
      gate?: boolean;
      rank?: number | null;
      sigma?: boolean;
      bias?: boolean;
      biasTargets?: readonly string[];
    };
    targets: readonly string[];
    expected: number;
  }[];
}
const file: CountFile = JSON.parse(readFileSync(new URL('../fixtures/parameter-counts.json', import.meta.url), 'utf8'));

t.test("the papers' counts come out of real models' names and shapes", async (t) => {
  let checked = 0;
  for (const { source, model, method, targets, expected } of file.rows) {
    const known = checkpoints[model];
    const shapes = file.models[model];
    if (known === undefined || shapes === undefined || method.name !== 'svft') continue;
    const weights: Record<string, readonly number[]> = { 'norm.weight': [8], 'embed_tokens.weight': [1000, 8] };
    for (let i = 0; i < shapes.layers; i++) {
      for (const [role, shape] of Object.entries(shapes.modules)) weights[known.module(role, i)] = shape;
    }
    const { pattern = 'plain', offDiagonals = 0, gate = true, rank } = method;
    // By the end of each role's name, as a user would write them.
    const ends = new RegExp(`\\.(?:${targets.map((role) => endOf(known.module(role, 0))).join('|')})$`);
    const exclude = targets.includes('f2') && !targets.includes('o') ? ['attention.output.dense'] : undefined;
    const rows = planModel(weights, {
      targets: ends,
      ...(exclude && { exclude }),
      family: 'svft',
      // 'topk' of a rectangular weight has no alignments, but the papers count it as the band.
      options: {
        pattern: pattern === 'topk' ? 'banded' : pattern,
        offDiagonals,
        gate,
        ...(rank ? { rank } : {}),
      } as never,
    });
    t.equal(total(rows), expected, `${model}, ${targets.join(', ')}, ${JSON.stringify(method)}: ${source}`);
    checked += 1;
  }
  t.ok(checked > 40, `${checked} rows`);
});

t.test("VectorFit's counts, with the biases of other modules than those whose σ trains", async (t) => {
  const rows = file.rows.filter(({ method }) => method.name === 'vectorfit');
  t.equal(rows.length, 4);
  for (const { source, model, method, targets, expected } of rows) {
    const { module } = checkpoints[model] as (typeof checkpoints)[string];
    const { layers, modules } = file.models[model] as CountFile['models'][string];
    const weights: Record<string, readonly number[]> = {};
    for (let i = 0; i < layers; i++) {
      for (const [role, [out, inFeatures]] of Object.entries(modules)) {
        weights[module(role, i)] = [out, inFeatures];
        weights[module(role, i).replace('.weight', '.bias')] = [out];
      }
    }
    const { sigma = true, bias = true, biasTargets = [] } = method;
    const others = biasTargets.filter((role) => !targets.includes(role)).map((role) => endOf(module(role, 0)));
    const plan = planModel(weights, {
      targets: 'all',
      family: 'vectorfit',
      options: { train: { sigma, bias } },
      // The MLP's 'output.dense' is also the end of 'attention.output.dense', of which σ trains.
      modules: {
        ...Object.fromEntries(others.map((end) => [end, { options: { train: { sigma: false } } }])),
        'attention.output.dense': {},
      },
    });
    t.equal(total(plan), expected, `${model}, ${targets.join(', ')}, ${JSON.stringify(method)}: ${source}`);
  }
});

t.test("the papers' sets by name", async (t) => {
  for (const [model, { as, module }] of Object.entries(checkpoints)) {
    const weights: Record<string, readonly number[]> = { 'pooler.dense.weight': [8, 8] };
    const roles = Object.entries(file.models[model]?.modules ?? {});
    for (const [role, shape] of roles) for (const i of [0, 1]) weights[module(role, i)] = shape;
    const chosen = (set: 'QV' | 'QKV' | 'QKVUD' | 'UDOG' | 'all') =>
      names(planModel(weights, { ...targetsOf(as, set), family: 'svdiff' })).length / 2;
    const isDecoder = roles.length === 7;
    t.same([chosen('QV'), chosen('QKV'), chosen('QKVUD')], [2, 3, 5], model);
    t.same([chosen('UDOG'), chosen('all')], isDecoder ? [4, 7] : [3, 6], model);
  }
  const gpt2 = {
    'h.0.attn.c_attn.weight': [8, 24],
    'h.0.attn.c_proj.weight': [8, 8],
    'h.0.mlp.c_fc.weight': [8, 32],
    'h.0.mlp.c_proj.weight': [32, 8],
  };
  t.same(
    planModel(gpt2, { ...targetsOf('gpt2', 'QV'), family: 'svdiff' }).map(({ name, out, in: n }) => [name, out, n]),
    [
      ['h.0.attn.c_attn.q', 8, 8],
      ['h.0.attn.c_attn.v', 8, 8],
    ],
  );
  t.equal(planModel(gpt2, { ...targetsOf('gpt2', 'all'), family: 'svdiff' }).length, 6);
  throwsSigma(t, () => targetsOf('gpt3' as never, 'QV'), 'INVALID_ARGUMENT', 'no such architecture', 'architecture');
  throwsSigma(t, () => targetsOf('llama', 'KQ' as never), 'INVALID_ARGUMENT', 'no such set', 'set');
});

t.test('a plan is what adaptModel then makes', async (t) => {
  await expectNoLeak(t, 'plan and model', async () => {
    const weights = {
      'a.q.weight': gaussian(seeded(1), [24, 16], 'float32'),
      'a.q.bias': gaussian(seeded(2), [24], 'float32'),
      'a.k.weight': gaussian(seeded(3), [16, 16], 'float32'),
    };
    const cases: Omit<ModelOptions, 'targets'>[] = [
      { family: 'svft' },
      { family: 'svft', options: { pattern: 'random', offDiagonals: 2, rank: 5 } },
      { family: 'svft', options: { pattern: 'banded', rank: 5, residual: 'drop', gate: false } },
      { family: 'svft', options: { rank: 5, residual: 'orthonormal' } },
      { family: 'svft', options: { train: { bias: true } } },
      { family: 'svft', options: { rank: 5, createBias: true } },
      { family: 'siva', options: { count: 3 } },
      { family: 'siva', options: { count: 3, basis: 'random' } },
      { family: 'siva', options: { count: 14 } },
      { family: 'siva', options: { count: 3, strategy: 'factored' } },
      { family: 'vectorfit' },
      { family: 'vectorfit', options: { train: { bias: false } } },
      { family: 'vectorfit', options: { createBias: true } },
      { family: 'svdiff' },
      { family: 'loraxs', options: { rank: 4 } },
      { family: 'loraxs' },
    ];
    for (const options of cases) {
      using model = await adaptModel(weights, { targets: 'all', ...options });
      const shapes = Object.fromEntries(Object.entries(weights).map(([name, { shape }]) => [name, shape]));
      t.same(planModel(shapes, { targets: 'all', ...options }), model.describe(), JSON.stringify(options));
      t.equal(total(model.describe()), model.parameterCount);
    }
    for (const weight of Object.values(weights)) weight.dispose();
  });
});

t.test('bad input names the argument and what is near', async (t) => {
  const plan =
    (options: object, shapes: object = tiny) =>
    () =>
      planModel(shapes as never, { targets: ['q_proj'], family: 'svft', ...options } as never);
  const bad = (options: object, code: string, parts: readonly string[], shapes?: object) => {
    const label = JSON.stringify(options);
    throwsSigma(t, plan(options, shapes), code as never, label, ...parts);
  };
  bad({ targets: ['q_prj'] }, 'INVALID_ARGUMENT', ['options.targets[0]', "did you mean 'q_proj'?"]);
  bad({ targets: /nothing/ }, 'INVALID_ARGUMENT', ['options.targets', '/nothing/']);
  bad({ targets: ['norm'] }, 'SHAPE_MISMATCH', ['options.targets[0]', 'h.0.norm.weight']);
  bad({ targets: [] }, 'INVALID_ARGUMENT', ['options.targets']);
  bad({ targets: 'q_proj' }, 'INVALID_ARGUMENT', ['options.targets']);
  bad({ targets: undefined }, 'INVALID_ARGUMENT', ['options.targets']);
  bad({ exclude: ['q_proj'] }, 'INVALID_ARGUMENT', ['options.exclude', 'none']);
  bad({ modules: { attn: false, q_proj: false } }, 'INVALID_ARGUMENT', ['options.modules', 'none'], {
    'h.attn.q_proj': [8, 8],
    attn: [4, 4],
  });
  bad({ exclude: ['w_proj'] }, 'INVALID_ARGUMENT', ['options.exclude[0]']);
  bad({ family: 'lora' }, 'INVALID_ARGUMENT', ['options.family']);
  bad({ options: { rank: 0 } }, 'INVALID_ARGUMENT', ['h.0.attn.q_proj.weight', 'options.rank']);
  bad({ options: { ranks: 2 } }, 'INVALID_ARGUMENT', ['h.0.attn.q_proj.weight', "did you mean 'rank'?"]);
  bad({ options: { name: 'x' } }, 'INVALID_ARGUMENT', ['options.options.name']);
  bad({ options: { pattern: 'topk' }, targets: ['v_proj'] }, 'SHAPE_MISMATCH', ['h.0.attn.v_proj.weight', 'topk']);
  bad({ modules: { q: false } }, 'INVALID_ARGUMENT', ['options.modules', 'q']);
  bad({ modules: { q_proj: true } }, 'INVALID_ARGUMENT', ["options.modules['q_proj']"]);
  bad({ layout: 'in_out' }, 'INVALID_ARGUMENT', ['options.layout']);
  bad({ layout: { q_porj: 'in-out' } }, 'INVALID_ARGUMENT', ['options.layout', 'q_porj']);
  bad({ split: { q_proj: ['a', 'b', 'c'] } }, 'SHAPE_MISMATCH', ['h.0.attn.q_proj.weight', '8', '3 equal parts']);
  bad({ split: { norm: ['a', 'b'] } }, 'INVALID_ARGUMENT', ['options.split', "'norm'"]);
  bad({ split: { q_proj: { a: 3, b: 3 } } }, 'SHAPE_MISMATCH', ['options.split', 'a: 3, b: 3']);
  bad({ split: { q_proj: ['a', 'a'] } }, 'INVALID_ARGUMENT', ["options.split['q_proj']"]);
  bad({ split: { q_proj: {} } }, 'INVALID_ARGUMENT', ["options.split['q_proj']"]);
  bad({ targets: 'all', split: { a: ['q', 'k'] } }, 'INVALID_ARGUMENT', ['options.split', "'a.q'"], {
    a: [4, 4],
    'a.q': [4, 4],
  });
  bad({ targets: 'all', split: { a: ['q', 'k'] } }, 'INVALID_ARGUMENT', ['options.split', "'a.q'"], {
    'a.weight': [4, 4],
    'a.q.weight': [4, 4],
  });
  bad({ targets: 'all' }, 'INVALID_ARGUMENT', ['weights', "'a'", "'a.weight'"], { a: [4, 4], 'a.weight': [4, 4] });
  bad({ targets: 'all' }, 'INVALID_ARGUMENT', ['options.targets', 'matrix'], { norm: [4] });
  bad({ biases: { 'h.0.attn.q_prj': 0 } }, 'INVALID_ARGUMENT', ["options.biases['h.0.attn.q_prj']"]);
  const split = { q_proj: ['a', 'b'] };
  bad({ split, biases: { 'h.0.attn.q_proj.c': 0 } }, 'INVALID_ARGUMENT', ["options.biases['h.0.attn.q_proj.c']"]);
  bad({}, 'INVALID_ARGUMENT', ['q_proj'], { q_proj: [0, 4] });
  bad({ storage: 'F32' }, 'INVALID_ARGUMENT', ['options.storage']);
  bad({ caches: '/tmp' }, 'INVALID_ARGUMENT', ['options', "did you mean 'cache'?"]);
});
