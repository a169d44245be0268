// docs/parameter-counts.md: what the papers print beside what their shapes give.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { root } from '../setup/run.mjs';

const papers = { S000: 'SVFT', S001: 'SVFT, first version', S002: 'SiVA', S004: 'VectorFit' };
const models = {
  'gemma-2b': 'Gemma-2B',
  'gemma-7b': 'Gemma-7B',
  'llama-3-8b': 'LLaMA-3-8B',
  'llama-2-7b': 'Llama-2-7B',
  'deberta-v3-base': 'DeBERTaV3-base',
  'vit-base': 'ViT-B',
  'vit-large': 'ViT-L',
  'roberta-large': 'RoBERTa-L',
  'gpt2-medium': 'GPT-2 medium',
  'pythia-2.8b': 'Pythia-2.8B',
  'bart-large': 'BART-large',
};

const thousands = (number) => number.toLocaleString('en-US');

/** "S000 Tables 1, 5; S001 Table 8" with the papers by name. */
const sourceOf = (source) => source.replaceAll(/S00[0-4]/g, (key) => papers[key]);

function methodOf({ name, ...settings }, targets) {
  const told = Object.entries(settings)
    .filter(([key, value]) => value !== null && key !== 'biasTargets' && !(key === 'gate' && value))
    .map(([key, value]) => (value === false ? `no ${key}` : value === true ? key : `${key} ${value}`));
  const biases = settings.biasTargets ? `; biases of ${settings.biasTargets.join(', ')}` : '';
  return `${name}${told.length > 0 ? ` (${told.join(', ').replace('offDiagonals', 'd').replace('pattern ', '')})` : ''} on ${targets.join(', ')}${biases}`;
}

const row = (cells) => `| ${cells.join(' | ')} |`;

export async function countsPage() {
  const file = JSON.parse(await readFile(join(root, 'test/fixtures/parameter-counts.json'), 'utf8'));
  const nameOf = (model) => models[model] ?? model;
  const lines = [
    '# Parameter counts',
    '',
    '`parameterCount(method, modules)` counts what a method trains, without weights. Per linear layer [o, i], r = min(o, i):',
    '',
    '| method | numbers |',
    '|---|---|',
    '| SVFT | z + 1: the entries of the pattern and the gate; a band of d has z = r(2d + 1) − d(d + 1) |',
    '| VectorFit | r + o: σ and the bias |',
    '| SiVA | k, which depends on the weights: read `layer.parameterCount` |',
    '| LoRA, DoRA, VeRA | R(o + i), R(o + i) + o, R + o |',
    '| BOFT | m · i · b + o |',
    '',
    'Every count of the papers that their own shapes reproduce is below as an exact integer, and the tests demand each. The',
    'papers round or truncate; some prints are slips, which follow in a list of their own.',
    'FourierFT is n numbers a module, counted in the tests alone. Made by `npm run docs` from `test/fixtures/parameter-counts.json`.',
    '',
    '## Reproduced',
  ];
  for (const model of new Set(file.rows.map((each) => each.model))) {
    const { layers, modules } = file.models[model];
    const shapes = Object.entries(modules).map(([name, [out, inFeatures]]) => `${name} ${out}×${inFeatures}`);
    lines.push('', `### ${nameOf(model)}`, '', `${layers} layers of ${shapes.join(', ')}.`, '');
    lines.push(row(['method and modules', 'printed', 'exact', 'where']), row(['---', '---', '---:', '---']));
    for (const { method, targets, printed, expected, source } of file.rows.filter((each) => each.model === model)) {
      lines.push(row([methodOf(method, targets), printed, thousands(expected), sourceOf(source)]));
    }
  }
  lines.push(
    '',
    '## Slips in the papers',
    '',
    'These prints do not follow from the shapes; nothing tests for them.',
    '',
  );
  lines.push(row(['model', 'method and modules', 'printed', 'exact', 'where', 'why']));
  lines.push(row(['---', '---', '---', '---:', '---', '---']));
  for (const { model, method, targets, printed, computed, source, reason } of file.nonMatches) {
    const exact = computed === null || computed === undefined ? '' : thousands(computed);
    lines.push(row([nameOf(model), methodOf(method, targets), printed, exact, sourceOf(source), reason]));
  }
  return `${lines.join('\n')}\n`;
}
