// @ts-check
import { percent, time } from '../record/table.js';
import { axes, logScale, short } from './axes.js';
import { label, mark, path, widthOf } from './svg.js';

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
  const x = logScale([...points.map(({ intensity }) => intensity), peak / memory], frame.left, frame.right, short);
  const y = logScale([...points.map(({ rate }) => rate), peak * 1.2], frame.bottom, frame.top, short);
  const first = invert(x, frame.left);
  const last = invert(x, frame.right);
  /** The roof of one bandwidth: along it, then along the GEMM. @param {number} bandwidth @param {string} kind */
  const roof = (bandwidth, kind) => {
    const start = Math.max(first, invert(y, frame.bottom) / bandwidth);
    const corner = Math.min(Math.max(peak / bandwidth, start), last);
    return path(
      [
        [x.to(start), y.to(start * bandwidth)],
        [x.to(corner), y.to(corner * bandwidth)],
        ...(kind === 'roof' ? [/** @type {[number, number]} */ ([frame.right, y.to(peak)])] : []),
      ],
      kind,
    );
  };
  const suites = [...new Set(points.map(({ suite }) => suite))];
  let at = frame.left;
  const legend = suites.map((suite, i) => {
    const made = mark(at + 6, 16, i) + label(at + 16, 20, suite);
    at += widthOf(suite) + 34;
    return made;
  });
  const slope = (Math.atan2(y.to(1) - y.to(10), x.to(10) - x.to(1)) * 180) / Math.PI;
  /** Words along a bandwidth's line. @param {number} bandwidth @param {string} words */
  const along = (bandwidth, words) => {
    const from = Math.max(first, invert(y, frame.bottom) / bandwidth);
    const place = from * (peak / bandwidth / from) ** 0.42;
    return label(0, -7, words, {
      class: 'soft',
      'text-anchor': 'middle',
      transform: `translate(${x.to(place).toFixed(1)} ${y.to(place * bandwidth).toFixed(1)}) rotate(${(-slope).toFixed(1)})`,
    });
  };
  const body = [
    axes(frame, x, y, 'flops a byte that has to move', 'GFLOP/s'),
    roof(cache, 'roof'),
    roof(memory, 'faint'),
    label(frame.right - 4, y.to(peak) - 7, `GEMM, ${peak.toFixed(0)} GFLOP/s`, { class: 'soft', 'text-anchor': 'end' }),
    along(cache, `copy in the cache, ${cache.toFixed(0)} GB/s`),
    along(memory, `copy from memory, ${memory.toFixed(0)} GB/s`),
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
    body: body.join('\n'),
  };
}

/** @param {Run['ceilings']} ceilings */
const fastest = ({ copy }) => copy.reduce((best, each) => (each.bytesPerSecond > best.bytesPerSecond ? each : best));

/** The value at a place of a logarithmic scale. @param {import('./axes.js').Scale} scale @param {number} at */
function invert({ to }, at) {
  const [one, ten] = [to(1), to(10)];
  return 10 ** ((at - one) / (ten - one));
}
