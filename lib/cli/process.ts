// The process around a command: signals, streams that close early, and how it ends.
import { SigmaError } from '../runtime/errors.js';
import { exitCodes, type Told, told } from './failures.js';
import { styled } from './session.js';
import { json, plainLines } from './text.js';

/** 128 and the signal's number, as shells have it. */
const signalCodes = { SIGINT: 130, SIGTERM: 143 } as const;

/** How a failure is told. */
export interface Voice {
  /** 'sigmatune', or with the command's name. */
  readonly program: string;
  readonly json: boolean;
  /** The command line's name of an option of the library. */
  readonly optionNames: readonly string[];
}

/**
 * Runs `body` and sets the exit code. The first Ctrl-C or SIGTERM aborts the signal, so that the command can stop between two
 * steps and remove what is half written; the second one ends the process at once.
 */
export async function running(voice: Voice, body: (signal: AbortSignal) => Promise<void>): Promise<void> {
  guardStreams(voice);
  const controller = new AbortController();
  let stopped: number | undefined;
  for (const [name, code] of Object.entries(signalCodes)) {
    process.on(name, () => {
      if (stopped !== undefined) process.exit(code);
      stopped = code;
      process.stderr.write(`\n${voice.program}: stopping after this step; once more stops at once\n`);
      controller.abort();
    });
  }
  try {
    await body(controller.signal);
  } catch (error) {
    if (stopped !== undefined && isAbort(error)) process.exitCode = stopped;
    else fail(voice, error);
  }
}

function isAbort(error: unknown): boolean {
  return error instanceof SigmaError ? error.code === 'ABORTED' : error instanceof Error && error.name === 'AbortError';
}

/** Tells an error on stderr and sets the exit code. What the library refuses of an option is a mistake of the command line. */
function fail(voice: Voice, error: unknown): void {
  const { exitCode: own, code, message, stack } = told(error);
  const text = named(message, voice);
  const isOfSystem = error instanceof SigmaError && error.detail instanceof Error;
  const exitCode = own === exitCodes.failed && text.startsWith('--') && !isOfSystem ? exitCodes.usage : own;
  process.exitCode = exitCode;
  if (voice.json) {
    const all: Told = { exitCode, code, message: text, ...(stack !== undefined && { stack }) };
    process.stderr.write(`${json({ error: all })}\n`);
    return;
  }
  const { program } = voice;
  const start = styled(process.stderr, 'red', `${program}:`);
  const lines =
    exitCode === exitCodes.fault
      ? ['a fault of this program; please report it, with what `sigmatune info` prints', stack ?? message]
      : [text, ...(exitCode === exitCodes.usage ? [`${program} --help shows what it takes`] : [])];
  process.stderr.write(`${start} ${plainLines(lines.join('\n'))}\n`);
}

/** `options.dropBias` of a function of the library is `--drop-bias` on the command line. */
function named(message: string, { optionNames }: Voice): string {
  return message.replace(/\boptions\.([a-z]+)/gi, (found, name: string) => {
    const option = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    return optionNames.includes(option) ? `--${option}` : found;
  });
}

function guardStreams(voice: Voice): void {
  // A reader that has seen enough (`| head`) is no failure: the command ends as it would have. A full disk is one.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') fail(voice, error);
  });
  process.stderr.on('error', () => {});
  process.on('uncaughtException', (error) => {
    fail(voice, error);
    process.exit();
  });
}
