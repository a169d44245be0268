// @ts-check
// Compared with PyTorch on the same device in the same run. SIGMATUNE_PYTHON names a Python with torch, for a card one whose
// torch has CUDA; else `python3` is asked.
import { spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { threads } from 'sigmatune';
import { adapterCase } from '../cases/adapters.js';
import { eachCase } from '../cases/each.js';
import { sparseCase } from '../cases/sparse.js';
import { many, svdCase } from '../cases/svd.js';
import { mark } from '../figures/figure.js';
import { groupJob } from '../figures/group.js';
import { settings } from '../figures/settings.js';

/** @typedef {import('../figures/figure.js').Context} Context */
/** @typedef {import('../figures/figure.js').Job} Job */
/** @typedef {import('../cases/case.js').Case} Case */

export const title = 'Compared with PyTorch: its time over ours';

const python = process.env['SIGMATUNE_PYTHON'] ?? 'python3';

/** Whether there is a torch for this device; said aloud if not. @param {Pick<Context, 'device' | 'say'>} context */
function hasTorch({ device, say }) {
  const code = 'import torch; print(torch.__version__, torch.version.cuda if torch.cuda.is_available() else "-")';
  const { status, stdout } = spawnSync(python, ['-c', code], { encoding: 'utf8', timeout: 60_000 });
  const [version, cuda] = status === 0 ? stdout.trim().split(' ') : [];
  if (version === undefined || (device === 'cuda' && cuda === '-')) {
    const what = version === undefined ? 'torch' : 'torch with CUDA';
    say(`skipped: ${python} has no ${what} (pip install torch; SIGMATUNE_PYTHON names another)`);
    return false;
  }
  say(`PyTorch ${version}${device === 'cuda' ? `, CUDA ${cuda}` : `, ${threads()} threads`}`);
  return true;
}

/** One Python process, which does what it is told, a line at a time, and answers with numbers. @param {'cpu' | 'cuda'} device */
function openTorch(device) {
  const script = fileURLToPath(new URL('rival.py', import.meta.url));
  const child = spawn(python, ['-W', 'ignore', script, device, String(threads())], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.on('error', () => undefined); // its lines end, which says enough
  child.stdin.on('error', () => undefined);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    /** Milliseconds or megabytes. @param {readonly unknown[]} call @returns {Promise<number>} */
    async ask(call) {
      child.stdin.write(`${JSON.stringify(call)}\n`);
      const { value, done } = await lines.next();
      if (done) throw new Error('the Python process ended');
      const { answer, error } = JSON.parse(value);
      if (error !== undefined) throw new Error(`torch: ${error}`);
      return answer;
    },
    close: () => child.stdin.end(),
  };
}

/** A side that the Python process times itself. @param {'cpu' | 'cuda'} device @param {readonly unknown[]} call @returns {import('../figures/group.js').Rival} */
const rival = (device, call) => ({
  open: () => {
    const torch = openTorch(device);
    const clock = async (/** @type {unknown} */ _, /** @type {number} */ count) => {
      let sum = 0;
      for (let i = 0; i < count; i++) sum += await torch.ask(call);
      return sum;
    };
    return { prepared: { call: () => torch.ask(call), error: () => 0, dispose: torch.close }, clock };
  },
});

/** @param {Context} context @param {{ size: string, dtype?: string, name: string, ours: Case, theirs: readonly unknown[], goal?: number | undefined, seconds?: number }} given */
const compared = (context, { size, dtype, name, ours, theirs, goal, seconds = 60 }) =>
  groupJob(context, {
    label: name,
    size,
    ...(dtype && { dtype }),
    cases: { [name]: ours },
    against: { torch: rival(context.device, theirs) },
    judge: (name, rounds) => [
      ...mark(
        "torch's time over ours",
        rounds.figure((ms) => ms.torch / ms[name]),
        'higher',
        goal,
      ),
      ...mark("torch's ms", rounds.time('torch'), 'lower'),
    ],
    seconds,
  });

/** Goals of the project by rival, shape and type. @type {Readonly<Record<string, number>>} */
const goals = {
  'cpu svft_reference 768 × 768': 1.5,
  'cpu svft_reference 3072 × 768': 1.5,
  'cpu svft_reference 768 × 3072': 2.3,
  'cpu sparse': 3,
  'cpu svd 16 × 768 × 768': 1.9,
  'cuda svd 1 × 4096 × 4096': 8,
  'cuda svd 48 × 768 × 768': 5,
};

const rivals = { svft_reference: 'svft band 8', svft_factored: 'svft plain', lora: 'svft plain' };
const tokens = 2048;

/** @param {Context} context @returns {Generator<Job>} */
export function* jobs(context) {
  if (context.dry || !hasTorch(context)) return;
  const { device, where } = context;
  const onCpu = device === 'cpu';
  const { dtypes } = settings(context);
  const shapes = onCpu
    ? /** @type {const} */ ([
        [768, 768],
        [3072, 768],
        [768, 3072],
      ])
    : /** @type {const} */ ([
        [768, 768],
        [4096, 4096],
        [4096, 14336],
      ]);
  for (const shape of shapes) {
    for (const dtype of dtypes) {
      for (const [theirs, family] of Object.entries(rivals)) {
        yield compared(context, {
          size: `${shape.join(' × ')}, N = ${tokens}`,
          dtype,
          name: `${family} compared with ${theirs}`,
          ours: adapterCase({ family, shape, tokens, what: 'pass', ...where, dtype }),
          theirs: [theirs, ...shape, tokens, dtype],
          goal: goals[`${device} ${theirs} ${shape.join(' × ')}`],
        });
      }
    }
  }
  // A LoRA on a frozen base computes two products where a factored square layer computes four.
  for (const shape of onCpu ? shapes : []) {
    for (const family of ['svft plain', 'siva 64']) {
      yield compared(context, {
        size: `${shape.join(' × ')}, N = ${tokens}`,
        dtype: 'bfloat16',
        name: `${family} compared with lora`,
        ours: adapterCase({ family, shape, tokens, what: 'pass', ...where, dtype: 'bfloat16' }),
        theirs: ['lora', ...shape, tokens, 'bfloat16'],
        goal: shape[0] === shape[1] ? 0.65 : 1,
      });
    }
  }
  const [r, columns] = onCpu ? [768, 2048] : [4096, 4096];
  for (const row of onCpu ? [33] : [16, 33]) {
    yield compared(context, {
      size: `${r} × ${columns}`,
      dtype: 'float32',
      name: `spmm, ${row} random a row, compared with torch.sparse's CSR`,
      ours: sparseCase({ direction: 'spmm', pattern: `random ${row}`, r, columns, device }),
      theirs: ['sparse', r, columns, row],
      goal: goals[`${device} sparse`],
    });
  }
}

/** Many adapters in one batch, compared with PEFT's LoRA and its `adapter_names`. @param {Context} context @returns {Generator<Job>} */
export function* eachJobs(context) {
  if (context.dry || !hasTorch(context)) return;
  if (spawnSync(python, ['-c', 'import peft'], { timeout: 60_000 }).status !== 0) {
    context.say(`skipped: ${python} has no peft (pip install peft)`);
    return;
  }
  const [tokens, adapters, rank] = [512, 64, 16];
  for (const n of context.device === 'cpu' ? [768, 2048] : [2048, 4096]) {
    const shape = /** @type {const} */ ([n, n]);
    for (const family of ['loraxs 16', 'siva 64', 'svft band 2']) {
      yield compared(context, {
        size: `${shape.join(' × ')}, ${tokens} rows, ${adapters} adapters`,
        dtype: 'float32',
        name: `${family} compared with PEFT's LoRA r = ${rank} (${4 * rank * (n + n)} bytes an adapter)`,
        ours: eachCase({ family, shape, tokens, adapters, what: 'forward', ...context.where }),
        theirs: ['peft_mixed', n, n, tokens, adapters, rank],
      });
    }
  }
}

/** @param {Context} context @returns {Generator<Job>} */
export function* svdJobs(context) {
  if (context.dry || !hasTorch(context)) return;
  const { device } = context;
  const onCpu = device === 'cpu';
  const shapes = onCpu
    ? [
        [16, 768, 768],
        [1, 768, 768],
        [1, 1024, 1024],
        [1, 2048, 2048],
        [1, 1024, 4096],
        [1, 3072, 768],
        [1, 4096, 1024],
        [1, 8192, 1024],
        [1, 4096, 4096],
        [1, 14336, 4096],
        [1, 4096, 14336],
      ]
    : [
        [1, 4096, 4096],
        [48, 768, 768],
        [1, 1024, 1024],
        [1000, 32, 32],
      ];
  for (const [batch, m, n] of shapes) {
    const size = `${batch} × ${m} × ${n}`;
    yield compared(context, {
      size,
      name: `svd compared with torch.linalg.svd${onCpu && batch > 1 ? ' in a loop' : ''}`,
      ours: svdCase('auto', many(batch, m, n), { device, stacked: !onCpu }),
      theirs: ['svd', batch, m, n],
      ...(onCpu && { seconds: 15 }),
      goal: goals[`${device} svd ${size}`] ?? (onCpu ? 1.3 : undefined),
    });
  }
}

/**
 * Megabytes of a step in PyTorch, by what it is compared with; nothing if there is no torch.
 * @param {'cpu' | 'cuda'} device @param {number} n @param {number} m @param {number} tokens @param {string} dtype
 * @param {(line: string) => void} say @returns {Promise<Record<string, number>>}
 */
export async function torchPeak(device, n, m, tokens, dtype, say) {
  if (!hasTorch({ device, say })) return {};
  const wanted = { 'LoRA r = 8': 'lora', 'public SVFT code, band d = 8': 'svft_reference' };
  /** @type {Record<string, number>} */
  const found = {};
  for (const [name, theirs] of Object.entries(wanted)) {
    const torch = openTorch(device); // a fresh one, whose peak is that of this step
    found[name] = await torch.ask(['peak', theirs, n, m, tokens, dtype]).finally(torch.close);
  }
  return found;
}
