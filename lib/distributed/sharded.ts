import { randomBytes } from 'node:crypto';
import { stat, unlink, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { FactorCache } from '../files/factor-cache.js';
import type { SafetensorsFile } from '../files/safetensors.js';
import { adaptModel } from '../model/adapt.js';
import type { AdaptedModel } from '../model/adapted.js';
import { type DecomposeModelOptions, readDecompositions } from '../model/decompose-model.js';
import type { Job } from '../model/jobs.js';
import { type ModelOptions, modelOptions } from '../model/plan.js';
import { costOf, type DecomposedRow, type Decompositions, decomposeShare, decompositionsOf } from '../model/share.js';
import { type ByName, checkOptions, rejectInstance } from '../runtime/check.js';
import { type ErrorCode, reasonOf, SigmaError } from '../runtime/errors.js';
import type { TensorLike } from '../tensor/view.js';
import { agree, gatherJson, gatherTexts } from './agreement.js';
import { Communicator } from './communicator.js';
import type { Transport } from './transport.js';

/** The options of `adaptModel`, with a cache. */
export interface AdaptModelShardedOptions extends ModelOptions {
  /** A folder, or an open cache, that all ranks see. It may be in use by other jobs. */
  cache: string | FactorCache;
}

/**
 * `decomposeModel` by all ranks: each takes the costliest matrix that is left, until none is. All of them go into the cache,
 * which all ranks must see. A job that was killed goes on where it was; two jobs may share the cache.
 *
 * `onProgress` tells of the modules that this rank has done. The option `timeoutSeconds` of `init` does not limit how long a
 * rank waits for the last matrices of the others: a rank that dies ends the job.
 *
 * @returns the same rows on every rank, in the order of the weights
 * @throws SigmaError (as a rejection, on every rank) that names the rank and the module; RANK_MISMATCH if the ranks have other
 * modules; INVALID_ARGUMENT for a cache that not all ranks see
 * @example
 * const comm = await init();
 * const file = await openSafetensors('model.safetensors');
 * await decomposeModelSharded(comm, file, { targets: 'all', cache: 'factors' });
 */
export async function decomposeModelSharded(
  comm: Communicator,
  weights: ByName<TensorLike> | SafetensorsFile,
  options: DecomposeModelOptions,
): Promise<readonly DecomposedRow[]> {
  const op = 'decomposeModelSharded';
  checkCommunicator(op, comm);
  return together(op, comm, await readDecompositions(op, weights, options));
}

/**
 * `adaptModel` by all ranks: each decomposes its share of the matrices into the cache, and then makes all layers from it. The
 * layers of all ranks have the same parameters, to the bit.
 *
 * @throws SigmaError (as a rejection, on every rank) as `decomposeModelSharded` and `adaptModel` do
 * @example
 * const comm = await init();
 * const model = await adaptModelSharded(comm, file, { targets: ['q_proj', 'v_proj'], family: 'svft', cache: 'factors' });
 */
export async function adaptModelSharded(
  comm: Communicator,
  weights: ByName<TensorLike> | SafetensorsFile,
  options: AdaptModelShardedOptions,
): Promise<AdaptedModel> {
  const op = 'adaptModelSharded';
  checkCommunicator(op, comm);
  const given = checkOptions(op, 'options', options, modelOptions);
  await together(op, comm, await decompositionsOf(op, weights, given));
  // Progress has been told; what follows reads files.
  const { onProgress, ...rest } = given;
  return adaptModel(weights, { ...rest });
}

function checkCommunicator(op: string, comm: unknown): void {
  if (!Communicator.is(comm)) rejectInstance(op, 'comm', 'Communicator', comm, ', which init() gives');
}

function together(op: string, comm: Communicator, plan: Decompositions): Promise<readonly DecomposedRow[]> {
  return comm.together(op, async (transport, seconds) => {
    await transport.reset(op);
    // Also the barrier between the reset and the claims.
    await agree(op, transport, plan.jobs.map(describeJob), seconds, { items: 'modules' });
    await checkFolder(op, transport, plan.cache.folder, seconds);
    const { rows, failure } = await ownShare(op, transport, plan, seconds);
    // The last matrices of the others may take hours.
    const failures = await gatherTexts(op, transport, failure, Infinity);
    const failed = failures.findIndex((text) => text !== '');
    if (failed >= 0) throw failureOf(op, transport, failed, failures[failed] as string);
    const all = await gatherJson<[number, DecomposedRow]>(op, transport, [...rows], seconds);
    const byNumber = new Map(all.flat());
    return plan.jobs.map((_, i) => byNumber.get(i) as DecomposedRow);
  });
}

function describeJob({ chosen, storage, weight }: Decompositions['jobs'][number]): string {
  const { name, out, in: inFeatures } = chosen.module;
  return `'${name}' [${out}, ${inFeatures}] ${weight.dtype} to ${storage}`;
}

/** Takes matrices, longest first, until none is left. `failure` is the code and reason of an error, or empty. */
async function ownShare(op: string, transport: Transport, plan: Decompositions, seconds: number) {
  const { jobs } = plan;
  const order = [...jobs.keys()].sort((a, b) => costOf(jobs[b] as Job) - costOf(jobs[a] as Job));
  async function* claims(): AsyncGenerator<number> {
    for (;;) {
      const place = await transport.claim(op, 1, seconds);
      const number = order[place];
      if (number === undefined) return;
      yield number;
    }
  }
  try {
    return { rows: await decomposeShare(op, plan, claims()), failure: '' };
  } catch (error) {
    // The other ranks find nothing left. They cannot be told if the claims have failed.
    await transport.claim(op, order.length, seconds).catch(() => {
      throw error;
    });
    const known = error instanceof SigmaError;
    const reason = known ? reasonOf(error) : error instanceof Error ? error.message : String(error);
    return { rows: new Map<number, DecomposedRow>(), failure: `${known ? error.code : 'NATIVE'}\n${reason}` };
  }
}

function failureOf(op: string, { size }: Transport, rank: number, text: string): SigmaError {
  const [code, ...reason] = text.split('\n');
  const where = size === 1 ? '' : `rank ${rank}: `;
  return new SigmaError(code as ErrorCode, op, `${where}${reason.join('\n')}`);
}

/** In seconds: a shared file system may show a new file only after some of them. */
const visibleAfter = 10;

/** Refuses a folder that is another one on another host. */
async function checkFolder(op: string, transport: Transport, folder: string, seconds: number): Promise<void> {
  if (transport.size === 1) return;
  const name = `.visible-${randomBytes(8).toString('hex')}`;
  // A folder that is read-only cannot be checked, and may still have all factors.
  const isWritten =
    transport.rank === 0 &&
    (await writeFile(join(folder, name), '').then(
      () => true,
      () => false,
    ));
  const [asked] = await gatherTexts(op, transport, isWritten ? name : '', seconds);
  try {
    const isSeen = asked === '' || (await appears(join(folder, asked as string)));
    const seen = await gatherTexts(
      op,
      transport,
      isSeen ? '' : `rank ${transport.rank} on ${hostname()} does not see it`,
      seconds + visibleAfter,
    );
    const blind = seen.find((text) => text !== '');
    if (blind !== undefined) {
      throw new SigmaError(
        'INVALID_ARGUMENT',
        op,
        `options.cache: expected a folder that all ranks share, got '${folder}': rank 0 wrote a file there, and ${blind}`,
      );
    }
  } finally {
    if (isWritten) await unlink(join(folder, name)).catch(() => undefined);
  }
}

async function appears(path: string): Promise<boolean> {
  for (const end = Date.now() + 1000 * visibleAfter; Date.now() < end; await pause(100)) {
    if (await stat(path).then(Boolean, () => false)) return true;
  }
  return false;
}
