// The mean of the gradients over the ranks: all gradients of one type in one buffer.
import { checkGrad, type Seen, sharedMemory } from '../optim/groups.js';
import { SigmaError } from '../runtime/errors.js';
import type { RealArray } from '../runtime/native.js';
import type { Real } from '../tensor/dtype.js';
import { memoryOf } from '../tensor/operand.js';
import { isHost } from '../tensor/storage.js';
import type { Tensor } from '../tensor/tensor.js';
import { agree } from './agreement.js';
import type { Transport } from './transport.js';
import { describeParameter } from './values.js';

/** A gradient that takes part. */
interface Named {
  readonly name: string;
  readonly grad: Tensor<Real>;
}

export async function averageGradients(
  op: string,
  transport: Transport,
  seen: readonly Seen[],
  seconds: number,
): Promise<void> {
  const gradients: Named[] = [];
  const agenda = seen.map((each) => {
    const grad = each.trainable ? each.parameter.grad : null;
    if (grad !== null && grad !== undefined) {
      gradients.push({ name: each.name, grad: checkGrad(op, each.name, grad, each.value) });
    }
    const state = !each.trainable ? 'frozen' : grad ? 'with a gradient' : 'without a gradient';
    return `${describeParameter(each)}, ${state}`;
  });
  refuseShared(op, gradients);
  await agree(op, transport, agenda, seconds);
  for (const dtype of ['float32', 'float64'] as const) {
    const ofType = gradients.filter(({ grad }) => grad.dtype === dtype);
    if (ofType.length === 0) continue;
    const mean = await transport.mean(op, await packed(dtype, ofType), seconds);
    unpack(mean, ofType);
  }
}

/** Gradients on the same memory would be averaged twice. */
function refuseShared(op: string, gradients: readonly Named[]): void {
  const shared = sharedMemory(gradients.map(({ name, grad }) => memoryOf(op, `${name}.grad`, grad)));
  if (shared === undefined) return;
  const names = shared.map((i) => `'${gradients[i]?.name}'`).join(' and ');
  throw new SigmaError(
    'INVALID_ARGUMENT',
    op,
    `parameters: expected gradients that share no memory, got ${names} on the same memory`,
  );
}

async function packed(dtype: Real, gradients: readonly Named[]): Promise<RealArray> {
  const size = gradients.reduce((sum, { grad }) => sum + grad.size, 0);
  const buffer = dtype === 'float64' ? new Float64Array(size) : new Float32Array(size);
  let at = 0;
  for (const { name, grad } of gradients) {
    const memory = memoryOf('Communicator.allReduceGradients', `${name}.grad`, grad);
    buffer.set((isHost(memory) ? memory : await grad.data()) as RealArray, at);
    at += grad.size;
  }
  return buffer;
}

function unpack(mean: RealArray, gradients: readonly Named[]): void {
  let at = 0;
  for (const { grad } of gradients) {
    grad.assign(mean.subarray(at, at + grad.size));
    at += grad.size;
  }
}
