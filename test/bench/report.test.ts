// Reports: nothing that a file holds becomes markup, hangs a plot or ends in anything but a message.
import fc from 'fast-check';
import t from 'tap';
import {
  changed,
  exampleGate,
  exampleRun,
  formats,
  gatePage,
  historyPlot,
  loadKept,
  logScale,
  type Page,
  type Run,
  renderPage,
  runPage,
  standalone,
  UsageError,
} from '../support/bench.js';

const hostile = `</title></svg></style><script>alert(1)</script>"' onload="alert(2)`;

/** All tags that a report is made of; any other comes from a file. */
const known =
  /^<(?:!doctype|\/?(?:html|head|meta|title|style|body|main|h1|h2|h3|p|ul|li|pre|div|figure|svg|text|line|path|circle|rect|desc|table|thead|tbody|tr|th|td))\b/;

/** Fails if a page or a plot holds what no template wrote. */
function checkMarkup(page: Page): void {
  for (const text of [renderPage(page), ...page.sections.flatMap(({ plots }) => plots.map(standalone))]) {
    for (const [tag] of text.matchAll(/<[^>]*/g)) {
      if (!known.test(tag)) throw new Error(`a tag from a file: ${tag.slice(0, 80)}`);
      if (/\son\w+=(?=[^"]*(?:"[^"]*"[^"]*)*$)/.test(tag)) throw new Error(`an attribute from a file: ${tag}`);
      if (/ (?:x|y|x1|x2|y1|y2|cx|cy|d|transform)="[^"]*(?:NaN|Infinity)/.test(tag))
        throw new Error(`no place: ${tag}`);
    }
  }
}

/** Several sizes, so that every kind of plot is drawn. */
function sizedRun(): Run {
  return changed(exampleRun(), ['cases', 1, 'size'], 128);
}

t.test('names and labels of a file are text wherever they stand', async (t) => {
  const run = sizedRun();
  for (const each of run.cases) {
    Object.assign(each, { name: `${each.name} ${hostile}`, suite: hostile, series: hostile, panel: hostile, error: 1 });
  }
  Object.assign(run.environment, { cpu: hostile, commit: hostile, blas: hostile, sigmatune: hostile });
  const later = changed(run, ['created'], '2026-11-24T07:00:00.000Z');
  const page = runPage(later, { baseline: run, kept: [run] });
  t.same(
    page.sections.map(({ plots }) => plots.length),
    [1, 1, 1, 1],
    'roofline, sizes, comparison, history',
  );
  checkMarkup(page);
  t.match(renderPage(page), /&lt;script&gt;alert\(1\)/);

  const gate = exampleGate();
  for (const each of gate.cases) Object.assign(each, { name: `${each.name} ${hostile}`, note: hostile });
  Object.assign(gate['base'] as object, { label: hostile, name: hostile });
  checkMarkup(gatePage(gate));
});

t.test('a part without plots is left out', async (t) => {
  const html = renderPage(runPage(exampleRun()));
  t.match(html, /What the machine allows/);
  t.notMatch(html, /Time against size|baseline|History|No /);
});

t.test('failures stand first, with the command that measures them alone', async (t) => {
  const run = runPage(changed(exampleRun(), ['cases', 1, 'error'], 1));
  t.match(run.failures?.command, /^node bench\/cli\.js bench run '--case=svd \| two'$/);
  t.same(run.failures?.lines, ['svd | two: error 1 beyond 0.00001']);
  t.match(run.table.rows, [
    { failed: true, cells: ['svd | two'] },
    { failed: false, cells: ['svd one'] },
  ]);
  t.equal(runPage(exampleRun()).failures, undefined);
  const html = renderPage(run);
  t.ok(html.indexOf('<h2>Failures') < html.indexOf('<h2>What the machine'));

  const gate = gatePage(exampleGate());
  t.equal(
    gate.failures?.command,
    "node bench/cli.js bench gate --base=main --tolerance=10 --blocks=10 --rounds=4 --threads=1 --seed=1 '--case=svd '\\''two'\\'''",
  );
  t.match(gate.table.rows, [{ failed: true }, { failed: false }]);
  t.equal(gate.heading, 'sigmatune gate: regression');
  t.equal(gate.sections[0]?.plots.length, 1);
});

t.test('the history is of times over the ceilings of their own run', async (t) => {
  const slower = (run: Run, factor: number, ceiling: number, load: number, day: number): Run => {
    const copy = changed(run, ['created'], `2026-11-${day}T07:00:00.000Z`);
    copy.environment['load'] = load;
    for (const each of copy.cases) {
      each.minima = { ...each.minima, p50: factor * (each.minima['p50'] ?? 0) };
      each.least *= ceiling;
    }
    return copy;
  };
  const titles = (runs: readonly Run[]): string[] =>
    [...historyPlot(runs).body.text.matchAll(/<title>([^<]*)/g)].map(([, title]) => title ?? '');
  const first = exampleRun();
  const throttled = slower(first, 1.3, 1.3, 0.6, 24);
  t.match(titles([first, throttled]), [/: 100\.0 %/, /: 100\.0 %, load 0\.60/], 'a slower machine is no slower kernel');
  t.match(titles([first, slower(first, 1.3, 1, 0.6, 24)])[1], /: 130\.0 %/, 'a slower kernel is one');

  const loaded = slower(first, 1.5, 1.2, 4.4, 25);
  const quietAgain = slower(first, 1.1, 1, 0.5, 26);
  const svg = historyPlot([loaded, first, quietAgain]).body.text;
  t.match(titles([loaded, first, quietAgain]), [/: 125\.0 %, load 4\.40/, /: 100\.0 %/, /: 110\.0 %/]);
  t.equal(svg.match(/class="hollow k0"/g)?.length, 1, 'a loaded run is marked');
  const [, line = ''] = /d="(M[^"]*)" class="curve/.exec(svg) ?? [];
  t.equal(line.split('L').length, 2, 'and no line leads to it');
  t.notMatch(historyPlot([loaded, first]).body.text, /class="curve/);
  const [history] = runPage(first, { kept: [loaded, quietAgain] }).sections.slice(-1);
  t.match(history?.words, /^The geometric mean.* 1 of the runs began at a load of half of the processors/);
});

t.test('axes are bounded for any numbers', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, noNaN: true }), { minLength: 1 }), (values) => {
      const { ticks } = logScale(values, 0, 100, String);
      return ticks.length >= 2 && ticks.length < 40 && ticks.every(({ at }) => Number.isFinite(at));
    }),
    { seed: 20_260 },
  );
  t.pass();
});

