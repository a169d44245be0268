/** `sigmatune plan` and `sigmatune counts`: the same rows and numbers as `planModel` and `parameterCount`. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CountedMethod, type ModelOptions, parameterCount, planModel, targetsOf } from 'sigmatune';
import t from 'tap';
import { disposeScene, makeScene, type RunOptions, shapes, sigmatune } from '../support/cli.js';

t.setTimeout(600_000);

const folder = t.testdir({});
const scene = await makeScene(folder);
t.teardown(() => disposeScene(scene));
const answer = async (args: readonly string[], options: RunOptions = {}) => {
  const { code, out, err } = await sigmatune([...args, '--json', '--quiet'], { cwd: folder, ...options });
  t.same([code, err], [0, ''], args.join(' '));
  return JSON.parse(out);
};

t.test('plan: the options of the command line are those of planModel', async (t) => {
  const stored = { ...shapes, 'model.layers.0.self_attn.q_proj.bias': [32] };
  const cases: readonly (readonly [readonly string[], ModelOptions])[] = [
    [['--targets', 'q_proj,up_proj', '--family', 'svdiff'], { targets: ['q_proj', 'up_proj'], family: 'svdiff' }],
    [
      ['--targets', 'all', '--exclude', 'k_proj', '--family', 'vectorfit'],
      { targets: 'all', exclude: ['k_proj'], family: 'vectorfit' },
    ],
    [
      ['--targets', '/_PROJ/i', '--exclude', '/mlp/', '--family', 'loraxs', '--option', 'rank=3'],
      { targets: /_PROJ/i, exclude: /mlp/, family: 'loraxs', options: { rank: 3 } },
    ],
    [
      [
        '--preset',
        'llama:QV',
        '--family',
        'svft',
        '--option',
        'pattern=banded',
        '--option',
        'offDiagonals={"lower":0,"upper":2}',
        '--option',
        'gate=false',
      ],
      {
        ...targetsOf('llama', 'QV'),
        family: 'svft',
        options: { pattern: 'banded', offDiagonals: { lower: 0, upper: 2 }, gate: false },
      },
    ],
    [
      ['--targets', 'all', '--layout', 'in-out', '--family', 'vectorfit'],
      { targets: 'all', layout: 'in-out', family: 'vectorfit' },
    ],
    [
      ['--targets', 'gate,b', '--split', 'up_proj=gate,up', '--split', 'k_proj=a:4,b:12', '--family', 'svft'],
      { targets: ['gate', 'b'], split: { up_proj: ['gate', 'up'], k_proj: { a: 4, b: 12 } }, family: 'svft' },
    ],
  ];
  for (const [args, options] of cases) {
    const { modules, totals } = await answer(['plan', 'model.safetensors', ...args]);
    const rows = planModel(stored, options);
    t.same(modules.toSorted(byName), [...rows].sort(byName), args.join(' '));
    t.equal(totals.modules, rows.length);
    t.equal(
      totals.parameters,
      rows.reduce((sum, { parameters }) => sum + parameters, 0),
    );
    t.equal(totals.model, 2528, 'the numbers of all weights and biases, without the integers');
  }
});

const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1);

t.test('plan: a file of options, which the command line overrides', async (t) => {
  const config = {
    targets: '/q_proj|up_proj/',
    family: 'svft',
    options: { pattern: 'banded', offDiagonals: 1 },
    modules: { up_proj: { family: 'vectorfit' } },
  };
  writeFileSync(join(folder, 'options.json'), JSON.stringify(config));
  const families = async (...args: string[]) =>
    (await answer(['plan', 'model.safetensors', '--config', 'options.json', ...args])).modules.map(
      (row: { family: string; parameters: number }) => [row.family, row.parameters],
    );
  t.same(
    await families(),
    [
      ['vectorfit', 24],
      ['svft', 24 + 2 * 23 + 1],
    ],
    'up_proj has no bias',
  );
  t.same(await families('--targets', 'q_proj', '--option', 'offDiagonals=3'), [['svft', 24 + 2 * (23 + 22 + 21) + 1]]);
});

t.test('plan: shapes as JSON, from a file and from stdin', async (t) => {
  const json = JSON.stringify({ ...shapes, scale: [] });
  writeFileSync(join(folder, 'shapes.json'), json);
  const args = ['--targets', 'q_proj', '--family', 'vectorfit'];
  const file = await answer(['plan', 'shapes.json', ...args]);
  const rows = planModel(shapes, { targets: ['q_proj'], family: 'vectorfit' });
  t.same(file.modules, rows);
  t.same(await answer(['plan', '-', ...args], { input: json }), file);
});

t.test('plan: counts that depend on the weights are unknown', async (t) => {
  const args = ['plan', 'model.safetensors', '--targets', 'q_proj', '--family', 'siva'];
  t.equal((await answer(args)).totals.parameters, null);
  const { out, err } = await sigmatune(args, { cwd: folder });
  t.match(out, /siva +\? +\?\n/);
  t.match(out, /1 module \(siva\): \? parameters/);
  t.match(err, /--option count=K/);
  t.match((await answer([...args, '--option', 'count=5'])).totals, { parameters: 5 });
});

t.test('counts: parameterCount of each method', async (t) => {
  const methods: readonly (readonly [string, CountedMethod])[] = [
    ['lora:r=8', { name: 'lora', r: 8 }],
    [
      'svft:pattern=banded,offDiagonals=2,gate=false',
      { name: 'svft', pattern: 'banded', offDiagonals: 2, gate: false },
    ],
    ['vectorfit:bias=false', { name: 'vectorfit', bias: false }],
    ['boft:m=2,b=8', { name: 'boft', m: 2, b: 8 }],
  ];
  const given = methods.flatMap(([text]) => ['--method', text]);
  const modules = [
    { out: 768, in: 768, count: 24 },
    { out: 3072, in: 768 },
  ];
  const found = await answer(['counts', '--shape', '768x768:24', '--shape', '3072x768', ...given]);
  t.equal(found.weights, 24 * 768 * 768 + 3072 * 768);
  t.same(
    found.methods,
    methods.map(([method, each]) => ({ method, parameters: parameterCount(each, modules) })),
  );
  const ofFile = await answer(['counts', 'model.safetensors', '--targets', 'q_proj,k_proj', ...given]);
  const two = [
    { out: 32, in: 24 },
    { out: 16, in: 24 },
  ];
  t.same(
    ofFile.methods,
    methods.map(([method, each]) => ({ method, parameters: parameterCount(each, two) })),
  );
  const usual = await answer(['counts', 'model.safetensors']);
  t.equal(usual.modules, 4);
  t.ok(usual.methods.length > 5);
});
