/**
 * The parts of bench/ that the tests use. bench/ is plain JavaScript with its own types, which `npm run check` checks;
 * this file repeats the types for the tests.
 */
import { fileURLToPath } from 'node:url';
// @ts-expect-error: no declarations
import * as table from '../../bench/cases/table.js';
// @ts-expect-error: no declarations
import * as threads from '../../bench/cases/threads.js';
// @ts-expect-error: no declarations
import * as builds from '../../bench/gate/builds.js';
// @ts-expect-error: no declarations
import * as dropped from '../../bench/gate/dropped.js';
// @ts-expect-error: no declarations
import * as gate from '../../bench/gate/gate.js';
// @ts-expect-error: no declarations
import * as instructions from '../../bench/gate/instructions.js';
// @ts-expect-error: no declarations
import * as judge from '../../bench/gate/judge.js';
// @ts-expect-error: no declarations
import * as tell from '../../bench/gate/tell.js';
// @ts-expect-error: no declarations
import * as turns from '../../bench/gate/turns.js';
// @ts-expect-error: no declarations
import * as alternating from '../../bench/measure/alternate.js';
// @ts-expect-error: no declarations
import * as exports from '../../bench/record/exports.js';
// @ts-expect-error: no declarations
import * as files from '../../bench/record/files.js';
// @ts-expect-error: no declarations
import * as pairing from '../../bench/record/pairs.js';
// @ts-expect-error: no declarations
import * as schema from '../../bench/record/schema.js';
// @ts-expect-error: no declarations
import * as tables from '../../bench/record/table.js';
// @ts-expect-error: no declarations
import * as texts from '../../bench/record/text.js';
// @ts-expect-error: no declarations
import * as axes from '../../bench/report/axes.js';
// @ts-expect-error: no declarations
import * as gateReport from '../../bench/report/gate.js';
// @ts-expect-error: no declarations
import * as history from '../../bench/report/history.js';
// @ts-expect-error: no declarations
import * as layersReport from '../../bench/report/layers.js';
// @ts-expect-error: no declarations
import * as page from '../../bench/report/page.js';
// @ts-expect-error: no declarations
import * as runReport from '../../bench/report/run.js';
// @ts-expect-error: no declarations
import * as svg from '../../bench/report/svg.js';
// @ts-expect-error: no declarations
import * as bootstrap from '../../bench/stats/bootstrap.js';
// @ts-expect-error: no declarations
import * as quantile from '../../bench/stats/quantile.js';
// @ts-expect-error: no declarations
import * as usage from '../../bench/usage.js';

export interface Interval {
  centre: number;
  low: number;
  high: number;
}
type Options = { seed?: number; confidence?: number; resamples?: number };
export const interval: (values: readonly number[], options?: Options) => Interval = bootstrap.interval;
export const differenceInterval: (from: readonly number[], to: readonly number[], options?: Options) => Interval =
  bootstrap.differenceInterval;

export interface Block {
  base: number;
  again: number;
  head: number;
}
export interface Judgement {
  change: Interval;
  null: Interval;
  clean: boolean;
  decided: string;
}
export const judgeRounds: (
  rounds: readonly (readonly Block[])[],
  settings: { tolerance: number; seed: number },
) => Judgement = judge.judge;

export interface CaseBlock {
  times?: Block;
  error?: number;
  brokenHead?: string;
  brokenBase?: string;
}
export interface CaseResult {
  name: string;
  verdict: string;
  note: string;
  error: number | null;
  judgement: Judgement | null;
  rounds: Block[][];
}
export type MeasureBlock = (names: readonly string[], block: number) => Promise<ReadonlyMap<string, CaseBlock>>;
export const runGate: (
  cases: readonly { name: string; bound: number }[],
  measure: MeasureBlock,
  options?: { tolerance?: number; seed?: number; blocks?: number; rounds?: number; seconds?: number },
) => Promise<CaseResult[]> = gate.runGate;
export const overall: (results: readonly { verdict: string }[]) => string = gate.overall;
export const exitCode: (verdict: string) => number = gate.exitCode;

