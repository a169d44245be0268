// The plots of bench/report, which is JavaScript and is loaded when it is needed.

/** The numbers of one layer; see bench/report/layers.js. */
export interface PlottedLayer {
  readonly name: string;
  /** Singular values, descending. */
  readonly before: ArrayLike<number>;
  readonly after: ArrayLike<number>;
  readonly change: ArrayLike<number>;
  /** By position in W0. */
  readonly drift: ArrayLike<number> | undefined;
  readonly ranks: string;
  readonly changeRank: string;
  readonly distances: Readonly<Record<string, number>>;
}

interface Plot {
  readonly name: string;
  readonly title: string;
}

interface Drawing {
  layerPlots(layers: readonly PlottedLayer[], width: number): readonly Plot[];
  stacked(plots: readonly Plot[], title: string): Plot;
}

const folder = new URL('../../bench/report/', import.meta.url);

/** The figures as SVG by their names, and all of them as one. */
export async function drawn(
  layers: readonly PlottedLayer[],
  width: number,
  title: string,
): Promise<{ readonly figures: readonly { name: string; title: string; svg: string }[]; readonly whole: string }> {
  const { layerPlots, stacked }: Drawing = await import(new URL('layers.js', folder).href);
  const { standalone }: { standalone(plot: Plot): string } = await import(new URL('svg.js', folder).href);
  const plots = layerPlots(layers, width);
  return {
    figures: plots.map((plot) => ({ name: plot.name, title: plot.title, svg: standalone(plot) })),
    whole: standalone(stacked(plots, title)),
  };
}
