// @ts-check
// The report of a gate's record.
import { failed, failuresFirst, gateColumns, gateRow, rerunGate, summaryLines } from '../gate/tell.js';
import { comparisonPlot } from './comparison.js';

/** @typedef {import('../record/gate-schema.js').GateRecord} GateRecord */

/** @param {GateRecord} record @param {'base' | 'head'} side */
function about(record, side) {
  const { label, environment: e } = record[side];
  return `${side}: ${label}, sigmatune ${e.sigmatune}, ${e.cpu}, ${e.processors} processors, ${e.threads} threads, ${e.simd}, ${e.blas}; Node ${e.node}, load ${e.load.toFixed(2)}.`;
}

/** @param {GateRecord} record */
export function gatePage(record) {
  const cases = failuresFirst(record.cases);
  const failures = cases.filter(failed);
  const compared = cases.flatMap(({ name, judgement }) => (judgement ? [{ name, change: judgement.change }] : []));
  return {
    heading: `sigmatune gate: ${record.verdict}`,
    about: [
      ...summaryLines(record.cases, record.verdict, {
        base: record.base.label,
        head: record.head.label,
        tolerance: record.settings.tolerance,
      }),
      `${record.created.slice(0, 16).replace('T', ' ')} UTC. ${about(record, 'base')} ${about(record, 'head')}`,
    ],
    failures:
      failures.length === 0
        ? undefined
        : {
            lines: failures.map((each) =>
              gateRow(each)
                .slice(0, 4)
                .filter((cell) => cell !== '')
                .join(', '),
            ),
            command: rerunGate(record, failures),
          },
    sections: [
      {
        title: 'Change of each case',
        words: `The tolerance is ${100 * record.settings.tolerance} %. Both builds were measured in turns, on one machine.`,
        plots: compared.length > 0 ? [comparisonPlot(compared, 'the base')] : [],
      },
    ],
    table: {
      title: 'All cases',
      columns: gateColumns,
      rows: cases.map((each) => ({ cells: gateRow(each), failed: failed(each) })),
    },
  };
}
