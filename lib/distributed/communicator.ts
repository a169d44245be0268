import { readParameters } from '../optim/groups.js';
import { checkInteger, checkOptions } from '../runtime/check.js';
import { SigmaError } from '../runtime/errors.js';
import { publish, uncloneable } from '../runtime/public-class.js';
import type { ParameterLike } from '../tensor/parameter.js';
import { agree } from './agreement.js';
import { DeviceMeans, type GradientRoute } from './device-means.js';
import { averageGradients } from './gradients.js';
import { inTime } from './in-time.js';
import type { Transport } from './transport.js';
import { broadcastValues, compareValues } from './values.js';

const finalizeSeconds = 60;
const described = { name: 'Communicator', instead: 'its rank and size' };
const cloning = uncloneable(described);

/**
 * The ranks of a job, made by `init`. All ranks make the same calls in the same order. Calls of one rank run one after the
 * other, in the order in which they were made; none of them blocks the event loop.
 *
 * Before any data moves, the ranks compare what they were called with. If it differs, the call rejects with RANK_MISMATCH on
 * every rank, and the job can go on. After TIMED_OUT it cannot: end the process, which ends the job.
 */
export class Communicator {
  static {
    publish<Communicator>(Communicator, {
      ...described,
      isOwn: (value) => #transport in value,
      print: (comm) => `Communicator: rank ${comm.rank} of ${comm.size}`,
    });
  }

  /** @internal */
  readonly cloning = cloning;
  /** Of this process: from 0 to size − 1. */
  readonly rank: number;
  /** How many ranks the job has. */
  readonly size: number;
  readonly #transport: Transport;
  readonly #seconds: number;
  /** The end of the last call that was made; never rejects. */
  #last: Promise<unknown> = Promise.resolve();
  #isFinalized = false;
  readonly #deviceMeans = new DeviceMeans();
  #route: GradientRoute | undefined;

  private constructor(transport: Transport, seconds: number) {
    this.rank = transport.rank;
    this.size = transport.size;
    this.#transport = transport;
    this.#seconds = seconds;
  }

  /** @internal */
  static over(transport: Transport, seconds: number): Communicator {
    return new Communicator(transport, seconds);
  }

  /** @internal */
  static is(value: unknown): value is Communicator {
    return typeof value === 'object' && value !== null && #transport in value;
  }

  /**
   * Replaces each gradient by the mean over the ranks, so that clipping, freezing and optimisers then do the same on every
   * rank. Sums are float64, in the order of the ranks: every rank gets the same bits, and a run repeats to the bit for the
   * same number of ranks. Frozen parameters are skipped, and those that have no gradient on any rank.
   *
   * Gradients on CUDA devices go over NCCL if every rank has it and a device of its own, with the same bits as through the host.
   *
   * Await the call before the next `backward` or `step`. The ranks must have equal shares of a batch for the mean to be the
   * whole batch's.
   *
   * @throws SigmaError (as a rejection) RANK_MISMATCH with the first parameter whose name, shape, type or presence of a
   * gradient differs; TIMED_OUT; INVALID_ARGUMENT, DISPOSED
   * @example
   * layer.forward(x).backward(dy);
   * await comm.allReduceGradients(layer.parameters);
   * optimizer.step();
   */
  async allReduceGradients(parameters: readonly ParameterLike[]): Promise<void> {
    const op = 'Communicator.allReduceGradients';
    const seen = readParameters(op, 'parameters', parameters);
    await this.together(op, async (transport, seconds) => {
      this.#route = await averageGradients(op, transport, seen, seconds, this.#deviceMeans);
    });
  }

  /** How the last `allReduceGradients` went: over NCCL, or through the host's memory. Undefined before the first. */
  get gradientRoute(): GradientRoute | undefined {
    return this.#route;
  }

  /**
   * Gives all ranks the values that rank `root` has. Call it once before training, after the layers are made.
   *
   * @throws SigmaError (as a rejection) RANK_MISMATCH, TIMED_OUT, INVALID_ARGUMENT, DISPOSED
   * @example
   * await comm.broadcast(model.parameters);
   */
  async broadcast(parameters: readonly ParameterLike[], options: { root?: number } = {}): Promise<void> {
    const op = 'Communicator.broadcast';
    const seen = readParameters(op, 'parameters', parameters);
    const { root = 0 } = checkOptions(op, 'options', options, ['root']);
    checkInteger(op, 'options.root', root, 0, this.size - 1);
    await this.together(op, (transport, seconds) => broadcastValues(op, transport, seen, root, seconds));
  }

  /**
   * Checks that all ranks hold the same values, to the bit. A difference means that the ranks no longer train one model.
   *
   * @throws SigmaError (as a rejection) RANK_MISMATCH with the first parameter that differs, and the rank
   * @example
   * if (step % 100 === 0) await comm.checkSynchronized(model.parameters);
   */
  async checkSynchronized(parameters: readonly ParameterLike[]): Promise<void> {
    const op = 'Communicator.checkSynchronized';
    const seen = readParameters(op, 'parameters', parameters);
    await this.together(op, (transport, seconds) => compareValues(op, transport, seen, seconds));
  }

  /**
   * Resolves when all ranks have called it.
   *
   * @throws SigmaError (as a rejection) RANK_MISMATCH, TIMED_OUT
   */
  async barrier(): Promise<void> {
    const op = 'Communicator.barrier';
    await this.together(op, (transport, seconds) => agree(op, transport, [], seconds));
  }

  /**
   * Ends the job's communication. The last call of all ranks; a second call is a no-op. A program that comes to its end
   * without it calls it by itself.
   *
   * @throws SigmaError (as a rejection) RANK_MISMATCH, TIMED_OUT
   */
  async finalize(): Promise<void> {
    const op = 'Communicator.finalize';
    await this.together(op, async (transport, seconds) => {
      if (this.#isFinalized) return;
      await agree(op, transport, [], seconds);
      await this.#deviceMeans.leave(op, Math.min(seconds, finalizeSeconds));
      // All ranks are here: what is left is MPI's own.
      const late = `MPI: expected the end of MPI_Finalize within ${finalizeSeconds} s, got none; end this process`;
      await inTime(op, transport.finish(op, seconds), finalizeSeconds, late);
      this.#isFinalized = true;
    });
  }

  /** @internal Whether the ranks have parted. */
  get isFinalized(): boolean {
    return this.#isFinalized;
  }

  /** @internal Runs a call of all ranks when those before it have ended. */
  together<T>(op: string, work: (transport: Transport, seconds: number) => Promise<T>): Promise<T> {
    const run = async () => {
      if (this.#isFinalized && op !== 'Communicator.finalize') {
        throw new SigmaError(
          'INVALID_ARGUMENT',
          op,
          'this: expected a communicator before finalize(), got a finalized one',
        );
      }
      try {
        return await work(this.#transport, this.#seconds);
      } catch (error) {
        throw explained(error, op, this.size, this.#seconds);
      }
    };
    const turn = this.#last.then(run);
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}

/** Adds to a time-out how long it was, and what to do. */
function explained(error: unknown, op: string, size: number, seconds: number): unknown {
  if (!(error instanceof SigmaError) || error.code !== 'TIMED_OUT' || error.message.includes('MPI_Finalize'))
    return error;
  const message =
    `ranks: expected all ${size} to take part within ${seconds} s (init's timeoutSeconds), got fewer. A rank may be busy, ` +
    'stuck, or have skipped the call after an error; end this process to end the job';
  return new SigmaError('TIMED_OUT', op, message);
}