/** Every place in a JSON value. */
function* places(value: unknown, path: (string | number)[] = []): Generator<(string | number)[]> {
  if (typeof value !== 'object' || value === null) return;
  for (const [key, each] of Object.entries(value)) {
    const here = [...path, Array.isArray(value) ? Number(key) : key];
    yield here;
    yield* places(each, here);
  }
}

const odd = fc.oneof(
  fc.constantFrom<unknown>(null, true, '', hostile, '\u001b[2J', '\u202e', '__proto__', [], {}, undefined),
  fc.constantFrom(0, -1, -0, 5e-324, 1e-300, 1e-30, 1e30, 1e308, Number.MAX_VALUE, 2 ** 53),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.double({ min: 1e-30, max: 1e30, noNaN: true }),
  fc.string({ unit: 'binary', maxLength: 1200 }),
  fc.jsonValue(),
);

/** Several fields of a record replaced by what should not stand there. */
const mutated = (record: object): fc.Arbitrary<string> =>
  fc.array(fc.tuple(fc.constantFrom(...places(record)), odd), { minLength: 1, maxLength: 3 }).map((changes) =>
    JSON.stringify(
      changes.reduce((given, [path, value]) => {
        try {
          return changed(given, path, value);
        } catch {
          return given; // an earlier change took the place away
        }
      }, record),
    ),
  );

t.test('a file that anybody changed is refused with a message, or shown without harm', async (t) => {
  const base = sizedRun();
  const show = (json: string): 'shown' | 'refused' => {
    try {
      const { run, gate } = loadKept('a.json', json);
      if (gate) checkMarkup(gatePage(gate));
      if (run) {
        checkMarkup(runPage(run, { kept: [base] }));
        for (const format of Object.values(formats)) format(run);
        checkMarkup(runPage(run, { baseline: base }));
      }
      return 'shown';
    } catch (error) {
      if (error instanceof UsageError) return 'refused';
      throw error;
    }
  };
  for (const record of [base, exampleGate()]) {
    const counts = { shown: 0, refused: 0 };
    fc.assert(
      fc.property(mutated(record), (json) => {
        counts[show(json)]++;
      }),
      { seed: 20_260, numRuns: 400 },
    );
    t.ok(counts.shown > 20 && counts.refused > 20, `${counts.shown} shown, ${counts.refused} refused`);
  }
  const deep = `${'['.repeat(50_000)}${']'.repeat(50_000)}`;
  t.equal(show(JSON.stringify({ ...base, created: 'here' }).replace('"here"', deep)), 'refused');
  fc.assert(
    fc.property(fc.oneof(fc.json(), fc.string()), (json) => {
      t.equal(show(json), 'refused');
    }),
    { seed: 20_260, numRuns: 100 },
  );
});

t.test('the largest file that is read is shown in bounded time', async (t) => {
  const [one] = sizedRun().cases;
  const many = Array.from({ length: 5000 }, (_, i) => ({
    ...one,
    name: `svd ${i}`,
    suite: `s${i}`,
    panel: `p${i % 2500}`,
    series: 's',
    size: 1 + i,
  }));
  const { run } = loadKept('a.json', JSON.stringify({ ...sizedRun(), cases: many }));
  if (!run) throw new Error('no run');
  const start = performance.now();
  checkMarkup(runPage(run, { kept: [changed(run, ['created'], '2026-11-22')] }));
  t.ok(performance.now() - start < 60_000);
});
