/**
 * What the tests see of bench/, which is plain JavaScript with types of its own (`npm run check` reads them): the one
 * place that gives them again, for these tests.
 */
import { fileURLToPath } from 'node:url';
// @ts-expect-error: no declarations
import * as table from '../bench/cases/table.js';
// @ts-expect-error: no declarations
import * as builds from '../bench/gate/builds.js';
// @ts-expect-error: no declarations
import * as gate from '../bench/gate/gate.js';
// @ts-expect-error: no declarations
import * as instructions from '../bench/gate/instructions.js';
// @ts-expect-error: no declarations
import * as judge from '../bench/gate/judge.js';
// @ts-expect-error: no declarations
import * as turns from '../bench/gate/turns.js';
// @ts-expect-error: no declarations
import * as exports from '../bench/record/exports.js';
// @ts-expect-error: no declarations
import * as files from '../bench/record/files.js';
// @ts-expect-error: no declarations
import * as schema from '../bench/record/schema.js';
// @ts-expect-error: no declarations
import * as bootstrap from '../bench/stats/bootstrap.js';

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
export const select: (words: readonly string[], options?: { short?: boolean }) => readonly BenchCase[] = table.select;

export const takeTurns: (
  sessions: readonly { ask(task: string, argument?: unknown): Promise<unknown> }[],
  name: string,
  random: { below(end: number): number },
) => Promise<({ min: number } | { broken: string })[]> = turns.takeTurns;

export const placeBuild: (name: string, cwd?: string) => { folder: string; label: string; remove(): void } =
  builds.placeBuild;
export const ownInstructions: (text: string) => number = instructions.ownInstructions;

export interface Run {
  schema: string;
  version: number;
  environment: Record<string, unknown>;
  cases: { name: string; error: number; minima: Record<string, number>; [more: string]: unknown }[];
  [more: string]: unknown;
}
export const readRun: (name: string, json: string) => Run = schema.readRun;
export const checkSameMachine: (one: Run, other: Run) => void = schema.checkSameMachine;
export const formats: Readonly<Record<string, (run: Run) => string>> = exports.formats;
export const writeWhole: (file: string, content: string) => void = files.writeWhole;

export const root = fileURLToPath(new URL('..', import.meta.url));
export const cli = fileURLToPath(new URL('../bench/cli.js', import.meta.url));
