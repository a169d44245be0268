// @ts-check
import { percent, time } from '../record/table.js';
import { shortened } from '../record/text.js';
import { axes, logScale, short } from './axes.js';
import { html } from './markup.js';
import { kinds, label, mark, path, widthOf } from './svg.js';

/** @typedef {import('../record/schema.js').Run} Run */

const frame = { left: 74, top: 40, right: 880, bottom: 470 };

/** Each kernel by what it computes for a byte and how fast it does, under what the machine can do. @param {Run} run @returns {import('./svg.js').Plot} */
export function roofline({ cases, ceilings }) {
  const points = cases.map((each) => ({
    suite: each.suite,
    intensity: each.flops / each.bytes,
    rate: each.flops / each.minima.p50 / 1e6,
    title: `${each.name}: ${time(each.minima.p50)}, ${(each.flops / each.minima.p50 / 1e6).toPrecision(3)} GFLOP/s, ${percent(each.share)} of the ceiling`,
  }));
  const peak = ceilings.gemm.flopsPerSecond / 1e9;
  const [cache, memory] = [fastest(ceilings), ceilings.copy[ceilings.copy.length - 1]].map(
    ({ bytesPerSecond }) => bytesPerSecond / 1e9,
  );
  // The corners of both roofs are in the picture, whatever ran.
  const corners = [peak / memory, (0.3 * peak) / cache];
  const x = logScale([...points.map(({ intensity }) => intensity), ...corners], frame.left, frame.right, short);
  const y = logScale([...points.map(({ rate }) => rate), peak * 1.2], frame.bottom, frame.top, short);
  /** From where a bandwidth's line enters the picture to where it meets the GEMM's. @param {number} bandwidth */
  const ends = (bandwidth) => [Math.max(invert(x, frame.left), invert(y, frame.bottom) / bandwidth), peak / bandwidth];
  /** @param {number} bandwidth @param {string} kind @param {readonly (readonly [number, number])[]} [more] */
  const roof = (bandwidth, kind, more = []) =>
    path([...ends(bandwidth).map((at) => /** @type {const} */ ([x.to(at), y.to(at * bandwidth)])), ...more], kind);
  const suites = [...new Set(points.map(({ suite }) => suite))];
  let at = frame.left;
  const legend = suites.slice(0, kinds).flatMap((suite, i) => {
    const words = shortened(suite, 16);
    const made = [mark(at + 6, 16, i), label(at + 16, 20, words)];
    at += widthOf(words) + 34;
    return made;
  });
  const slope = (Math.atan2(y.to(1) - y.to(10), x.to(10) - x.to(1)) * 180) / Math.PI;
  /** Words along a bandwidth's line. @param {number} bandwidth @param {number} share of the line @param {number} dy @param {string} words */
  const along = (bandwidth, share, dy, words) => {
    const [start, end] = ends(bandwidth);
    const place = start * (end / start) ** share;
    return label(0, dy, words, {
      class: 'soft',
      'text-anchor': 'middle',
      transform: `translate(${x.to(place).toFixed(1)} ${y.to(place * bandwidth).toFixed(1)}) rotate(${(-slope).toFixed(1)})`,
    });
  };
  const body = [
    axes(frame, x, y, 'flops a byte that has to move', 'GFLOP/s'),
    roof(cache, 'roof', [[frame.right, y.to(peak)]]),
    roof(memory, 'faint'),
    label(frame.right - 4, y.to(peak) - 7, `GEMM, ${peak.toFixed(0)} GFLOP/s`, { class: 'soft', 'text-anchor': 'end' }),
    along(cache, 0.5, -8, `copy in the cache, ${cache.toFixed(0)} GB/s`),
    along(memory, 0.82, -8, `copy from memory, ${memory.toFixed(0)} GB/s`),
    ...points.map(({ suite, intensity, rate, title }) =>
      mark(x.to(intensity), y.to(rate), suites.indexOf(suite), title),
    ),
    ...legend,
  ];
  return {
    name: 'roofline',
    title: 'Roofline',
    described: `${points.length} kernels under a GEMM of ${peak.toFixed(0)} GFLOP/s and copies of ${cache.toFixed(0)} and ${memory.toFixed(0)} GB/s`,
    width: 920,
    height: 520,
    body: html`${body}`,
  };
}

/** @param {Run['ceilings']} ceilings */
const fastest = ({ copy }) => copy.reduce((best, each) => (each.bytesPerSecond > best.bytesPerSecond ? each : best));

/** The value at a place of a logarithmic scale. @param {import('./axes.js').Scale} scale @param {number} at */
function invert({ to }, at) {
  const [one, ten] = [to(1), to(10)];
  return 10 ** ((at - one) / (ten - one));
}
