// @ts-check
import cliProgress from 'cli-progress';
import { duration } from './format.js';

/**
 * A bar on a terminal; elsewhere (a log, a pipe) a line at each quarter. `done` ends it and returns the seconds taken.
 * @param {string} label
 * @param {number} total
 */
export function startProgress(label, total) {
  return process.stdout.isTTY ? bar(label, total) : lines(label, total);
}

/**
 * @param {string} label
 * @param {number} total
 */
function bar(label, total) {
  const start = performance.now();
  const format = `${label.padEnd(26)} {bar} {percentage} % | {seconds} | {note}`;
  // The loop never yields, so the bar must draw itself from within update().
  const single = new cliProgress.SingleBar(
    { format, barsize: 28, fps: 10, hideCursor: true, synchronousUpdate: true, gracefulExit: true },
    cliProgress.Presets.shades_classic,
  );
  const elapsed = () => (performance.now() - start) / 1000;
  const payload = (/** @type {string} */ note) => ({ note, seconds: `${elapsed().toFixed(1)} s`.padStart(7) });
  let value = 0;
  single.start(total, 0, payload(''));
  return {
    /** @param {string} [note] */
    tick(note = '') {
      single.update(++value, payload(note));
    },
    /** @param {string} [note] */
    done(note = '') {
      single.update(total, payload(note));
      single.stop();
      return elapsed();
    },
  };
}

/**
 * @param {string} label
 * @param {number} total
 */
function lines(label, total) {
  const start = performance.now();
  let value = 0;
  console.log(`${label} …`);
  return {
    /** @param {string} [note] */
    tick(note = '') {
      value++;
      const quarter = Math.floor((4 * value) / total);
      const crossed = quarter > Math.floor((4 * (value - 1)) / total);
      if (crossed && quarter < 4) console.log(`  ${25 * quarter} %${note && `  ${note}`}`);
    },
    /** @param {string} [note] */
    done(note = '') {
      const seconds = (performance.now() - start) / 1000;
      console.log(`  done in ${duration(seconds)}${note && `  ${note}`}`);
      return seconds;
    },
  };
}
