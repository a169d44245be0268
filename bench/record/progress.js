// @ts-check

/** A line that is written over on a terminal; in a log, a line at each tenth. stdout stays free for results. */
/** @param {number} total @param {NodeJS.WriteStream} [stream] */
export function startProgress(total, stream = process.stderr) {
  const start = performance.now();
  const width = 24;
  let told = -1;
  return {
    /** @param {number} done @param {string} what */
    at(done, what) {
      const share = total > 0 ? done / total : 1;
      const seconds = (performance.now() - start) / 1000;
      if (!stream.isTTY) {
        const tenth = Math.floor(10 * share);
        if (tenth > told) stream.write(`${String(10 * tenth).padStart(3)} %  ${seconds.toFixed(0)} s  ${what}\n`);
        told = Math.max(told, tenth);
        return;
      }
      const filled = Math.round(share * width);
      const left = share > 0.02 ? `${(seconds / share - seconds).toFixed(0)} s left` : '';
      const line = `${'█'.repeat(filled)}${'░'.repeat(width - filled)} ${(100 * share).toFixed(0)} % ${left.padStart(10)}  ${what}`;
      stream.write(`\r\x1b[K${[...line].slice(0, (stream.columns ?? 80) - 1).join('')}`);
    },
    done() {
      if (stream.isTTY) stream.write('\r\x1b[K');
    },
  };
}