export type Library = typeof import('sigmatune');
export interface Prepared {
  before?: () => void;
  call: () => unknown;
  error: () => number | Promise<number>;
  dispose: () => void;
}
export interface BenchCase {
  name: string;
  suite: string;
  flops: number;
  bytes: number;
  bound: number;
  short: boolean;
  prepare: (library: Library) => Prepared | Promise<Prepared>;
}
export const benchCases: readonly BenchCase[] = table.table;
export const select: (
  words: readonly string[],
  options?: { short?: boolean; names?: readonly string[] },
) => readonly BenchCase[] = table.select;
export const onAllThreads: (given: BenchCase) => BenchCase = threads.onAllThreads;

export const takeTurns: (
  sessions: readonly { ask(task: string, argument?: unknown): Promise<unknown> }[],
  name: string,
  random: { below(end: number): number },
  ready?: () => Promise<unknown>,
  length?: number,
) => Promise<({ min: number } | { broken: string })[]> = turns.takeTurns;

export interface Side {
  prepared: Prepared;
  clock: (prepared: Prepared, count: number) => Promise<number>;
}
export interface Rounds {
  time(side: string): { median: number; samples: number; repeat: number };
  figure(of: (ms: Readonly<Record<string, number>>) => number): { median: number; low: number; high: number };
}
export const alternate: (
  sides: Readonly<Record<string, Side>>,
  options: { rounds: number; seconds?: number },
) => Promise<Rounds> = alternating.alternate;

export const placeBuild: (name: string, cwd?: string) => { folder: string; label: string; remove(): void } =
  builds.placeBuild;
export const ownInstructions: (text: string) => number = instructions.ownInstructions;

export interface Run {
  schema: string;
  version: number;
  created: string;
  environment: Record<string, unknown>;
  cases: {
    name: string;
    suite: string;
    error: number;
    minima: Record<string, number>;
    least: number;
    [more: string]: unknown;
  }[];
  [more: string]: unknown;
}
export interface GateRecord {
  verdict: string;
  cases: CaseResult[];
  [more: string]: unknown;
}
export const UsageError: new (message: string) => Error = usage.UsageError;
export const readRun: (name: string, json: string) => Run = schema.readRun;
export const checkSameMachine: (one: Run, other: Run) => void = schema.checkSameMachine;
export const formats: Readonly<Record<string, (run: Run) => string>> = exports.formats;
export const writeWhole: (file: string, content: string) => void = files.writeWhole;
export const writeAll: (files: readonly (readonly [string, string])[]) => void = files.writeAll;
export const loadKept: (file: string, json?: string) => { run?: Run; gate?: GateRecord } = files.loadKept;
export const matched: (base: Run, head: Run) => { pairs: unknown[]; onlyBase: string[]; onlyHead: string[] } =
  pairing.matched;
export const markdownTable: (head: readonly string[], rows: readonly (readonly string[])[]) => string =
  tables.markdownTable;
export const shellWord: (word: string) => string = texts.shellWord;
export const plainLines: (text: string) => string = texts.plainLines;
export const quantiles: (samples: readonly number[]) => Record<string, number> = quantile.quantiles;

export interface Plot {
  name: string;
  title: string;
  body: { text: string };
}
export interface Page {
  heading: string;
  failures: { lines: string[]; command: string } | undefined;
  sections: { title: string; words: string; plots: Plot[] }[];
  table: { rows: { cells: string[]; failed: boolean }[] };
}
export const runPage: (run: Run, others?: { baseline?: Run; kept?: readonly Run[] }) => Page = runReport.runPage;
export const gatePage: (record: GateRecord) => Page = gateReport.gatePage;
export const renderPage: (given: Page) => string = page.renderPage;
export const standalone: (plot: Plot) => string = svg.standalone;
export interface PlottedLayer {
  name: string;
  before: ArrayLike<number>;
  after: ArrayLike<number>;
  change: ArrayLike<number>;
  drift: ArrayLike<number> | undefined;
  ranks: string;
  changeRank: string;
  distances: Record<string, number>;
}
export const layerPlots: (layers: readonly PlottedLayer[], width: number) => Plot[] = layersReport.layerPlots;
export const historyPlot: (runs: readonly Run[]) => Plot = history.historyPlot;
export const logScale: (
  values: readonly number[],
  start: number,
  end: number,
  name: (value: number) => string,
) => { ticks: { at: number; text: string }[]; to: (value: number) => number } = axes.logScale;

