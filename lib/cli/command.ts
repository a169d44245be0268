// What a command declares. Parsing, suggestions and help follow from it.
import type { Session } from './session.js';

export interface OptionSpec {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  /** May be given several times. */
  readonly multiple?: true;
  /** What stands for the value in the help. */
  readonly value?: string;
  readonly about: string;
}

export type OptionTable = Readonly<Record<string, OptionSpec>>;

type ValueOf<S extends OptionSpec> = S['type'] extends 'boolean'
  ? boolean
  : S extends { readonly multiple: true }
    ? readonly string[]
    : string | undefined;

/** The values of the options as they were typed. */
export type Values<O extends OptionTable> = { readonly [K in keyof O]: ValueOf<O[K]> };

interface Definition<O extends OptionTable, A extends readonly string[]> {
  /** The whole call, without 'sigmatune'. */
  readonly usage: string;
  /** What the command does, in one to three sentences. */
  readonly about: string;
  /** The names of the arguments, in their order; in brackets if it may be left out. */
  readonly positionals: A;
  readonly options: O;
  readonly example: string;
  run(
    session: Session,
    positionals: { readonly [K in keyof A]: A[K] extends `[${string}]` ? string | undefined : string },
    values: Values<O>,
  ): Promise<void>;
}

/** A command whose types of arguments are forgotten. */
export interface Command extends Omit<Definition<OptionTable, readonly string[]>, 'run'> {
  run(session: Session, positionals: readonly (string | undefined)[], values: AnyValues): Promise<void>;
}

export type AnyValues = Readonly<Record<string, string | boolean | readonly string[] | undefined>>;

export function command<O extends OptionTable, const A extends readonly string[]>(given: Definition<O, A>): Command {
  return given as unknown as Command;
}

/** Options of every command. */
export const commonOptions = {
  json: { type: 'boolean', about: 'the result as JSON on stdout, and an error as JSON on stderr' },
  quiet: { type: 'boolean', short: 'q', about: 'no progress and no remarks on stderr' },
  help: { type: 'boolean', short: 'h', about: 'this text' },
} as const satisfies OptionTable;

/** The text of `sigmatune COMMAND --help`. */
export function helpOf({ usage, about, options, example }: Command): string {
  const rows = Object.entries({ ...options, ...commonOptions } as OptionTable).map(
    ([name, { short, value, about: text }]): [string, string] => [
      `${short === undefined ? '    ' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}`,
      text,
    ],
  );
  const widest = Math.max(...rows.map(([left]) => left.length));
  const lines = rows.map(([left, text]) => `  ${left.padEnd(widest)}  ${text}`);
  const examples = example.split('\n').map((line) => `  ${line}`);
  return [`sigmatune ${usage}`, '', about, '', 'Options', ...lines, '', 'Example', ...examples].join('\n');
}
