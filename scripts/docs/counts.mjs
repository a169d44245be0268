// docs/parameter-counts.md: the counts that the papers print, next to those that the shapes give.
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

const adapters = { houlsby: 'Houlsby adapters', pfeiffer: 'Pfeiffer adapters' };

const thousands = (number) => number.toLocaleString('en-US');

/** "S000 Tables 1, 5; S001 Table 8" with the papers by name. */
const sourceOf = (source) => source.replaceAll(/S00[0-4]/g, (key) => papers[key]);

function methodOf({ name, ...settings }, targets) {
  const told = Object.entries(settings)
    .filter(([key, value]) => value !== null && key !== 'biasTargets' && !(key === 'gate' && value))
    .map(([key, value]) => (value === false ? `no ${key}` : value === true ? key : `${key} ${value}`));
  const biases = settings.biasTargets ? `; biases of ${settings.biasTargets.join(', ')}` : '';
  const where = name in adapters ? 'after' : 'on';
  return `${adapters[name] ?? name}${told.length > 0 ? ` (${told.join(', ').replace('offDiagonals', 'd').replace('pattern ', '')})` : ''} ${where} ${targets.join(', ')}${biases}`;
}

const row = (cells) => `| ${cells.join(' | ')} |`;

export async function countsPage() {
  const file = JSON.parse(await readFile(join(root, 'test/fixtures/parameter-counts.json'), 'utf8'));
  const nameOf = (model) => models[model] ?? model;
  const lines = [
    '# Parameter counts',
    '',
    '`parameterCount(method, modules)` counts the parameters that a method trains. It needs no weights. For each linear',
    'layer [o, i], with r = min(o, i):',
    '',
    '| method | count |',
    '|---|---|',
    '| SVFT | z + 1: the entries of the pattern, and the gate; a band of width d has z = r(2d + 1) − d(d + 1) |',
    '| VectorFit | r + o: σ and the bias |',
    '| SiVA | k, which depends on the weights: read `layer.parameterCount` |',
    '| LoRA, DoRA, VeRA | R(o + i), R(o + i) + o, R + o |',
    '| BOFT | m · i · b + o |',
    '',
    'Two baselines of the papers are no methods of `parameterCount`; only the tests count them. FourierFT trains n numbers',
    'for each module. A Houlsby or Pfeiffer adapter of width d after a matrix [o, i] trains 2do + d + o: two linear layers',
    'with biases. Houlsby has two adapters for each transformer layer, Pfeiffer one.',
    '',
    'The first list has every count that follows from a stated setting and the shapes of the model, as an exact integer. The',
    'tests recompute each of them, and check that the printed number is the count, rounded or truncated. The other lists',
    'are: prints that two readings explain, prints that do not follow from the shapes, and ratios that do not follow from',
    'the tables.',
    '',
    'These prints are in no list, because a part of the setting is missing: SiVA (k depends on the weights), AdaLoRA (its',
    'ranks depend on the training), full fine-tuning, VeRA in SiVA’s Table 1 (no rank), the adapters in its Tables 3 and 4 (no',
    'width), VectorFit’s Table 5 (Stable Diffusion; no shapes) and the LoRA and AdaLoRA rows of its Table 6 (no rank).',
    '',
    '`npm run docs` makes this page from `test/fixtures/parameter-counts.json`.',
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
  lines.push('', ...ambiguousSection(file.ambiguous));
  lines.push(
    '',
    '## Slips in the papers',
    '',
    'These prints do not follow from the shapes. The tests recompute the exact counts.',
    '',
  );
  lines.push(row(['model', 'method and modules', 'printed', 'exact', 'where', 'why']));
  lines.push(row(['---', '---', '---', '---:', '---', '---']));
  for (const { model, method, targets, printed, computed, source, reason } of file.nonMatches) {
    lines.push(row([nameOf(model), methodOf(method, targets), printed, thousands(computed), sourceOf(source), reason]));
  }
  lines.push('', '## Slips in ratios', '', 'These claims do not follow from the tables of the same paper.', '');
  lines.push(row(['claim', 'where', 'computed', 'why']), row(['---', '---', '---', '---']));
  for (const { claim, source, quotient, computed, reason } of file.ratios) {
    const share = quotient ? `${quotient.map(thousands).join(' / ')} = ${computed}` : computed;
    lines.push(row([claim, sourceOf(source), share, reason]));
  }
  return `${lines.join('\n')}\n`;
}

/** VectorFit's five prints for DeBERTaV3-base, under two readings of "all biases" and of the model's size. */
function ambiguousSection({ total, rows }) {
  const share = (count, of) => `${((100 * count) / of).toFixed(5)} %`;
  return [
    '## Ambiguous: which biases VectorFit trains',
    '',
    'VectorFit prints five numbers for its variants on DeBERTaV3-base. Two readings explain them:',
    '',
    '- A: the biases of the linear layers only, shares of the printed total of 184M, rounded. Two of the five prints fit.',
    `- B: also two LayerNorm biases for each layer (2 × 768), shares of ${thousands(total)}, truncated. All five fit. That`,
    '  total is DeBERTaV3-base (183,831,552) with its pooler and a head of two classes.',
    '',
    row(['variant', 'printed', 'A', 'A, of 184M', 'B', 'B, of 184.42M', 'where']),
    row(['---', '---', '---:', '---:', '---:', '---:', '---']),
    ...rows.map(({ variant, printed, linear, layerNorm, source }) =>
      row([
        variant,
        printed,
        thousands(linear),
        share(linear, 184e6),
        thousands(layerNorm),
        share(layerNorm, total),
        sourceOf(source),
      ]),
    ),
    '',
    'The prints alone do not decide. For A: Section 3.2 of the paper defines the trained vectors as σ and b of the modules q,',
    'k, v, o, f1 and f2. Against B: Table 14 is about SQuAD, and with a head for that task the total is 183,833,090, of which',
    'Σ is 0.03008 % and Σ_a 0.02005 %. For B: in the same Table 2 the 0.08 % of LoRA r = 1, of SVFT d = 1 and of the Houlsby',
    'adapter fit by truncation only, as shares of that total plus their own parameters. Neither explains BART’s 0.12 %',
    '(below). This package follows A: a layer trains the bias of its own linear map. To follow B, train the LayerNorm biases',
    'in your model and give them to the optimiser too.',
  ];
}