export const casesOf: (folder: string, words: readonly string[], options: { short: boolean }) => string[] | undefined =
  dropped.casesOf;
export const droppedCases: (ofBase: readonly string[], measured: readonly { name: string }[]) => CaseResult[] =
  dropped.droppedCases;
export const gateTable: (results: readonly CaseResult[]) => string = tell.gateTable;
export const summary: (
  results: readonly CaseResult[],
  verdict: string,
  about: { base: string; head: string; tolerance: number },
) => string = tell.summary;

const times = { min: 1, p10: 1.1, p50: 1.2, p90: 1.4 };
const environment = {
  cpu: 'a processor',
  processors: 2,
  memoryBytes: 1e10,
  platform: 'linux-x64',
  node: 'v20.20.2',
  sigmatune: '0.1.0',
  simd: 'avx2',
  threads: 2,
  blas: 'OpenBLAS',
  gpu: { available: false, code: 'NOT_BUILT' },
  governor: null,
  commit: null,
  load: 0.5,
};

/** A run as `bench run` writes it. */
export function exampleRun(): Run {
  const each = (name: string, error: number, size: number) => ({
    name,
    suite: 'svd',
    panel: 'SVD',
    series: 'single',
    size,
    parameters: { kind: 'single' },
    unit: 'ms',
    flops: 1e6,
    bytes: 1e4,
    least: 0.1,
    share: 0.08,
    error,
    bound: 1e-5,
    processes: [{ ...times, samples: [1, 1.2, 1.4] }],
    minima: { ...times },
  });
  return {
    schema: 'sigmatune-bench',
    version: 1,
    created: '2026-11-23T07:00:00.000Z',
    environment: structuredClone(environment),
    ceilings: { gemm: { flopsPerSecond: 1e11 }, copy: [{ bytes: 1e6, bytesPerSecond: 1e10 }] },
    cases: [each('svd one', 1e-6, 64), each('svd | two', 2e-6, 64)],
  };
}

/** A gate as `bench gate --out` writes it. */
export function exampleGate(): GateRecord {
  const interval = { centre: 0.2, low: 0.1, high: 0.3 };
  const each = (name: string, verdict: string) => ({
    name,
    verdict,
    note: '',
    error: 1e-6,
    bound: 1e-5,
    judgement: { change: interval, null: { centre: 0, low: -0.01, high: 0.01 }, clean: true, decided: 'slower' },
    rounds: [[{ base: 1, again: 1.01, head: 1.2 }]],
  });
  return {
    schema: 'sigmatune-gate',
    version: 1,
    created: '2026-11-23T07:00:00.000Z',
    verdict: 'regression',
    base: { label: 'main (0123456789)', name: 'main', environment: structuredClone(environment) },
    head: { label: '/here', environment: structuredClone(environment) },
    settings: { tolerance: 0.1, seed: 1, blocks: 10, rounds: 4, seconds: null, threads: 1 },
    cases: [each('svd one', 'pass'), each("svd 'two'", 'regression')],
  };
}

/** A copy with one field changed; undefined removes it. */
export function changed<T extends object>(given: T, path: readonly (string | number)[], value: unknown): T {
  const copy = structuredClone(given);
  const last = path[path.length - 1] ?? '';
  const holder = path
    .slice(0, -1)
    .reduce<Record<string | number, unknown>>(
      (at, key) => at[key] as Record<string | number, unknown>,
      copy as Record<string | number, unknown>,
    );
  holder[last] = value;
  return copy;
}

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const cli = fileURLToPath(new URL('../../bench/cli.js', import.meta.url));
