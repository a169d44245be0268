// The pictures of the families' pages, drawn from what the package itself computes.
import {
  AdamW,
  AdaptiveVectorFreezing,
  effectiveRank,
  SparsityPattern,
  siva,
  svd,
  Tensor,
  tensor,
  tidy,
  vectorFit,
} from '../../dist/index.js';
import { blue, circle, figure, line, muted, orange, pale, rect, text } from './svg.mjs';

/** Repeatable numbers. */
const noise = (seed, length, scale = 1) =>
  Float64Array.from({ length }, (_, i) => scale * Math.sin(seed + i * i * 0.618));

/** Where each pattern of SVFT lets M be non-zero. */
export async function svftPatterns() {
  const r = 24;
  const { u, vt } = await svd(tensor(noise(1, r * r), [r, r]));
  const patterns = {
    plain: SparsityPattern.diagonal(r),
    'banded, d = 2': SparsityPattern.banded(r, 2),
    'banded, 0 and 4': SparsityPattern.banded(r, { lower: 0, upper: 4 }),
    'random, d = 2': SparsityPattern.random(r, { offDiagonals: 2 }, { seed: 1 }),
    'top-k, d = 2': SparsityPattern.topK(u, vt, { offDiagonals: 2 }),
  };
  const cell = 6;
  const side = r * cell;
  const body = Object.entries(patterns).flatMap(([name, { rowPointers, columnIndices, entries }], panel) => {
    const left = 16 + panel * (side + 24);
    const cells = [];
    for (let i = 0; i < r; i++) {
      for (let p = rowPointers[i]; p < rowPointers[i + 1]; p++) {
        cells.push(rect(left + columnIndices[p] * cell, 34 + i * cell, cell - 1, cell - 1, blue));
      }
    }
    return [
      text(left, 22, name),
      rect(left - 1, 33, side + 1, side + 1, 'none', { stroke: pale }),
      ...cells,
      text(left, 34 + side + 18, `${entries} of ${r * r}`, { fill: muted, 'font-size': 12 }),
    ];
  });
  return figure(16 + 5 * (side + 24) - 8, side + 66, 'The sparsity patterns of SVFT on a 24 x 24 core', body);
}

/** Which singular values SiVA trains, and where Theorem 1 begins. */
export async function sivaSpectrum() {
  const n = 40;
  const [u, v] = await svd([tensor(noise(1, n * n), [n, n]), tensor(noise(2, n * n), [n, n])]);
  const sigma = Float64Array.from({ length: n }, (_, i) => 4 * Math.exp(-i / 9) + 0.02);
  const scaled = u.u.dataSync().map((value, i) => value * sigma[i % n]);
  const product = new Float64Array(n * n);
  const right = v.vt.dataSync();
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < n; k++) for (let j = 0; j < n; j++) product[i * n + j] += scaled[i * n + k] * right[k * n + j];
  }
  const energy = 1;
  const layer = await siva(tensor(product, [n, n]), { perc: 0.95, init: { energy } });
  const s = layer.parameters[0].value.dataSync();
  const first = n - layer.rank;
  const [left, base, step, unit] = [52, 230, 15, 48];
  const body = [line(left - 8, base, left + n * step, base, muted)];
  for (const tick of [0, 1, 2, 3, 4]) {
    body.push(text(left - 14, base - tick * unit + 4, tick, { 'text-anchor': 'end', fill: muted, 'font-size': 12 }));
  }
  for (let i = 0; i < n; i++) {
    const x = left + i * step;
    body.push(rect(x, base - sigma[i] * unit, step - 4, sigma[i] * unit, i < first ? pale : blue));
    if (i >= first) body.push(circle(x + (step - 4) / 2, base - (sigma[i] + s[i - first]) * unit, 3.5, orange));
  }
  const { before, after } = layer.telemetry().effectiveRank;
  const cut = left + first * step - 2;
  body.push(
    line(cut, 40, cut, base + 8, muted, { 'stroke-dasharray': '4 4' }),
    text(cut - 8, 52, 'frozen: 95 % of Σσ²', { 'text-anchor': 'end' }),
    text(cut + 8, 52, `trained: k = ${layer.rank} values`, { fill: blue }),
    circle(cut + 13, 71, 3.5, orange),
    text(
      cut + 24,
      76,
      `start by Theorem 1, Σs² = ${energy}: effective rank ${before.toFixed(1)} → ${after.toFixed(1)}`,
    ),
    text(left, base + 24, 'singular values of the weight, largest first', { fill: muted }),
  );
  if (Math.abs(before - effectiveRank(sigma)) > 1e-6) throw new Error('the spectrum is not the one that was made');
  return figure(left + n * step + 16, base + 40, 'SiVA trains the smallest singular values', body);
}

