// @ts-check
// Beside PyTorch on the same card in the same run: SIGMATUNE_PYTHON names a Python whose torch has CUDA, else `python3`.
import { spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { SparsityPattern, spmm, svd, svft, timed } from 'sigmatune';
import { ratio, timing } from '../alternate.js';
import { python } from '../rivals/python.js';
import { stepOf } from './adapters.js';
import { mark } from './case.js';
import { free, operand } from './data.js';
import { weightWithFactors } from './weights.js';

export const title = 'Beside PyTorch: its time over ours';

/** What torch says of itself and of CUDA; undefined, said aloud, where there is none. @param {(line: string) => void} say */
export function torchOnCuda(say) {
  const code = 'import torch; print(torch.__version__, torch.version.cuda if torch.cuda.is_available() else "-")';
  const { status, stdout } = spawnSync(python, ['-c', code], { encoding: 'utf8', timeout: 60_000 });
  const [version, cuda] = status === 0 ? stdout.trim().split(' ') : [];
  if (version !== undefined && cuda !== '-') return `PyTorch ${version}, CUDA ${cuda}`;
  say(`skipped: ${python} has no torch${version === undefined ? '' : ' with CUDA'} (SIGMATUNE_PYTHON names another)`);
  return undefined;
}

/** The Python process, which takes seconds to begin: one for all, until a section is done or it ends. */
let torch = /** @type {ReturnType<typeof openTorch> | undefined} */ (undefined);

/** It does what it is told, a line at a time, and answers with milliseconds by CUDA events. */
function openTorch() {
  const script = fileURLToPath(new URL('../rivals/rival_torch_gpu.py', import.meta.url));
  const child = spawn(python, [script], { stdio: ['pipe', 'pipe', 'inherit'] });
  child.on('error', () => undefined); // its lines end, which says enough
  child.stdin.on('error', () => undefined);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    /** Milliseconds, or what else was asked for. @param {readonly unknown[]} call @returns {Promise<number>} */
    async ask(call) {
      child.stdin.write(`${JSON.stringify(call)}\n`);
      const { value, done } = await lines.next();
      if (done) {
        torch = undefined; // the next call begins another
        throw new Error('the Python process ended');
      }
      const { milliseconds, megabytes, error } = JSON.parse(value);
      if (error !== undefined) throw new Error(`torch: ${error}`);
      return megabytes ?? milliseconds;
    },
    close: () => child.stdin.end(),
  };
}

/** @param {readonly unknown[]} call */
function ask(call) {
  torch ??= openTorch();
  return torch.ask(call);
}

function closeTorch() {
  torch?.close();
  torch = undefined;
}

/** @typedef {{ name: string, theirs: readonly unknown[], rounds?: number, goal?: number, prepare: () => Promise<Ours> }} Rivalry */
/** @typedef {{ run: () => unknown | Promise<unknown>, wall?: boolean, free: () => void }} Ours `wall`: by the wall clock */

/** @param {import('./case.js').Context} context @returns {Generator<import('./case.js').Job>} */
export function* jobs(context) {
  if (context.dry || torchOnCuda(context.say) === undefined) return;
  for (const [n, m] of [
    [768, 768],
    [4096, 4096],
    [4096, 14336],
  ]) {
    for (const dtype of /** @type {const} */ (['bfloat16', 'float32'])) {
      for (const rival of ['svft_reference', 'svft_factored', 'lora']) {
        yield job(context, layer(n, m, 2048, dtype, rival));
      }
    }
  }
  for (const row of [16, 33]) yield job(context, sparse(4096, row));
  for (const [n, m] of [
    [4096, 4096],
    [14336, 4096],
  ]) {
    for (const rival of ['lora', 'svft_reference']) {
      for (const dtype of ['float32', 'bfloat16']) {
        const run = () => peak([rival, n, m, 2048, dtype]);
        yield { name: `torch's ${rival}, peak memory, ${n} × ${m}, ${dtype}`, run };
      }
    }
  }
  closeTorch();
}

/** Memory of a step as torch counts it, for who compares. @param {readonly unknown[]} call */
async function peak(call) {
  const value = await ask(['peak', ...call]);
  const [rival, n, m, tokens, dtype] = call;
  const marks = [{ what: 'peak, MB', value, better: /** @type {const} */ ('lower') }];
  return { name: `torch's ${rival}`, dtype: String(dtype), size: `${n} × ${m}, N = ${tokens}`, marks };
}

