// How bytes get from rank to rank: through MPI, or not at all in a world of one.
import { native, type RealArray } from '../runtime/native.js';
import { settle } from './environment.js';

/** `seconds` is a time-out; every function rejects with TIMED_OUT after it. All ranks call the same functions in one order. */
export interface Transport {
  readonly rank: number;
  readonly size: number;
  /** The bytes of each rank, which are equally many. */
  gather(op: string, bytes: Uint8Array, seconds: number): Promise<readonly Uint8Array[]>;
  mean<T extends RealArray>(op: string, numbers: T, seconds: number): Promise<T>;
  broadcast(op: string, bytes: Uint8Array, root: number, seconds: number): Promise<Uint8Array>;
  /** Sets the counter to 0. Claims may follow after the next `gather`. */
  reset(op: string): Promise<void>;
  /** Adds to the counter, and returns what it was. Not a call of all ranks. */
  claim(op: string, amount: number, seconds: number): Promise<number>;
  /** Ends the world. */
  finish(op: string, seconds: number): Promise<void>;
}

/** The ranks of the job that this process belongs to. */
export async function mpiTransport(op: string): Promise<Transport> {
  const restore = settle();
  await native.mpiStart(op).finally(restore);
  const size = native.mpiSize(op);
  return {
    rank: native.mpiRank(op),
    size,
    async gather(caller, bytes, seconds) {
      const all = await native.mpiGather(caller, bytes, seconds);
      return Array.from({ length: size }, (_, k) => all.subarray(k * bytes.length, (k + 1) * bytes.length));
    },
    mean: (caller, numbers, seconds) => native.mpiMean(caller, numbers, seconds) as Promise<typeof numbers>,
    broadcast: (caller, bytes, root, seconds) => native.mpiBroadcast(caller, bytes, root, seconds),
    reset: (caller) => native.mpiReset(caller),
    claim: (caller, amount, seconds) => native.mpiClaim(caller, amount, seconds),
    finish: (caller, seconds) => native.mpiFinish(caller, seconds),
  };
}

/** A world of one rank. */
export function soloTransport(): Transport {
  let counter = 0;
  return {
    rank: 0,
    size: 1,
    gather: async (_op, bytes) => [bytes],
    mean: async (_op, numbers) => numbers,
    broadcast: async (_op, bytes) => bytes,
    reset: async () => {
      counter = 0;
    },
    claim: async (_op, amount) => {
      const before = counter;
      counter += amount;
      return before;
    },
    finish: async () => undefined,
  };
}