/** A run of two layers of VectorFit: strengths, and who is frozen when. */
export async function vectorFitFreezing() {
  const size = 32;
  const tokens = 64;
  const layers = await Promise.all(
    ['a', 'b', 'c'].map((name, i) =>
      vectorFit(tensor(noise(2 * i + 1, size * size, 0.5), [size, size]), {
        bias: tensor(noise(2 * i + 2, size, 0.1), [size]),
        name,
      }),
    ),
  );
  const x = tensor(noise(7, tokens * size), [tokens, size]);
  const targets = layers.map((_, i) => noise(8 + i, tokens * size, 3 ** i / 4));
  const parameters = layers.flatMap((layer) => layer.parameters);
  const optimizer = new AdamW(parameters, { lr: 1e-2, weightDecay: 0 });
  const [start, every, count] = [40, 20, 10];
  const freezing = new AdaptiveVectorFreezing(parameters, { start, every, count, freeze: 2 });
  const turns = [];
  for (let t = 1; t < start + every * count; t++) {
    tidy(() => {
      for (const [i, layer] of layers.entries()) {
        const pass = layer.forward(x);
        const error = pass.y.dataSync().map((y, p) => (y - targets[i][p]) / tokens);
        pass.backward(Tensor.wrap(error, [tokens, size]), { inputGrad: false });
      }
    });
    optimizer.step();
    optimizer.zeroGrad();
    freezing.step(t);
    if (t >= start && (t - start) % every === 0)
      turns.push({ t, strengths: freezing.strengths, frozen: freezing.frozen });
  }
  const most = Math.max(...turns.flatMap(({ strengths }) => [...strengths.values()]));
  const [left, top, width, height] = [90, 44, 58, 26];
  const body = parameters.flatMap(({ name }, row) => {
    const y = top + row * height;
    const cells = turns.flatMap(({ strengths, frozen }, column) => {
      const cx = left + column * width;
      const share = strengths.get(name) / most;
      const cell = rect(cx, y, width - 3, height - 3, blue, { 'fill-opacity': 0.08 + 0.82 * share });
      if (!frozen.includes(name)) return [cell];
      return [cell, rect(cx + 1, y + 1, width - 5, height - 5, 'none', { stroke: orange, 'stroke-width': 3 })];
    });
    return [text(left - 10, y + 16, name, { 'text-anchor': 'end' }), ...cells];
  });
  const below = top + parameters.length * height;
  body.push(
    text(left, 24, `Strength S' at each AVF step (darker: has moved more), and the two vectors then frozen`),
    ...turns.map(({ t }, column) =>
      text(left + (column + 0.5) * width - 2, below + 14, t, { 'text-anchor': 'middle', fill: muted, 'font-size': 12 }),
    ),
    text(left - 10, below + 14, 'step', { 'text-anchor': 'end', fill: muted, 'font-size': 12 }),
    rect(left, below + 30, 18, 14, 'none', { stroke: orange, 'stroke-width': 3 }),
    text(left + 26, below + 42, 'frozen until the next AVF step'),
  );
  return figure(left + count * width + 14, below + 58, 'Adaptive Vector Freezing over a run of three layers', body);
}