/** The decompositions, which take their time. @param {import('./case.js').Context} context */
export function* svdJobs(context) {
  if (context.dry || torchOnCuda(context.say) === undefined) return;
  for (const [batch, m, n, goal] of [
    [1, 4096, 4096, 8],
    [48, 768, 768, 5],
    [1, 1024, 1024, undefined],
    [1000, 32, 32, undefined],
  ]) {
    yield job(context, decomposition(/** @type {number} */ (batch), /** @type {number} */ (m), Number(n), goal));
  }
  closeTorch();
}

/** @param {import('./case.js').Context} context @param {Rivalry} rivalry @returns {import('./case.js').Job} */
const job = (context, rivalry) => ({ name: rivalry.name, run: () => beside(context, rivalry) });

/** @param {import('./case.js').Context} context @param {Rivalry} rivalry @returns {Promise<import('./case.js').Case>} */
async function beside({ device, rounds: usual }, { name, theirs, goal, rounds = usual, prepare }) {
  const ours = await prepare();
  const own = async () => {
    if (!ours.wall) return timed(device, ours.run);
    const start = performance.now();
    await ours.run();
    return performance.now() - start;
  };
  /** @type {number[]} */
  const mine = [];
  /** @type {number[]} */
  const other = [];
  try {
    // In turn, the one first and then the other; the first two rounds warm both up.
    for (let round = -2; round < rounds; round++) {
      const pair = round % 2 ? [await own(), await ask(theirs)] : [await ask(theirs), await own()].reverse();
      if (round < 0) continue;
      mine.push(pair[0]);
      other.push(pair[1]);
    }
  } finally {
    ours.free();
  }
  return {
    name,
    time: { ...timing(mine), samples: mine.length, repeat: 1 },
    marks: mark("torch's time over ours", ratio(other, mine), 'higher', goal),
    detail: `torch: ${timing(other).median.toFixed(3)} ms`,
  };
}

/** @param {number} n @param {number} m @param {number} tokens @param {import('./data.js').Narrow} dtype @param {string} rival */
function layer(n, m, tokens, dtype, rival) {
  const band = rival === 'svft_reference';
  return {
    name: `SVFT ${band ? 'band, d = 8' : 'diagonal'} beside ${rival}, ${n} × ${m}, N = ${tokens}, ${dtype}`,
    theirs: [rival, n, m, tokens, dtype],
    prepare: async () => {
      const weight = await weightWithFactors(n, m, dtype);
      const options = band ? /** @type {const} */ ({ pattern: 'banded', offDiagonals: 8 }) : {};
      const made = await svft(weight.weight.on, { factors: weight.factors, ...options });
      const [x, dy] = [operand([tokens, m], dtype).on, operand([tokens, n], dtype).on];
      const step = await stepOf(made);
      return { run: () => step(x, dy), free: () => free(weight, made, x, dy) };
    },
  };
}

/** @param {number} r @param {number} row */
function sparse(r, row) {
  return {
    name: `spmm beside torch.sparse's CSR, ${row} random a row, ${r} × ${r}, float32`,
    theirs: ['sparse', r, r, row],
    prepare: async () => {
      const pattern = SparsityPattern.random(r, { entries: row * r }, { seed: 1 });
      const [values, x] = [operand([pattern.entries]).on, operand([r, r]).on];
      const run = () => spmm(pattern, /** @type {any} */ (values), /** @type {any} */ (x)).dispose();
      return { run, free: () => free(values, x) };
    },
  };
}

/** @param {number} batch @param {number} m @param {number} n @param {number} [goal] */
function decomposition(batch, m, n, goal) {
  return {
    name: `svd beside torch.linalg.svd, ${batch} × ${m} × ${n}`,
    theirs: ['svd', batch, m, n],
    rounds: batch * m > 4000 ? 3 : 20,
    ...(goal && { goal }),
    prepare: async () => {
      const a = /** @type {import('sigmatune').Tensor<'float32'>} */ (operand([batch, m, n]).on);
      const run = async () => {
        const { u, s, vt } = await svd(a);
        free(u, s, vt);
      };
      return { run, wall: true, free: () => a.dispose() };
    },
  };
}
