import { mkdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { writeAtomically } from '../../files/atomic.js';
import { type AdaptedLinear, effectiveRank, numericalRank } from '../../index.js';
import { epsilonOf } from '../../tensor/dtype.js';
import { numbersOf } from '../../tensor/operand.js';
import { readInteger } from '../arguments.js';
import { command } from '../command.js';
import { Failure } from '../failures.js';
import { adapterHelp, loadOptions, withAdapter } from '../loading.js';
import { workOf } from '../matrices.js';
import { outputFile } from '../output.js';
import { drawn } from '../plots.js';
import { several } from '../text.js';

const out = {
  type: 'string',
  short: 'o',
  value: 'FOLDER|FILE.svg',
  about: 'a folder for a file of each figure, or one file with all of them; old ones are replaced',
} as const;

export default command({
  usage: 'plot BASE ADAPTER -o FOLDER|FILE.svg [options]',
  about:
    "Draws what the adapter has changed, as SVG: for each layer the singular values of W0, W' and ΔW, the drift of σ by position,\n" +
    `and the strength S of each vector.\n${adapterHelp}`,
  positionals: ['BASE', 'ADAPTER'],
  options: {
    out,
    width: { type: 'string', value: 'PIXELS', about: 'how wide a figure is, from 320 to 4000; default: 960' },
    ...loadOptions,
  },
  example: 'sigmatune plot base/model.safetensors my-adapter -o plots',

  async run(session, [base, adapter], values) {
    const width = readInteger('width', values.width ?? '960', 320, 4000);
    const path = await outputFile(out, values.out);
    const isFile = path.endsWith('.svg');
    if (!isFile && (await stat(path).catch(() => undefined))?.isDirectory() === false) {
      throw new Failure(`'${path}': expected a folder, or a file whose name ends in .svg, got another file`);
    }
    const { signal } = session;
    const layers = await withAdapter(session, [base, adapter], values, async (loaded) => {
      const entries = Object.entries(loaded.layers);
      const work = ({ outFeatures, inFeatures }: AdaptedLinear) => workOf({ out: outFeatures, in: inFeatures });
      const total = entries.reduce((sum, [, layer]) => sum + work(layer), 0);
      return session.working(total, async (progress) => {
        const found: Changed[] = [];
        for (const [name, layer] of entries) {
          found.push(await changed(name, layer, signal));
          progress.advance(work(layer), name);
        }
        return found;
      });
    });
    const title = `${basename(adapter)}: what training has changed`;
    const { figures, whole } = await drawn(layers.map(plotted), width, title);
    if (!isFile) await mkdir(path, { recursive: true });
    const files = isFile
      ? [{ file: path, title, svg: whole }]
      : figures.map(({ name, ...figure }) => ({ ...figure, file: join(path, `${name}.svg`) }));
    for (const { file, svg } of files) {
      await writeAtomically('plot', file, signal, (sink) => sink.write(new TextEncoder().encode(svg)));
    }
    const answer = layers.map(({ name, effectiveRanks, numericalRanks, distances }) => {
      return { name, effectiveRank: effectiveRanks, numericalRank: numericalRanks, distances };
    });
    session.answer({ files: files.map(({ file }) => file), layers: answer }, () =>
      files.map((each) => `${each.file}: ${isFile ? several(layers.length, 'layer') : each.title}`),
    );
  },
});

interface Ranks {
  readonly before: number;
  readonly after: number;
  /** Of ΔW. */
  readonly change: number;
}

interface Changed {
  readonly name: string;
  /** Singular values of W0, W' and ΔW, descending. */
  readonly spectra: readonly [before: Float64Array, after: Float64Array, change: Float64Array];
  readonly drift: Float64Array | undefined;
  readonly effectiveRanks: Ranks;
  readonly numericalRanks: Ranks;
  readonly distances: Readonly<Record<string, number>>;
}

async function changed(name: string, layer: AdaptedLinear, signal: AbortSignal): Promise<Changed> {
  const { before, after } = layer.coreDiagonal();
  const [weight, change] = [await numbers(layer, 'weight', signal), await numbers(layer, 'change', signal)];
  const epsilon = epsilonOf(layer.factors.s.dtype);
  // As NumPy's matrix_rank and MATLAB's rank decide.
  const tolerance = Math.max(layer.outFeatures, layer.inFeatures) * epsilon;
  const spectra = [before, weight, change] as const;
  const ranks = (rank: (s: Float64Array) => number): Ranks => {
    const [ofBefore, ofAfter, ofChange] = spectra.map(rank) as [number, number, number];
    return { before: ofBefore, after: ofAfter, change: ofChange };
  };
  return {
    name,
    spectra,
    drift: after?.map((value, i) => value - (before[i] as number)),
    effectiveRanks: ranks(effectiveRank),
    numericalRanks: ranks((s) => numericalRank(s, { tolerance })),
    distances: layer.telemetry().distances,
  };
}

async function numbers(layer: AdaptedLinear, of: 'weight' | 'change', signal: AbortSignal): Promise<Float64Array> {
  const found = await layer.spectrum({ of, signal });
  try {
    return Float64Array.from(numbersOf('plot', 's', found));
  } finally {
    found.dispose();
  }
}

function plotted({ name, spectra, drift, effectiveRanks, numericalRanks, distances }: Changed) {
  const [before, after, change] = spectra;
  const { before: from, after: to, change: ofChange } = effectiveRanks;
  return {
    name,
    before,
    after,
    change,
    drift,
    distances,
    ranks: `effective rank ${from.toFixed(2)} → ${to.toFixed(2)}`,
    changeRank: `rank ${numericalRanks.change}, effective rank ${ofChange.toFixed(2)}`,
  };
}
